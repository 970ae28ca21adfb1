"""Tiny synthetic folders of the published data sets, and the published split files as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from label_files import SHAPE, disk, geometry, lungs_with_infection, save_labels, save_picture

from covfast.io import write
from covfast.models import restricted_pickle
from covfast.protocols.splits import ctseg_cases
from covfast.volume import Volume

SMALL = (48, 56)


class TextDType(restricted_pickle._DType):
    """The restricted unpickler's dtype, of text too: the split files hold arrays of names."""

    def __init__(self, code: object = None, *rest: object) -> None:
        if isinstance(code, str) and code.startswith("U") and code[1:].isdigit():
            self.code, self.order = code, "<"
        else:
            super().__init__(code, *rest)

    def numbers(self, data: object, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        if not self.code.startswith("U"):
            return super().numbers(data, shape)
        assert isinstance(data, bytes)
        return np.frombuffer(data, self.order + self.code).reshape(shape)


def read_split(path: Path) -> list[dict[str, list[str]]]:
    """A published split file: side -> names, for each fold."""
    table = {**restricted_pickle.NUMPY_GLOBALS, "numpy.dtype": TextDType}
    with path.open("rb") as file:
        folds = restricted_pickle.load(file, path.name, table)
    return [{side: [str(name) for name in names] for side, names in fold.items()} for fold in folds]


def image_of(case: str, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """HU, or of a radiopaedia case 0..255: dark lungs in soft tissue."""
    hu = np.where(labels == 0, 40, np.where(labels == 3, -300, -850)).astype(np.int16)
    if case.startswith("radiopaedia"):
        return np.rint((np.clip(hu, -1250, 250) + 1250.0) / 1500.0 * 255.0).astype(np.int16)
    return hu


def save_image(path: Path, values: npt.NDArray[np.int16]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Volume(values, geometry(values.shape)))
    return path


def save_ctseg(root: Path, cases: tuple[str, ...] | None = None, masks: str = "Infection_Mask") -> Path:
    """COVID-19-CT-Seg of tiny volumes under `root`; returns `root`."""
    labels = lungs_with_infection()
    kinds: Mapping[str, npt.NDArray[Any]] = {
        "Infection_Mask": labels == 3,
        "Lung_Mask": np.where(labels == 3, 1, labels),
        "Lung_and_Infection_Mask": labels,
    }
    for case in cases or ctseg_cases():
        save_image(root / "COVID-19-CT-Seg" / "COVID-19-CT-Seg_20cases" / f"{case}.nii.gz", image_of(case, labels))
        save_labels(root / "COVID-19-CT-Seg" / masks / f"{case}.nii.gz", kinds[masks].astype(np.uint8))
    return root


def save_predictions(folder: Path, cases: tuple[str, ...], shift: int = 0, only_infection: bool = True) -> Path:
    """Label maps whose infection is `shift` voxels away."""
    labels = lungs_with_infection(shift)
    for case in cases:
        save_labels(folder / f"{case}.nii.gz", (labels == 3).astype(np.uint8) if only_infection else labels)
    return folder


SEMISEG_TRAIN = "TrainingSet/LungInfection-Train/Doctor-label"


def save_semiseg(
    root: Path, names: Iterable[object] = range(48), part: str = "TestingSet/LungInfection-Test", value: int = 255
) -> Path:
    """COVID-SemiSeg's slices of these names under `root`, with this value in the masks; returns `root`."""
    for number, name in enumerate(names):
        mask = disk(20 + number % 5, 25, 8, SMALL)
        base = root / "COVID-SemiSeg" / part
        save_picture(base / "Imgs" / f"{name}.jpg", np.where(mask, 200, 60).astype(np.uint8))
        save_picture(base / "GT" / f"{name}.png", np.where(mask, value, 0).astype(np.uint8))
    return root


def save_slices(root: Path, folder: str, names: list[str]) -> Path:
    """One of MiniSeg's sets under `root`; returns `root`."""
    mask = disk(20, 25, 8, SMALL)
    for name in names:
        save_picture(root / folder / "Imgs" / f"{name}.png", np.where(mask, 200, 60).astype(np.uint8))
        save_picture(root / folder / "GT" / f"{name}.png", np.where(mask, 255, 0).astype(np.uint8))
    return root


__all__ = ["SHAPE", "read_split", "save_ctseg", "save_image", "save_predictions", "save_semiseg", "save_slices"]
