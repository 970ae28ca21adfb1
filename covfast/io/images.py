"""Single-file images: which format a path holds, and its voxels as a CT volume or as labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import FormatError, describe, file_name
from covfast.io import metaimage, nifti, nrrd
from covfast.io.hounsfield import Voxels, check_hounsfield, gather, padding_notes, unwindow
from covfast.io.payload import Header, check_volume, read_planes, unreadable
from covfast.io.pictures import stretched
from covfast.volume import LABELS, Geometry, Segmentation, Volume

PARSERS = {
    ".nii": nifti.parse, ".nii.gz": nifti.parse, ".nrrd": nrrd.parse, ".nhdr": nrrd.parse,
    ".mha": metaimage.parse, ".mhd": metaimage.parse,
}  # fmt: skip
"""Suffix -> parser of the header."""

_PICTURES = {b"\xff\xd8\xff": "JPEG", b"\x89PN": "PNG", b"BM": "BMP", b"GIF": "GIF", b"II*": "TIFF", b"MM\0": "TIFF"}


def image_suffix(path: Path) -> str:
    """The suffix of a single-file image that can be read, such as ".nii.gz", or ""."""
    name = path.name.lower()
    return next((suffix for suffix in sorted(PARSERS, key=len, reverse=True) if name.endswith(suffix)), "")


def refuse_picture(path: Path) -> None:
    """Raises: FormatError: the file is a photograph-like picture (JPEG, PNG, ...), which has no HU and no geometry."""
    try:
        with path.open("rb") as file:
            start = file.read(3)
    except OSError as error:
        raise unreadable(path, error.strerror or "a file that cannot be opened", "a readable file") from error
    for magic, name in _PICTURES.items():
        if start.startswith(magic):
            raise unreadable(path, f"a {name} picture", "a CT volume", "one slice is read by covfast.segment_slice")


def parse_header(path: Path) -> Header:
    """Header of a NIfTI, NRRD or MetaImage file; FormatError where it is none of them."""
    refuse_picture(path)
    suffix = image_suffix(path)
    if not suffix:
        raise unreadable(path, "an unknown kind of file", f"DICOM or one of {', '.join(PARSERS)}")
    try:
        return PARSERS[suffix](path)
    except OSError as error:
        raise unreadable(path, "a file that cannot be opened", "a readable file") from error


def load(path: Path, name: str | None = None, *, may_be_slice: bool = False) -> tuple[Header, Voxels]:
    """Header and gathered voxels of one image file, whatever they mean; `name` stands for it in messages.

    Raises: FormatError: not readable; GeometryError: a grid that no volume can have, or one slice where none may be.
    """
    header = parse_header(path)
    if not may_be_slice:
        check_volume(header)
    return header, gather(read_planes(header), header.shape, name or file_name(path))


def read_image(path: Path, input_window: tuple[float, float] | None = None) -> Volume:
    """CT volume of a NIfTI, NRRD or MetaImage file, on the file's own grid.

    Args:
        path: the file.
        input_window: (lo, hi) HU that the darkest and the brightest value of an already windowed image stand for.
    Raises: FormatError: not readable or not HU; GeometryError: a grid that no volume can have.
    """
    header, voxels = load(path)
    notes: list[Any] = [*header.notes, *padding_notes(voxels.padding)]
    if input_window is None:
        check_hounsfield(voxels, file_name(path))
    else:
        voxels, note = unwindow(voxels, input_window, file_name(path))
        notes.append(note)
    scan = {"modality": "CT", "source": image_suffix(path).lstrip(".")}
    return Volume(voxels.values, Geometry(header.shape, header.affine), tuple(notes), scan)


def read_drawable_image(path: Path) -> tuple[npt.NDArray[Any], Geometry]:
    """A NIfTI, NRRD or MetaImage file to draw on, of one slice too: HU, or min..max of other values as uint8 0..255.

    Raises: FormatError: not readable; GeometryError: a grid that no volume can have.
    """
    header, voxels = load(path, may_be_slice=True)
    geometry = Geometry(header.shape, header.affine)
    try:
        check_hounsfield(voxels, file_name(path))
    except FormatError:
        return stretched(voxels.values), geometry
    return voxels.values, geometry


def read_probability_image(path: Path) -> Volume:
    """Probability map of a NIfTI, NRRD or MetaImage file, in place of HU: float32 0..1; 8-bit ones are divided by 255.

    Raises: FormatError: not readable or outside 0..1 and 0..255; GeometryError: a grid that no volume can have.
    """
    header, voxels = load(path, may_be_slice=True)
    most = 1.0 if voxels.high <= 1 else 255.0
    if voxels.low < 0 or voxels.high > most or (most > 1 and voxels.values.dtype != np.int16):
        got = f"values from {voxels.low:g} to {voxels.high:g}"
        raise FormatError(describe(file_name(path), got, "probabilities from 0 to 1, or 8-bit ones"))
    values = voxels.values.astype(np.float32)
    values /= np.float32(most)
    return Volume(values, Geometry(header.shape, header.affine))


def read_label_image(path: Path) -> Segmentation:
    """Label map of a NIfTI, NRRD or MetaImage file, of one slice too: whole numbers from 0 to 255.

    Raises: FormatError: not readable or not labels; GeometryError: a grid that no volume can have.
    """
    header, voxels = load(path, may_be_slice=True)
    if voxels.values.dtype != np.int16 or voxels.low < 0 or voxels.high > 255:
        got = f"values from {voxels.low:g} to {voxels.high:g}"
        raise FormatError(describe(file_name(path), got, "labels, whole numbers from 0 to 255"))
    labels = voxels.values.astype(np.uint8)
    return Segmentation(labels, Geometry(header.shape, header.affine), _names(labels, int(voxels.high)))


def _names(labels: npt.NDArray[np.uint8], high: int) -> dict[int, str]:
    """Our names where the map holds no other value than ours, else a name for each value that it holds."""
    if high <= max(LABELS):
        return dict(LABELS)
    # Plane by plane: bincount widens what it counts to 8 bytes.
    counts = sum(np.bincount(plane.ravel(), minlength=256) for plane in labels)
    return {int(value): f"label {value}" for value in np.flatnonzero(counts)}
