"""MetaImage headers (.mha, .mhd). Source: the MetaIO documentation, itk.org/Wiki/MetaIO/Documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import GeometryError, describe
from covfast.io.payload import Header, check_shape, check_spacing, make_affine, unreadable
from covfast.volume import Geometry

MAX_HEADER_BYTES = 1 << 16
SIZE_SLOT = "?" * 15
"""Place in an encoded header for the number of compressed bytes, in digits: known only when they are written."""

_DTYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header and the number of bytes up to the end of ElementDataFile, which is its last line."""
    with path.open("rb") as file:
        raw = file.read(MAX_HEADER_BYTES)
    fields: dict[str, str] = {}
    end = 0
    for line in raw.splitlines(keepends=True):
        end += len(line)
        name, separator, value = line.decode("latin-1").partition("=")
        if not separator:
            break
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            return fields, end
    raise unreadable(path, "no complete MetaImage header", "fields up to ElementDataFile", "empty or truncated?")


def _numbers(path: Path, name: str, text: str, count: int) -> list[float]:
    try:
        numbers = [float(number) for number in text.split()]
    except ValueError as error:
        raise unreadable(path, f"{name} {text!r}", "numbers") from error
    if len(numbers) != count:
        raise unreadable(path, f"{name} of {len(numbers)} numbers", f"{count} numbers")
    return numbers


def _first(fields: dict[str, str], *names: str) -> str:
    return next((fields[name] for name in names if name in fields), "")


def _affine(
    path: Path, fields: dict[str, str], axes: int
) -> tuple[npt.NDArray[np.float64], tuple[float, float, float]]:
    """(4, 4) affine and (D, H, W) spacing of a file of 3 axes, or of 2, whose third is one of 1 mm."""
    spacing = np.ones(3)
    spacing[:axes] = _numbers(path, "spacing", _first(fields, "ElementSpacing", "ElementSize") or "1 " * axes, axes)
    check_spacing(path, spacing)
    identity = " ".join(str(number) for number in np.eye(axes).ravel())
    matrix = _first(fields, "TransformMatrix", "Orientation", "Rotation") or identity
    # As many numbers an axis: the rows of the text are the columns of the matrix.
    directions = np.eye(3)
    directions[:axes, :axes] = np.reshape(_numbers(path, "TransformMatrix", matrix, axes * axes), (axes, axes)).T
    origin = np.zeros(3)
    origin[:axes] = _numbers(path, "Offset", _first(fields, "Offset", "Position", "Origin") or "0 " * axes, axes)
    width_mm, height_mm, depth_mm = (float(mm) for mm in spacing)
    return make_affine(directions * spacing, origin, path), (depth_mm, height_mm, width_mm)


def parse(path: Path) -> Header:
    """Header of a .mha file, or of a .mhd file whose voxels lie beside it.

    Raises: FormatError: not MetaImage or not one 3-D volume of numbers; GeometryError: spacing or axes of no grid.
    """
    fields, end = _fields(path)
    sizes = fields.get("DimSize", "").split()
    if (
        not fields.get("NDims", "").isdigit()
        or int(fields["NDims"]) != len(sizes)
        or not all(n.isdigit() for n in sizes)
    ):
        raise unreadable(path, f"NDims {fields.get('NDims')!r} and DimSize {fields.get('DimSize')!r}", "3 sizes")
    is_slice = len(sizes) == 2
    shape = check_shape(path, tuple(int(n) for n in [*sizes, *["1"] * is_slice]))
    if len(sizes) > 3:
        raise unreadable(path, f"{len(sizes)} axes", "3 axes")
    affine, spacing_mm = _affine(path, fields, len(sizes))
    if fields.get("ElementNumberOfChannels", "1") != "1" or fields.get("ElementType") not in _DTYPES:
        got = f"{fields.get('ElementNumberOfChannels', '1')} x {fields.get('ElementType')}"
        raise unreadable(path, got, "one number a voxel")
    if fields.get("BinaryData", "True").lower() != "true" or fields.get("HeaderSize", "0") != "0":
        raise unreadable(path, "text data or a header to skip", "binary data from the first byte on")
    data = fields["ElementDataFile"]
    if not data or data.upper().startswith("LIST") or "%" in data:
        raise unreadable(path, "voxels spread over several files", "one data file")
    is_local = data.upper() == "LOCAL"
    is_big = _first(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB").lower() == "true"
    return Header(
        path=path,
        data=path if is_local else path.parent / data,
        offset=end if is_local else 0,
        encoding="zlib" if fields.get("CompressedData", "False").lower() == "true" else "raw",
        whole=False,
        dtype=np.dtype((">" if is_big else "<") + _DTYPES[fields["ElementType"]]),
        shape=shape,
        affine=affine,
        spacing_mm=spacing_mm,
        is_slice=is_slice,
    )


def encode(dtype: np.dtype[Any], geometry: Geometry, is_slice: bool = False) -> bytes:
    """MetaImage header for a little-endian (D, H, W) array, zlib compressed.

    A slice, of depth 1, gets a header of two axes, in the plane of x and y.

    Raises: GeometryError: a sheared grid, which ITK refuses in this format.
    """
    name = {np.dtype(np.uint8): "MET_UCHAR", np.dtype(np.int16): "MET_SHORT", np.dtype(np.float32): "MET_FLOAT"}[dtype]
    axes = 2 if is_slice else 3
    spacing = geometry.spacing_mm[::-1][:axes]
    directions = geometry.affine[:axes, [2, 1, 0][:axes]] / spacing
    if not np.allclose(directions.T @ directions, np.eye(axes), atol=1e-5):
        raise GeometryError(
            describe("geometry", "a sheared grid", "right angles in MetaImage", "write .nii.gz or .nrrd")
        )
    lines = [
        "ObjectType = Image",
        f"NDims = {axes}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {SIZE_SLOT}",
        f"TransformMatrix = {' '.join(repr(float(x)) for x in directions.T.ravel())}",
        f"Offset = {' '.join(repr(float(x)) for x in geometry.affine[:axes, 3])}",
        f"ElementSpacing = {' '.join(repr(x) for x in spacing)}",
        f"DimSize = {' '.join(map(str, geometry.shape[::-1][:axes]))}",
        f"ElementType = {name}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")
