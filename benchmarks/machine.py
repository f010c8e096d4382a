"""What a figure was measured on."""

import importlib.metadata
import os
import platform


def machine() -> dict:
    "Processor, cores, memory, Python and the versions that matter."
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in open("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {
        name: importlib.metadata.version(name)
        for name in (
            "torch",
            "transformers",
            "datasets",
            "accelerate",
            "tokenizers",
            "numpy",
            "squadqa",
        )
    }
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "versions": versions,
    }
