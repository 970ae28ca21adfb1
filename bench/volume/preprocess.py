"""From a CT as a file stores it to the input of a network: covfast and nnunetv2's default preprocessor in turns.

    python bench/volume/preprocess.py [--size full|small] [--threads 2] [--runs 7] [--slow-runs 2] [--peers ...]
                                      [--name volume_preprocess]

A synthetic chest CT of 300x512x512 voxels of 1.0x0.7x0.7 mm (int16) to 240x448x448 of 1.25x0.8x0.8 mm: crop to what is
not 0, CT normalisation, cubic resampling. The answers are compared first. nnunetv2 begins with the float32 array that
its reader makes, which is not timed. Memory is the peak of a process of its own above the image, the answer included.

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

PEERS = ("preprocess_covfast", "preprocess_nnunetv2")
SIZES = {"full": (300, 512, 512), "small": (60, 128, 128)}
SPACING_MM, TARGET_MM = (1.0, 0.7, 0.7), (1.25, 0.8, 0.8)
MOST_DIFFERENT = 1e-5  # of the range of the answer


class Case(NamedTuple):
    hu: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    target_mm: tuple[float, float, float]


def make(size: str) -> Case:
    from covfast.phantom import chest_phantom

    hu = np.ascontiguousarray(chest_phantom(SIZES[size], SPACING_MM).volume.hu, dtype=np.int16)
    return Case(hu, SPACING_MM, TARGET_MM)


def check(answers: dict[str, npt.NDArray[np.float32]]) -> dict[str, dict[str, Any]]:
    """Everyone's largest difference from covfast. Raises: SystemExit where it is too large."""
    mine = answers[PEERS[0]]
    found = {}
    for name, answer in answers.items():
        if answer.shape != mine.shape:
            raise SystemExit(f"{name}: got shape {answer.shape}, expected covfast's {mine.shape}")
        difference = max(float(np.abs(a - b).max()) for a, b in zip(answer[0], mine[0], strict=True))
        if not difference <= MOST_DIFFERENT * float(np.ptp(mine)):
            raise SystemExit(f"{name} and covfast differ by {difference}")
        found[name] = {"shape": list(answer.shape), "largest_difference": difference}
    return found


if __name__ == "__main__":
    turns.run(sys.modules[__name__], __file__, "volume_preprocess")
