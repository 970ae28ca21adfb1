"""Which files are the channels of which case: nnU-Net's folders, CASE_0000.nii.gz, CASE_0001.nii.gz and so on."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covfast.errors import FormatError, ValueRangeError, describe, file_name
from covfast.io.cases import cases
from covfast.io.dicom.headers import is_dicom
from covfast.io.images import image_suffix
from covfast.io.pictures import channel_suffix

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.DOTALL)


@dataclass(frozen=True)
class ChannelCase:
    """One case.

    Attributes:
        name: what its files have in common.
        paths: one for each channel, in order; of an incomplete case those that are there.
        error: why it cannot be read, or None.
    """

    name: str
    paths: tuple[Path, ...]
    error: FormatError | None = None

    @property
    def suffix(self) -> str:
        """Suffix of its first channel, such as ".nii.gz"; "" for DICOM."""
        return _suffix(self.paths[0])


def channel_cases(paths: Sequence[str | os.PathLike[str]], channels: int = 1) -> list[ChannelCase]:
    """The cases among files and folders, sorted by name.

    A channel is a NIfTI, NRRD or MetaImage file, or a folder with DICOM, whose name ends in its number, `_0000` for the
    first; so is a PNG, BMP or TIFF picture, which with colours is several channels; names that begin with a dot and
    files of other kinds are passed over. Where there is one channel only, names
    need no number if none has one: then a folder of images is a case each, a folder with DICOM one case, a folder of
    such folders (of several studies) a case each.

    Args:
        paths: one folder, or files and folders that are channels themselves.
        channels: that each case needs; one that lacks some, or has more, comes with an error.
    Raises: FormatError: nothing there, or two files for one channel; ValueRangeError: numbers are missing.
    """
    places = [Path(path) for path in paths]
    for place in places:
        if not place.exists():
            raise FormatError(describe(file_name(place), "no such file or folder", "an existing path"))
    is_folder = len(places) == 1 and places[0].is_dir()
    entries = _entries(places[0]) if is_folder else places
    numbered = {entry: match for entry in entries if (match := _NUMBERED.fullmatch(_stem(entry)))}
    has_first = any(match["channel"] == "0000" for match in numbered.values())
    if channels == 1 and not has_first:
        return _plain(places, is_folder)
    others = [entry for entry in entries if entry not in numbered and image_suffix(entry)]
    if others:
        got = f"{file_name(others[0])} without the number of its channel"
        expected = "names such as CASE_0000.nii.gz" if channels == 1 else f"CASE_0000 to CASE_{channels - 1:04d}"
        raise ValueRangeError(describe(file_name(places[0]), got, expected))
    found: dict[str, dict[int, Path]] = {}
    for entry, match in numbered.items():
        case = found.setdefault(match["case"], {})
        number = int(match["channel"])
        if number in case:
            got = f"{file_name(case[number])} and {file_name(entry)}"
            raise FormatError(describe(file_name(places[0]), got, "one file for each channel"))
        case[number] = entry
    if not found:
        expected = f"images of {channels} channels, CASE_0000 to CASE_{channels - 1:04d}"
        raise FormatError(describe(file_name(places[0]), "none of its files", expected))
    return [_case(name, found[name], channels) for name in sorted(found)]


def _entries(folder: Path) -> list[Path]:
    """What may be a channel: images, and folders."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        return [entry for entry in entries if entry.is_dir() or _suffix(entry)]
    except OSError as error:
        raise FormatError(describe(file_name(folder), error.strerror, "a folder that can be read")) from None


def _suffix(path: Path) -> str:
    return image_suffix(path) or channel_suffix(path)


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.name[: len(path.name) - len(_suffix(path))]


def _case(name: str, found: dict[int, Path], channels: int) -> ChannelCase:
    paths = tuple(found[number] for number in sorted(found))
    error = None
    may_be_coloured = bool(channel_suffix(paths[0])) and len(paths) < channels  # reading tells
    if sorted(found) != list(range(len(paths) if may_be_coloured else channels)):
        got = f"channels {', '.join(f'_{number:04d}' for number in sorted(found))}"
        expected = f"_0000 to _{channels - 1:04d}, which the model takes" if channels > 1 else "_0000 alone"
        error = FormatError(describe(name, got, expected))
    return ChannelCase(name, paths, error)


def _plain(places: Sequence[Path], is_folder: bool) -> list[ChannelCase]:
    """Cases of one channel whose names carry no number."""
    if is_folder:
        folder = places[0]
        batch = cases(folder)
        if not batch and not any(is_dicom(path) for path in folder.rglob("*") if path.is_file()):
            raise FormatError(describe(file_name(folder), "no image", "NIfTI, NRRD, MetaImage or DICOM"))
        names = batch or {folder.resolve().name: folder}
    else:
        names = {}
        for place in places:
            if _stem(place) in names:
                got = f"{file_name(names[_stem(place)])} and {file_name(place)}"
                raise FormatError(describe("-i", got, "one image for each name"))
            names[_stem(place)] = place
    return [ChannelCase(name, (names[name],)) for name in sorted(names)]
