"""From logits on a network's grid to labels on the image's: covfast and nnunetv2 in turns.

    python bench/volume/export.py [--size full|small] [--threads 2] [--runs 7] [--slow-runs 2] [--peers ...]
                                  [--name volume_export]

Logits of 4 classes on 240x448x448 voxels of 1.25x0.8x0.8 mm to labels of 300x512x512: linear resampling, then the class
with the greatest logit. nnunetv2 does it by its default and by its faster resample_torch_fornnunet, in half precision,
as it holds logits on a CPU; covfast from float32, as it holds them, and once more with nnunetv2's rounding, to compare.
Labels are compared first. Memory is the peak of a process of its own above the logits, the labels included.

    pip install nnunetv2
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import numpy.typing as npt
import turns

PEERS = ("export_covfast", "export_covfast_half", "export_nnunetv2", "export_nnunetv2_torch")
SIZES = {"full": ((240, 448, 448), (300, 512, 512)), "small": ((48, 112, 112), (60, 128, 128))}
SPACING_MM, ORIGINAL_MM = (1.25, 0.8, 0.8), (1.0, 0.7, 0.7)
CHANNELS = 4
# Of the voxels: where two classes are as good as equal, half precision decides otherwise than float32.
MOST_DIFFERENT = {"export_nnunetv2": 1e-4, "export_nnunetv2_torch": 1e-3}


class Case(NamedTuple):
    logits: npt.NDArray[np.float16]  # (C, D, H, W)
    shape: tuple[int, int, int]  # of the labels
    spacing_mm: tuple[float, float, float]
    original_mm: tuple[float, float, float]


def make(size: str) -> Case:
    """Waves of another length in each class, with a little noise: areas with ragged borders."""
    grid, shape = SIZES[size]
    rng = np.random.default_rng(0)
    logits = np.empty((CHANNELS, *grid), np.float16)
    for c in range(CHANNELS):
        d, h, w = (
            np.sin(np.linspace(c, c + (3 + c + axis) * np.pi, n, dtype=np.float32)) for axis, n in enumerate(grid)
        )
        for plane, value in zip(logits[c], d, strict=True):
            noise = rng.standard_normal(plane.shape, dtype=np.float32)
            plane[:] = 4 * (value + h[:, None] * w) + 0.2 * noise
    return Case(logits, shape, SPACING_MM, ORIGINAL_MM)


def check(answers: dict[str, npt.NDArray[np.uint8]]) -> dict[str, dict[str, Any]]:
    """Which part of the labels is another one than covfast's. Raises: SystemExit where it is too large."""
    found: dict[str, dict[str, Any]] = {}
    for name, answer in answers.items():
        mine = answers["export_covfast_half" if name == "export_nnunetv2" else "export_covfast"]
        differ = float(np.mean(answer != mine))
        if name in MOST_DIFFERENT and not differ <= MOST_DIFFERENT[name]:
            raise SystemExit(f"{name} and covfast differ in {100 * differ:.4f} % of the voxels")
        found[name] = {"classes": len(np.unique(answer)), "differ": differ}
    return found


if __name__ == "__main__":
    turns.run(sys.modules[__name__], __file__, "volume_export")
