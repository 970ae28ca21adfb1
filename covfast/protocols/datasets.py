"""What a data set's folder must hold, and what one holds: names, counts, labels and geometry."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covfast.errors import Cancelled, CovfastError, FormatError, GeometryError, ValueRangeError, describe, file_name
from covfast.io import image_suffix, is_picture, read, read_drawing, read_labels, read_picture
from covfast.io.pictures import DRAWING_SUFFIXES
from covfast.protocols.miniseg_sets import SETS, volume_of
from covfast.protocols.splits import (
    ctseg_cases,
    miniseg_counts,
    miniseg_images,
    mosmed_cases,
    read_table,
    semiseg_slices,
    task2_fold,
)

WINDOW_HU = (-1250.0, 250.0)
"""What the benchmark's radiopaedia cases were windowed to, and then scaled to 0..255, before they were published."""

MISSING, EXTRA, COUNT, DOUBLE = "missing", "extra", "count", "double"
CORRUPT, MISMATCHED, LABELS = "corrupt", "mismatched", "labels"

UNUSABLE = (DOUBLE, CORRUPT, MISMATCHED, LABELS)
"""What makes a case that is there no case."""

Side = dict[str, list[Path]] | None
"""Case -> files of the images or of the masks; None where their folder is missing."""

_TAILS = {"images": "_0000", "truths": "_mask"}
"""What may follow the case's name: nnU-Net's channel, MosMed's masks."""


@dataclass(frozen=True)
class Part:
    """Images and one kind of masks of a data set; see `datasets.json`.

    Attributes:
        data, name: keys of the table.
        title, url, licence: of the data set.
        folders: names that its folder may have.
        images: sub-folders that may hold them.
        truths: sub-folders that may hold the masks -> the values that these may have; none for grey masks.
        is_picture: slices as PNG or JPEG, masks as PNG; else volumes.
        cases: names of the cases, None where they are not known.
        count: number of cases, None where it follows from the names.
        is_coloured: masks may be colours or a palette, of which the grey values count: 38 is dark red, 75 dark green.
        windowed: how the names of cases begin that are windowed to `WINDOW_HU`; empty for none.
        has_unmasked: the data set has images without a mask of this kind, which are no cases of this part.
    """

    data: str
    name: str
    title: str
    url: str
    licence: str
    folders: tuple[str, ...]
    images: tuple[str, ...]
    truths: Mapping[str, frozenset[int]]
    is_picture: bool
    cases: tuple[str, ...] | None
    count: int | None
    is_coloured: bool
    windowed: str
    has_unmasked: bool

    @property
    def values(self) -> frozenset[int]:
        """What masks may hold, of any of the folders; empty for grey masks."""
        return frozenset().union(*self.truths.values())

    def window_of(self, case: str) -> tuple[float, float] | None:
        """The window that a case is published in, None for HU."""
        return WINDOW_HU if self.windowed and case.startswith(self.windowed) else None


@dataclass(frozen=True)
class CaseFiles:
    """A case with its image and its mask."""

    name: str
    image: Path
    truth: Path


@dataclass(frozen=True)
class Problem:
    """What is wrong: its kind, one of those above, and the error that names the file."""

    kind: str
    case: str
    error: CovfastError


@dataclass(frozen=True)
class Found:
    """What a folder holds of a part.

    Attributes:
        part: of the folders of masks that it may have, the one that is there.
        cases: the usable ones by name.
        problems: what is wrong.
        is_checked: whether the files were read, not only found.
    """

    part: Part
    cases: Mapping[str, CaseFiles]
    problems: tuple[Problem, ...]
    is_checked: bool = False

    @property
    def is_complete(self) -> bool:
        """Nothing is missing or wrong; files beyond the published ones do not count."""
        return all(problem.kind == EXTRA for problem in self.problems)


@cache
def part(data: str, name: str) -> Part:
    """The part of a data set. Raises: ValueRangeError: none of these keys."""
    table = read_table("datasets.json")["datasets"]
    known = {(key, one) for key, entry in table.items() for one in entry["parts"]}
    if (data, name) not in known:
        raise ValueRangeError(describe("data, part", (data, name), f"one of {sorted(known)}"))
    entry, own = table[data], table[data]["parts"][name]
    return Part(
        data=data,
        name=name,
        title=entry["title"],
        url=entry["url"],
        licence=entry["licence"],
        folders=tuple(entry["folders"]),
        images=tuple(own["images"]),
        truths={folder: frozenset(values) for folder, values in own["truths"].items()},
        is_picture=bool(entry.get("pictures")),
        cases=_names(data, name),
        count=own.get("count"),
        is_coloured=bool(own.get("coloured")),
        windowed=entry.get("windowed", ""),
        has_unmasked=bool(own.get("unmasked")),
    )


def _names(data: str, part_name: str) -> tuple[str, ...] | None:
    """Published names of the cases of a part."""
    if data == "ctseg":
        return ctseg_cases()
    if data == "mosmed":
        return mosmed_cases()
    if data == "semiseg" and part_name in ("train", "classes-train"):
        return semiseg_slices()
    if data == "ct100":
        return tuple(case for group in miniseg_counts(data) for case in group)
    splits = {("nsclc", "lung"): "nsclc-lung", ("nsclc", "lesion"): "nsclc-pe", ("msd", "lesion"): "msd"}
    key = "structseg" if data == "structseg" else splits.get((data, part_name))
    if key is None:
        return None
    fold = task2_fold(key)
    return tuple(sorted((*fold.train, *fold.test)))


def find(wanted: Part, data: str | os.PathLike[str]) -> Found:
    """The cases of a part under a folder, by name alone: no file is opened.

    The data set is looked for in DATA/FOLDER, then in DATA itself.

    Raises: FormatError: `data` is no folder.
    """
    base = Path(data)
    if not base.is_dir():
        raise FormatError(describe("data", f"{file_name(base)}, no folder", "the folder that holds the data sets"))
    roots = [base / name for name in wanted.folders] + [base]
    images_in, truths_in = (_first_folder(roots, names) for names in (wanted.images, wanted.truths))
    if truths_in is not None:
        wanted = replace(wanted, truths={truths_in[1]: wanted.truths[truths_in[1]]})
    sides: list[Side] = [
        None if place is None else files_by_case(place[0], kind, wanted.is_picture, wanted.cases or ())
        for place, kind in ((images_in, "images"), (truths_in, "truths"))
    ]
    images, truths = (side or {} for side in sides)
    expected = sorted(images.keys() | truths.keys()) if wanted.cases is None else wanted.cases
    both = sorted((images.keys() & truths.keys()).intersection(expected))
    problems = [*_absent(wanted, expected, sides), *_extra(wanted, images.keys(), truths.keys(), expected)]
    cases = {}
    for name in both:
        try:
            cases[name] = CaseFiles(name, only(images[name]), only(truths[name]))
        except FormatError as error:
            problems.append(Problem(DOUBLE, name, error))
    if None not in sides:
        problems += _counts(wanted, both)
    return Found(wanted, cases, tuple(problems))


def _first_folder(roots: Iterable[Path], names: Iterable[str]) -> tuple[Path, str] | None:
    """The first folder that is there, and which of the names it has."""
    places = ((root / name, name) for root in roots for name in names)
    return next((place for place in places if place[0].is_dir()), None)


def files_by_case(
    folder: Path, side: str, is_slice: bool = False, cases: Collection[str] | None = None
) -> dict[str, list[Path]]:
    """Case -> its files in a folder; `only` refuses a second one.

    Args:
        folder: where they lie; hidden files and those of other kinds do not count.
        side: "images" or "truths".
        is_slice: pictures, else volumes.
        cases: names that `case_name` may shorten a file's name to; None: any.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        suffix = _suffix(path, side, is_slice)
        if not suffix or path.name.startswith("."):
            continue
        stem = path.name[: -len(suffix)]
        name = case_name(stem, side)
        found.setdefault(name if cases is None or name in cases else stem, []).append(path)
    return found


def only(files: Sequence[Path]) -> Path:
    """The one file of a case. Raises: FormatError: there are more; which one holds is not known."""
    if len(files) > 1:
        raise FormatError(describe(files[1].name, f"beside {files[0].name}", "one file of a case"))
    return files[0]


def case_name(stem: str, side: str) -> str:
    """The case that a file is of, by its name without suffix.

    Args:
        stem: of an image nnU-Net's channel `_0000`, of a mask MosMed's `_mask` does not count.
        side: "images" or "truths".
    """
    return stem.removesuffix(_TAILS[side])


def _suffix(path: Path, side: str, is_slice: bool) -> str:
    if not is_slice:
        return image_suffix(path)
    if side == "truths":
        return path.suffix if is_picture(path) else ""
    return path.suffix if path.suffix.lower() in DRAWING_SUFFIXES else ""


def _absent(wanted: Part, expected: Sequence[str], sides: Sequence[Side]) -> Iterator[Problem]:
    """Folders and files that are not there."""
    for held, kind, folders in zip(sides, ("image", "mask"), (wanted.images, wanted.truths), strict=True):
        place = f"{wanted.folders[0]}/{next(iter(folders))}"
        if held is None:
            yield Problem(
                MISSING, wanted.title, FormatError(describe(wanted.title, f"no {kind}s", f"a folder {place}"))
            )
            continue
        for name in expected:
            if name not in held:
                yield Problem(
                    MISSING, name, FormatError(describe(name, f"no {kind}", f"a file of its name in {place}"))
                )


def _extra(
    wanted: Part, images: Collection[str], truths: Collection[str], expected: Sequence[str]
) -> Iterator[Problem]:
    """Cases, or the image or mask alone, that are not of the published ones."""
    held = set(truths) if wanted.has_unmasked else {*images, *truths}
    for name in sorted(held.difference(expected)):
        got = f"a case that {wanted.title} does not have"
        yield Problem(EXTRA, name, FormatError(describe(name, got, "the published cases", "it is left out")))


def _counts(wanted: Part, cases: Collection[str]) -> Iterator[Problem]:
    """Wrong numbers of cases, in all and of MiniSeg's sets in each fold and volume."""
    if wanted.count is not None and len(cases) != wanted.count:
        yield _count(wanted.title, len(cases), wanted.count)
    if wanted.data not in SETS or wanted.data == "ct100":
        return
    held: dict[str, int] = {}
    for name in cases:
        volume = volume_of(wanted.data, name)
        held[volume] = held.get(volume, 0) + 1
    for number, (group, total) in enumerate(zip(miniseg_counts(wanted.data), miniseg_images(wanted.data), strict=True)):
        inside = sum(held.get(volume, 0) for volume in group)
        if inside != total:
            yield _count(f"{wanted.title}, fold {number}", inside, total)
        for volume, images in group.items():
            got = held.pop(volume, 0)
            if images is not None and got != images:
                yield _count(volume, got, images)
    for volume in sorted(held):
        error = FormatError(describe(volume, "a volume of no fold", "the published volumes; it is left out"))
        yield Problem(EXTRA, volume, error)


def _count(what: str, got: int, expected: int) -> Problem:
    return Problem(COUNT, what, FormatError(describe(what, f"{got} images", str(expected))))


def check(found: Found, progress: Callable[[str, int, int], None] | None = None) -> Found:
    """The same with every file read: what is corrupt, mismatched, or holds other labels, is no case any more.

    Args:
        found: what `find` found.
        progress: called with ("check", cases done, cases in all).
    """
    good: dict[str, CaseFiles] = {}
    problems = list(found.problems)
    for done, (name, files) in enumerate(found.cases.items(), 1):
        try:
            check_case(found.part, files)
            good[name] = files
        except Cancelled:
            raise
        except CovfastError as error:
            problems.append(Problem(_kind(error), name, error))
        if progress is not None:
            progress("check", done, len(found.cases))
    return replace(found, cases=good, problems=tuple(problems), is_checked=True)


def read_mask(wanted: Part, path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 values of a picture's mask. Raises: FormatError: unreadable."""
    return read_drawing(path) if wanted.is_coloured else read_picture(path)


def _kind(error: CovfastError) -> str:
    if isinstance(error, GeometryError):
        return MISMATCHED
    return LABELS if isinstance(error, ValueRangeError) else CORRUPT


def check_case(wanted: Part, files: CaseFiles) -> None:
    """Reads a case's image and mask.

    Raises: FormatError: unreadable, or intensities that are neither HU nor the published window; GeometryError: image
        and mask on different grids; ValueRangeError: labels that the masks may not hold. Each names the file.
    """
    name = file_name(files.truth)
    if wanted.is_picture:
        picture, mask = read_drawing(files.image), read_mask(wanted, files.truth)
        values = frozenset(np.unique(mask).tolist())
        is_same, shapes = picture.shape == mask.shape, (mask.shape, picture.shape)
    else:
        truth = read_labels(files.truth)
        values = frozenset(np.flatnonzero(np.bincount(truth.labels.ravel(), minlength=256)).tolist())
        volume = read(files.image, input_window=wanted.window_of(files.name))
        is_same = volume.geometry.canonical().is_close(truth.geometry.canonical())
        shapes = (truth.geometry.shape, volume.geometry.shape)
    if not is_same:
        expected = f"the grid of {file_name(files.image)}, {shapes[1]}"
        raise GeometryError(describe(name, f"a grid of {shapes[0]}", expected))
    if wanted.values and not values <= wanted.values:
        strange = ", ".join(map(str, sorted(values - wanted.values)))
        raise ValueRangeError(describe(name, f"the labels {strange}", f"only {sorted(wanted.values)}"))
