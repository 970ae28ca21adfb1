"""The header that NIfTI, NRRD and MetaImage files share, and their voxels, slice by slice.

Read here and not by SimpleITK because its readers trust these files: a truncated NIfTI comes back filled up with zeros,
a zero pixdim becomes 1, and a MetaImage header with a large NDims corrupts the heap (SimpleITK 2.5.7).
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from covfast.errors import FormatError, GeometryError, describe, file_name

MAX_SIDE = 32767
MAX_VOXELS = 2**33
_MAX_RATIO = {"raw": 1, "gzip": 1100, "zlib": 1100, "bzip2": 50000}
"""The most that an encoding can shrink data (deflate 1032:1): a header that promises more is not believed."""

DECODE_ERRORS = (OSError, EOFError, zlib.error, ValueError)


@dataclass(frozen=True)
class Header:
    """What a file says about its voxels.

    Attributes:
        path: the file with the header.
        data: the file with the voxels, often the same.
        offset: bytes before the voxels, inside the compressed stream when `whole` is True.
        encoding: "raw", "gzip", "zlib" or "bzip2".
        whole: True if the header lies inside the compressed stream (.nii.gz).
        dtype: element type with byte order.
        shape: (D, H, W).
        affine: (4, 4) float64, from (d, h, w) to LPS mm.
        slope, intercept: value = stored * slope + intercept.
        notes: what the header left open and how it was read.
    """

    path: Path
    data: Path
    offset: int
    encoding: str
    whole: bool
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[dict[str, Any], ...] = ()


def unreadable(path: Path, got: str, expected: str, hint: str = "") -> FormatError:
    """FormatError that names the file."""
    return FormatError(describe(file_name(path), got, expected, hint))


def check_shape(path: Path, sizes: tuple[int, ...]) -> tuple[int, int, int]:
    """(D, H, W) from the sizes of a file, fastest axis first; trailing axes of size 1 are dropped.

    Raises: FormatError: not a volume, or absurd; GeometryError: fewer than two voxels along an axis.
    """
    if any(n < 1 or n > MAX_SIDE for n in sizes):
        raise unreadable(path, f"sizes {sizes}", f"each from 1 to {MAX_SIDE}")
    if len(sizes) > 3 and any(n > 1 for n in sizes[3:]):
        raise unreadable(
            path, f"{len(sizes)} axes {sizes}", "one volume of 3 axes", "split a time series or vectors first"
        )
    if len(sizes) < 3 or min(sizes[:3]) < 2:
        raise GeometryError(
            describe(file_name(path), f"sizes {sizes}", "at least 2 voxels along each of 3 axes",
                     "one slice is read by covfast.segment_slice")
        )  # fmt: skip
    w, h, d = sizes[:3]
    if d * h * w > MAX_VOXELS:
        raise unreadable(path, f"sizes {sizes}", f"at most {MAX_VOXELS} voxels")
    return d, h, w


def check_spacing(path: Path, spacing: npt.ArrayLike) -> None:
    """Raises: GeometryError unless every spacing is finite and positive."""
    values = np.asarray(spacing, dtype=np.float64)
    if not np.isfinite(values).all() or (values <= 0).any():
        raise GeometryError(describe(file_name(path), f"spacing {values.tolist()} mm", "finite numbers > 0"))


def make_affine(columns: npt.ArrayLike, origin: npt.ArrayLike, path: Path) -> npt.NDArray[np.float64]:
    """(4, 4) affine from (d, h, w) to LPS mm; `columns` (3, 3) has one column each for w, h, d, `origin` is LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(columns, dtype=np.float64)[:, ::-1]
    affine[:3, 3] = np.asarray(origin, dtype=np.float64)
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    check_spacing(path, lengths[::-1])
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise GeometryError(
            describe(file_name(path), f"directions {affine[:3, :3].tolist()}", "three independent axes")
        )
    return affine


def _check_bytes(header: Header, needed: int) -> None:
    try:
        present = header.data.stat().st_size - (0 if header.whole else header.offset)
    except OSError as error:
        raise unreadable(header.data, "no such file", "the file with the voxels") from error
    if needed > present * _MAX_RATIO[header.encoding]:
        raise unreadable(
            header.data, f"{max(present, 0)} bytes of data", f"{needed} bytes for {header.shape}", "truncated?"
        )


def _wrap(file: IO[bytes], header: Header) -> Any:
    """Readable stream of the voxel bytes of an open file, at their first byte."""
    if header.whole:
        stream = gzip.GzipFile(fileobj=file)
        stream.read(header.offset)
        return stream
    file.seek(header.offset)
    if header.encoding == "gzip":
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if header.encoding == "bzip2" else file


def _zlib_pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Pieces of `size` bytes of a zlib stream, the last may be short; never inflates more than one piece ahead."""
    inflate, waiting, ended = zlib.decompressobj(), b"", False
    while True:
        piece = b""
        while len(piece) < size:
            if not waiting and not ended:
                waiting = file.read(1 << 20)
                ended = not waiting
            got = inflate.decompress(waiting, size - len(piece))
            waiting = inflate.unconsumed_tail
            if not got and (ended or inflate.eof):
                break
            piece += got
        yield piece


def read_planes(header: Header) -> Iterator[npt.NDArray[Any]]:
    """The D planes (H, W) of a file in order, rescaled; each may be written to.

    Raises: FormatError: truncated or broken data.
    """
    d, h, w = header.shape
    size = h * w * header.dtype.itemsize
    _check_bytes(header, d * size)
    try:
        with header.data.open("rb") as file:
            stream = _wrap(file, header)
            pieces = _zlib_pieces(stream, size) if header.encoding == "zlib" else iter(lambda: stream.read(size), None)
            for index in range(d):
                piece = next(pieces)
                if len(piece) < size:
                    raise EOFError(f"slice {index}")
                yield _rescaled(np.frombuffer(piece, header.dtype).reshape(h, w), header)
            # gzip checks its checksum at the end of the stream, which lies behind the last voxel.
            stream.read(1)
    except DECODE_ERRORS as error:
        expected = f"{d} slices of {size} bytes, {header.encoding}"
        raise unreadable(header.data, "data that end early or cannot be decoded", expected, "truncated?") from error


def _rescaled(plane: npt.NDArray[Any], header: Header) -> npt.NDArray[Any]:
    native = plane.astype(plane.dtype.newbyteorder("="), copy=True)
    if header.slope == 1.0 and header.intercept == 0.0:
        return native
    return native.astype(np.float64) * header.slope + header.intercept
