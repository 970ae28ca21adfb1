"""`covfast segment` as a user runs it: a process from path to files, its time, stages and peak memory.

    python bench/pipeline/segment.py CASE [--repeats 3] [--name segment]

Writes bench/results/NAME.json. The case's path is not recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import timing


def run_once(case: str, out: Path) -> dict[str, Any]:
    """One process. Returns wall seconds, CPU seconds, peak memory and the stages of its run.json."""
    command = [sys.executable, "-m", "covfast.cli", "segment", case, "-o", str(out), "--progress", "none"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"covfast segment failed with {os.waitstatus_to_exitcode(status)}")
    facts = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_memory_mib": usage.ru_maxrss / 1024,
        "stages_ms": facts["stages_ms"],
        "input": facts["input"],
        "backend": facts["backend"],
        "model": facts["model"],
    }


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="segment")
    args = parser.parse_args()
    runs = []
    for index in range(args.repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            run = run_once(args.case, Path(folder) / "out")
        if index > 0:  # the first warms the file cache
            runs.append(run)
    stages = {name: timing.spread([run["stages_ms"][name] for run in runs]) for name in runs[0]["stages_ms"]}
    result = {
        "task": "covfast segment: path to files, a process of its own, warm file cache",
        "input": {key: runs[0]["input"][key] for key in ("shape", "spacing_mm")},
        "backend": runs[0]["backend"],
        "model": runs[0]["model"]["sha256"],
        "wall_s": timing.spread([run["wall_s"] for run in runs]),
        "cpu_s": timing.spread([run["cpu_s"] for run in runs]),
        "peak_memory_mib": timing.spread([run["peak_memory_mib"] for run in runs]),
        "stages_ms": stages,
    }
    path = timing.save(args.name, result)
    for name, value in stages.items():
        print(f"{name:<14} {value['median']:9.1f} ms")
    print(f"{'wall':<14} {result['wall_s']['median']:9.2f} s   peak {result['peak_memory_mib']['median']:.0f} MiB")
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
