"""`covfast segment IN -o OUT`: lungs and infection of one scan, or of every case of a folder."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from covfast.batch import Outcome, Outcomes
from covfast.cli import folders, options
from covfast.cli.progress import progress
from covfast.errors import NoLungsError, OutputError, ValueRangeError, describe, file_name
from covfast.manifest import NEW, Job, Manifest
from covfast.pipeline import Progress, Result, Segmenter

log = logging.getLogger("covfast")

LABEL_FILES = ("labels.nii.gz", "run.json")
"""What is written of a model that looks for no lungs."""


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = options.add_command(commands, "segment", run, "Segment lungs and infection of a chest CT.")
    parser.add_argument(
        "input",
        metavar="IN",
        type=options.path_text,
        help="DICOM folder, NIfTI, NRRD or MHA, or a folder of cases",
    )
    options.add_output(parser, "folder for the results; or FILE.nii.gz for the labels alone")
    options.add_model(parser)
    options.add_helpers(parser)
    options.add_input(parser)
    options.add_ids(parser)
    folders.add_continue(parser)


def run(args: argparse.Namespace) -> int:
    """Segments one case, or every case of a folder while the next is read."""
    from covfast.io import cases

    source, out = Path(args.input), Path(args.output)
    mode = folders.mode_of(args)
    batch = cases(source)
    if args.lesion_types is not None and is_file_name(out):
        raise ValueRangeError(
            describe("--lesion-types", f"-o {file_name(out)}", "a folder", "a file holds labels alone")
        )
    if batch:
        refuse_batch_output(source, out)
    elif args.continue_batch:
        raise ValueRangeError(describe("--continue", "one case", "a folder of cases"))
    else:
        refuse_output(source, out, args.overwrite)
    segmenter = open_segmenter(args, lungs=args.lungs, lesion_types=args.lesion_types)
    with progress(args.progress) as report:
        if batch:
            return _run_batch(segmenter, batch, args, mode, report)
        line = segment_case(segmenter, source, out, args, report)
    print(line)
    return 0


def open_segmenter(args: argparse.Namespace, **more: Any) -> Segmenter:
    """The segmenter that the flags, and more arguments, ask for; with -v, what its model assumes is said."""
    segmenter = Segmenter(**options.segmenter_arguments(args), **more)
    log.info("model %s, backend %s", segmenter.metadata.get("name"), segmenter.backend)
    for assumption in segmenter.assumptions:  # said aloud when the model was imported
        log.info("model: %s", assumption)
    return segmenter


def _run_batch(
    segmenter: Segmenter, batch: dict[str, Path], args: argparse.Namespace, mode: str, report: Progress | None
) -> int:
    from covfast.report import FILES, refuse_taken

    out = Path(args.output)
    files: Sequence[str] = LABEL_FILES
    if segmenter.finds_infection:
        files = [name for name in FILES if name != "lesion_types.nii.gz" or segmenter.lesion_types is not None]
    jobs = [Job(case, (path,), tuple(f"{case}/{name}" for name in files)) for case, path in batch.items()]
    with Manifest(out, folders.run_facts(segmenter, args, {"ids": args.ids})) as manifest:
        todo = manifest.todo(jobs, mode)
        for job in todo:
            refuse_taken(out / job.name, overwrite=True)

        def outcomes(images: Iterable[Any]) -> Outcomes:
            return Outcomes(segmenter, images, **read_options(args), progress=report)

        def finish(job: Job, outcome: Outcome) -> str:
            return finish_case(segmenter, outcome, out / job.name, args, mode != NEW, f"{job.name}: ")

        return folders.run_batch(outcomes, manifest, todo, finish, report)


def read_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of reading from the flags of `options.add_input`."""
    return {"on_geometry": args.on_geometry, "input_window": args.input_window}


def segment_case(
    segmenter: Segmenter, source: Path, out: Path, args: argparse.Namespace, report: Progress | None
) -> str:
    """Segments one case and writes what was asked for. Returns the summary."""
    start = time.perf_counter()
    outcome = Outcome(source, segmenter.read(source, **read_options(args)))
    outcome = replace(outcome, read_ms=(time.perf_counter() - start) * 1e3)
    try:
        result = segmenter(outcome.source, progress=report)
    except NoLungsError as error:
        return finish_case(segmenter, replace(outcome, error=error), out, args, args.overwrite)
    result = replace(result, run={**result.run, "stages_ms": {**result.run["stages_ms"], "read": outcome.read_ms}})
    return finish_case(segmenter, replace(outcome, result=result), out, args, args.overwrite)


def finish_case(
    segmenter: Segmenter, outcome: Outcome, out: Path, args: argparse.Namespace, overwrite: bool, label: str = ""
) -> str:
    """Writes what was asked for, or raises the case's error; `label` goes before its messages. Returns the summary."""
    from covfast.io import write
    from covfast.report import save, save_no_lungs

    folders.log_notes(outcome, label)
    how = {"overwrite": overwrite, "command": repeat_command(args), "ids": args.ids}
    if outcome.error is not None:
        if isinstance(outcome.error, NoLungsError) and not is_file_name(out):
            facts = segmenter.facts([("read", outcome.read_ms)])
            save_no_lungs(outcome.source, facts, out, str(outcome.error), **how)
        raise outcome.error
    result = outcome.result
    assert result is not None
    if is_file_name(out):
        write(out, result.segmentation)
    else:
        save(result, out, **how)
    log_warnings(result, label)
    return summary(result)


def log_warnings(result: Result, label: str = "") -> None:
    """Says what the measurements warn of; what reading noted has been said before."""
    if result.lungs is None:
        return
    noted = {note["code"] for note in result.volume.notes}
    for warning in result.statistics()["warnings"]:
        if warning["code"] not in noted:
            log.warning("%s%s: %s", label, warning["code"], warning["message"])


def is_file_name(path: Path) -> bool:
    """True if `-o` names an image file for the labels alone, not a folder."""
    from covfast.io import image_suffix

    return bool(image_suffix(path))


def refuse_output(source: Path, out: Path, overwrite: bool) -> None:
    """What can be known to fail is refused before the work, not after it.

    Raises: OutputError if results are there and `overwrite` is false, or `out` is the input or cannot be written.
    """
    from covfast.io import check_writable
    from covfast.report import refuse_taken

    if out.exists() and source.exists() and os.path.samefile(source, out):
        raise OutputError(describe("-o", f"the input itself, {file_name(out)}", "another place"))
    if not is_file_name(out):
        refuse_taken(out, overwrite)
        return
    check_writable(out)
    if out.exists() and not overwrite:
        raise OutputError(describe("-o", f"{file_name(out)}, which exists", "a new file", "pass --overwrite"))


def refuse_batch_output(source: Path, out: Path) -> None:
    """Raises: ValueRangeError if `out` is a file name, or lies in the input, where the next run would find it."""
    if is_file_name(out):
        raise ValueRangeError(describe("-o", file_name(out), "a folder for a batch of cases"))
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueRangeError(describe("-o", f"{file_name(out)}, inside the input", "a folder outside it"))


def repeat_command(args: argparse.Namespace) -> str:
    """The command that would repeat the run, with IN and OUT for the paths, which may hold a patient's name."""
    words = ["covfast", args.command]
    if hasattr(args, "input"):
        words.append("IN")
    words += ["-o", "OUT", "--model", file_name(args.model), "--device", args.device, "--precision", args.precision]
    for flag in ("threads", "memory_limit", "seed"):
        value = getattr(args, flag, None)
        if value is not None:
            words += [f"--{flag.replace('_', '-')}", str(value)]
    for flag in ("lungs", "lesion_types"):
        if getattr(args, flag, None) is not None:
            words += [f"--{flag.replace('_', '-')}", file_name(getattr(args, flag))]
    if getattr(args, "on_geometry", "error") != "error":
        words += ["--on-geometry", args.on_geometry]
    if getattr(args, "input_window", None) is not None:
        words += ["--input-window", *(f"{hu:g}" for hu in args.input_window)]
    return shlex.join(words)


def summary(result: Result) -> str:
    """One line: lung volume, infection in mL and percent; of what the scan shows where it cuts the lungs off.

    Of a model that looks for no lungs the volume of each label.
    """
    if result.lungs is None:
        return label_volumes(result)
    region = result.statistics()["lungs"]["all"]
    seen = region["visible"]
    line = (
        f"lungs {seen['lung_ml']:.0f} mL, infection {seen['infection_ml']:.1f} mL ({seen['infection_percent']:.1f} %)"
    )
    return line if region["lung_ml"] is not None else f"{line} in the part of the lungs that was found"


def label_volumes(result: Result) -> str:
    """One line: the volume of each label in mL; of an image of two axes its voxels."""
    counts = np.zeros(256, np.int64)
    for plane in result.labels:  # bincount widens what it counts to 8 bytes
        counts += np.bincount(plane.ravel(), minlength=256)
    is_slice = getattr(result.volume, "is_slice", False)
    each, unit = (1.0, "voxels") if is_slice else (result.geometry.voxel_ml, "mL")
    digits = 0 if is_slice else 1
    labels = {value: name for value, name in result.segmentation.names.items() if value}
    return ", ".join(f"{name} {counts[value] * each:.{digits}f} {unit}" for value, name in labels.items())
