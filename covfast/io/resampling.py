"""A label map on another grid."""

from __future__ import annotations

import numpy as np

from covfast.errors import GeometryError, describe
from covfast.io.memory import to_sitk
from covfast.volume import Geometry, Segmentation


def resample_labels(image: Segmentation, geometry: Geometry) -> Segmentation:
    """The label of the nearest voxel at each voxel of `geometry`; 0 outside `image`. One thread.

    Raises: GeometryError: a sheared grid, on either side.
    """
    import SimpleITK

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
