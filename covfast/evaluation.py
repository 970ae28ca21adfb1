"""Label maps of whole folders against each other: pairs found by name, measured in parallel, one failure alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import (
    Cancelled,
    CovfastError,
    FormatError,
    GeometryError,
    ValueRangeError,
    describe,
    file_name,
)
from covfast.io import image_suffix, is_picture, read_labels, read_picture, resample_labels
from covfast.metrics.conventions import CONVENTIONS
from covfast.metrics.evaluate import TOLERANCE_MM, evaluate
from covfast.metrics.imresize import imresize
from covfast.metrics.inputs import check_threads
from covfast.metrics.miniseg import nearest
from covfast.metrics.report import Report
from covfast.metrics.summary import ReportSet
from covfast.volume import INFECTION, LABELS, LEFT_LUNG, RIGHT_LUNG, Geometry, Segmentation

LABELS_FILE = "labels.nii.gz"
"""What `covfast segment -o OUT` calls the label map in `OUT`, or in `OUT/{case}` of a batch."""

DEFAULT_LABELS: Mapping[str, int] = {name: value for value, name in LABELS.items() if value}
LUNGS = "lungs"
LUNGS_TOLERANCE_MM = 1.0
"""That of each lung in the COVID-19-CT-Seg benchmark."""

POLL_S = 0.1
_SIDES = ("truth", "prediction")
PICTURE_SPACING_MM = (1.0, 1.0)
HALF = 128
"""Least grey value of an 8-bit probability map that counts as foreground."""

StrPath = str | os.PathLike[str]
Mask = npt.NDArray[np.bool_]
Image = Segmentation | npt.NDArray[np.uint8]
"""A label map on its grid, or the (H, W) grey values of a picture."""


class SupportsIsSet(Protocol):
    """What can cancel a long call: a `threading.Event`, for example."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class CasePair:
    """A case whose reference and prediction were both found."""

    case: str
    reference: Path
    prediction: Path


@dataclass(frozen=True)
class Pairs:
    """What two folders hold, by name of the case, in alphabetical order.

    Attributes:
        found: cases with both.
        without_prediction, without_reference: names of cases that lack their partner.
    """

    found: tuple[CasePair, ...]
    without_prediction: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()


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
    """

    reports: ReportSet
    pairs: Pairs
    how: How
    failed: tuple[FailedCase, ...] = ()
    resampled: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class How:
    """How each case is measured: the arguments of `evaluate`."""

    labels: Mapping[str, Any] | None
    tolerance_mm: Mapping[str, float] | float | None
    convention: str | None
    resample: bool
    cancel: SupportsIsSet | None = None
    threads: int = 1

    def poll(self) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("evaluate: cancelled")


@dataclass
class _Progress:
    """Counts finished cases for the callback."""

    callback: Callable[[str, int, int], None] | None
    total: int
    done: int = field(default=0)

    def add(self, count: int) -> None:
        self.done += count
        if self.callback is not None and count:
            self.callback("evaluate", self.done, self.total)


def evaluate_folders(
    reference: StrPath,
    prediction: StrPath,
    *,
    labels: Mapping[str, Any] | None = None,
    tolerance_mm: Mapping[str, float] | float | None = None,
    convention: str | None = None,
    resample: bool = False,
    lungs_include_infection: bool = False,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: SupportsIsSet | None = None,
) -> Evaluation:
    """Metrics of every case that two folders share; several cases at once, each on one thread.

    At most `threads` cases are in memory. Results do not depend on the number of threads, and come in order of name.

    Args:
        reference, prediction: two folders as `find_pairs` takes them, or two files.
        labels, tolerance_mm, convention: as `covfast.metrics.evaluate`; by default the labels that `covfast segment`
            writes, with the benchmark's tolerances.
        resample: put a prediction that lies on another grid onto the reference's (nearest neighbour) instead of
            refusing it.
        lungs_include_infection: see `merge_lungs`.
        threads: CPU threads; None for all that the process may use.
        progress: called with ("evaluate", cases done, cases in all).
        cancel: stops the work when its `is_set()` is true.
    Raises: FormatError: a folder that is not there or holds nothing; ValueRangeError: an argument; Cancelled. What goes
        wrong within one case is in `failed`.
    """
    count = check_threads(threads) or _core.hardware_threads()
    if convention is not None and convention not in CONVENTIONS:
        raise ValueRangeError(describe("convention", repr(convention), " or ".join(map(repr, CONVENTIONS))))
    pairs = find_pairs(reference, prediction)
    if lungs_include_infection:
        labels = merge_lungs(DEFAULT_LABELS if labels is None else labels)
        if tolerance_mm is None:
            tolerance_mm = {LUNGS: LUNGS_TOLERANCE_MM, **{n: mm for n, mm in TOLERANCE_MM.items() if n in labels}}
    at_once = max(1, min(count, len(pairs.found)))
    how = How(labels, tolerance_mm, convention, resample, cancel, count if at_once == 1 else 1)
    results = _measure_all(pairs.found, how, at_once, _Progress(progress, len(pairs.found)))
    measured = [(pair, result) for pair, result in zip(pairs.found, results, strict=True)]
    return Evaluation(
        reports=ReportSet(result[0] for _, result in measured if isinstance(result, tuple)),
        pairs=pairs,
        how=how,
        failed=tuple(FailedCase(pair.case, result) for pair, result in measured if isinstance(result, Exception)),
        resampled=tuple(pair.case for pair, result in measured if isinstance(result, tuple) and result[1]),
    )


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
        return Pairs((CasePair(name, single[0], single[1]),))
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


def _single(path: Path) -> Path | None:
    """The label map that a path stands for alone, None if it is a folder of several."""
    if not path.exists():
        raise FormatError(describe(file_name(path), "no such file or folder", "an existing path"))
    if path.is_file():
        return path
    return path / LABELS_FILE if (path / LABELS_FILE).is_file() else None


def _case_of(path: Path) -> str:
    suffix = ".png" if is_picture(path) else image_suffix(path)
    return path.name[: len(path.name) - len(suffix)]


def _label_maps(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise FormatError(describe(file_name(folder), error.strerror, "a folder that can be read")) from error
    for entry in entries:
        if entry.is_dir():
            name, path = entry.name, entry / LABELS_FILE
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


def read_pair(pair: CasePair, resample: bool = False) -> tuple[Image, Image, bool]:
    """The label maps of a pair, and whether the prediction had to be resampled onto the reference's grid.

    Raises: FormatError: unreadable, no label map, or a picture against a volume; GeometryError: grids that differ, or
        that cannot be resampled.
    """
    kinds = is_picture(pair.reference), is_picture(pair.prediction)
    if kinds[0] != kinds[1]:
        got = f"{file_name(pair.reference)} and {file_name(pair.prediction)}"
        raise FormatError(describe("reference and prediction", got, "two pictures or two volumes"))
    if kinds[0]:
        return read_picture(pair.reference), read_picture(pair.prediction), False
    truth, predicted = read_labels(pair.reference), read_labels(pair.prediction)
    if not resample or truth.geometry.canonical().is_close(predicted.geometry.canonical()):
        return truth, predicted, False
    return truth, resample_labels(predicted, truth.geometry), True


def _measure_all(
    pairs: Sequence[CasePair], how: How, at_once: int, progress: _Progress
) -> list[tuple[Report, bool] | Exception]:
    """Result of each pair, in order. A thread holds one case at a time, so that `at_once` of them are in memory."""
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="covfast-evaluate")
    try:
        futures = [pool.submit(_measure, pair, how) for pair in pairs]
        waiting: set[Future[tuple[Report, bool] | Exception]] = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            how.poll()
            progress.add(len(done))
        return [future.result() for future in futures]
    finally:  # also where the caller was interrupted: what has not started never does
        pool.shutdown(wait=True, cancel_futures=True)


def _measure(pair: CasePair, how: How) -> tuple[Report, bool] | Exception:
    """Report of one case and whether it was resampled; what is wrong with the case is returned, not raised."""
    try:
        how.poll()
        truth, predicted, was_resampled = read_pair(pair, how.resample)
        how.poll()
        return _report(pair.case, truth, predicted, how), was_resampled
    except Cancelled:
        raise
    except (CovfastError, MemoryError, RuntimeError) as error:  # RuntimeError: SimpleITK's
        return error


def _report(case: str, truth: Image, predicted: Image, how: How) -> Report:
    if isinstance(truth, Segmentation):
        default = DEFAULT_LABELS if how.convention is None else CONVENTIONS[how.convention].labels
        arrays, spacing_mm = (truth, predicted, None), None
    else:
        default = {"infection": 1}
        arrays, spacing_mm = _as_masks(truth, predicted, how), PICTURE_SPACING_MM
    return evaluate(
        arrays[0],
        arrays[1],
        spacing_mm,
        default if how.labels is None else how.labels,
        how.tolerance_mm,
        convention=how.convention,
        probability=arrays[2],
        case=case,
        threads=how.threads,
    )


def _as_masks(truth: Any, predicted: Any, how: How) -> tuple[Any, Any, Any]:
    """Two pictures as `evaluate` takes them: label values as they are, or masks as a convention reads them.

    Returns: truth, prediction, and the probability map where the convention scores one.
    Raises: ValueRangeError: without labels and convention the values have no meaning; GeometryError: sizes that differ.
    """
    if how.convention == "miniseg":
        truth = nearest(truth, predicted.shape)  # as the script does with the truth
    if truth.shape != predicted.shape and how.convention != "infnet":
        raise GeometryError(describe("prediction", f"{predicted.shape} pixels", f"{truth.shape}, as the reference"))
    if how.labels is not None:
        return truth, predicted, None
    if how.convention is None:
        hint = "such as infection=255:255; or a convention"
        raise ValueRangeError(describe("labels", None, "the values of each label in the pictures", hint))
    mask = CONVENTIONS[how.convention].truth_mask(truth)
    if how.convention != "infnet":
        return mask, predicted != 0, None
    grey = predicted if predicted.shape == truth.shape else imresize(predicted, truth.shape)
    return mask, grey >= HALF, grey


def _holds(labels: npt.NDArray[Any], values: Sequence[int]) -> Mask:
    """True where a map of bool or uint8 holds one of the values."""
    table = np.zeros(256, np.bool_)
    table[list(values)] = True
    return table[labels.astype(np.uint8)]
