"""`covfast benchmark PROTOCOL --data DIR --model M`: a published experiment, and our row beside the published one."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covfast.cli import options
from covfast.cli.folders import SOME_FAILED
from covfast.cli.progress import progress
from covfast.errors import FormatError, ValueRangeError, describe, file_name

if TYPE_CHECKING:
    from covfast.protocols import EvaluationSet, Predictor, Protocol
    from covfast.protocols.outcome import BenchmarkResult
    from covfast.protocols.sources import Source
    from covfast.protocols.splits import Fold

log = logging.getLogger("covfast")

_FILES = (*(f"fold_{number}/report.json" for number in range(5)), "benchmark.json")
_PARTS = ("lung", "infection", "union", "gtv")
_CLASSES = "TrainingSet/MultiClassInfection-Train"
_SEMISEG_TRAINING = {
    "semiseg": "TrainingSet/LungInfection-Train/Doctor-label",
    "semiseg-ggo": _CLASSES,
    "semiseg-consolidation": _CLASSES,
}
"""Protocol -> folder of the slices that train."""


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    summary = "Run a published experiment: check its data, predict, measure, and compare with the published figures."
    parser = options.add_command(commands, "benchmark", run, summary)
    parser.add_argument(
        "protocol",
        metavar="PROTOCOL",
        nargs="?",
        help="such as task1-infection or semiseg; without it all are listed",
    )
    parser.add_argument("--data", metavar="DIR", type=options.path_text, help="folder that holds the data sets")
    parser.add_argument(
        "--check", action="store_true", help="print what the folder must hold, whence, under which licence, what lacks"
    )
    parser.add_argument("--test", metavar="SET", help="which cases to test, such as covid, mosmed, source, test, train")
    parser.add_argument("--fold", type=_fold, default="all", metavar="N", help="a fold's number, or all (default)")
    parser.add_argument(
        "--predictions", metavar="DIR", type=options.path_text, help="measure these: DIR/fold_N/CASE, or DIR/CASE"
    )
    parser.add_argument(
        "--recipe",
        metavar="RECIPE",
        help="train a model for each fold by this recipe, in OUT/training, on data of DIR",
    )
    options.add_output(parser, "folder for benchmark.json, each fold's report and the predictions", required=False)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options.add_model(parser)
    parser.set_defaults(model=None)
    parser.add_argument(
        "--input-window",
        type=float,
        nargs=2,
        metavar=("LO", "HI"),
        help="HU that the windowed cases of the data set were windowed to (default: as published, -1250 250)",
    )
    parser.add_argument(
        "--intensity",
        choices=("hu", "window"),
        default="hu",
        help="window: for a model trained on cases that are all windowed and scaled to 0..255",
    )


def _fold(text: str) -> int | str:
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number or all")
    return text if text == "all" else int(text)


def run(args: argparse.Namespace) -> int:
    """Lists, checks or runs. 8 if a case is missing or failed; 3 if a check finds something missing or wrong."""
    from covfast.protocols import PROTOCOLS

    if args.protocol is None:
        width = max(map(len, PROTOCOLS))
        print("\n".join(f"{name:<{width}}  {item.title}" for name, item in PROTOCOLS.items()))
        return 0
    if args.protocol not in PROTOCOLS:
        hint = "covfast benchmark lists them with their meaning"
        raise ValueRangeError(describe("PROTOCOL", repr(args.protocol), f"one of {', '.join(PROTOCOLS)}", hint))
    protocol = PROTOCOLS[args.protocol]
    tested = protocol.set_called(args.test)
    if args.check:
        return _check(protocol if args.test is None else replace(protocol, sets=(tested,)), args)
    _refuse(args)
    result = _measure(protocol, tested, args)
    print(json.dumps(result.to_dict(_command(args)), indent=2, ensure_ascii=False) if args.json else result)
    return 0 if result.is_complete else SOME_FAILED


def _check(protocol: Protocol, args: argparse.Namespace) -> int:
    """Prints what the folder must hold and, with --data, what it lacks."""
    from covfast.protocols import check, find, part
    from covfast.protocols.describing import describe_part, describe_problems

    parts = [part(*key) for key in protocol.parts()]
    listed = [] if args.data is None else [find(wanted, args.data) for wanted in parts]
    print(protocol.title)
    for wanted in parts:
        print(f"\n{describe_part(wanted)}")
    with progress(args.progress) as report:
        found = [check(held, report) for held in listed]
    if found:
        print()
    for held in found:
        print(describe_problems(held))
    return 0 if all(held.is_complete for held in found) else FormatError.exit_code


def _refuse(args: argparse.Namespace) -> None:
    """What is wrong whatever the data. Raises: ValueRangeError, OutputError."""
    from covfast.report import refuse_taken

    given = [flag for flag in ("model", "predictions", "recipe") if getattr(args, flag) is not None]
    if args.data is None:
        raise ValueRangeError(describe("--data", "none", "the folder that holds the data sets", "--check shows it"))
    if len(given) != 1:
        got = " and ".join(f"--{flag}" for flag in given) or "none of them"
        raise ValueRangeError(describe("--model, --predictions, --recipe", got, "one of them"))
    if args.recipe is not None and args.output is None:
        raise ValueRangeError(describe("--recipe", "no -o", "-o OUT, where the models are trained"))
    if args.output is not None:
        refuse_taken(Path(args.output), args.overwrite, _FILES)


def _measure(protocol: Protocol, tested: EvaluationSet, args: argparse.Namespace) -> BenchmarkResult:
    """Finds the data, predicts, measures, and writes what -o asks for."""
    from covfast.metrics.report import save_json
    from covfast.protocols import Options, Predictor, find, part
    from covfast.protocols import run as run_protocol
    from covfast.protocols.outcome import FILE

    training = None if args.recipe is None else _training(args)
    found = find(part(tested.data, tested.part), args.data)
    for problem in found.problems:
        log.info("%s: %s", problem.kind, problem.error)
    objections = [] if args.input_window is None else ["another window of the windowed cases"]
    window = None if args.input_window is None else (args.input_window[0], args.input_window[1])
    predictor = Predictor(protocol, tested, found.part, window, args.intensity)
    objections += [] if training is None else _recipe_objections(training, predictor)
    with _place(args) as folder, progress(args.progress) as report:
        how = Options(
            folds=None if args.fold == "all" else [args.fold],
            out=None if args.output is None else folder,
            overwrite=args.overwrite,
            threads=args.threads,
            objections=objections,
            progress=report,
        )
        source = _source(predictor, folder, args, report)
        result = run_protocol(protocol, tested, found, source, how)
        if args.output is not None:
            save_json(folder / FILE, result.to_dict(_command(args)))
    _complain(result)
    return result


@contextmanager
def _place(args: argparse.Namespace) -> Iterator[Path]:
    """The folder of -o, made where it is missing; without -o one that vanishes."""
    from covfast.outputs import make_folder

    if args.output is not None:
        make_folder(Path(args.output))
        yield Path(args.output)
        return
    with tempfile.TemporaryDirectory(prefix="covfast-") as folder:
        yield Path(folder)


def _source(predictor: Predictor, folder: Path, args: argparse.Namespace, report: Any) -> Source:
    """Where predictions come from, as the flags say."""
    from covfast.protocols import FolderSource, ModelSource

    if args.predictions is not None:
        return FolderSource(args.predictions, predictor.tested)
    arguments = options.segmenter_arguments(args)
    model = arguments.pop("model")
    return ModelSource(
        predictor,
        model if args.recipe is None else lambda fold: _train(args, predictor.tested, fold, report),
        folder,
        segmenter=arguments,
        progress=report,
    )


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags say of the recipe's keys; a device of "auto" is left to the recipe."""
    device = {} if args.device == "auto" else {"run.device": args.device}
    threads = {} if args.threads is None else {"threads": args.threads}
    return {"run.package": False, **device, **threads}


def _training(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe as it will be trained, on devices that are there: torch's for the training, the engine's to predict.

    Raises: BackendUnavailable, DeviceError, FormatError, ValueRangeError.
    """
    from covfast.ops import null
    from covfast.train import check_device, read_recipe

    table = read_recipe(args.recipe, _changes(args))
    check_device(table)
    null([], device=args.device)
    return table


def _train(args: argparse.Namespace, tested: EvaluationSet, fold: Fold, report: Any) -> Path:
    """The model of a fold, trained by the recipe in OUT/training; a killed training goes on."""
    from covfast.train import package, train

    number = fold.number if len(tested.folds) > 1 else None
    out = Path(args.output) / "training"
    log.warning("fold %d: training by %s", fold.number, file_name(args.recipe))
    weights = train(args.recipe, args.data, out, _changes(args), fold=number, progress=report)
    return package(weights.parent)


def _recipe_objections(table: Mapping[str, Any], predictor: Predictor) -> list[str]:
    """Why what a recipe trains on is not what the protocol's models saw, if so.

    Raises: ValueRangeError: its package cannot label the protocol's cases, or has other labels.
    """
    from covfast.train.promise import further_data, promised, require_classes

    if predictor.tested.truth_value is not None:
        require_classes(table)
    elif labels := promised(table, is_picture=predictor.part.is_picture):
        predictor.refuse_labels(labels.names, labels.finds_infection)
    further = ", ".join(further_data(table))
    reasons = [] if _trains_on_split(table, predictor.protocol) else ["a recipe that trains on another split"]
    return reasons + ([f"a recipe that trains on further data: {further}"] if further else [])


def _trains_on_split(table: Mapping[str, Any], protocol: Protocol) -> bool:
    """Whether a recipe trains on the protocol's training cases: a published fold, or all slices of COVID-SemiSeg's."""
    split = table["split"]
    if split.get("published"):
        name = split["published"]
        return protocol.name in (name, f"miniseg-{name}", *(f"{name}-{part}" for part in _PARTS))
    folder = table.get("data", {}).get("folder", "")
    wanted = _SEMISEG_TRAINING.get(protocol.name)
    return wanted is not None and folder.endswith(wanted) and split["folds"] == 1


def _complain(result: BenchmarkResult) -> None:
    """Says on stderr what is missing and what failed."""
    missing = dict.fromkeys(name for fold in result.folds for name in fold.missing)
    unpredicted = dict.fromkeys(name for fold in result.folds for name in fold.unpredicted)
    for what, names in (("data", missing), ("prediction", unpredicted)):
        if names:
            log.error("no %s for %d: %s", what, len(names), ", ".join(names))
    failed = {case: error for fold in result.folds for case, error in fold.failed.items()}
    for case, error in failed.items():
        log.error("%s: %s: %s", case, type(error).__name__, error)


def _command(args: argparse.Namespace) -> str:
    """The command that would repeat the run, with DIR and OUT for the paths."""
    words = ["covfast", "benchmark", args.protocol, "--data", "DIR"]
    for flag in ("test", "fold"):
        value = getattr(args, flag)
        words += [f"--{flag}", str(value)] if value not in (None, "all") else []
    words += ["--model", file_name(args.model)] if args.model else []
    words += ["--predictions", "DIR"] if args.predictions else []
    words += ["--recipe", file_name(args.recipe)] if args.recipe else []
    words += ["--input-window", *(f"{hu:g}" for hu in args.input_window)] if args.input_window else []
    words += ["--intensity", args.intensity] if args.intensity != "hu" else []
    words += ["-o", "OUT"] if args.output else []
    return shlex.join(words)
