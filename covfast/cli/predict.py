"""`covfast predict -i imagesTs -o OUT -m MODEL`: label maps of a folder as nnU-Net names and groups its files."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from covfast.batch import Outcome, Outcomes
from covfast.cli import folders, options
from covfast.cli.progress import announcer, progress
from covfast.cli.segment import is_file_name, label_volumes, open_segmenter, read_options, refuse_output
from covfast.errors import ValueRangeError, describe, file_name
from covfast.io import ChannelCase, channel_cases
from covfast.manifest import NEW, Job, Manifest
from covfast.models.store import SUFFIX
from covfast.pipeline import Progress, Segmenter
from covfast.predictions import prediction_files, save_prediction

log = logging.getLogger("covfast")

FINAL_CHECKPOINT = "checkpoint_final"


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    summary = "Label the images of a folder, CASE_0000.nii.gz and so on, with nnU-Net's folders and flags."
    parser = options.add_command(commands, "predict", run, summary)
    parser.allow_abbrev = False  # nnU-Net has flags of one dash and several letters: -c must not pass for -chk
    parser.add_argument(
        "-i",
        "--input",
        dest="images",
        required=True,
        nargs="+",
        type=options.path_text,
        metavar="IN",
        help="folder of images, or images: CASE_0000.nii.gz is a case's first channel, CASE_0001.nii.gz the next",
    )
    options.add_output(parser, "folder for the label maps CASE.nii.gz; of one case, or FILE.nii.gz")
    options.add_model(parser)
    _add_nnunet(parser)
    options.add_input(parser)
    folders.add_continue(parser, "--continue_prediction", "--c")


def _add_nnunet(parser: argparse.ArgumentParser) -> None:
    """Flags that nnU-Net has too, in both spellings."""
    parser.add_argument(
        "-f", "--folds", nargs="+", type=_fold, metavar="FOLD", help="members of the ensemble (default: all it has)"
    )
    parser.add_argument(
        "--disable-tta", "--disable_tta", action="store_true", help="no mirroring: faster, less accurate"
    )
    parser.add_argument(
        "--step-size",
        "--step_size",
        "-step_size",
        type=float,
        metavar="F",
        help="step of the sliding window as a fraction of its size (default: the model's, for nnU-Net 0.5)",
    )
    parser.add_argument(
        "--save-probabilities",
        "--save_probabilities",
        action="store_true",
        help="write CASE.npz and CASE.pkl too: probabilities (C, D, H, W), as nnU-Net's ensembling reads them",
    )
    parser.add_argument(
        "--num-parts", "-num_parts", type=int, default=1, metavar="N", help="cut the cases into N parts"
    )
    parser.add_argument("--part-id", "-part_id", type=int, default=0, metavar="K", help="do part K, from 0 to N - 1")
    parser.add_argument(
        "--accumulate",
        choices=("float32", "nnunet"),
        default="float32",
        help="nnunet: sums in half precision, rounded as nnU-Net rounds them",
    )
    parser.add_argument(
        "-chk", metavar="NAME", help="the checkpoint that the model was imported from; another is refused"
    )
    parser.add_argument("-device", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--disable_progress_bar",
        dest="progress",
        action="store_const",
        const="none",
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    for name in ("-npp", "-nps"):
        parser.add_argument(name, type=int, help="of nnU-Net, without effect: see --threads")


def _fold(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def run(args: argparse.Namespace) -> int:
    """Labels one case, or every case of a folder while the next is read."""
    mode, out = folders.mode_of(args), Path(args.output)
    _refuse_flags(args)
    chosen = {
        "folds": _members(args.folds),
        "mirror": not args.disable_tta,
        "step": args.step_size,
        "accumulate": args.accumulate,
    }
    segmenter = _open(args, chosen)
    _refuse_model(segmenter, args)
    found = channel_cases(args.images, input_channels(segmenter))
    with progress(args.progress) as report:
        if is_file_name(out):
            return _predict_one(segmenter, found, out, args, report)
        _refuse_inside([Path(path) for path in args.images], out)
        part = found[args.part_id :: args.num_parts]
        if not part:
            log.warning("part %d of %d has no case: there are %d", args.part_id, args.num_parts, len(found))
        with Manifest(out, folders.run_facts(segmenter, args, chosen)) as manifest:
            return _predict_all(segmenter, part, manifest, args, mode, report)


def _open(args: argparse.Namespace, chosen: dict[str, Any]) -> Segmenter:
    """The segmenter; where it has no fold_all, the error tells that -f all does not mean every fold."""
    try:
        return open_segmenter(args, **chosen)
    except ValueRangeError as error:
        if "'fold_all'" not in str(error):
            raise
        raise ValueRangeError(f"{error}; leave -f out for all folds: -f all is the one fold_all") from None


def _refuse_flags(args: argparse.Namespace) -> None:
    """What is wrong whatever the model. Raises: ValueRangeError."""
    if args.num_parts < 1:
        raise ValueRangeError(describe("--num-parts", args.num_parts, "1 or more"))
    if not 0 <= args.part_id < args.num_parts:
        got = f"part {args.part_id} of {args.num_parts}"
        raise ValueRangeError(describe("--part-id", got, "a part from 0 to one less than --num-parts"))
    if Path(args.model).is_dir():
        hint = f"covfast import {file_name(args.model)} -o model{SUFFIX} makes one"
        raise ValueRangeError(describe("-m", f"the folder {file_name(args.model)}", "a model package", hint))


def _refuse_model(segmenter: Segmenter, args: argparse.Namespace) -> None:
    """What the model cannot do. Raises: ValueRangeError."""
    if args.save_probabilities and segmenter.finds_infection:
        expected = "a model with probabilities of its classes"
        raise ValueRangeError(describe("--save-probabilities", "a model of lungs and infection", expected))
    if args.chk is not None:
        provenance = segmenter.metadata.get("provenance")
        held = (provenance if isinstance(provenance, dict) else {}).get("checkpoint", FINAL_CHECKPOINT)
        if Path(args.chk).stem != Path(str(held)).stem:
            hint = "covfast import --checkpoint chooses it"
            raise ValueRangeError(describe("-chk", repr(args.chk), f"{held!r}, which the model was made of", hint))


def _refuse_inside(sources: list[Path], out: Path) -> None:
    """Raises: ValueRangeError if `out` is the input's folder or lies in it, where the next run would find it."""
    for source in sources:
        home = source if source.is_dir() else source.parent
        is_inside = home.resolve() in out.resolve().parents and source.is_dir()
        if home.resolve() == out.resolve() or is_inside:
            raise ValueRangeError(describe("-o", f"{file_name(out)}, inside the input", "a folder outside it"))


def _members(folds: list[int | str] | None) -> list[int | str] | None:
    """Members as `Segmenter` has them: nnU-Net's fold "all" is the member fold_all."""
    return None if folds is None else ["fold_all" if fold == "all" else fold for fold in folds]


def input_channels(segmenter: Segmenter) -> int:
    """Channels that a case must have: as many as the recipe normalises, else one."""
    stages = segmenter.metadata.get("recipe", {}).get("stages", [])
    return next((len(stage["channels"]) for stage in stages if stage["stage"] == "normalise_channels"), 1)


def _orientation(segmenter: Segmenter) -> str:
    """Axes of the arrays that the model's reader gives: the file's, or those that a recipe turns it to."""
    stages = segmenter.metadata.get("recipe", {}).get("stages", [])
    return next((str(stage["to"]) for stage in stages if stage["stage"] == "orient"), "file")


def _predict_one(
    segmenter: Segmenter, found: list[ChannelCase], out: Path, args: argparse.Namespace, report: Progress | None
) -> int:
    """One case into the file that -o names."""
    from covfast.io import write

    if len(found) != 1 or args.continue_batch or args.save_probabilities or args.num_parts > 1:
        raise ValueRangeError(describe("-o", f"the file {file_name(out)}", "a folder, but for the labels of one case"))
    case = found[0]
    for path in case.paths:
        refuse_output(path, out, args.overwrite)
    if case.error is not None:
        raise case.error
    image = list(case.paths) if len(case.paths) > 1 else case.paths[0]
    source = segmenter.read(image, **read_options(args))
    folders.log_notes(Outcome(image, source))
    announcer(args, [case.name])()
    result = segmenter(source, progress=report)
    write(out, result.segmentation, is_slice=getattr(source, "is_slice", False))
    print(label_volumes(result))
    return 0


def _predict_all(
    segmenter: Segmenter,
    found: list[ChannelCase],
    manifest: Manifest,
    args: argparse.Namespace,
    mode: str,
    report: Progress | None,
) -> int:
    """Every case into the folder of the manifest."""
    jobs = [
        Job(case.name, case.paths, prediction_files(case.name, case.suffix, args.save_probabilities)) for case in found
    ]
    refused = {case.name: case.error for case in found if case.error is not None}
    is_reoriented = _orientation(segmenter) == "SAR"
    todo = manifest.todo(jobs, mode)
    begun = announcer(args, [job.name for job in todo if job.name not in refused])

    def outcomes(images: Iterable[Any]) -> Outcomes:
        chosen = {**read_options(args), "probabilities": args.save_probabilities}
        return Outcomes(segmenter, images, **chosen, progress=report, begun=begun)

    def finish(job: Job, outcome: Outcome) -> str:
        folders.log_notes(outcome, f"{job.name}: ")
        if outcome.error is not None:
            raise outcome.error
        assert outcome.result is not None
        orientation = "SAR" if is_reoriented else "file"
        save_prediction(outcome.result, manifest.folder, job.outputs, orientation=orientation, overwrite=mode != NEW)
        return label_volumes(outcome.result)

    return folders.run_batch(outcomes, manifest, todo, finish, report, refused)
