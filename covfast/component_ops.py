"""Connected components of label maps: numbered, the largest kept, small ones removed, holes filled."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import DTypeError, ShapeError, ValueRangeError, describe

TIES = ("first", "last", "all")
"""Which components of equal size `largest_component` keeps."""

Labels = npt.NDArray[np.uint8]


class Components(NamedTuple):
    """Connected components, numbered from 1 in the order of their first voxels (last axis fastest).

    Attributes:
        numbers: int32 of the shape of the labels: 0 background, else the component's number.
        values: (n,) uint8, the label of each component.
        voxels: (n,) int64, its size.
        boxes: (n, 2, axes) int64, its bounding box: begin and end along each axis.
    """

    numbers: npt.NDArray[np.int32]
    values: npt.NDArray[np.uint8]
    voxels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]


def components(labels: npt.NDArray[Any], connectivity: int | None = None, *, threads: int | None = None) -> Components:
    """Connected components of a label map: voxels of one value, not 0, that touch.

    Args:
        labels: (D, H, W) or (H, W) uint8 or bool, any strides.
        connectivity: 6 (faces), 18 (and edges) or 26 (and corners); 4 or 8 (and corners) within each slice, which is
            what a 2-D image has. None: 26, or 8 of an image.
        threads: CPU threads; None for all that the process may use. The numbers do not depend on it.
    Returns: Components.
    Raises: ShapeError, DTypeError; ValueRangeError for another connectivity; MemoryLimitError for 2^31 runs of voxels.
    Source: runs and union-find after He, Chao and Suzuki, IEEE TIP 17(5) 2008.
    """
    volume, joined = _volume(labels, connectivity)
    numbers, values, voxels, boxes = _core.components(volume, joined, threads or 0)
    return Components(numbers.reshape(labels.shape), values, voxels, boxes[:, :, 3 - labels.ndim :])


def largest_component(
    labels: npt.NDArray[Any], connectivity: int | None = None, *, ties: str = "first", threads: int | None = None
) -> Labels:
    """The largest component of each label; all others become 0.

    Args:
        labels, connectivity, threads: as for `components`.
        ties: of components of equal size, "first" (in the order of `components`), "last" or "all" are kept.
    Returns: uint8 (bool for bool) of the shape of `labels`, contiguous.
    Raises: as `components`; ValueRangeError for other ties.
    """
    if ties not in TIES:
        raise ValueRangeError(describe("ties", repr(ties), f"one of {TIES}"))
    volume, joined = _volume(labels, connectivity)
    kept = np.array(volume, order="C")
    _core.filter_components(kept, joined, TIES.index(ties), 0, threads or 0)
    return _like(kept, labels)


def remove_small(
    labels: npt.NDArray[Any], min_voxels: int, connectivity: int | None = None, *, threads: int | None = None
) -> Labels:
    """The components of at least `min_voxels` voxels; smaller ones become 0.

    Args:
        labels, connectivity, threads: as for `components`.
        min_voxels: at least 1.
    Returns: uint8 (bool for bool) of the shape of `labels`, contiguous.
    Raises: as `components`; ValueRangeError if `min_voxels` is below 1.
    """
    if min_voxels < 1:
        raise ValueRangeError(describe("min_voxels", min_voxels, "at least 1"))
    volume, joined = _volume(labels, connectivity)
    kept = np.array(volume, order="C")
    _core.filter_components(kept, joined, 0, min_voxels, threads or 0)
    return _like(kept, labels)


def fill_holes(
    labels: npt.NDArray[Any], connectivity: int | None = None, *, value: int = 1, threads: int | None = None
) -> Labels:
    """`labels` with the holes of one value filled: what it encloses, background or another label, becomes it.

    A hole is a component of the voxels of other values that does not reach the border of the volume (or of its slice).

    Args:
        labels, threads: as for `components`.
        connectivity: of the holes' voxels: 6, as scipy.ndimage.binary_fill_holes has it, 18 or 26; 4 or 8 fills each
            slice by itself. None: 6, or 4 of an image. A volume of one slice has no hole but by 4 or 8.
        value: 0 to 255; 1 of a mask.
    Returns: uint8 (bool for bool) of the shape of `labels`, contiguous.
    Raises: as `components`; ValueRangeError for another value.
    """
    if not 0 <= value <= 255:
        raise ValueRangeError(describe("value", value, "0 to 255"))
    volume, joined = _volume(labels, connectivity or (6 if labels.ndim == 3 else 4))
    filled = np.array(volume, order="C")
    _core.fill_holes(filled, joined, value, threads or 0)
    return _like(filled, labels)


def _volume(labels: npt.NDArray[Any], connectivity: int | None) -> tuple[Labels, int]:
    """A (D, H, W) uint8 view, and the connectivity to use."""
    if labels.ndim not in (2, 3):
        raise ShapeError(describe("labels", f"shape {labels.shape}", "(D, H, W) or (H, W)"))
    if labels.dtype not in (np.uint8, np.bool_):
        raise DTypeError(describe("labels", labels.dtype, "uint8 or bool"))
    allowed = (4, 8) if labels.ndim == 2 else (4, 8, 6, 18, 26)
    if connectivity is None:
        connectivity = allowed[-1]
    if connectivity not in allowed:
        raise ValueRangeError(describe("connectivity", connectivity, f"one of {allowed} of {labels.ndim} axes"))
    volume = labels.view(np.uint8)
    return volume if volume.ndim == 3 else volume[None], connectivity


def _like(volume: Labels, labels: npt.NDArray[Any]) -> Labels:
    return volume.reshape(labels.shape).view(labels.dtype)
