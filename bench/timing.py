"""What every benchmark shares: the clock, the machine's record, and the JSON that is committed."""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import covfast
from covfast.info import versions

RESULTS = Path(__file__).resolve().parent / "results"


def load_peers(names: list[str]) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """The competitors' files that can be imported, and why the others cannot."""
    found, missing = {}, {}
    for name in names:
        try:
            found[name] = importlib.import_module(name)
        except ImportError as error:
            missing[name] = str(error)
    return found, missing


def cpu_name() -> str:
    """The CPU as the system names it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def commit() -> str | None:
    """The commit that is measured, with "+" where the tree differs from it."""
    here = Path(__file__).resolve().parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def machine() -> dict[str, Any]:
    """Machine, versions, commit and date of a measurement."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "cpu": cpu_name(),
        "threads": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.system(),
        "backend": next(entry.name for entry in covfast.backends() if entry.missing is None and entry.device == "cpu"),
        "versions": versions(),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def time_ms(work: Callable[[], object], repeats: int = 5, warm_ups: int = 1) -> dict[str, float]:
    """Milliseconds of `work`, after `warm_ups` runs that do not count."""
    for _ in range(warm_ups):
        work()
    values = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        values.append((time.perf_counter() - start) * 1e3)
    return spread(values)


def save(name: str, result: dict[str, Any]) -> Path:
    """Writes `bench/results/NAME.json`, with the machine's record."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n", encoding="utf-8")
    return path
