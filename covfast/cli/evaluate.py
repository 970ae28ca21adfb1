"""`covfast evaluate -r REF -p PRED`: label maps against their references, one case or whole folders."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covfast.cli import options
from covfast.cli.folders import SOME_FAILED
from covfast.cli.progress import progress
from covfast.errors import CovfastError, FormatError, OutputError, ValueRangeError, describe, file_name

log = logging.getLogger("covfast")

_LABEL = re.compile(r"(?P<name>[^=]+)=(?P<truth>\d+(\+\d+)*)(:(?P<prediction>\d+(\+\d+)*))?")
_LABEL_TEXT = "NAME=VALUE, NAME=REFERENCE:PREDICTION or NAME=1+2:1+2"


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    summary = "Measure label maps against references: overlap, volumes, surface distances."
    parser = options.add_command(commands, "evaluate", run, summary)
    either = "a file (.nii.gz, .nii, .nrrd, .mha, .png), a folder of them, or what covfast segment wrote"
    parser.add_argument("-r", "--reference", required=True, metavar="REF", type=options.path_text, help=either)
    parser.add_argument("-p", "--prediction", required=True, metavar="PRED", type=options.path_text, help=either)
    _add_definitions(parser)
    parser.add_argument(
        "--resample",
        action="store_true",
        help="put a prediction on another grid onto the reference's by nearest neighbour instead of refusing it",
    )
    parser.add_argument(
        "--worst", type=int, default=5, metavar="N", help="list the N worst cases by Dice and draw them (default 5)"
    )
    parser.add_argument(
        "--images", metavar="DIR", type=options.path_text, help="the cases' CT or pictures, to draw the worst on"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options.add_output(
        parser, "folder for report.csv, report.json, nnU-Net's summary.json, worst_1.png", required=False
    )
    options.add_threads(parser)
    options.add_progress(parser)


def _add_definitions(parser: argparse.ArgumentParser) -> None:
    """What is measured, and by which rules."""
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME=VALUES",
        help=f"{_LABEL_TEXT} (default: left lung=1, right lung=2, infection=3, as covfast segment writes them)",
    )
    parser.add_argument(
        "--nsd-tol",
        nargs="+",
        metavar="MM",
        help="tolerance of the NSD: one for all labels, one for each in their order, or NAME=MM "
        "(default: 1 mm for each lung, 3 mm for the infection, none for others)",
    )
    parser.add_argument(
        "--convention",
        choices=("ctseg", "infnet", "miniseg"),
        help="follow this published script too: its empty rules, averages and columns (published.csv)",
    )
    parser.add_argument(
        "--probability",
        metavar="DIR",
        type=options.path_text,
        help="probability maps of the infection (or of the one label), by name, for MAE, S-measure and the like",
    )
    parser.add_argument(
        "--lungs-include-infection",
        action="store_true",
        help="measure one label, lungs, of left lung, right lung and infection together, instead of the two lungs: "
        "a label map does not say which lung an infected voxel lies in, so the sides cannot be completed",
    )


def run(args: argparse.Namespace) -> int:
    """Measures every case, prints the table, writes the files. 8 if a case failed or lacks its partner."""
    from covfast.evaluation import DEFAULT_LABELS, evaluate_folders, merge_lungs
    from covfast.evaluation_report import MOST_WORST, save_evaluation

    labels = None if args.labels is None else parse_labels(args.labels)
    asked = labels or dict(DEFAULT_LABELS)
    tolerances = parse_tolerances(args.nsd_tol, merge_lungs(asked) if args.lungs_include_infection else asked)
    if not 0 <= args.worst <= MOST_WORST:
        raise ValueRangeError(describe("--worst", args.worst, f"a number from 0 to {MOST_WORST}"))
    refuse_images(args)
    refuse_output(args)
    try:
        with progress(args.progress) as report:
            evaluation = evaluate_folders(
                args.reference,
                args.prediction,
                labels=labels,
                tolerance_mm=tolerances,
                convention=args.convention,
                probability=args.probability,
                resample=args.resample,
                lungs_include_infection=args.lungs_include_infection,
                threads=args.threads,
                progress=report,
            )
        if evaluation.pairs.is_single and evaluation.failed:
            raise evaluation.failed[0].error
    except FormatError:  # it names a file, which may be called like an argument
        raise
    except CovfastError as error:
        raise type(error)(in_flags(str(error))) from error
    complain(evaluation)
    worst = evaluation.reports.worst(args.worst)
    command = repeat_command(args)
    if args.output is not None:
        save_evaluation(
            evaluation, args.output, worst=worst, images=args.images, overwrite=args.overwrite, command=command
        )
    _print(evaluation, worst, command, args.json)
    return 0 if evaluation.is_complete else SOME_FAILED


def _print(evaluation: Any, worst: list[Any], command: str, as_json: bool) -> None:
    """The results on stdout: of a single pair its report, of folders the summary and the worst cases."""
    from covfast.evaluation_report import facts

    if as_json:
        print(json.dumps(facts(evaluation, worst, command), indent=2, allow_nan=False, ensure_ascii=False))
    elif evaluation.pairs.is_single and evaluation.reports.unit == "mm":
        print(evaluation.reports.reports[0])
    elif len(evaluation.reports):
        print(evaluation.reports)
        for item in worst:
            print(f"worst: {item.case}  {item.label}  Dice {item.value:.4f}")


def complain(evaluation: Any) -> None:
    """Says on stderr what failed, what lacks its partner, and what makes the figures doubtful."""
    from covfast.evaluation_files import MOST_LABEL
    from covfast.io.pairs import printable

    for item in evaluation.failed:
        log.error("%s: %s: %s", item.case, type(item.error).__name__, printable(in_flags(str(item.error))))
    for side, names in (
        ("prediction", evaluation.pairs.without_prediction),
        ("reference", evaluation.pairs.without_reference),
    ):
        if names:
            log.error("no %s for %d: %s", side, len(names), ", ".join(names))
    if evaluation.resampled:
        names = ", ".join(evaluation.resampled)
        log.warning("resampled onto the reference's grid, nearest neighbour: %s", names)
    total = len(evaluation.pairs.found) + len(evaluation.pairs.without_prediction)
    total += len(evaluation.pairs.without_reference)
    if not evaluation.is_complete:
        log.error("%d of %d cases were measured", len(evaluation.reports), total)
    if evaluation.like_labels:
        names = ", ".join(evaluation.like_labels)
        log.warning("probability: 8-bit with nothing above %d, label maps rather than maps: %s", MOST_LABEL, names)
    if evaluation.reports.unit == "px":
        log.warning("pictures have no spacing: distances and tolerances are in pixels (px)")
    _complain_of_labels(evaluation)


def _complain_of_labels(evaluation: Any) -> None:
    """Warns of a label that no reference or no prediction holds."""
    reports = evaluation.reports
    # A convention's masks of pictures have the value 1, whatever the picture's is.
    has_values = reports.unit == "mm" or reports.convention is None
    for name in reports.labels:
        of = [report[name] for report in reports if name in report.labels]
        sides = (
            ("reference", of[0].truth_values, sum(label.true_positives + label.false_negatives for label in of)),
            ("prediction", of[0].prediction_values, sum(label.true_positives + label.false_positives for label in of)),
        )
        for side, values, count in sides:
            shown = f" (value {'+'.join(map(str, values))})" if has_values else ""
            if not count:
                log.warning("%s: %s%s occurs in no case; other values are named by --labels", side, name, shown)


def parse_labels(texts: list[str]) -> dict[str, Any]:
    """Labels as `evaluate` takes them. Raises: ValueRangeError: not of the form, or a name twice."""
    labels: dict[str, Any] = {}
    for text in texts:
        match = _LABEL.fullmatch(text)
        if match is None:
            raise ValueRangeError(describe("--labels", repr(text), _LABEL_TEXT))
        if match["name"] in labels:
            raise ValueRangeError(describe("--labels", f"{match['name']!r} twice", "each name once"))
        truth = tuple(int(value) for value in match["truth"].split("+"))
        prediction = match["prediction"]
        values = truth if prediction is None else tuple(int(value) for value in prediction.split("+"))
        labels[match["name"]] = {"truth": truth, "prediction": values}
    return labels


def parse_tolerances(texts: list[str] | None, labels: Mapping[str, Any]) -> float | dict[str, float] | None:
    """Tolerances as `evaluate` takes them. Raises: ValueRangeError: no number, or not as many as labels."""
    if texts is None:
        return None
    expected = f"one number, {len(labels)} for {', '.join(labels)}, or NAME=MM"
    pairs = [text.rpartition("=") for text in texts]
    try:
        numbers = [float(mm) for _, _, mm in pairs]
    except ValueError:
        raise ValueRangeError(describe("--nsd-tol", " ".join(map(repr, texts)), expected)) from None
    named = [name for name, equals, _ in pairs if equals]
    if named and len(set(named)) == len(texts):
        return dict(zip(named, numbers, strict=True))
    if not named and len(numbers) == 1:
        return numbers[0]
    if named or len(numbers) != len(labels):
        raise ValueRangeError(describe("--nsd-tol", " ".join(texts), expected))
    return dict(zip(labels, numbers, strict=True))


_FLAGS = {
    "reference and prediction": "-r and -p", "truth": "-r", "reference": "-r", "pred": "-p", "prediction": "-p",
    "image": "-p", "tolerance_mm": "--nsd-tol", "labels": "--labels", "threads": "--threads",
    "probability": "--probability", "lungs_include_infection": "--lungs-include-infection",
}  # fmt: skip
"""Argument of the library -> flag of this command; what is resampled is the prediction."""

_ARGUMENT = re.compile(rf"({'|'.join(_FLAGS)})(?=[:\[ ])")
_HINT = ("resample one of them onto the other", "--resample puts the prediction onto the reference's grid")


def in_flags(message: str) -> str:
    """An error's message with the flags' names in place of the arguments' that it begins with or hints at."""
    found = _ARGUMENT.match(message)
    named = message if found is None else _FLAGS[found[0]] + message[found.end() :]
    return named.replace(*_HINT)


def refuse_images(args: argparse.Namespace) -> None:
    """Raises: ValueRangeError: --images without -o; FormatError: the folder is not there."""
    if args.images is None:
        return
    if args.output is None:
        raise ValueRangeError(describe("--images", "no -o", "-o OUT, where the pictures of the worst cases go"))
    if not os.path.exists(args.images):
        raise FormatError(describe("--images", f"no such file or folder, {file_name(args.images)}", "an existing path"))


def refuse_output(args: argparse.Namespace) -> None:
    """What can be known to fail is refused before the work.

    Raises: OutputError: results are there, or OUT is one of the inputs, where pictures would be the next run's cases;
        ValueRangeError: OUT is named like one of the files.
    """
    from covfast.evaluation_report import FILES
    from covfast.report import refuse_taken

    if args.output is None:
        return
    out = Path(args.output)
    if out.suffix.lower() in (".json", ".csv", ".png"):
        raise ValueRangeError(describe("-o", f"the file name {file_name(out)}", "a folder, for several files"))
    for given in (args.reference, args.prediction, args.probability, args.images):
        if given is not None and out.exists() and os.path.exists(given) and os.path.samefile(given, out):
            raise OutputError(describe("-o", f"an input, {file_name(out)}", "another folder"))
    refuse_taken(out, args.overwrite, FILES)


def repeat_command(args: argparse.Namespace) -> str:
    """The command that would repeat the run, with REF, PRED and OUT for the paths, which may hold a patient's name."""
    words = ["covfast", "evaluate", "-r", "REF", "-p", "PRED"]
    for flag in ("labels", "nsd_tol"):
        values = getattr(args, flag)
        words += [f"--{flag.replace('_', '-')}", *values] if values else []
    words += ["--convention", args.convention] if args.convention else []
    words += ["--probability", "DIR"] if args.probability else []
    words += ["--lungs-include-infection"] if args.lungs_include_infection else []
    words += ["--resample"] if args.resample else []
    words += ["--worst", str(args.worst)]
    words += ["--images", "DIR"] if args.images else []
    words += ["-o", "OUT"] if args.output else []
    return shlex.join(words)
