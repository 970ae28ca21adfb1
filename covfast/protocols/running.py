"""A protocol from data and predictions to figures: fold by fold through `evaluate_folders`."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covfast.errors import FormatError, ValueRangeError, describe
from covfast.evaluation import Evaluation, evaluate_folders
from covfast.evaluation_report import save_evaluation
from covfast.io import image_suffix, write_label_picture
from covfast.metrics.conventions import CONVENTIONS
from covfast.metrics.report import Report
from covfast.protocols.comparison import published
from covfast.protocols.datasets import EXTRA, UNUSABLE, CaseFiles, Found, Part, check, read_mask
from covfast.protocols.miniseg_sets import SETS, volume_of
from covfast.protocols.outcome import BenchmarkResult, FoldResult
from covfast.protocols.predict import Watch, coding
from covfast.protocols.protocol import EvaluationSet, Protocol
from covfast.protocols.sources import Predictions, Source
from covfast.protocols.splits import Fold

log = logging.getLogger("covfast")


@dataclass(frozen=True)
class Options:
    """How a protocol is run.

    Attributes:
        folds: numbers; None for all.
        out: folder for OUT/fold_N/report.json and the like, None to keep none.
        overwrite: replace them.
        threads: CPU threads of the evaluation.
        objections: more reasons why the result cannot be compared.
        progress: called with (stage, done, total).
    """

    folds: Sequence[int] | None = None
    out: Path | None = None
    overwrite: bool = False
    threads: int | None = None
    objections: Sequence[str] = ()
    progress: Watch | None = None


DEFAULTS = Options()


def run(
    protocol: Protocol, tested: EvaluationSet, found: Found, source: Source, options: Options = DEFAULTS
) -> BenchmarkResult:
    """Checks the cases, then predicts and measures each fold.

    Cases that are missing, do not pass the check, or fail, are left out, named in the result, and make it not
    comparable.

    Args:
        protocol, tested: what is run, and on which of its sets.
        found: what `find` found of that set; what `check` made of it is not read again.
        source: gives the predictions.
        options: folds, files, threads.
    Raises: FormatError: not a single usable case is there, or no prediction; ValueRangeError: a fold that the protocol
        does not have, predicted labels that cannot be its; what the model raises.
    """
    chosen = choose_folds(tested, options.folds)
    found = _checked(protocol, tested, found, chosen, options.progress)
    done = []
    for fold in chosen:
        cases = cases_of(tested, found, fold)
        predictions = source.predictions(fold, cases)
        evaluation = None
        if cases and predictions.files:
            evaluation = _measure(protocol, tested, found, cases, predictions, options)
            _warn_of_labels(fold, evaluation)
            if options.out is not None:
                save_evaluation(evaluation, options.out / f"fold_{fold.number}", overwrite=options.overwrite)
        done.append(_fold_result(protocol, tested, found, fold, predictions, evaluation))
    if not any(fold.reports or fold.failed for fold in done):
        got = f"none of {sum(len(fold.unpredicted) for fold in done)} cases"
        raise FormatError(describe("predictions", got, "files called like the cases, as --check lists them"))
    objection = source.objection(chosen)
    reasons = [*options.objections, *([objection] if objection else []), *_objections(protocol, tested, found, done)]
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
    """The usable cases of a fold that are there."""
    if not fold.test or tested.data in SETS:
        return [files for name, files in found.cases.items() if _tests(tested, fold, name)]
    return [found.cases[name] for name in fold.test if name in found.cases]


def _tests(tested: EvaluationSet, fold: Fold, name: str) -> bool:
    """Whether a fold tests a case; of MiniSeg's sets those of its volumes."""
    unit = volume_of(tested.data, name) if tested.data in SETS else name
    return not fold.test or unit in fold.test


def _checked(
    protocol: Protocol, tested: EvaluationSet, found: Found, folds: Sequence[Fold], progress: Watch | None
) -> Found:
    """The cases of these folds, every file of them read. Raises: FormatError: none is there, or none is usable."""
    cases = {files.name: files for fold in folds for files in cases_of(tested, found, fold)}
    expected = f"cases of {protocol.name} in {found.part.folders[0]}"
    if cases and not found.is_checked:
        found = check(replace(found, cases=cases), progress)
        cases = dict(found.cases)
    if not cases:
        unusable = [problem.error for problem in found.problems if problem.kind in UNUSABLE]
        hint = next((str(error) for error in (*unusable, *(problem.error for problem in found.problems))), "")
        raise FormatError(describe("data", "no usable case" if unusable else "no case", expected, hint))
    return found


def _unusable(tested: EvaluationSet, found: Found, fold: Fold) -> dict[str, Exception]:
    """Cases of a fold that are there but did not pass the check."""
    wrong = [problem for problem in found.problems if problem.kind in UNUSABLE]
    return {problem.case: problem.error for problem in wrong if _tests(tested, fold, problem.case)}


def _missing(tested: EvaluationSet, found: Found, fold: Fold) -> tuple[str, ...]:
    """Names of cases (of MiniSeg's sets volumes) of a fold that are not there."""
    there = {*found.cases, *_unusable(tested, found, fold)}
    held = {volume_of(tested.data, name) for name in there} if tested.data in SETS else there
    return tuple(name for name in fold.test if name not in held)


def _measure(
    protocol: Protocol,
    tested: EvaluationSet,
    found: Found,
    cases: Sequence[CaseFiles],
    predictions: Predictions,
    options: Options,
) -> Evaluation:
    """`evaluate_folders` of links that bear the cases' names."""
    labels = None
    if not found.part.is_picture:
        truth = coding(max(found.part.values), tested.targets)
        labels = {n: {"truth": truth[n], "prediction": predictions.codes[n]} for n in tested.targets}
    with tempfile.TemporaryDirectory(prefix="covfast-") as folder:
        sides = Path(folder, "reference"), Path(folder, "prediction")
        for side in sides:
            side.mkdir()
        for case in cases:
            _link_truth(case, found.part, tested.truth_value, sides[0])
            if case.name in predictions.files:
                path = predictions.files[case.name].resolve()
                (sides[1] / f"{case.name}{image_suffix(path) or '.png'}").symlink_to(path)
        return evaluate_folders(
            *sides,
            labels=labels,
            convention=protocol.convention,
            threads=options.threads,
            progress=options.progress,
        )


def _link_truth(case: CaseFiles, part: Part, value: int | None, folder: Path) -> None:
    """A link to the mask, or a black and white picture of one class of it."""
    target = folder / f"{case.name}{image_suffix(case.truth) or '.png'}"
    if value is None:
        target.symlink_to(case.truth.resolve())
        return
    mask = read_mask(part, case.truth) == value
    write_label_picture(target, np.where(mask, 255, 0).astype(np.uint8))


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
    tested: EvaluationSet,
    found: Found,
    fold: Fold,
    predictions: Predictions,
    evaluation: Evaluation | None,
) -> FoldResult:
    failed: dict[str, Exception] = {**_unusable(tested, found, fold), **predictions.failed}
    reports: tuple[Report, ...] = ()
    if evaluation is not None:
        reports = evaluation.reports.reports
        failed.update((item.case, item.error) for item in evaluation.failed)
    held = {report.case for report in reports} | failed.keys()
    unpredicted = tuple(case.name for case in cases_of(tested, found, fold) if case.name not in held)
    figures = CONVENTIONS[protocol.convention].summary(reports)
    missing = _missing(tested, found, fold)
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
    reports = [report for fold in folds for report in fold.reports]
    for name in tested.targets if reports else ():
        if not any(report[name].true_positives + report[name].false_negatives for report in reports if name in report):
            reasons.append(f"{name} occurs in no mask")
    is_part = len(folds) < len(tested.folds)
    if is_part and (len(folds) > 1 or not published(protocol.setting, tested.name, folds[0].number)):
        reasons.append(f"{len(folds)} of {len(tested.folds)} folds")
    return reasons


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
