"""Compares the groups of surface_measure on CUDA with those of the CPU: the same bits, or exit code 1.

    python bench/gpu/check.py [--cases 200] [--device cuda_on_cpu]

Random label maps of random sizes, types and spacings, as device arrays and as host arrays in turn.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import numpy as np

from covfast import _core

SIZES = (1, 2, 7, 8, 9, 16, 31, 63, 64, 65, 80, 128, 130)
DTYPES = ("uint8", "bool", "int16", "uint16", "int32", "int64", "float32")


def make(seed: int) -> tuple[Any, Any, list[float], str]:
    """Two maps, their spacing, and the kind of surface."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(2, 4))
    shape = tuple(int(n) for n in rng.choice(SIZES, rank))
    share = rng.choice([0.001, 0.02, 0.3, 0.7], 2)
    dtype = str(rng.choice(DTYPES))
    maps = [((rng.random(shape) < part) * rng.integers(1, 3, shape)).astype(dtype) for part in share]
    if rng.random() < 0.3:
        maps = [np.asfortranarray(array) for array in maps]
    spacing_mm = [float(step) for step in rng.choice([0.3, 0.7, 1, 1, 2.5, 5], rank)]
    return maps[0], maps[1], spacing_mm, str(rng.choice(["surfels", "voxels"]))


def bits(backend: str, maps: list[Any], spacing_mm: list[float], kind: str) -> list[Any]:
    os.environ["COVFAST_BACKEND"] = backend
    found = _core.surface_measure(*maps, [([1], [1]), ([1, 2], [2])], spacing_mm, kind)
    return [(*one[:4], *(array.tobytes() for side in (4, 5) for array in one[side])) for one in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--device", default="cuda", help="the backend that is checked")
    options = parser.parse_args()
    if options.device == "cuda":
        import cupy
    host = next(entry["name"] for entry in _core.backends() if entry["device"] == "cpu" and entry["missing"] is None)
    bad = 0
    for seed in range(options.cases):
        *maps, spacing_mm, kind = make(seed)
        sent = [cupy.asarray(array) for array in maps] if options.device == "cuda" and seed % 2 else maps
        if bits(options.device, sent, spacing_mm, kind) != bits(host, maps, spacing_mm, kind):
            bad += 1
            print(f"seed {seed}: {maps[0].shape} {maps[0].dtype} {spacing_mm} {kind}: other groups than {host}")
    print(f"{options.cases} cases on {options.device} against {host}: {bad} differ")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
