"""The published splits: which cases train and which are tested in each fold.

COVID-19-CT-Seg benchmark: the authors' split files, as a table in `splits.json`; Task 3 follows from Tasks 1 and 2, as
in the authors' own files. MiniSeg: the folds of its published masks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from covfast.errors import ValueRangeError, describe

FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """One division of a data set.

    Attributes:
        number: from 0, as the authors number it; a single division is fold 0.
        train, test: names of cases; of MiniSeg's sets names of volumes, whose slices are the images.
    """

    number: int
    train: tuple[str, ...]
    test: tuple[str, ...]


@cache
def read_table(name: str) -> dict[str, Any]:
    """A data file of this package, such as "splits.json"."""
    text = resources.files("covfast.protocols").joinpath(name).read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def ctseg_cases() -> tuple[str, ...]:
    """The 20 cases of COVID-19-CT-Seg."""
    return tuple(read_table("splits.json")["task1"]["cases"])


def semiseg_slices() -> tuple[str, ...]:
    """The 50 training slices of COVID-SemiSeg."""
    return _named("{}", _numbers(read_table("splits.json")["semiseg"]["train"]))


def mosmed_cases() -> tuple[str, ...]:
    """The 50 labelled studies of MosMedData, numbers 255 to 304."""
    return tuple(f"study_{number:04}" for number in range(255, 305))


def task1_folds(*, swapped: bool = False) -> tuple[Fold, ...]:
    """Task 1: 4 cases train and the other 16 are tested; `swapped` (the "82" variant): 16 train, 4 are tested."""
    cases = ctseg_cases()
    folds = []
    for number, few in enumerate(read_table("splits.json")["task1"]["train"]):
        rest = tuple(case for case in cases if case not in few)
        sides = (rest, tuple(few)) if swapped else (tuple(few), rest)
        folds.append(Fold(number, *sides))
    return tuple(folds)


def task2_fold(source: str) -> Fold:
    """Task 2: training and validation cases of a non-COVID set.

    Args:
        source: "structseg" (its lung and tumour tasks have one split), "nsclc-lung", "msd" or "nsclc-pe".
    Raises: ValueRangeError: another source.
    """
    table = read_table("splits.json")["task2"]
    if source not in table:
        raise ValueRangeError(describe("source", repr(source), " or ".join(map(repr, table))))
    entry = table[source]
    val = frozenset(entry["val"])
    numbers = _numbers(entry["numbers"])
    return Fold(0, *(_named(entry["name"], [n for n in numbers if (n in val) == is_val]) for is_val in (False, True)))


def task3_folds(source: str) -> tuple[Fold, ...]:
    """Task 3: the source's training cases and the four of the Task-1 fold train; the other 16 COVID ones are tested."""
    train = task2_fold(source).train
    return tuple(Fold(fold.number, (*train, *fold.train), fold.test) for fold in task1_folds())


def volume_folds(name: str) -> tuple[Fold, ...]:
    """Folds by the name that a training recipe has for them: "task1", "task1-82", "task2-SOURCE" or "task3-SOURCE".

    Of Task 2 the source's own validation cases are tested. Raises: ValueRangeError: as `task2_fold`.
    """
    task, _, rest = name.partition("-")
    if task == "task2":
        return (task2_fold(rest),)
    return task3_folds(rest) if task == "task3" else task1_folds(swapped=rest == "82")


def miniseg_folds(name: str) -> tuple[Fold, ...]:
    """Folds of "ct100" (images), "p9", "p20" or "p1110" (volumes). Raises: ValueRangeError: another set."""
    groups = [tuple(group) for group in miniseg_counts(name)]
    every = [case for group in groups for case in group]
    return tuple(
        Fold(number, tuple(case for case in every if case not in group), group) for number, group in enumerate(groups)
    )


def miniseg_counts(name: str) -> tuple[Mapping[str, int | None], ...]:
    """Volume -> how many slices it has, for each fold; None where only the fold's total is known."""
    table = read_table("splits.json")["miniseg"]
    if name not in table:
        raise ValueRangeError(describe("name", repr(name), " or ".join(map(repr, table))))
    entry = table[name]
    if "name" not in entry:
        return tuple(entry["folds"])
    one = 1 if name == "ct100" else None
    return tuple(dict.fromkeys(_named(entry["name"], group), one) for group in entry["folds"])


def miniseg_images(name: str) -> tuple[int, ...]:
    """How many images each fold has."""
    entry = read_table("splits.json")["miniseg"][name]
    return tuple(entry["images"]) if "images" in entry else tuple(sum(group.values()) for group in entry["folds"])


def _named(pattern: str, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(pattern.format(number) for number in numbers)


def _numbers(text: str) -> list[int]:
    """Numbers of "1-3,7"."""
    spans = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [number for span in spans for number in range(span[0], span[-1] + 1)]
