"""Parts of lungmask's pipeline by themselves: what its networks see of a slice, and the cleaning of their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import ShapeError, ValueRangeError, describe


def prepare_slices(
    hu: npt.NDArray[Any],
    size: Sequence[int] = (256, 256),
    window_hu: tuple[float, float] = (-1024.0, 600.0),
    *,
    threads: int | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Each axial slice cropped to the body, brought to one size and to [0, 1]: ``(clip(hu) - low) / (high - low)``.

    The box of the body comes from a mask of 128 x 128; the zoom is linear and maps ends to ends. int16 stays whole HU
    when it is zoomed, halves rounded away from 0; float32 does not.

    Args:
        hu: (D, H, W) int16 or float32 HU, any strides, slices axial: anterior to posterior, patient right to left.
        size: (height, width) of the result.
        window_hu: (low, high).
        threads: CPU threads; None for all that the process may use.
    Returns: (D, *size) float32, and (D, 2, 2) int64: begin and end of the box along H, W.
    Raises: ShapeError, DTypeError; ValueRangeError for NaN, or low >= high.
    Source: lungmask 0.2.22, utils.preprocess.
    """
    low, high = window_hu
    if not low < high:
        raise ValueRangeError(describe("window_hu", (low, high), "low < high"))
    if len(size) != 2:
        raise ShapeError(describe("size", tuple(size), "(height, width)"))
    return _core.prepare_slices(hu, list(size), [low, high], threads or 0)


def clean_lung_labels(
    labels: npt.NDArray[np.uint8], spare: int = 0, *, threads: int | None = None
) -> npt.NDArray[np.uint8]:
    """lungmask's postprocessing: small regions join their neighbours, each label keeps one component without holes.

    In the order of size, each 26-connected region of at least 3 voxels that is smaller than the largest of its label
    joins the region with most voxels next to it (by faces). Then the largest component of each label stays, with its
    holes filled; where two fill, the higher label wins.

    Args:
        labels: (D, H, W) uint8, any strides.
        spare: a label that only joins others, and is gone in the end; 0 for none.
        threads: CPU threads; None for all that the process may use.
    Returns: uint8 of the shape of `labels`, contiguous.
    Raises: ShapeError, DTypeError; ValueRangeError if `spare` is no label.
    Source: lungmask 0.2.22, utils.postprocessing. Of components of equal size the last one stays; there it depends on
        the sort of the machine.
    """
    if not 0 <= spare <= 255:
        raise ValueRangeError(describe("spare", spare, "0 to 255"))
    cleaned = np.array(labels, order="C")
    _core.clean_lung_labels(cleaned, spare, threads or 0)
    return cleaned
