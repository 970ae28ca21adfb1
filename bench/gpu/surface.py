"""Times surface metrics on a CUDA GPU, from device memory and from the host, and writes OUT/surface_gpu.json.

    python bench/gpu/surface.py OUT [--cases big thick small big_floaters] [--runs 20]

The cases of bench/metrics. `measure` is the native call, with all three labels; `evaluate` is covfast.metrics.evaluate.
Both end with the answer on the host, so the clock needs no more. The groups are compared with the CPU's first. With
torch, the time of each kernel of one call is noted too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "metrics"))

import cases
import cupy
import timing

import covfast
from covfast import _core

VALUES = [([value], [value]) for value in cases.LABELS.values()]


def gpu() -> dict[str, str]:
    query = "name,driver_version,clocks.max.sm,memory.total"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    values = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(", ")
    return dict(zip(query.split(","), values, strict=True))


def measure(truth: Any, prediction: Any, case: cases.Case, device: str) -> list[Any]:
    found: list[Any] = _core.surface_measure(truth, prediction, VALUES, list(case.spacing_mm), "surfels", device)
    return found


def bits(found: list[Any]) -> list[Any]:
    return [(*one[:4], *(array.tobytes() for side in (4, 5) for array in one[side])) for one in found]


def kernels_us(work: Callable[[], object]) -> dict[str, float] | None:
    """Microseconds of each kernel and copy in one call; None without torch."""
    try:
        import torch
        from torch.profiler import ProfilerActivity, profile
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        work()
    return {event.key: round(event.device_time_total, 1) for event in found.key_averages() if event.device_time_total}


def of_case(name: str, runs: int) -> dict[str, Any]:
    case = cases.make(name)
    resident = [cupy.asarray(array) for array in (case.truth, case.prediction)]
    cupy.cuda.Device().synchronize()
    host = [case.truth, case.prediction]
    want = bits(measure(*host, case, "cpu"))
    is_same = {
        "resident": bits(measure(*resident, case, "cuda")) == want,
        "host": bits(measure(*host, case, "cuda")) == want,
    }

    def evaluate(truth: Any, prediction: Any, device: str) -> object:
        return covfast.metrics.evaluate(
            truth, prediction, case.spacing_mm, cases.LABELS, cases.TOLERANCE_MM, device=device
        )

    return {
        "shape": case.truth.shape,
        "same_groups_as_cpu": is_same,
        "measure_resident_ms": timing.time_ms(lambda: measure(*resident, case, "cuda"), runs, 3),
        "measure_from_host_ms": timing.time_ms(lambda: measure(*host, case, "cuda"), runs, 3),
        "measure_cpu_ms": timing.time_ms(lambda: measure(*host, case, "cpu"), 5),
        "evaluate_resident_ms": timing.time_ms(lambda: evaluate(*resident, "cuda"), runs, 3),
        "evaluate_from_host_ms": timing.time_ms(lambda: evaluate(*host, "cuda"), runs, 3),
        "kernels_us": kernels_us(lambda: measure(*resident, case, "cuda")),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--cases", nargs="+", default=["small", "thick", "big", "big_floaters"], choices=list(cases.GRIDS)
    )
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    found = {name: of_case(name, options.runs) for name in options.cases}
    path = options.out / "surface_gpu.json"
    machine = {**timing.machine(), "gpu": gpu(), "cupy": cupy.__version__}
    path.write_text(json.dumps({"machine": machine, "cases": found}, indent=2) + "\n", encoding="utf-8")
    for name, row in found.items():
        print(name, {key: round(value["median"], 3) for key, value in row.items() if key.endswith("_ms")})
    print(f"wrote {os.fspath(path.name)}")
    return int(not all(all(row["same_groups_as_cpu"].values()) for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
