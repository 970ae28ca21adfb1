"""Volumes from arrays and from images of other libraries that are already in memory, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covfast.adapters import image_grid
from covfast.errors import DTypeError, FormatError, GeometryError, ShapeError, describe
from covfast.io.hounsfield import check_hounsfield, gather, padding_notes, unwindow
from covfast.volume import Geometry, Segmentation, Volume

if TYPE_CHECKING:
    import SimpleITK


def from_array(
    array: npt.NDArray[Any], geometry: Geometry, input_window: tuple[float, float] | None = None, name: str = "image"
) -> Volume:
    """CT volume of a (D, H, W) array of any real type; the array is copied, not changed.

    Raises: DTypeError: not real numbers; ShapeError: not the geometry's shape; FormatError: not finite or not HU.
    """
    if array.dtype.kind not in "iuf":
        raise DTypeError(describe(name, array.dtype, "whole or real numbers"))
    voxels = gather((np.array(plane) for plane in array), (array.shape[0], array.shape[1], array.shape[2]), name)
    notes = list(padding_notes(voxels.padding))
    if input_window is None:
        check_hounsfield(voxels, name)
    else:
        voxels, note = unwindow(voxels, input_window, name)
        notes.append(note)
    return Volume(voxels.values, geometry, tuple(notes), {"modality": "CT", "source": "memory"})


def from_image(image: Any, input_window: tuple[float, float] | None = None) -> Volume:
    """CT volume of a SimpleITK or nibabel image, known by their methods: neither library is imported.

    Raises: DTypeError: neither of them, or not real numbers; FormatError: not one 3-D volume, or not HU.
    """
    try:
        found = image_grid("image", image)
    except ShapeError as error:
        raise FormatError(str(error)) from None
    if found is None:
        expected = "a path, a Volume, (array, spacing_mm), or a SimpleITK or nibabel image"
        raise DTypeError(describe("image", type(image).__name__, expected))
    array, geometry = found
    if array.ndim != 3 or min(array.shape) < 2:
        raise FormatError(
            describe("image", f"shape {array.shape}", "one volume of 3 axes, at least 2 voxels along each")
        )
    return from_array(array, geometry, input_window)


def to_sitk(image: Volume | Segmentation) -> SimpleITK.Image:
    """SimpleITK image of a volume (HU) or a label map, on its own grid.

    Raises: GeometryError: a sheared grid, which SimpleITK cannot hold.
    """
    import SimpleITK

    array = image.labels if isinstance(image, Segmentation) else image.hu
    spacing = image.geometry.spacing_mm[::-1]
    directions = image.geometry.affine[:3, [2, 1, 0]] / spacing
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-5):
        raise GeometryError(describe("geometry", "a sheared grid", "right angles", "write it to .nii.gz or .nrrd"))
    result = SimpleITK.GetImageFromArray(array)
    result.SetSpacing(spacing)
    result.SetOrigin([float(x) for x in image.geometry.affine[:3, 3]])
    result.SetDirection([float(x) for x in directions.ravel()])
    return result
