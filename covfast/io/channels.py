"""Several channels of one case, as the files store them: what networks beside those of CT windows are fed.

Nothing is asked of the values: MR, PET and CT may stand side by side, and padding stays what it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import (
    DTypeError,
    FormatError,
    GeometryError,
    MemoryLimitError,
    ShapeError,
    ValueRangeError,
    describe,
    file_name,
)
from covfast.io.dicom import read_series
from covfast.io.images import image_suffix, parse_header, refuse_picture
from covfast.io.payload import Header, read_planes
from covfast.io.pictures import channel_suffix, read_colours
from covfast.volume import Geometry

SLICE_SPACING = 999.0
"""An image of two axes has no spacing along D: nnU-Net takes this many times the larger of its others."""

_TOLERANCE = 0.01  # of a voxel's smallest side: what headers in float32 and in text may differ by


@dataclass(frozen=True, eq=False)
class Channels:
    """One case of one or more channels on one grid.

    Attributes:
        arrays: each (D, H, W), axes in the file's own order (z, y, x of SimpleITK's GetArrayFromImage), int16 or
            float32.
        geometry: where the voxels lie.
        stated_mm: (3,) spacing along D, H, W to the last bit as the first file states it; None where none does.
        is_slice: the files hold two axes, not three; D is 1.
        notes: what reading changed, as of `Volume`.
        scan: facts of the scan that are safe to publish.
    Raises: DTypeError, ShapeError.
    """

    arrays: tuple[npt.NDArray[Any], ...]
    geometry: Geometry
    stated_mm: tuple[float, float, float] | None = None
    is_slice: bool = False
    notes: tuple[Mapping[str, Any], ...] = ()
    scan: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", tuple(self.arrays))
        if not self.arrays:
            raise ShapeError(describe("arrays", "no channel", "at least one"))
        for index, array in enumerate(self.arrays):
            if array.dtype not in (np.int16, np.float32):
                raise DTypeError(describe(f"arrays[{index}]", array.dtype, "int16 or float32"))
            if array.shape != self.geometry.shape:
                expected = f"{self.geometry.shape}, the shape of the geometry"
                raise ShapeError(describe(f"arrays[{index}]", f"shape {array.shape}", expected))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing along D, H, W as stated; of an image of two axes, along D `SLICE_SPACING` times the larger other."""
        depth_mm, height_mm, width_mm = self.stated_mm or self.geometry.spacing_mm
        return SLICE_SPACING * max(height_mm, width_mm) if self.is_slice else depth_mm, height_mm, width_mm


def read_channels(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], on_geometry: str = "error"
) -> Channels:
    """The channels of one case, in the order of the paths: one each, of a coloured picture three or four.

    Stored integers stay whole numbers: int16 where all values fit, else float32. Real numbers, and integers that a
    header scales, become float32. NaN and infinities are kept; no value is asked to be HU.

    Args:
        paths: of each channel a NIfTI, NRRD or MetaImage file, a DICOM folder (its best CT series, in HU), or a PNG,
            BMP or TIFF picture.
        on_geometry: "error" refuses channels on different grids, and DICOM slices that are not one upright volume;
            "repair" takes channels of one shape and spacing to lie where the first lies, repairs DICOM as
            `covfast.read` does, and says so in the notes.
    Raises: FormatError: unreadable; GeometryError: grids that differ, or that no image can have; MemoryLimitError;
        ValueRangeError: no path, or another `on_geometry`.
    """
    if on_geometry not in ("error", "repair"):
        raise ValueRangeError(describe("on_geometry", repr(on_geometry), '"error" or "repair"'))
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not several or not all(isinstance(path, (str, os.PathLike)) and os.fspath(path) for path in several):
        kinds = ", ".join(type(path).__name__ for path in several) or "an empty list"
        raise ValueRangeError(describe("paths", kinds, "a path, or one path for each channel"))
    places = [Path(path) for path in several]
    first = _read_channel(places[0], on_geometry)
    arrays, notes = [*first.arrays], [*first.notes]
    for path in places[1:]:
        other = _read_channel(path, on_geometry)
        notes += _same_grid(places[0], first, path, other, on_geometry)
        notes += other.notes
        arrays += other.arrays
    scan = {**first.scan, "channels": len(arrays)}
    return Channels(tuple(arrays), first.geometry, first.stated_mm, first.is_slice, tuple(notes), scan)


def _read_channel(path: Path, on_geometry: str) -> Channels:
    if not path.exists():
        raise FormatError(describe(file_name(path), "no such file or folder", "an existing path"))
    if path.is_file() and channel_suffix(path):
        return _read_picture(path)
    if path.is_dir() or not image_suffix(path):
        if path.is_file():
            refuse_picture(path)
        volume = read_series([path], on_geometry)
        return Channels((volume.hu,), volume.geometry, None, False, volume.notes, volume.scan)
    header = parse_header(path)
    array = _gathered(read_planes(header), header, file_name(path))
    geometry = Geometry(header.shape, header.affine)
    scan = {"source": image_suffix(path).lstrip(".")}
    return Channels((array,), geometry, header.spacing_mm, header.is_slice, header.notes, scan)


def _read_picture(path: Path) -> Channels:
    """The colours of a picture, whose pixels count as 1 mm, as nnU-Net has it."""
    values = read_colours(path)
    is_small = values.dtype.kind in "iub" and values.min() >= -32768 and values.max() <= 32767
    arrays = tuple(np.ascontiguousarray(colour[np.newaxis], np.int16 if is_small else np.float32) for colour in values)
    geometry = Geometry.from_spacing(arrays[0].shape, (1.0, 1.0, 1.0), "SPL")
    return Channels(arrays, geometry, None, True, (), {"source": channel_suffix(path).lstrip(".")})


def _gathered(planes: Iterable[npt.NDArray[Any]], header: Header, name: str) -> npt.NDArray[Any]:
    """(D, H, W) int16 or float32 of the planes; one is held at a time beside the result.

    Raises: MemoryLimitError: no memory for the image.
    """
    is_whole = header.dtype.kind in "iu" and header.slope == 1.0 and header.intercept == 0.0
    try:
        values: npt.NDArray[Any] = np.empty(header.shape, np.int16 if is_whole else np.float32)
        for index, plane in enumerate(planes):
            if values.dtype == np.int16 and (plane.min() < -32768 or plane.max() > 32767):
                values = values.astype(np.float32)
            with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite
                values[index] = plane
    except MemoryError:
        raise MemoryLimitError(describe(name, f"{header.shape} voxels", "an image that fits into memory")) from None
    return values


def _same_grid(
    first_path: Path, first: Channels, path: Path, other: Channels, on_geometry: str
) -> list[Mapping[str, Any]]:
    """The note of a grid that had to be taken for the first's. Raises: GeometryError."""
    names = f"{file_name(first_path)} and {file_name(path)}"
    one, two = first.geometry, other.geometry
    if one.shape != two.shape:
        raise GeometryError(describe(names, f"shapes {one.shape} and {two.shape}", "channels on one grid"))
    if not np.allclose(one.spacing_mm, two.spacing_mm, rtol=1e-3):
        got = f"spacings {_rounded(one.spacing_mm)} and {_rounded(two.spacing_mm)} mm"
        raise GeometryError(describe(names, got, "channels on one grid"))
    if one.is_close(two, _TOLERANCE * min(one.spacing_mm)):
        return []
    if on_geometry != "repair":
        hint = "--on-geometry repair takes the first channel's place for all"
        raise GeometryError(describe(names, "grids at different places", "channels on one grid", hint))
    message = "a channel lies elsewhere and was taken to lie where the first does"
    return [{"code": "CHANNEL_MOVED", "message": message}]


def _rounded(spacing_mm: tuple[float, float, float]) -> list[float]:
    return [round(mm, 4) for mm in spacing_mm]
