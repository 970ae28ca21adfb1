"""HU of single slices. SimpleITK's GDCM decodes; rescale and padding follow the headers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.cancellation import check_cancelled
from covfast.errors import FormatError, describe, file_name
from covfast.io.dicom.headers import Header, Rescale, Slice
from covfast.io.hounsfield import AIR_HU, PADDING_HU

Array = npt.NDArray[Any]

AHEAD = 8
"""Slices decoded ahead of the one in use: enough to keep threads busy, few enough to hold memory near the result's."""

MAX_SIDE = 16384
_MAX_RATIO = 2000  # pixels to file size: more than a lossless code makes of a constant CT slice
_HIGHEST_HU = 3071  # of a 12-bit CT; padding above it cannot be mistaken for tissue


def check_size(header: Header) -> None:
    """Raises: FormatError: a header that promises more pixels than its file can hold."""
    got = f"{header.rows} x {header.columns} pixels in {header.frames} frames"
    needed = header.rows * header.columns * header.frames * 2
    if not 2 <= header.rows <= MAX_SIDE or not 2 <= header.columns <= MAX_SIDE:
        raise FormatError(describe(file_name(header.path), got, f"2 to {MAX_SIDE} rows and columns"))
    if needed > header.path.stat().st_size * _MAX_RATIO:
        raise FormatError(describe(file_name(header.path), got, "as many as the file holds", "truncated?"))


def decode(header: Header) -> Array:
    """(frames, rows, columns) values of a file with its `applied` rescale.

    Raises: FormatError: pixels that cannot be decoded.
    """
    import SimpleITK

    check_size(header)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(os.fspath(header.path))
    try:
        image = reader.Execute()
    except RuntimeError:
        # ITK's text holds the full path, so it is not chained.
        got = f"pixels that cannot be decoded (transfer syntax {header.syntax})"
        raise FormatError(
            describe(file_name(header.path), got, "a CT image", "truncated, or an unsupported code?")
        ) from None
    values = SimpleITK.GetArrayFromImage(image)
    values = values[None] if values.ndim == 2 else values
    if values.shape != (header.frames, header.rows, header.columns):
        expected = f"{(header.frames, header.rows, header.columns)}"
        raise FormatError(describe(file_name(header.path), f"pixels of shape {values.shape}", expected))
    return values  # type: ignore[no-any-return]


def _rescaled(values: Array, applied: Rescale, own: Rescale) -> Array:
    """Values with a frame's own rescale instead of the one that GDCM applied to the whole file."""
    if applied == own:
        return values
    stored = np.rint((values.astype(np.float64) - applied.intercept) / applied.slope)
    return stored * own.slope + own.intercept


def declared_padding(values: Array, one: Slice) -> int:
    """Number of values that the header declares padding, each set to AIR_HU in place.

    Padding is what PixelPaddingValue (to PixelPaddingRangeLimit) names. Where that lies among real HU, only the parts
    that reach a corner of the slice are padding: a declared value of 0 must not hollow out the body.
    """
    if one.header.padding is None:
        return 0
    low, high = sorted(end * one.rescale.slope + one.rescale.intercept for end in one.header.padding)
    half = 0.5 * abs(one.rescale.slope)
    outside = (values >= low - half) & (values <= high + half)
    if high > AIR_HU and low <= _HIGHEST_HU:
        outside = _reaching_corners(outside)
    # What already is air stays uncounted: a scanner that pads with -1024 changed nothing.
    outside &= values != AIR_HU
    values[outside] = AIR_HU
    return int(outside.sum())


def _reaching_corners(mask: Array) -> Array:
    """The parts of a (H, W) bool mask connected to one of its four corners, edge to edge."""
    h, w = mask.shape
    corners = [(y, x) for y in (0, h - 1) for x in (0, w - 1) if mask[y, x]]
    if not corners:
        return np.zeros_like(mask)
    import SimpleITK

    parts = SimpleITK.GetArrayFromImage(
        SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(mask.astype(np.uint8)))
    )
    return np.isin(parts, [parts[corner] for corner in corners])


def _finish(values: Array, one: Slice) -> tuple[Array, int]:
    # A signed copy: without an intercept GDCM returns unsigned values, which cannot hold air.
    values = _rescaled(values, one.header.applied, one.rescale)
    values = values.astype(np.int64 if values.dtype == np.uint32 else np.promote_types(values.dtype, np.int16))
    padding = declared_padding(values, one)
    outside = values <= PADDING_HU
    padding += int(outside.sum())
    values[outside] = AIR_HU
    if values.dtype.kind in "iu" and values.min() >= -32768 and values.max() <= 32767:
        values = values.astype(np.int16)
    return values, padding


def workers() -> int:
    """Threads for decoding: what the process may use, at most 8. GDCM runs outside the interpreter's lock."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 8)


def ordered(pool: ThreadPoolExecutor, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """Results of `work` in the order of `items`, at most AHEAD waiting (an executor's map would hold them all).

    Raises: Cancelled between two items, if this thread's flag is set.
    """
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            check_cancelled()
            waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def slices_in_hu(slices: Sequence[Slice]) -> Iterator[tuple[Array, int]]:
    """HU (rows, columns) and number of padding voxels of each slice, in order; a multi-frame file is decoded once.

    Raises: FormatError: pixels that cannot be decoded.
    """
    cache: dict[str, Array] = {}

    def work(one: Slice) -> tuple[Array, int]:
        if one.header.frames == 1:
            return _finish(decode(one.header)[0], one)
        return _finish(cache[os.fspath(one.header.path)][one.frame], one)

    for one in slices:
        path = os.fspath(one.header.path)
        if one.header.frames > 1 and path not in cache:
            cache[path] = decode(one.header)
    with ThreadPoolExecutor(workers()) as pool:
        yield from ordered(pool, work, slices)
