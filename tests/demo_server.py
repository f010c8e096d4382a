"""The page with a stand-in for a model, in a process of its own: python demo_server.py PORT."""

import ipaddress
import sys
import time


def stand_in(question, context, *, top_k=1, handle_impossible_answer=False):
    "Find the question's last word: called like a model, and as quick as none."
    assert type(top_k) is int and type(handle_impossible_answer) is bool
    word = question.split()[-1].rstrip("?")
    if word == "crash":
        raise RuntimeError("the secret of the server")
    if word == "slow":
        print("SLOW", flush=True)
        time.sleep(0.5)
    start = context.rfind(word)
    found = []
    if start >= 0:
        ends = range(start + len(word), start, -1)
        for i, end in enumerate(ends):
            answer = context[start:end]
            found.append({"score": 0.75 - i / 10, "start": start, "end": end, "answer": answer})
    if start < 0 or handle_impossible_answer:
        found.append({"score": 0.0, "start": 0, "end": 0, "answer": ""})
    return found[0] if top_k == 1 else found[:top_k]


def _local(host) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", None)


def tell_of_outside(event, args):
    "An audit hook that prints every address outside of this machine."
    looked_up = event == "socket.getaddrinfo" and not _local(args[0])
    connected = event == "socket.connect" and isinstance(args[1], tuple)
    if looked_up or (connected and not _local(args[1][0])):
        print("OUTSIDE", args, flush=True)


if __name__ == "__main__":
    sys.addaudithook(tell_of_outside)
    from squadqa.demo import serve

    serve(stand_in, port=int(sys.argv[1]))
