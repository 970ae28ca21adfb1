"""Reading and writing: NIfTI, NRRD, MetaImage and DICOM to `Volume` and back.

Light to import: SimpleITK and pydicom are imported by the functions that need them, and only DICOM needs them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from covfast.errors import FormatError, ValueRangeError, describe, file_name
from covfast.io.cases import cases
from covfast.io.channel_cases import ChannelCase, channel_cases
from covfast.io.channels import SLICE_SPACING, Channels, read_channels
from covfast.io.dicom import read_series
from covfast.io.hounsfield import check_window
from covfast.io.images import (
    image_suffix,
    read_drawable_image,
    read_image,
    read_label_image,
    read_probability_image,
    refuse_picture,
)
from covfast.io.inspection import Inspection, SeriesReport, inspect_paths, shown_id
from covfast.io.memory import from_array, from_image, to_sitk
from covfast.io.pictures import channel_suffix, is_picture, read_drawing, read_picture, write_label_picture
from covfast.io.resampling import resample_labels
from covfast.io.writing import check_writable, write_image
from covfast.outputs import replace_file
from covfast.volume import Geometry, Segmentation, Volume

StrPath = str | os.PathLike[str]

__all__ = [
    "SLICE_SPACING",
    "ChannelCase",
    "Channels",
    "Inspection",
    "SeriesReport",
    "cases",
    "channel_cases",
    "channel_suffix",
    "check_writable",
    "from_array",
    "from_image",
    "image_suffix",
    "inspect",
    "is_picture",
    "read",
    "read_channels",
    "read_drawable",
    "read_drawing",
    "read_labels",
    "read_picture",
    "read_probability",
    "replace_file",
    "resample_labels",
    "shown_id",
    "to_sitk",
    "write",
    "write_label_picture",
]


def _as_paths(paths: StrPath | Sequence[StrPath]) -> list[Path]:
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not several:
        raise FormatError(describe("path", "an empty list", "at least one file"))
    found = [Path(path) for path in several]
    for path in found:
        if not path.exists():
            raise FormatError(describe(file_name(path), "no such file or folder", "an existing path"))
    return found


def read(
    path_or_paths: StrPath | Sequence[StrPath],
    on_geometry: str = "error",
    input_window: tuple[float, float] | None = None,
) -> Volume:
    """CT volume in HU, on the grid that the files state.

    Args:
        path_or_paths: a NIfTI, NRRD or MetaImage file; a DICOM folder (searched to the bottom), file, or list of files.
        on_geometry: "error" refuses DICOM slices that are not one upright volume; "repair" repairs what can be, and
            says so in the volume's notes.
        input_window: (lo, hi) HU that the darkest and the brightest value stand for, for an image that was windowed
            before it was stored; its scale is 0..1, 0..255, 0..4095 or 0..65535, the smallest that holds its values.
    Returns: Volume of int16 HU, float32 where a value is no whole number. Padding outside the field of view is -1024.
    Raises: FormatError: unreadable, not CT, or values that cannot be HU; GeometryError: slices or grids that are no
        volume; ValueRangeError: an option.
    """
    if on_geometry not in ("error", "repair"):
        raise ValueRangeError(describe("on_geometry", repr(on_geometry), '"error" or "repair"'))
    if input_window is not None:
        check_window(input_window)
    paths = _as_paths(path_or_paths)
    if len(paths) == 1 and paths[0].is_file() and image_suffix(paths[0]):
        return read_image(paths[0], input_window)
    for path in paths:
        if path.is_file():
            refuse_picture(path)
    return read_series(paths, on_geometry, input_window)


def read_drawable(path: StrPath) -> tuple[npt.NDArray[Any], Geometry]:
    """(D, H, W) values to draw on, and their grid: HU of a CT; of a NIfTI, NRRD or MetaImage file without HU, of one
    slice too, min..max as uint8 0..255.

    Raises: FormatError: unreadable; GeometryError: slices or grids that are no volume.
    """
    found = _as_paths(path)[0]
    if found.is_file() and image_suffix(found):
        return read_drawable_image(found)
    volume = read(found)
    return volume.hu, volume.geometry


def read_labels(path: StrPath) -> Segmentation:
    """Label map of a NIfTI, NRRD or MetaImage file: whole numbers from 0 to 255; a file of one slice is one, too.

    Raises: FormatError: unreadable or not labels; GeometryError: a grid that no volume can have.
    """
    return read_label_image(_as_paths(path)[0])


def read_probability(path: StrPath) -> Volume:
    """Probability map of a NIfTI, NRRD or MetaImage file as a float32 volume of 0..1 in place of HU.

    Raises: FormatError: unreadable or no probabilities; GeometryError: a grid that no volume can have.
    """
    return read_probability_image(_as_paths(path)[0])


def write(path: StrPath, image: Volume | Segmentation, *, is_slice: bool = False) -> None:
    """Writes a volume (HU) or a label map to .nii.gz, .nii, .nrrd or .mha, on its own grid, whole or not at all.

    With `is_slice`, an image of depth 1 becomes a file of two axes, as `Channels.is_slice` says one was.

    Raises: ValueRangeError: unknown suffix; GeometryError: a grid that the format cannot hold; OutputError.
    """
    write_image(Path(path), image, is_slice=is_slice)


def inspect(path_or_paths: StrPath | Sequence[StrPath], ids: str = "hash") -> Inspection:
    """What a path holds, what `read` would take from it, and why; DICOM by its headers alone.

    Args:
        path_or_paths: as for `read`.
        ids: how series UIDs are shown: "uid", "hash" or "none".
    Raises: FormatError: unreadable, or no image there; GeometryError: an image file whose grid is no volume.
    """
    paths = _as_paths(path_or_paths)
    for path in paths:
        if path.is_file():
            refuse_picture(path)
    return inspect_paths(paths, ids)
