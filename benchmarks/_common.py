"""What the benchmarks share: alternating repeats, medians, and the machine they ran on."""

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy


def machine() -> dict[str, Any]:
    """Return what a reader needs to place a ratio: processor, cores, versions."""
    record = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    try:
        import torch
    except ImportError:
        return record
    return record | {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}


def alternate(
    jobs: Mapping[str, Callable[[], Any]], *, repeats: int
) -> dict[str, dict[str, float]]:
    """Time every job once per round, in turn, so that a slow spell of the machine hits them all.

    Returns:
        For each job the minimum and the median of its times, in seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()  # warm-up
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    return {
        name: {"min_s": min(seen), "median_s": statistics.median(seen)}
        for name, seen in times.items()
    }


def ratios(times: Mapping[str, Mapping[str, float]], *, floor: str) -> dict[str, float]:
    """Return every job's minimal time over the floor's minimal time."""
    base = times[floor]["min_s"]
    return {name: round(seen["min_s"] / base, 3) for name, seen in times.items()}


def peak() -> int:
    """Return the peak resident size of this process in KiB.

    On Linux it is read from `/proc`: `ru_maxrss` starts at the size of the parent there.
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def show(record: Mapping[str, Any]) -> None:
    """Print one benchmark's record as JSON."""
    print(json.dumps(record, indent=2))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
