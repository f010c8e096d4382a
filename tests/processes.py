"""Run a function in processes of their own, alone or as ranks that find each other: a kill or an
exception ends them, not the tests.

They are forked from a server that has imported everything and computed nothing: a process whose
OpenMP threads have
worked must not be forked, its children would wait for those threads for ever.
"""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import cloudpickle
from conftest import ROOT

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["squadqa.loop", "squadqa.cli", "pytest"])


def _enter(function: bytes, results, rank: int, world: int, port: int):
    import torch
    from accelerate.state import PartialState

    torch.set_num_threads(1)
    if world > 1:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(world),
            LOCAL_WORLD_SIZE=str(world),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            OMP_NUM_THREADS="1",
        )
    found = cloudpickle.loads(function)()
    assert PartialState().num_processes == world  # they found each other
    results.put((rank, found))


def processes(function, world: int = 2, timeout: float = 120) -> list:
    "What each of `world` processes gives back; a list of exit codes if one of them dies."
    results, pickled = SERVER.Queue(), cloudpickle.dumps(function)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    started = [
        SERVER.Process(target=_enter, args=(pickled, results, rank, world, port))
        for rank in range(world)
    ]
    for p in started:
        p.start()
    try:
        found, end = {}, time.monotonic() + timeout
        while len(found) < world:
            while not results.empty():
                found.update([results.get()])
            if any(p.exitcode for p in started):
                break
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{world - len(found)} of {world} processes gave nothing in {timeout} s"
                )
            time.sleep(0.02)
        for p in started:
            if len(found) < world:
                p.kill()
            p.join(10)
        return (
            [found[rank] for rank in range(world)]
            if len(found) == world
            else [p.exitcode for p in started]
        )
    finally:
        for p in started:
            p.kill()


def alone(function):
    return processes(function, 1)[0]


def holder(process: int) -> str:
    "What a message calls the process that holds a lock: filelock before 4 empties its file."
    return str(process) if int(version("filelock").partition(".")[0]) >= 4 else "unknown"


def launch(words: list, **environment) -> tuple[subprocess.CompletedProcess, float]:
    """Two processes of `accelerate launch`, on the CPU where there is no GPU; what they said, and
    the seconds they took."""
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
        *map(str, words),
    ]
    start = time.monotonic()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment,
        cwd=ROOT,
    )
    return done, time.monotonic() - start
