"""NRRD headers (.nrrd, .nhdr). Source: teem.sourceforge.net/nrrd/format.html."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.io.payload import Header, check_shape, check_spacing, make_affine, unreadable
from covfast.volume import Geometry

MAX_HEADER_BYTES = 1 << 20

# Space -> signs that turn it into LPS. Unnamed spaces are taken as LPS, as ITK does.
_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_DTYPES = {name: code for code, names in _TYPES.items() for name in names}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, names in lower case, and the number of bytes up to the blank line that ends it."""
    with path.open("rb") as file:
        raw = file.read(MAX_HEADER_BYTES)
    if not raw.startswith(b"NRRD000"):
        raise unreadable(path, "no NRRD magic", "a NRRD file", "empty or truncated?")
    end = re.search(rb"\r?\n\r?\n", raw)
    is_attached = end is not None
    text = raw[: end.start()] if end is not None else raw
    fields = {}
    for line in text.decode("latin-1").splitlines()[1:]:
        name, separator, value = line.partition(":")
        if separator and not line.startswith("#") and not value.startswith("="):
            fields[name.strip().lower()] = value.strip()
    if not is_attached and "data file" not in fields and "datafile" not in fields:
        raise unreadable(path, "a header without end", "a blank line before the data", "truncated?")
    return fields, end.end() if end is not None else len(raw)


def _numbers(path: Path, name: str, text: str) -> list[float]:
    try:
        return [float(number) for number in text.replace(",", " ").split()]
    except ValueError as error:
        raise unreadable(path, f"{name} {text!r}", "numbers") from error


def _vector(path: Path, name: str, text: str, axes: int) -> list[float]:
    vector = _numbers(path, name, text.strip().strip("()"))
    if len(vector) != axes:
        raise unreadable(path, f"{name} {text!r}", f"{axes} numbers")
    return [*vector, *[0.0] * (3 - axes)]


def _affine(path: Path, fields: dict[str, str], axes: int) -> npt.NDArray[np.float64]:
    """(4, 4) affine of a file of 3 axes, or of 2, whose third is one of 1 mm."""
    signs = np.array(_SPACES.get(fields.get("space", "lps").lower(), (1, 1, 1)), dtype=np.float64)
    is_placed = "space origin" in fields
    origin = _vector(path, "space origin", fields["space origin"], axes) if is_placed else [0.0, 0.0, 0.0]
    if "space directions" in fields:
        found = re.findall(r"\([^)]*\)|none", fields["space directions"])
        vectors = [_vector(path, "space directions", text, axes) for text in found if text != "none"]
        if len(vectors) != axes:
            raise unreadable(path, f"space directions {fields['space directions']!r}", f"{axes} vectors")
        columns = np.array([*vectors, *[[0.0, 0.0, 1.0]] * (3 - axes)]).T
    else:
        spacing = _numbers(path, "spacings", fields["spacings"]) if "spacings" in fields else [1.0] * axes
        spacing = [*spacing, *[1.0] * (3 - axes)]
        check_spacing(path, spacing)
        columns = np.diag(spacing[:3])
    return make_affine(signs[:, None] * columns, signs * origin, path)


def parse(path: Path) -> Header:
    """Header of a .nrrd file, or of a .nhdr file whose voxels lie beside it.

    Raises: FormatError: not NRRD, not one 3-D volume of numbers, or an encoding other than raw, gzip, bzip2;
        GeometryError: spacing or axes that no grid can have.
    """
    fields, end = _fields(path)
    sizes = tuple(int(size) for size in _numbers(path, "sizes", fields.get("sizes", "")) if abs(size) < 2**31)
    if fields.get("dimension", "3") != str(len(sizes)):
        raise unreadable(path, f"dimension {fields.get('dimension')} and sizes {sizes}", "3 axes")
    is_slice = len(sizes) == 2
    shape = check_shape(path, (*sizes, 1) if is_slice else sizes)
    kinds = fields.get("kinds", "domain").split()
    if any(kind.lower() not in ("domain", "space", "???", "none") for kind in kinds):
        raise unreadable(path, f"axes of the kinds {kinds}", "3 axes in space", "split vectors or colours first")
    code, encoding = _DTYPES.get(fields.get("type", "").lower()), _ENCODINGS.get(fields.get("encoding", "").lower())
    if code is None or encoding is None:
        got = f"type {fields.get('type')!r} in encoding {fields.get('encoding')!r}"
        raise unreadable(path, got, "numbers in raw, gzip or bzip2 encoding")
    if any(fields.get(name, "0") != "0" for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise unreadable(path, "a line or byte skip", "data from the first byte on")
    data = fields.get("data file", fields.get("datafile"))
    if data is not None and (data.upper().startswith("LIST") or "%" in data):
        raise unreadable(path, "voxels spread over several files", "one data file")
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return Header(
        path=path,
        data=path if data is None else path.parent / data,
        offset=end if data is None else 0,
        encoding=encoding,
        whole=False,
        dtype=np.dtype(order + code),
        shape=shape,
        affine=_affine(path, fields, 2 if is_slice else 3),
        is_slice=is_slice,
    )


def encode(dtype: np.dtype[Any], geometry: Geometry, is_slice: bool = False) -> bytes:
    """NRRD header for a little-endian (D, H, W) array, gzip encoded; a sheared grid is stored as it is.

    A slice, of depth 1, gets a header of two axes, in the plane of x and y.
    """
    name = {np.dtype(np.uint8): "uint8", np.dtype(np.int16): "int16", np.dtype(np.float32): "float"}[dtype]
    axes = 2 if is_slice else 3
    sizes = geometry.shape[::-1][:axes]
    columns = geometry.affine[:axes, [2, 1, 0][:axes]].T
    vectors = " ".join("(" + ",".join(repr(float(x)) for x in column) + ")" for column in columns)
    origin = ",".join(repr(float(x)) for x in geometry.affine[:axes, 3])
    lines = [
        "NRRD0004",
        f"type: {name}",
        f"dimension: {axes}",
        "space dimension: 2" if is_slice else "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {vectors}",
        f"kinds: {' '.join(['domain'] * axes)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: ({origin})",
    ]
    return ("\n".join(lines) + "\n\n").encode("ascii")
