"""Scans and masks in two folders, matched by name, and their folds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from covfast.errors import FormatError, ValueRangeError, describe
from covfast.io import read_labels
from covfast.protocols.datasets import WINDOW_HU, case_name, files_by_case, only
from covfast.protocols.splits import volume_folds
from covfast.train.recipe import Recipe, value_classes
from covfast.train.systems.base import fold_sides, require_validation
from covfast.train.volumes import Case, CtNormalisation, Preparation, Volumes, prepare


def listed(folder: Path, kind: str) -> dict[str, Path]:
    """Case -> file; of names as `covfast.protocols.datasets.case_name` of this kind.

    Raises:
        FormatError: No such folder, nothing in it, or two files of a case.
    """
    if not folder.is_dir():
        raise FormatError(describe("data", f"no folder {folder.name}", "a folder of NIfTI, NRRD or MetaImage files"))
    found = files_by_case(folder, kind)
    if not found:
        raise FormatError(describe("data", f"no image in {folder.name}", "NIfTI, NRRD or MetaImage files"))
    return {name: only(paths) for name, paths in found.items()}


def matched(images: Path, labels: Path, windowed: str = "") -> list[Case]:
    """The cases of two folders.

    Args:
        images, labels: Folders.
        windowed: How the names of cases begin that are stored windowed; empty: none.

    Raises:
        FormatError: A file without its fellow; the message names it.
    """
    scans, masks = listed(images, "images"), listed(labels, "truths")
    for name in list(masks):
        case = case_name(name, "images")
        is_called_as_image = case in scans and scans[case].name.startswith(
            f"{name}."
        )  # to the letter, with the channel
        if is_called_as_image and case not in masks:
            masks[case] = masks.pop(name)
    for name in sorted({*scans, *masks}):
        if name not in masks:
            raise FormatError(describe(scans[name].name, f"no mask in {labels.name}", "one of that name"))
        if name not in scans:
            raise FormatError(describe(masks[name].name, f"no image in {images.name}", "one of that name"))
    return [
        Case(name, path, masks[name], input_window=WINDOW_HU if windowed and name.startswith(windowed) else None)
        for name, path in scans.items()
    ]


def preparation(data: Mapping[str, Any]) -> Preparation:
    """How a recipe's `data` table wants its cases.

    Raises:
        ValueRangeError: A list of the wrong length, or a class that is no value.
    """
    lengths = {"spacing_mm": 3, "window_hu": 2, "normalisation_hu": 4}
    for key, length in lengths.items():
        if len(data[key]) not in (0, length):
            raise ValueRangeError(describe(f"data.{key}", data[key], f"{length} numbers, or none"))
    if data["normalisation_hu"] and data["normalisation_hu"][3] <= 0:
        raise ValueRangeError(describe("data.normalisation_hu", data["normalisation_hu"], "a deviation above 0"))
    return Preparation(
        classes=value_classes(data) or None,
        spacing_mm=tuple(data["spacing_mm"]) or None,
        window_hu=tuple(data["window_hu"]) or None,
        normalisation=CtNormalisation(*data["normalisation_hu"]) if data["normalisation_hu"] else None,
    )


def case_sides(names: Sequence[str], split: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(training, held-out) cases: a published fold, or one of our own.

    Raises:
        FormatError: A case of the published fold is not there.
        ValueRangeError: No such fold.
    """
    if not split["published"]:
        return fold_sides(names, split)
    folds = volume_folds(split["published"])
    if split["fold"] >= len(folds):
        raise ValueRangeError(describe("split.fold", str(split["fold"]), f"0 to {len(folds) - 1}"))
    fold = folds[split["fold"]]
    require_cases(names, (*fold.train, *fold.test), split["published"])
    return list(fold.train), list(fold.test)


def require_cases(names: Collection[str], wanted: Sequence[str], split: str) -> None:
    """Raises: FormatError: a case of a published split is not there; the message names it."""
    for case in wanted:
        if case not in names:
            raise FormatError(describe(case, "no such case", f"{len(wanted)} cases of {split}"))


@dataclass(frozen=True)
class Grids:
    """What a network is planned from.

    Attributes:
        spacings_mm: of each case along D, H, W.
        sizes: voxels of each case.
        classes: background included.
    """

    spacings_mm: list[tuple[float, ...]]
    sizes: list[tuple[int, ...]]
    classes: int


def training_grids(table: Recipe, data: Path) -> Grids:
    """Grids of a recipe's training cases at `data.spacing_mm`, each its own where that is empty; read from the masks.

    Raises:
        FormatError, ValueRangeError: As `matched`, `case_sides` and `preparation`.
    """
    given = table["data"]
    cases = {case.name: case for case in matched(data / given["images"], data / given["labels"], given["windowed"])}
    how, highest = preparation(given), 0
    spacings: list[tuple[float, ...]] = []
    sizes: list[tuple[int, ...]] = []
    for name in case_sides(list(cases), table["split"])[0]:
        mask = read_labels(cast(Path, cases[name].labels))
        own = mask.geometry.canonical()
        wanted = how.spacing_mm or own.spacing_mm
        triples = zip(own.shape, own.spacing_mm, wanted, strict=True)
        spacings.append(tuple(wanted))
        sizes.append(tuple(max(round(old / new * n), 1) for n, old, new in triples))
        highest = max(highest, int(mask.labels.max(initial=0)))
    return Grids(spacings, sizes, 1 + (max(how.classes.values()) if how.classes else highest))


def target_volumes(table: Recipe, data: Path, out: Path) -> tuple[Volumes, Volumes | None, list[Path]]:
    """(training, held-out) volumes of a recipe's `data` and `split`, and the files that they come from.

    The held-out ones are prepared as the training ones are: intensities come from the training cases alone.

    Raises:
        FormatError, GeometryError, ValueRangeError: As `matched`, `case_sides` and `covfast.train.volumes.prepare`.
    """
    given = table["data"]
    cases = {case.name: case for case in matched(data / given["images"], data / given["labels"], given["windowed"])}
    inside, outside = case_sides(list(cases), table["split"])
    require_validation(table["run"], bool(outside))
    how = preparation(given)
    train = prepare([cases[name] for name in inside], out / "prepared" / "training", how)
    files = [path for name in (*inside, *outside) for path in (cases[name].image, cases[name].labels)]
    paths = [path for path in files if isinstance(path, Path)]
    if not outside:
        return train, None, paths
    same = Preparation(how.classes, how.spacing_mm, how.window_hu, train.normalisation)
    return train, prepare([cases[name] for name in outside], out / "prepared" / "held_out", same), paths
