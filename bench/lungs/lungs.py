"""Times covfast.ops.lungs and scores it against every truth at hand; prints a table and writes bench/results/NAME.json.

    python bench/lungs/lungs.py [--data DIR] [--runs N] [--threads N] [--name lungs]

The synthetic chest needs no data; with `--data` (or COVFAST_DATA) the real volumes join the table. Time is of one call
on 512 x 512 x 250 int16 of 0.7 x 0.7 x 1.25 mm, after one call to warm up; beside it stands the CPU time, which others
on the machine disturb less. Memory is the peak of a process of its own, per voxel, input and output included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import timing

import covfast
from covfast import ops
from covfast.phantom import chest_phantom
from covfast.volume import LEFT_LUNG, RIGHT_LUNG

SHAPE, SPACING_MM = (250, 512, 512), (1.25, 0.703125, 0.703125)


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return round(float(2 * (a & b).sum() / max(1, a.sum() + b.sum())), 4)


def time_runs(hu: npt.NDArray[Any], runs: int, threads: int | None) -> dict[str, Any]:
    """Wall and CPU seconds of `runs` calls."""
    ops.lungs(hu, SPACING_MM, threads=threads)
    wall, cpu = [], []
    for _ in range(runs):
        start, start_cpu = time.perf_counter(), time.process_time()
        ops.lungs(hu, SPACING_MM, threads=threads)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return {"wall_s": timing.spread(wall), "cpu_s": timing.spread(cpu)}


def peak_bytes_per_voxel(hu: npt.NDArray[Any], threads: int | None) -> float:
    """Growth of a fresh process's peak memory from before the volume is read to after the lungs are found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hu.npy"
        np.save(path, hu)
        command = [sys.executable, __file__, "--measure", os.fspath(path), "--threads", str(threads or 0)]
        growth = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return growth / hu.size


def peak_bytes() -> int:
    """Peak resident memory of this process; unlike getrusage's, it does not start from the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def measure(path: str, threads: int | None) -> int:
    """What the child process does: bytes by which its peak grew."""
    ops.lungs(chest_phantom((32, 64, 64)).volume.hu, (10.0, 5.6, 5.6), threads=threads)  # loads what is loaded once
    before = peak_bytes()
    ops.lungs(np.load(path), SPACING_MM, threads=threads)
    return peak_bytes() - before


def score_phantoms() -> dict[str, dict[str, float]]:
    rows = {}
    for name, options in {
        "phantom, healthy": {"lesions": False},
        "phantom, lesions inside": {"consolidation_at_pleura": False},
        "phantom, consolidation at the pleura": {},
    }.items():
        phantom = chest_phantom((160, 320, 320), **options)
        labels = ops.lungs(phantom.volume.hu, phantom.volume.geometry.spacing_mm)
        truth, infection = phantom.lungs.labels, phantom.truth.labels == 3
        row = {
            "left": dice(labels == LEFT_LUNG, truth == LEFT_LUNG),
            "right": dice(labels == RIGHT_LUNG, truth == RIGHT_LUNG),
        }
        if infection.any():
            row["infection_kept"] = round(float((labels[infection] > 0).mean()), 4)
        rows[name] = row
    return rows


def read_labels(path: Path) -> npt.NDArray[Any]:
    """Canonical label map of a file that is no CT; 19-label maps keep the lobes in the low byte."""
    import SimpleITK

    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(os.fspath(path)), "LPS")
    array: npt.NDArray[Any] = SimpleITK.GetArrayFromImage(image) & 255
    return array


def find(path: Path) -> npt.NDArray[np.uint8]:
    volume = covfast.read(path)
    return ops.lungs(volume.geometry.to_canonical(volume.hu), volume.geometry.canonical().spacing_mm)


def score_data(data: Path) -> dict[str, dict[str, float]]:
    thorax, single = data / "volumes" / "cip_thorax", data / "volumes" / "elastix_lung"
    labels, lobes = find(thorax / "ct-64.nrrd"), read_labels(thorax / "lm-64.nrrd")
    one, mask = find(single / "3DCT_lung.mha"), read_labels(single / "3DCT_lung_baseline_mask.mha") > 0
    return {
        "cip_thorax": {
            "left": dice(labels == LEFT_LUNG, (lobes >= 9) & (lobes <= 11)),
            "right": dice(labels == RIGHT_LUNG, (lobes >= 12) & (lobes <= 14)),
        },
        "elastix_lung": {"right": dice(one == RIGHT_LUNG, mask)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("COVFAST_DATA"))
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--name", default="lungs", help="of the file in bench/results")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.measure, options.threads))
        return
    dices = score_phantoms() | (score_data(Path(options.data)) if options.data else {})  # right before fast
    hu = chest_phantom(SHAPE, SPACING_MM).volume.hu
    result = {
        "threads": options.threads or covfast._core.hardware_threads(),
        "shape": SHAPE,
        "spacing_mm": SPACING_MM,
        "dice": dices,
        **time_runs(hu, options.runs, options.threads),
        "peak_bytes_per_voxel": round(peak_bytes_per_voxel(hu, options.threads), 2),
    }
    for name, row in dices.items():
        print(f"{name:38s}", "  ".join(f"{key} {value:.4f}" for key, value in row.items()))
    for key in ("wall_s", "cpu_s"):
        spread = result[key]
        print(f"{key:38s} median {spread['median']:.3f}  least {spread['min']:.3f}  most {spread['max']:.3f}")
    print(f"{'peak bytes per voxel':38s} {result['peak_bytes_per_voxel']}")
    print(f"wrote {timing.save(options.name, result).name}")


if __name__ == "__main__":
    main()
