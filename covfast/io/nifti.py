"""NIfTI-1 and NIfTI-2 headers. Source: nifti1.h and nifti2.h of the NIfTI data format working group.

The affine is the sform where its code is set, else the qform, else the voxel sizes alone. Single files (.nii, .nii.gz)
are read; pairs (.hdr + .img) are not.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import GeometryError, describe, file_name
from covfast.io.payload import DECODE_ERRORS, Header, check_shape, check_spacing, make_affine, unreadable
from covfast.volume import Geometry

_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI is RAS

# Field: (offset, format) in NIfTI-1 and NIfTI-2.
_FIELDS = {
    "dim": ((40, "8h"), (16, "8q")),
    "datatype": ((70, "h"), (12, "h")),
    "pixdim": ((76, "8f"), (104, "8d")),
    "vox_offset": ((108, "f"), (168, "q")),
    "scale": ((112, "2f"), (176, "2d")),
    "codes": ((252, "2h"), (344, "2i")),
    "quatern": ((256, "6f"), (352, "6d")),
    "srow": ((280, "12f"), (400, "12d")),
}
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOUR = {128: "RGB", 2304: "RGBA", 32: "complex", 1792: "complex"}


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    """The first 544 bytes of the header, and whether the file is compressed."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return (gzip.GzipFile(fileobj=file).read(544) if is_gzip else file.read(544)), is_gzip


class _Fields:
    """Fields of a raw header in its own byte order and version."""

    def __init__(self, path: Path, raw: bytes) -> None:
        self.raw = raw
        for self.order in "<>":
            size = struct.unpack(self.order + "i", raw[:4])[0] if len(raw) >= 4 else 0
            if size in (348, 540) and len(raw) >= size:
                self.version = 0 if size == 348 else 1
                break
        else:
            raise unreadable(path, "no NIfTI header", "a NIfTI-1 or NIfTI-2 file", "empty or truncated?")
        magic = raw[344:348] if self.version == 0 else raw[4:8]
        if magic[:3] not in (b"n+1", b"n+2"):
            raise unreadable(
                path, f"magic {magic!r}", "a single-file NIfTI (n+1, n+2)", "merge .hdr and .img into one .nii"
            )

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        offset, form = _FIELDS[name][self.version]
        return struct.unpack_from(self.order + form, self.raw, offset)


def parse(path: Path) -> Header:
    """Header of a .nii or .nii.gz file.

    Raises: FormatError: not NIfTI, not one 3-D volume of numbers; GeometryError: spacing or axes that no grid can have.
    """
    try:
        raw, is_gzip = _first_bytes(path)
    except DECODE_ERRORS as error:
        raise unreadable(path, "data that cannot be decompressed", "a NIfTI file", "truncated?") from error
    fields = _Fields(path, raw)
    dim = fields["dim"]
    if not 1 <= dim[0] <= 7:
        raise unreadable(path, f"{dim[0]} axes", "3 axes")
    is_flat = dim[0] == 2  # one slice, whose third spacing writers leave at 1 or 0
    shape = check_shape(path, (*dim[1:3], 1) if is_flat else tuple(dim[1 : dim[0] + 1]))
    code = fields["datatype"][0]
    if code not in _DTYPES:
        raise unreadable(path, f"{_COLOUR.get(code, 'unknown')} data type {code}", "one number a voxel")
    affine, notes = _affine(path, fields, is_flat)
    width_mm, height_mm, depth_mm = (float(mm) or 1.0 for mm in fields["pixdim"][1:4])
    does_agree = not any(note["code"] == "PIXDIM_DISAGREES" for note in notes)
    slope, intercept = fields["scale"]
    is_scaled = bool(np.isfinite([slope, intercept]).all()) and slope != 0
    offset = fields["vox_offset"][0]
    if not np.isfinite(offset) or not 348 <= offset < 2**31:
        raise unreadable(path, f"voxel offset {offset:g}", "352 or more bytes")
    return Header(
        path=path,
        data=path,
        offset=int(offset),
        encoding="gzip" if is_gzip else "raw",
        whole=is_gzip,
        dtype=np.dtype(fields.order + _DTYPES[code]),
        shape=shape,
        affine=affine,
        slope=float(slope) if is_scaled else 1.0,
        intercept=float(intercept) if is_scaled else 0.0,
        notes=notes,
        spacing_mm=(depth_mm, height_mm, width_mm) if does_agree else None,
        is_slice=is_flat,
    )


def _affine(path: Path, fields: _Fields, is_flat: bool) -> tuple[npt.NDArray[np.float64], tuple[dict[str, Any], ...]]:
    pixdim = np.array(fields["pixdim"])
    pixdim[3] = (pixdim[3] or 1.0) if is_flat else pixdim[3]
    check_spacing(path, pixdim[1:4])
    qform_code, sform_code = fields["codes"]
    if sform_code > 0:
        rows = np.array(fields["srow"]).reshape(3, 4)
        affine = make_affine(_LPS @ rows[:, :3], _LPS @ rows[:, 3], path)
        return affine, _disagreement(affine, pixdim)
    b, c, d, *offset = fields["quatern"]
    if qform_code > 0:
        columns = _rotation(path, b, c, d) * pixdim[1:4]
        columns[:, 2] *= -1.0 if pixdim[0] < 0 else 1.0
        return make_affine(_LPS @ columns, _LPS @ np.array(offset), path), ()
    message = (
        "the file states no orientation (qform and sform codes are 0): its axes were taken as left, posterior, superior"
    )
    return make_affine(np.diag(pixdim[1:4]), np.zeros(3), path), ({"code": "ORIENTATION_ASSUMED", "message": message},)


def _rotation(path: Path, b: float, c: float, d: float) -> npt.NDArray[np.float64]:
    rest = 1.0 - (b * b + c * c + d * d)
    if not np.isfinite(rest) or rest < -1e-3:
        raise GeometryError(describe(file_name(path), f"quaternion {(b, c, d)}", "a rotation"))
    a = np.sqrt(max(rest, 0.0))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )


def _disagreement(affine: npt.NDArray[np.float64], pixdim: npt.NDArray[np.float64]) -> tuple[dict[str, Any], ...]:
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))[::-1]
    if np.allclose(spacing, pixdim[1:4], rtol=1e-2):
        return ()
    pixels, used = np.round(pixdim[1:4], 4).tolist(), np.round(spacing, 4).tolist()
    message = f"pixdim {pixels} mm disagrees with the sform, whose {used} mm were used"
    return ({"code": "PIXDIM_DISAGREES", "message": message},)


def encode(dtype: np.dtype[Any], geometry: Geometry, is_slice: bool = False) -> bytes:
    """352 bytes of NIfTI-1 header for a little-endian (D, H, W) array: sform always, qform unless the grid is sheared.

    A slice, of depth 1, gets a header of two axes.

    Raises: GeometryError: more than 32767 voxels along an axis, which NIfTI-1 cannot hold.
    """
    d, h, w = geometry.shape
    if max(geometry.shape) > 32767:
        raise GeometryError(describe("geometry", geometry.shape, "at most 32767 voxels along each axis in NIfTI-1"))
    code = {np.dtype(np.uint8): 2, np.dtype(np.int16): 4, np.dtype(np.float32): 16}[dtype]
    ras = _LPS @ geometry.affine[:3, [2, 1, 0, 3]]
    spacing = geometry.spacing_mm[::-1]
    rotation = ras[:, :3] / spacing
    is_upright = np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-5)
    handed = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    raw = bytearray(352)
    struct.pack_into("<i", raw, 0, 348)
    struct.pack_into("<8h", raw, 40, 2 if is_slice else 3, w, h, d, 1, 1, 1, 1)
    struct.pack_into("<2h", raw, 70, code, dtype.itemsize * 8)
    struct.pack_into("<8f", raw, 76, handed, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", raw, 108, 352.0, 1.0, 0.0)
    raw[123] = 2  # xyzt_units: millimetre
    raw[148:155] = b"covfast"
    struct.pack_into("<2h", raw, 252, 1 if is_upright else 0, 1)
    if is_upright:
        struct.pack_into("<6f", raw, 256, *_quaternion(rotation * [1.0, 1.0, handed]), *ras[:, 3])
    struct.pack_into("<12f", raw, 280, *ras.ravel())
    raw[344:348] = b"n+1\0"
    return bytes(raw)


def _quaternion(rotation: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """(b, c, d) of the unit quaternion with a >= 0: the eigenvector of the largest eigenvalue of Bar-Itzhack's matrix.

    Stable for half turns too, where the usual trace formula divides by zero.
    """
    r = rotation
    matrix = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    b, c, d, a = np.linalg.eigh(matrix / 3.0)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return float(b * sign), float(c * sign), float(d * sign)
