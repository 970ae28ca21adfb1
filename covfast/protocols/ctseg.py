"""The three tasks of the COVID-19-CT-Seg benchmark.

Task 1 learns from 4 COVID cases (or, as its "82" variant, from 16), Task 2 from lungs or lesions of other diseases
alone, Task 3 from both. DSC, and NSD at 1 mm for each lung and 3 mm for the infection.

Source: Ma et al. 2021, Medical Physics 48(3):1197-1210; github.com/JunMa11/COVID-19-CT-Seg-Benchmark.
"""

from __future__ import annotations

from covfast.protocols.protocol import INFECTION, LUNGS, EvaluationSet, Protocol
from covfast.protocols.splits import Fold, ctseg_cases, mosmed_cases, task1_folds, task2_fold, task3_folds

_TARGETS = {"lung": tuple(LUNGS), "infection": (INFECTION,), "union": (*LUNGS, INFECTION)}
_SOURCES = {
    "structseg-lung": ("structseg", "structseg", "lung", "StructSeg"),
    "nsclc-lung": ("nsclc-lung", "nsclc", "lung", "NSCLC"),
    "msd": ("msd", "msd", "lesion", "MSD"),
    "structseg-gtv": ("structseg", "structseg", "lesion", "StructSeg"),
    "nsclc-pe": ("nsclc-pe", "nsclc", "lesion", "NSCLC"),
}
"""Sub-task of Tasks 2 and 3 -> key of the split, data set, its part, name in the published tables."""

_POOLED = "mean and SD (n - 1) over the cases of all folds together, which is what the published SD agrees with"
_MOSMED = "every fold's model labels all 50 MosMed cases, and they are pooled: how the table did it is not stated"


def protocols() -> list[Protocol]:
    """Every sub-task, Tasks 1 to 3."""
    found = [_task1(name, swapped) for swapped in (False, True) for name in _TARGETS]
    return found + [_transfer(task, name) for task in (2, 3) for name in _SOURCES]


def _everywhere(folds: tuple[Fold, ...]) -> tuple[Fold, ...]:
    """The same folds with all of MosMed to test."""
    return tuple(Fold(fold.number, fold.train, mosmed_cases()) for fold in folds)


def _task1(target: str, swapped: bool) -> Protocol:
    folds = task1_folds(swapped=swapped)
    sets = [EvaluationSet("covid", "ctseg", target, folds, _TARGETS[target])]
    if target != "lung":
        sets.append(EvaluationSet("mosmed", "mosmed", "infection", _everywhere(folds)))
    kind = "Union" if target == "union" else "Separate"
    ratio = "16 cases train, 4 are tested" if swapped else "4 cases train, 16 are tested"
    return Protocol(
        name=f"task1-{'82-' if swapped else ''}{target}",
        title=f"COVID-19-CT-Seg Task 1, {target}: {ratio}, 5 folds",
        convention="ctseg",
        setting=f"T1-{'82-' if swapped else ''}{kind}",
        sets=tuple(sets),
        readings=(_POOLED, _MOSMED) if len(sets) > 1 else (_POOLED,),
    )


def _transfer(task: int, name: str) -> Protocol:
    key, data, part, title = _SOURCES[name]
    source = task2_fold(key)
    target = "lung" if part == "lung" else "infection"
    folds = task3_folds(key) if task == 3 else (Fold(0, source.train, ctseg_cases()),)
    own = tuple(Fold(fold.number, fold.train, source.test) for fold in folds)
    sets = [
        EvaluationSet("covid", "ctseg", target, folds, _TARGETS[target]),
        EvaluationSet("source", data, part, own, _TARGETS[target]),
    ]
    if target == "infection":
        sets.insert(1, EvaluationSet("mosmed", "mosmed", "infection", _everywhere(folds)))
    also = "" if task == 2 else " and 4 COVID cases, 5 folds"
    tumour = ("tumours and effusions are measured as the infection is, at 3 mm",) if part == "lesion" else ()
    return Protocol(
        name=f"task{task}-{name}",
        title=f"COVID-19-CT-Seg Task {task}, {target}: trains on {title} ({part}){also}",
        convention="ctseg",
        setting=f"T{task}-{title}",
        sets=tuple(sets),
        readings=(_POOLED, *((_MOSMED,) if len(sets) > 2 else ()), *tumour),
    )
