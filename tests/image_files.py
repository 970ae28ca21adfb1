"""Small CT images on disk, and SimpleITK's view of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from covfast.io import write
from covfast.volume import Geometry, Volume

Array = npt.NDArray[Any]

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")


def ct(shape: tuple[int, int, int] = (5, 6, 7)) -> Array:
    return np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)


def written(path: Path, hu: Array | None = None, geometry: Geometry | None = None) -> Path:
    hu = ct() if hu is None else hu
    write(path, Volume(hu, geometry or Geometry.from_spacing(hu.shape, (2.5, 0.7, 0.8))))
    return path


def sitk_affine(path: Path) -> tuple[Array, Array]:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = (np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine
