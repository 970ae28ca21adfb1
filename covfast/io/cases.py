"""One case or a batch: what a path that the user gave holds."""

from __future__ import annotations

import os
from pathlib import Path

from covfast.errors import FormatError, ValueRangeError, describe, file_name
from covfast.io.dicom.headers import first_study, is_dicom
from covfast.io.images import image_suffix


def cases(path: str | os.PathLike[str]) -> dict[str, Path]:
    """Name -> path of each case of a batch; empty where `path` is one case.

    A folder of NIfTI, NRRD or MetaImage files is a batch of them. A folder of folders whose DICOM images belong to
    several studies is a batch of those folders; of one study, it is one case with several series.

    Raises: ValueRangeError: a folder that mixes images with DICOM or with folders; FormatError: two images of one name,
        or a DICOM header that cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        return {}
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise FormatError(describe(file_name(folder), error.strerror, "a folder that can be read")) from error
    images = [entry for entry in entries if entry.is_file() and image_suffix(entry)]
    if images:
        return _images(folder, entries, images)
    folders = [entry for entry in entries if entry.is_dir()]
    if len(folders) < 2 or any(is_dicom(entry) for entry in entries if entry.is_file()):
        return {}
    studies = {entry: first_study(entry) for entry in folders}
    found = {entry.name: entry for entry, study in studies.items() if study}
    return found if len({studies[entry] for entry in found.values()}) > 1 else {}


def _images(folder: Path, entries: list[Path], images: list[Path]) -> dict[str, Path]:
    others = [entry for entry in entries if entry not in images and (entry.is_dir() or is_dicom(entry))]
    if others:
        got = f"{len(images)} image files beside {len(others)} folders or DICOM files"
        raise ValueRangeError(describe(file_name(folder), got, "a folder of images, or one DICOM case"))
    found: dict[str, Path] = {}
    for image in images:
        name = image.name[: -len(image_suffix(image))]
        if name in found:
            got = f"{file_name(found[name])} and {file_name(image)}"
            raise FormatError(describe(file_name(folder), got, "one image for each name"))
        found[name] = image
    return found
