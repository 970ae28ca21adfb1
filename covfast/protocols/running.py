"""A protocol from data and predictions to figures: fold by fold through `evaluate_folders`."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from covfast.errors import FormatError, ValueRangeError, describe
from covfast.evaluation import Evaluation, evaluate_folders
from covfast.evaluation_report import save_evaluation
from covfast.io import image_suffix, write_label_picture
from covfast.metrics.conventions import CONVENTIONS
from covfast.metrics.report import Report
from covfast.protocols.comparison import published
from covfast.protocols.datasets import EXTRA, CaseFiles, Found, part, read_mask
from covfast.protocols.miniseg_sets import SETS, volume_of
from covfast.protocols.outcome import BenchmarkResult, FoldResult
from covfast.protocols.predict import coding
from covfast.protocols.protocol import INFECTION, EvaluationSet, Protocol
from covfast.protocols.sources import Predictions, Source, highest_label
from covfast.protocols.splits import Fold

log = logging.getLogger("covfast")

Watch = Callable[[str, int, int], None]


def run(
    protocol: Protocol,
    tested: EvaluationSet,
    found: Found,
    source: Source,
    *,
    folds: Sequence[int] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    objections: Sequence[str] = (),
    progress: Watch | None = None,
) -> BenchmarkResult:
    """Predicts and measures each fold.

    Cases that are missing, or fail, are left out, named in the result, and make it not comparable.

    Args:
        protocol, tested: what is run, and on which of its sets.
        found: what `find` (and `check`) found of that set.
        source: gives the predictions.
        folds: numbers; None for all.
        out: folder for OUT/fold_N/report.json and the like, None to keep none.
        overwrite: replace them.
        threads: CPU threads of the evaluation.
        objections: more reasons why the result cannot be compared.
        progress: called with (stage, done, total).
    Raises: FormatError: not a single case is there; ValueRangeError: a fold that the protocol does not have; what the
        model raises.
    """
    chosen = choose_folds(tested, folds)
    if not any(cases_of(tested, found, fold) for fold in chosen):
        hint = found.problems[0].error if found.problems else ""
        expected = f"cases of {protocol.name} in {found.part.folders[0]}"
        raise FormatError(describe("data", "no case", expected, str(hint)))
    truth = _truth_codes(tested, found)
    done = []
    for fold in chosen:
        cases = cases_of(tested, found, fold)
        predictions = source.predictions(fold, cases)
        evaluation = None
        with tempfile.TemporaryDirectory(prefix="covfast-") as folder:
            if cases and predictions.files:
                evaluation = _measure(protocol, tested, cases, predictions, truth, Path(folder), threads, progress)
                _warn_of_labels(fold, evaluation)
                if out is not None:
                    save_evaluation(evaluation, out / f"fold_{fold.number}", overwrite=overwrite)
        done.append(_fold_result(protocol, fold, cases, predictions, evaluation, _missing(tested, found, fold)))
    if not any(fold.reports or fold.failed for fold in done):
        got = f"none of {sum(len(fold.unpredicted) for fold in done)} cases"
        raise FormatError(describe("predictions", got, "files called like the cases, as --check lists them"))
    objection = source.objection(chosen)
    reasons = [*objections, *([objection] if objection else []), *_objections(protocol, tested, found, done)]
    return BenchmarkResult(protocol, tested, tuple(done), _overall(protocol, done), tuple(reasons))


def choose_folds(tested: EvaluationSet, folds: Sequence[int] | None) -> tuple[Fold, ...]:
    """The folds of these numbers. Raises: ValueRangeError: one that is not there."""
    if folds is None:
        return tested.folds
    known = {fold.number: fold for fold in tested.folds}
    for number in folds:
        if number not in known:
            raise ValueRangeError(describe("fold", number, f"one of {', '.join(map(str, known))}, or all"))
    return tuple(known[number] for number in dict.fromkeys(folds))


def cases_of(tested: EvaluationSet, found: Found, fold: Fold) -> list[CaseFiles]:
    """The cases of a fold that are there."""
    if not fold.test:
        return list(found.cases.values())
    names = set(fold.test)
    if tested.data in SETS:
        return [files for name, files in found.cases.items() if volume_of(tested.data, name) in names]
    return [found.cases[name] for name in fold.test if name in found.cases]


def _missing(tested: EvaluationSet, found: Found, fold: Fold) -> tuple[str, ...]:
    """Names of cases (of MiniSeg's sets volumes) of a fold that are not there, or not usable."""
    if tested.data in SETS:
        held = {volume_of(tested.data, name) for name in found.cases}
        return tuple(volume for volume in fold.test if volume not in held)
    return tuple(name for name in fold.test if name not in found.cases)


def _truth_codes(tested: EvaluationSet, found: Found) -> dict[str, int]:
    """Values of the labels in the truths, found over all of them; empty for pictures."""
    if found.part.is_picture:
        return {}
    alone = tested.targets == (INFECTION,)
    is_mixed = alone and found.part.values > {0, 1}
    highest = highest_label([files.truth for files in found.cases.values()]) if is_mixed else 1 if alone else 3
    return coding(highest, tested.targets)


def _measure(
    protocol: Protocol,
    tested: EvaluationSet,
    cases: Sequence[CaseFiles],
    predictions: Predictions,
    truth: Mapping[str, int],
    folder: Path,
    threads: int | None,
    progress: Watch | None,
) -> Evaluation:
    """`evaluate_folders` of links that bear the cases' names."""
    sides = folder / "reference", folder / "prediction"
    for side in sides:
        side.mkdir()
    for case in cases:
        _link_truth(case, tested, sides[0])
        if case.name in predictions.files:
            path = predictions.files[case.name].resolve()
            (sides[1] / f"{case.name}{image_suffix(path) or '.png'}").symlink_to(path)
    labels = None
    if truth:
        labels = {n: {"truth": truth[n], "prediction": predictions.codes[n]} for n in tested.targets}
    return evaluate_folders(*sides, labels=labels, convention=protocol.convention, threads=threads, progress=progress)


def _link_truth(case: CaseFiles, tested: EvaluationSet, folder: Path) -> None:
    """A link to the mask, or a black and white picture of one class of it; of an unreadable one the link."""
    target = folder / f"{case.name}{image_suffix(case.truth) or '.png'}"
    if tested.truth_value is not None:
        try:
            mask = read_mask(part(tested.data, tested.part), case.truth) == tested.truth_value
            write_label_picture(target, np.where(mask, 255, 0).astype(np.uint8))
            return
        except FormatError:
            pass
    os.symlink(case.truth.resolve(), target)


def _warn_of_labels(fold: Fold, evaluation: Evaluation) -> None:
    """Says which label no mask, or no prediction, of a fold holds: its value may be another one."""
    for name in evaluation.reports.labels:
        of = [report[name] for report in evaluation.reports]
        counts = {
            "mask": sum(label.true_positives + label.false_negatives for label in of),
            "prediction": sum(label.true_positives + label.false_positives for label in of),
        }
        for side, count in counts.items():
            if not count:
                log.warning("fold %d: %s occurs in no %s", fold.number, name, side)


def _fold_result(
    protocol: Protocol,
    fold: Fold,
    cases: Sequence[CaseFiles],
    predictions: Predictions,
    evaluation: Evaluation | None,
    missing: tuple[str, ...],
) -> FoldResult:
    failed: dict[str, Exception] = dict(predictions.failed)
    reports: tuple[Report, ...] = ()
    if evaluation is not None:
        reports = evaluation.reports.reports
        failed.update((item.case, item.error) for item in evaluation.failed)
    held = {report.case for report in reports} | failed.keys()
    unpredicted = tuple(case.name for case in cases if case.name not in held)
    figures = CONVENTIONS[protocol.convention].summary(reports)
    return FoldResult(fold.number, reports, figures, failed, missing, unpredicted, predictions.model)


def _overall(protocol: Protocol, folds: Sequence[FoldResult]) -> dict[str, float]:
    """Figures of the whole: MiniSeg's are the mean of the folds' figures, the others those of all cases together."""
    if protocol.convention != "miniseg":
        reports = [report for fold in folds for report in fold.reports]
        return CONVENTIONS[protocol.convention].summary(reports)
    measured = [fold.figures for fold in folds if fold.figures]
    return {key: float(np.mean([figures[key] for figures in measured])) for key in (measured[0] if measured else ())}


def _objections(protocol: Protocol, tested: EvaluationSet, found: Found, folds: Sequence[FoldResult]) -> list[str]:
    """Why the figures are not those of the published data and split."""
    reasons = []
    if not tested.is_published:
        reasons.append("cases that the published models were trained on")
    missing = {name for fold in folds for name in fold.missing}
    failed = {name for fold in folds for name in (*fold.failed, *fold.unpredicted)}
    wrong = [problem for problem in found.problems if problem.kind != EXTRA and problem.case not in missing]
    if missing:
        reasons.append(f"{_some(len(missing), 'case')} missing")
    if failed:
        reasons.append(f"{_some(len(failed), 'case')} not measured")
    if wrong and not failed:
        reasons.append(f"other data: {wrong[0].error}")
    is_part = len(folds) < len(tested.folds)
    if is_part and (len(folds) > 1 or not published(protocol.setting, tested.name, folds[0].number)):
        reasons.append(f"{len(folds)} of {len(tested.folds)} folds")
    return reasons


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
