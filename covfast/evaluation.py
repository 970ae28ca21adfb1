"""Label maps of whole folders against each other: pairs found by name, measured in parallel, one failure alone."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import (
    Cancelled,
    CovfastError,
    DTypeError,
    GeometryError,
    ValueRangeError,
    describe,
)
from covfast.evaluation_files import Image, go_on, is_like_labels, read_map, read_pair
from covfast.io import is_picture
from covfast.io.pairs import CasePair, Pairs, find_pairs, shown_name, with_maps
from covfast.metrics.conventions import CONVENTIONS, NAME, CtSeg
from covfast.metrics.evaluate import TOLERANCE_MM, evaluate
from covfast.metrics.imresize import imresize
from covfast.metrics.inputs import check_threads
from covfast.metrics.miniseg import nearest
from covfast.metrics.report import Report
from covfast.metrics.summary import ReportSet
from covfast.volume import INFECTION, LABELS, LEFT_LUNG, RIGHT_LUNG, Geometry, Segmentation

DEFAULT_LABELS: Mapping[str, int] = {name: value for value, name in LABELS.items() if value}
LUNGS = "lungs"
LUNGS_TOLERANCE_MM = 1.0
"""That of each lung in the COVID-19-CT-Seg benchmark."""

POLL_S = 0.1
_SIDES = ("truth", "prediction")
PICTURE_SPACING_MM = (1.0, 1.0)
"""Pictures have no spacing: what is called mm is pixels then, and `ReportSet.unit` says so."""
HALF = 128
"""Least grey value of an 8-bit probability map that counts as foreground."""

StrPath = str | os.PathLike[str]
Mask = npt.NDArray[np.bool_]


class SupportsIsSet(Protocol):
    """What can cancel a long call: a `threading.Event`, for example."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class FailedCase:
    """A case that could not be measured, and the error that says why."""

    case: str
    error: Exception


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_folders` found.

    Attributes:
        reports: of the cases that were measured, in the order of `pairs.found`.
        pairs: what was compared with what, and what lacks its partner.
        how: the arguments.
        failed: the other cases.
        resampled: names of cases whose prediction was resampled onto the reference's grid.
        like_labels: names of cases whose probability map looks like a label map: 8-bit, nothing above `MOST_LABEL`.
    """

    reports: ReportSet
    pairs: Pairs
    how: How
    failed: tuple[FailedCase, ...] = ()
    resampled: tuple[str, ...] = ()
    like_labels: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """True if every case had both files and was measured."""
        return not (self.failed or self.pairs.without_prediction or self.pairs.without_reference)

    def masks(self, case: str, label: str) -> tuple[Mask, Mask, Geometry | None]:
        """One label's masks as they were measured, read again, in canonical orientation; no geometry for pictures.

        Raises: ValueRangeError: a case or label that was not measured; FormatError: a file that has changed since.
        """
        known = {report.case: report for report in self.reports}
        if case not in known or label not in known[case].labels:
            raise ValueRangeError(describe("case, label", f"{case!r}, {label!r}", "one that was measured"))
        pair = next(pair for pair in self.pairs.found if pair.case == case)
        truth, predicted, _ = read_pair(pair, self.how.resample)
        geometry = None
        values = known[case][label]
        if isinstance(truth, Segmentation) and isinstance(predicted, Segmentation):
            geometry = truth.geometry.canonical()
            arrays = [image.geometry.to_canonical(image.labels) for image in (truth, predicted)]
        else:
            arrays = list(_as_masks(truth, predicted, self.how)[:2])
        masks = [_holds(a, v) for a, v in zip(arrays, (values.truth_values, values.prediction_values), strict=True)]
        return masks[0], masks[1], geometry


class _Measured(NamedTuple):
    """A case's report, whether its prediction was resampled, and whether its probability map looks like labels."""

    report: Report
    was_resampled: bool
    is_like_labels: bool


@dataclass(frozen=True)
class How:
    """How each case is measured: the arguments of `evaluate`."""

    labels: Mapping[str, Any] | None
    tolerance_mm: Mapping[str, float] | float | None
    convention: str | None
    resample: bool
    has_probability: bool = False
    threads: int = 1

    @property
    def volume_labels(self) -> Mapping[str, int]:
        """The labels of volumes where none are asked for."""
        rule = CONVENTIONS.get(self.convention or "")
        return DEFAULT_LABELS if rule is None else rule.labels


@dataclass
class _Watch:
    """The caller's callback and cancel flag, between the cases."""

    progress: Callable[[str, int, int], None] | None
    cancel: SupportsIsSet | None
    total: int
    done: int = 0

    def step(self, finished: int) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("evaluate: cancelled")
        self.done += finished
        if self.progress is not None and finished:
            self.progress("evaluate", self.done, self.total)


def evaluate_folders(
    reference: StrPath,
    prediction: StrPath,
    *,
    labels: Mapping[str, Any] | None = None,
    tolerance_mm: Mapping[str, float] | float | None = None,
    convention: str | None = None,
    probability: StrPath | None = None,
    resample: bool = False,
    lungs_include_infection: bool = False,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: SupportsIsSet | None = None,
) -> Evaluation:
    """Metrics of every case that two folders share; several cases at once, each on its share of the threads.

    At most `threads` cases are in memory. Results do not depend on the number of threads, and come in order of name.

    Args:
        reference, prediction: two folders as `find_pairs` takes them, or two files.
        labels, tolerance_mm, convention: as `covfast.metrics.evaluate`; by default the labels that `covfast segment`
            writes, with the benchmark's tolerances.
        probability: the cases' probability maps, a file or a folder of them by name: 0..1 or 8-bit, on the
            prediction's grid; see `evaluate`. A case without one fails.
        resample: put a prediction that lies on another grid onto the reference's (nearest neighbour) instead of
            refusing it.
        lungs_include_infection: see `merge_lungs`.
        threads: CPU threads; None for all that the process may use.
        progress: called with ("evaluate", cases done, cases in all).
        cancel: stops the work when its `is_set()` is true.
    Raises: FormatError: a folder that is not there or holds nothing; ValueRangeError, DTypeError: an argument;
        Cancelled. What goes wrong within one case is in `failed`.
    """
    _check_types(
        {"reference": reference, "prediction": prediction, "probability": probability},
        {"resample": resample, "lungs_include_infection": lungs_include_infection},
        (progress, cancel),
    )
    count = check_threads(threads) or _core.hardware_threads()
    pairs = find_pairs(reference, prediction)
    if probability is not None:
        pairs = with_maps(pairs, probability)
    if lungs_include_infection and convention is not None:
        got = f"True with the convention {convention!r}"
        raise ValueRangeError(describe("lungs_include_infection", got, "no convention, whose labels are its script's"))
    if lungs_include_infection:
        labels = merge_lungs(DEFAULT_LABELS if labels is None else labels)
        if tolerance_mm is None:
            tolerance_mm = {LUNGS: LUNGS_TOLERANCE_MM, **{n: mm for n, mm in TOLERANCE_MM.items() if n in labels}}
    at_once = max(1, min(count, len(pairs.found)))
    how = How(labels, tolerance_mm, convention, resample, probability is not None, count // at_once)
    _check(how, pairs)
    results = _measure_all(pairs.found, how, at_once, _Watch(progress, cancel, len(pairs.found)))
    measured = {pair: result for pair, result in zip(pairs.found, results, strict=True) if isinstance(result, tuple)}
    unit = "px" if measured and all(is_picture(pair.reference) for pair in measured) else "mm"
    return Evaluation(
        reports=ReportSet((result.report for result in measured.values()), unit),
        pairs=pairs,
        how=how,
        failed=tuple(
            FailedCase(pair.case, result)
            for pair, result in zip(pairs.found, results, strict=True)
            if isinstance(result, Exception)
        ),
        resampled=tuple(pair.case for pair, result in measured.items() if result.was_resampled),
        like_labels=tuple(pair.case for pair, result in measured.items() if result.is_like_labels),
    )


def _check_types(paths: Mapping[str, Any], flags: Mapping[str, Any], watch: tuple[Any, Any]) -> None:
    """Raises: DTypeError: an argument of `evaluate_folders` of another kind than it takes."""
    progress, cancel = watch
    for name, path in paths.items():
        if not isinstance(path, (str, os.PathLike)) and (path is not None or name != "probability"):
            raise DTypeError(describe(name, repr(path), "a path"))
    for name, flag in flags.items():
        if not isinstance(flag, (bool, np.bool_)):
            raise DTypeError(describe(name, repr(flag), "True or False"))
    if progress is not None and not callable(progress):
        raise DTypeError(describe("progress", repr(progress), "a function of (stage, done, total)"))
    if cancel is not None and not callable(getattr(cancel, "is_set", None)):
        raise DTypeError(describe("cancel", repr(cancel), "an object with is_set(), such as threading.Event"))


def merge_lungs(labels: Mapping[str, Any]) -> dict[str, Any]:
    """The same labels with "left lung" and "right lung" as one label "lungs", which includes the infection.

    The lung that an infected voxel lies in does not stand in a label map, so a side cannot be completed.

    Args:
        labels: name -> values as `evaluate` takes them, with "left lung", "right lung" and "infection" among them.
    Raises: ValueRangeError: one of the three is missing.
    """
    parts = (LABELS[LEFT_LUNG], LABELS[RIGHT_LUNG], LABELS[INFECTION])
    missing = [name for name in parts if name not in labels]
    if missing:
        got = f"labels without {' and '.join(map(repr, missing))}"
        raise ValueRangeError(describe("lungs_include_infection", got, " and ".join(map(repr, parts))))
    sides = {side: sorted({v for part in parts for v in _values(labels[part], side)}) for side in _SIDES}
    merged: dict[str, Any] = {}
    for name, values in labels.items():
        merged.update({LUNGS: sides} if name in parts[:2] else {name: values})
    return merged


def _values(spec: Any, side: str) -> Sequence[int]:
    values = spec[side] if isinstance(spec, Mapping) else spec
    return [int(values)] if isinstance(values, (int, np.integer)) else list(values)


def _check(how: How, pairs: Pairs) -> None:
    """Finds wrong arguments on one voxel, before the work. Raises: ValueRangeError as `evaluate` does."""
    if how.labels is None and how.convention is None and any(is_picture(pair.reference) for pair in pairs.found):
        hint = "such as infection=255:255; or a convention"
        raise ValueRangeError(describe("labels", None, "the values of each label in the pictures", hint))
    voxel = np.ones((1, 1, 1), np.uint8)
    chance = voxel.astype(np.float32) if how.has_probability else None
    _evaluate("", (voxel, voxel, chance), (1.0, 1.0, 1.0), how.volume_labels, how)


def _measure_all(pairs: Sequence[CasePair], how: How, at_once: int, watch: _Watch) -> list[_Measured | Exception]:
    """Result of each pair, in order. A thread holds one case at a time, so that `at_once` of them are in memory."""
    stop = threading.Event()
    # Not concurrent.futures.wait: it takes the locks of all futures one by one, and a signal that ends the process
    # meanwhile would leave some of them taken, for which the workers then wait without end.
    finished: SimpleQueue[None] = SimpleQueue()

    def measure(pair: CasePair) -> _Measured | Exception:
        try:
            return _measure(pair, how, stop)
        finally:
            finished.put(None)

    pool = ThreadPoolExecutor(at_once, thread_name_prefix="covfast-evaluate")
    try:
        futures = [pool.submit(measure, pair) for pair in pairs]
        while watch.done < watch.total:
            try:
                finished.get(timeout=POLL_S)
            except Empty:
                watch.step(0)
            else:
                watch.step(1)
        return [future.result() for future in futures]
    finally:  # also where the caller was interrupted: what has not started never does, what has stops at the next file
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _measure(pair: CasePair, how: How, stop: threading.Event) -> _Measured | Exception:
    """What was found in one case; what is wrong with the case is returned, not raised."""
    try:
        truth, predicted, was_resampled = read_pair(pair, how.resample, stop)
        chances = read_map(pair) if how.has_probability else None
        go_on(stop)
        report = _report(pair, truth, predicted, chances, how)
        return _Measured(report, was_resampled, chances is not None and is_like_labels(chances))
    except (CovfastError, MemoryError, RuntimeError) as error:  # RuntimeError: SimpleITK's
        return error


def _report(pair: CasePair, truth: Image, predicted: Image, chances: Any, how: How) -> Report:
    if isinstance(truth, Segmentation):
        report = _evaluate(pair.case, (truth, predicted, chances), None, how.volume_labels, how)
    else:
        masks = _as_masks(truth, predicted, how)
        maps = masks if chances is None else (*masks[:2], chances)
        report = _evaluate(pair.case, maps, PICTURE_SPACING_MM, {"infection": 1}, how)
    return replace(report, row=_ctseg_row(pair, report.row)) if how.convention == CtSeg.name else report


def _ctseg_row(pair: CasePair, row: Mapping[str, Any]) -> dict[str, Any]:
    """The script's row, with the file's name, as it lists them; of pictures without the NSD, whose tolerance is mm."""
    undefined = [nsd for _, nsd in CtSeg.COLUMNS.values() if nsd in row and is_picture(pair.reference)]
    return {**row, NAME: shown_name(pair.reference, pair.case), **dict.fromkeys(undefined, math.nan)}


def _evaluate(
    case: str, maps: tuple[Any, Any, Any], spacing_mm: tuple[float, ...] | None, default: Mapping[str, int], how: How
) -> Report:
    """`evaluate` with the arguments of all cases; `default` are the labels where none are asked for."""
    return evaluate(
        maps[0],
        maps[1],
        spacing_mm,
        default if how.labels is None else how.labels,
        how.tolerance_mm,
        convention=how.convention,
        probability=maps[2],
        case=case,
        threads=how.threads,
    )


def _as_masks(truth: Any, predicted: Any, how: How) -> tuple[Any, Any, Any]:
    """Two pictures as `evaluate` takes them: label values as they are, or masks as a convention reads them.

    Returns: truth, prediction, and the probability map where the convention scores one.
    Raises: ValueRangeError: grey values where the convention takes a mask; GeometryError: sizes that differ.
    """
    if how.convention == "miniseg":
        truth = nearest(truth, predicted.shape)  # as the script does with the truth
    if truth.shape != predicted.shape and how.convention != "infnet":
        raise GeometryError(describe("prediction", f"{predicted.shape} pixels", f"{truth.shape}, as the reference"))
    if how.labels is not None:
        return truth, predicted, None
    mask = CONVENTIONS[str(how.convention)].truth_mask(truth)
    if how.convention != "infnet":
        if len(np.unique(predicted)) > 2:
            raise ValueRangeError(describe("prediction", "a picture of many grey values", "a mask of two"))
        return mask, predicted != 0, None
    grey = predicted if predicted.shape == truth.shape else imresize(predicted, truth.shape)
    return mask, grey >= HALF, grey


def _holds(labels: npt.NDArray[Any], values: Sequence[int]) -> Mask:
    """True where a map of bool or uint8 holds one of the values."""
    table = np.zeros(256, np.bool_)
    table[list(values)] = True
    return table[labels.astype(np.uint8)]
