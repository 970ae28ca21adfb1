"""Which label map of one folder belongs to which of another: pairs of one name."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from covfast.errors import FormatError, ValueRangeError, describe, file_name
from covfast.io.images import image_suffix
from covfast.io.pictures import PICTURE_SUFFIX, is_picture

StrPath = str | os.PathLike[str]

LABELS_FILE = "labels.nii.gz"
"""What `covfast segment -o OUT` calls the label map in `OUT`, or in `OUT/{case}` of a batch."""


@dataclass(frozen=True)
class CasePair:
    """A case whose reference and prediction were both found, and its probability map if maps were asked for."""

    case: str
    reference: Path
    prediction: Path
    probability: Path | None = None


@dataclass(frozen=True)
class Pairs:
    """What two folders hold, by name of the case, in alphabetical order.

    Attributes:
        found: cases with both.
        without_prediction, without_reference: names of cases that lack their partner.
        is_single: True if not folders but one case was given on either side.
    """

    found: tuple[CasePair, ...]
    without_prediction: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()
    is_single: bool = False


def find_pairs(reference: StrPath, prediction: StrPath) -> Pairs:
    """Pairs of label maps of one name.

    A folder holds files (.nii.gz, .nii, .nrrd, .mha, .png; the case is the name before the suffix), folders with a
    `labels.nii.gz` each, as `covfast segment` leaves them, or both; other files are passed over. Two files are a pair
    whatever their names; the case has the reference's.

    Raises: FormatError: nothing there, no label map in a folder, or two of one name; ValueRangeError: a file against a
        folder of several.
    """
    one, other = Path(reference), Path(prediction)
    single = [_single(path) for path in (one, other)]
    if single[0] is not None and single[1] is not None:
        name = _case_of(one if one.is_dir() else single[0])
        return Pairs((CasePair(name, single[0], single[1]),), is_single=True)
    for path, other_path, is_single in ((one, other, single[0]), (other, one, single[1])):
        if is_single is not None:
            got = f"the file {file_name(path)} against the folder {file_name(other_path)}"
            raise ValueRangeError(describe("reference and prediction", got, "two files, or two folders"))
    references, predictions = _label_maps(one), _label_maps(other)
    both = sorted(references.keys() & predictions.keys())
    return Pairs(
        tuple(CasePair(name, references[name], predictions[name]) for name in both),
        tuple(sorted(references.keys() - predictions.keys())),
        tuple(sorted(predictions.keys() - references.keys())),
    )


def with_maps(pairs: Pairs, probability: StrPath) -> Pairs:
    """The same pairs with the probability map of each, where a folder (or file, for one case) has one of its name.

    Raises: FormatError as `find_pairs`.
    """
    source = Path(probability)
    single = _single(source)
    maps = _label_maps(source) if single is None else {pair.case: single for pair in pairs.found[:1]}
    found = tuple(replace(pair, probability=maps.get(pair.case)) for pair in pairs.found)
    return replace(pairs, found=found)


def _single(path: Path) -> Path | None:
    """The label map that a path stands for alone, None if it is a folder of several."""
    if not path.exists():
        raise FormatError(describe(file_name(path), "no such file or folder", "an existing path"))
    if path.is_file():
        return path
    return path / LABELS_FILE if (path / LABELS_FILE).is_file() else None


def printable(name: str) -> str:
    """The same name with escapes for bytes that are no text and for control characters: fit for JSON and terminals."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown_name(path: Path, case: str) -> str:
    """The name of a case's file for outputs; of `LABELS_FILE` in the case's folder, with that folder's name."""
    is_named_by_folder = path.name == LABELS_FILE and printable(path.parent.name) == case
    return f"{case}/{LABELS_FILE}" if is_named_by_folder else printable(file_name(path))


def _case_of(path: Path) -> str:
    suffix = PICTURE_SUFFIX if is_picture(path) else image_suffix(path)
    return printable(path.name[: len(path.name) - len(suffix)])


def _label_maps(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise FormatError(describe(file_name(folder), error.strerror, "a folder that can be read")) from error
    for entry in entries:
        if entry.is_dir():
            name, path = printable(entry.name), entry / LABELS_FILE
            is_map = path.is_file()
        else:
            name, path = _case_of(entry), entry
            is_map = bool(is_picture(entry) or image_suffix(entry))
        if is_map and name in found:
            got = f"{file_name(found[name])} and {file_name(path)} for the case {name}"
            raise FormatError(describe(file_name(folder), got, "one label map for each name"))
        if is_map:
            found[name] = path
    if not found:
        expected = f"label maps (.nii.gz, .nii, .nrrd, .mha, .png), or folders with {LABELS_FILE}"
        raise FormatError(describe(file_name(folder), "a folder without label maps", expected))
    return found
