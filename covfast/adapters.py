"""Images of other libraries as an array and a `Geometry`; known by their methods, so that no library is imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import ShapeError, describe
from covfast.volume import Geometry


def image_grid(name: str, image: Any, *, own_axes: bool = False) -> tuple[npt.NDArray[Any], Geometry] | None:
    """Voxels and grid of a SimpleITK or nibabel image, without a copy where the library allows; None for others.

    Args:
        name: the argument, for messages.
        image: any object.
        own_axes: leave the axes in the order of the library's own array, which of nibabel is (x, y, z).
    Returns: (D, H, W) or, of a 2-D image, (H, W) array of the image's own type, to be read only; and the geometry,
        which gives a 2-D image one slice as its first axis.
    Raises: ShapeError: more or fewer axes, or several values a voxel; GeometryError: axes that no grid can have.
    """
    if hasattr(image, "GetDirection") and hasattr(image, "GetSpacing"):
        array, affine = _from_sitk(name, image)
    elif hasattr(image, "affine") and hasattr(image, "dataobj"):
        array, affine = _from_nibabel(image, own_axes)
    else:
        return None
    if array.ndim not in (2, 3) or min(array.shape) < 1:
        raise ShapeError(describe(name, f"shape {array.shape}", "one image of 2 or 3 axes"))
    d, h, w = array.shape if array.ndim == 3 else (1, *array.shape)
    return array, Geometry((d, h, w), affine)


def _from_sitk(name: str, image: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    import SimpleITK

    rank = image.GetDimension()
    if rank not in (2, 3) or image.GetNumberOfComponentsPerPixel() != 1:
        got = f"{rank} axes and {image.GetNumberOfComponentsPerPixel()} values a voxel"
        raise ShapeError(describe(name, got, "2 or 3 axes and one value a voxel"))
    columns, origin = np.eye(3), np.zeros(3)
    columns[:rank, :rank] = np.array(image.GetDirection()).reshape(rank, rank) * image.GetSpacing()
    origin[:rank] = image.GetOrigin()
    affine = np.eye(4)
    affine[:3, :3] = columns[:, ::-1]
    affine[:3, 3] = origin
    return SimpleITK.GetArrayViewFromImage(image), affine


def _from_nibabel(image: Any, own_axes: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    array = np.asanyarray(image.dataobj)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, dtype=np.float64)
    if not own_axes:
        return array.T, lps[:, [2, 1, 0, 3]]
    return array, lps if array.ndim == 3 else lps[:, [2, 0, 1, 3]]
