"""A label map on another grid."""

from __future__ import annotations

import itertools

import numpy as np

from covfast.errors import GeometryError, describe
from covfast.io.memory import to_sitk
from covfast.volume import Geometry, Segmentation


def resample_labels(image: Segmentation, geometry: Geometry) -> Segmentation:
    """The label of the nearest voxel at each voxel of `geometry`; 0 outside `image`. One thread.

    Raises: GeometryError: a sheared grid, on either side, or grids that do not overlap.
    """
    import SimpleITK

    if not _overlap(image.geometry, geometry):
        raise GeometryError(describe("image", "a grid that lies beside the other", "grids that overlap"))
    spacing = geometry.spacing_mm[::-1]
    directions = geometry.affine[:3, [2, 1, 0]] / spacing
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-5):
        raise GeometryError(describe("geometry", "a sheared grid", "right angles"))
    resample = SimpleITK.ResampleImageFilter()
    resample.SetNumberOfThreads(1)
    resample.SetInterpolator(SimpleITK.sitkNearestNeighbor)
    resample.SetSize(geometry.shape[::-1])
    resample.SetOutputSpacing(spacing)
    resample.SetOutputOrigin([float(x) for x in geometry.affine[:3, 3]])
    resample.SetOutputDirection([float(x) for x in directions.ravel()])
    labels = SimpleITK.GetArrayFromImage(resample.Execute(to_sitk(image)))
    return Segmentation(labels, geometry, image.names)


def _overlap(one: Geometry, other: Geometry) -> bool:
    """False if the box around `one`, along the axes of `other`, misses it."""
    ends = [(-0.5, n - 0.5) for n in one.shape]
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*ends)]).T
    inside = (np.linalg.inv(other.affine) @ one.affine @ corners)[:3]
    low, high = inside.min(axis=1) + 1e-6, inside.max(axis=1) - 1e-6  # grids that merely touch do not overlap
    return bool((high > -0.5).all() and (low < np.array(other.shape) - 0.5).all())
