"""Small label maps on disk: a reference and a prediction of a few cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from covfast.io import write
from covfast.volume import Geometry, Segmentation

SHAPE, SPACING_MM = (8, 16, 18), (5.0, 1.5, 1.25)
Labels = npt.NDArray[np.uint8]


def lungs_with_infection(shift: int = 0) -> Labels:
    """(8, 16, 18) label map: two blocks with an infection in the left one, which lies `shift` voxels along W."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:7, 3:13, 2:8] = 2
    labels[1:7, 3:13, 10:16] = 1
    labels[2:5, 5:9, 11 + shift : 14 + shift] = 3
    return labels


def geometry(shape: Sequence[int] = SHAPE, orientation: str = "SPL") -> Geometry:
    return Geometry.from_spacing(shape, SPACING_MM, orientation)


def save_labels(path: Path, labels: Labels, where: Geometry | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Segmentation(labels, where or geometry(labels.shape)))
    return path


def save_folders(root: Path, cases: Sequence[str] = ("a", "b", "c")) -> tuple[Path, Path]:
    """Folders of references and predictions; the infection of case number n is predicted n voxels away."""
    for number, case in enumerate(cases):
        save_labels(root / "reference" / f"{case}.nii.gz", lungs_with_infection())
        save_labels(root / "prediction" / f"{case}.nii.gz", lungs_with_infection(number))
    return root / "reference", root / "prediction"


def save_picture(path: Path, values: npt.NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def disk(row: int, column: int, radius: int, shape: tuple[int, int] = (48, 56)) -> npt.NDArray[np.bool_]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((y - row) ** 2 + (x - column) ** 2 < radius**2)
