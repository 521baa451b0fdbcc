"""What all benchmarks share: their options, the clock, and a report that names the machine.

Other work on the machine shares the cores with a benchmark, so its load is taken before anything else is done.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

LOAD_BEFORE = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def options(doc: str, *, rounds: int) -> argparse.ArgumentParser:
    """Return a parser that knows `--rounds` and `--out`, described by the first line of the benchmark's docstring."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--out", type=Path, help="write the report to this file too")
    return parser


def timed(do: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that `do()` took by the clock, and what it gave."""
    started = time.perf_counter()
    result = do()
    return time.perf_counter() - started, result


def processor() -> str:
    """Return the name of the processor: Linux alone keeps it in a file, elsewhere `platform` knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def surroundings(*packages: str) -> dict[str, Any]:
    """Return what figures depend on beside the code: processor, cores, threads, load, versions."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": LOAD_BEFORE,
        "load_after": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "machine": processor(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("numpy", *packages)},
    }


def publish(report: Mapping[str, Any], out: Path | None) -> None:
    """Print a report as JSON and, where `out` is given, write it there."""
    text = json.dumps(report, indent=1)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
