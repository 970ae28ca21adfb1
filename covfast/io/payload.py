"""The header that NIfTI, NRRD and MetaImage files share, and their voxels, slice by slice.

Read here and not by SimpleITK because its readers trust these files: a truncated NIfTI comes back filled up with zeros,
a zero pixdim becomes 1, and a MetaImage header with a large NDims corrupts the heap (SimpleITK 2.5.7).
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from covfast.cancellation import check_cancelled
from covfast.errors import FormatError, GeometryError, describe, file_name

MAX_SIDE = 32767
MAX_VOXELS = 2**33
_MAX_RATIO = {"raw": 1, "gzip": 1100, "zlib": 1100, "bzip2": 50000}
"""The most that an encoding can shrink data (deflate 1032:1): a header that promises more is not believed."""

_WBITS = {"gzip": 31, "zlib": 15}
_CHUNK = 1 << 20

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
        spacing_mm: along D, H, W to the last bit as the header states it; None where only the affine says it.
        is_slice: True if the file states two axes; its affine then has one of 1 mm for D.
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
    spacing_mm: tuple[float, float, float] | None = None
    is_slice: bool = False


def unreadable(path: Path, got: str, expected: str, hint: str = "") -> FormatError:
    """FormatError that names the file."""
    return FormatError(describe(file_name(path), got, expected, hint))


def check_shape(path: Path, sizes: tuple[int, ...]) -> tuple[int, int, int]:
    """(D, H, W) from the sizes of a file, fastest axis first; trailing axes of size 1 are dropped.

    Raises: FormatError: not a volume, or absurd; GeometryError: less than a slice.
    """
    if any(n < 1 or n > MAX_SIDE for n in sizes):
        raise unreadable(path, f"sizes {sizes}", f"each from 1 to {MAX_SIDE}")
    if len(sizes) > 3 and any(n > 1 for n in sizes[3:]):
        raise unreadable(
            path, f"{len(sizes)} axes {sizes}", "one volume of 3 axes", "split a time series or vectors first"
        )
    if len(sizes) < 3 or sorted(sizes[:3])[1] < 2:
        raise _too_thin(path, sizes)
    w, h, d = sizes[:3]
    if d * h * w > MAX_VOXELS:
        raise unreadable(path, f"sizes {sizes}", f"at most {MAX_VOXELS} voxels")
    return d, h, w


def check_volume(header: Header) -> None:
    """Raises: GeometryError: one slice, which is no CT volume."""
    if min(header.shape) < 2:
        raise _too_thin(header.path, header.shape[::-1])


def _too_thin(path: Path, sizes: tuple[int, ...]) -> GeometryError:
    hint = "one slice is read by covfast.segment_slice"
    return GeometryError(describe(file_name(path), f"sizes {sizes}", "at least 2 voxels along each of 3 axes", hint))


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


class _Inflated:
    """Readable stream of a zlib or gzip file, several gzip members in a row included.

    Never inflates more than it is asked for, and takes larger pieces than gzip.GzipFile: half its time.
    """

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file, self._wbits = file, _WBITS[encoding]
        self._inflate = zlib.decompressobj(self._wbits)
        self._waiting = b""

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end of the stream, or where it is truncated."""
        parts: list[bytes] = []
        while size:
            if self._inflate.eof and not self._next_member():
                break
            self._waiting = self._waiting or self._file.read(_CHUNK)
            is_last = not self._waiting
            got = self._inflate.decompress(self._waiting, size)
            self._waiting = self._inflate.unconsumed_tail
            if not got and is_last:
                break
            parts.append(got)
            size -= len(got)
        return b"".join(parts)

    def _next_member(self) -> bool:
        rest = self._inflate.unused_data or self._file.read(_CHUNK)
        self._waiting = rest.lstrip(b"\0")  # gzip files may be padded with zeros
        self._inflate = zlib.decompressobj(self._wbits)
        return bool(self._waiting) and self._wbits == _WBITS["gzip"]


def _wrap(file: IO[bytes], header: Header) -> Any:
    """Readable stream of the voxel bytes of an open file, at their first byte."""
    if not header.whole:
        file.seek(header.offset)
    stream: Any = file
    if header.encoding in _WBITS:
        stream = _Inflated(file, header.encoding)
    elif header.encoding == "bzip2":
        stream = bz2.BZ2File(file)
    if header.whole:
        stream.read(header.offset)
    return stream


def read_planes(header: Header) -> Iterator[npt.NDArray[Any]]:
    """The D planes (H, W) of a file in order, rescaled; each may be written to.

    Raises: FormatError: truncated or broken data; Cancelled between two planes, if this thread's flag is set.
    """
    d, h, w = header.shape
    size = h * w * header.dtype.itemsize
    _check_bytes(header, d * size)
    try:
        with header.data.open("rb") as file:
            stream = _wrap(file, header)
            for index in range(d):
                check_cancelled()
                piece = stream.read(size)
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
