"""`covfast segment IN -o OUT`: lungs and infection of one scan, or of every case of a folder."""

from __future__ import annotations

import argparse
import logging
import shlex
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from covfast.cli import options
from covfast.cli.progress import progress
from covfast.errors import CovfastError, NoLungsError, OutputError, ValueRangeError, describe, file_name
from covfast.pipeline import Progress, Result, Segmenter, as_volume
from covfast.volume import Volume

log = logging.getLogger("covfast")

SOME_FAILED = 8


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = options.add_command(commands, "segment", run, "Segment lungs and infection of a chest CT.")
    parser.add_argument("input", metavar="IN", help="DICOM folder, NIfTI, NRRD or MHA file, or a folder of cases")
    options.add_output(parser, "folder for the results; or FILE.nii.gz for the labels alone")
    options.add_model(parser)
    options.add_input(parser)
    options.add_ids(parser)


def run(args: argparse.Namespace) -> int:
    """Segments one case, or the cases of a folder one after the other."""
    from covfast.io import cases

    batch = cases(args.input)
    if batch and _is_file_name(args.output):
        raise ValueRangeError(describe("-o", file_name(args.output), "a folder for a batch of cases"))
    segmenter = Segmenter(**options.segmenter_arguments(args))
    log.info("model %s, backend %s", segmenter.metadata.get("name"), segmenter.backend)
    with progress(args.progress) as report:
        if not batch:
            print(segment_case(segmenter, Path(args.input), Path(args.output), args, report))
            return 0
        return _run_batch(segmenter, batch, args, report)


def _run_batch(segmenter: Segmenter, batch: dict[str, Path], args: argparse.Namespace, report: Progress | None) -> int:
    failed = 0
    for case, path in batch.items():
        try:
            line = segment_case(segmenter, path, Path(args.output) / case, args, report)
        except (CovfastError, MemoryError) as error:
            failed += 1
            log.error("%s: %s: %s", case, type(error).__name__, error)
            continue
        with suppress(BrokenPipeError):  # who read the lines has gone; the cases are written all the same
            print(f"{case}: {line}", flush=True)
    if failed:
        log.error("%d of %d cases failed", failed, len(batch))
    return SOME_FAILED if failed else 0


def segment_case(
    segmenter: Segmenter, source: Path | Volume, out: Path, args: argparse.Namespace, report: Progress | None
) -> str:
    """Segments one case and writes what was asked for. Returns one line that sums it up."""
    from covfast.io import write
    from covfast.report import save, save_no_lungs

    refuse_output(out, args.overwrite)
    start = time.perf_counter()
    volume = as_volume(source, on_geometry=args.on_geometry, input_window=_window(args))
    read = ("read", (time.perf_counter() - start) * 1e3)
    for note in volume.notes:
        log.warning("%s: %s", note["code"], note["message"])
    how = {"overwrite": args.overwrite, "command": repeat_command(args), "ids": args.ids}
    try:
        result = segmenter(volume, progress=report)
    except NoLungsError as error:
        if not _is_file_name(out):
            save_no_lungs(volume, segmenter.facts([read]), out, str(error), **how)
        raise
    result = replace(result, run={**result.run, "stages_ms": {**result.run["stages_ms"], "read": round(read[1], 3)}})
    if _is_file_name(out):
        write(out, result.segmentation)
    else:
        save(result, out, **how)
    return summary(result)


def refuse_output(out: Path, overwrite: bool) -> None:
    """Raises: OutputError if results are there and `overwrite` is false: before the work, not after it."""
    from covfast.report import refuse_taken

    if not _is_file_name(out):
        refuse_taken(out, overwrite)
    elif out.exists() and not overwrite:
        raise OutputError(describe("-o", f"{file_name(out)}, which exists", "a new file", "pass --overwrite"))


def _is_file_name(path: str | Path) -> bool:
    from covfast.io import image_suffix

    return bool(image_suffix(Path(path)))


def _window(args: argparse.Namespace) -> tuple[float, float] | None:
    window = getattr(args, "input_window", None)
    return None if window is None else (window[0], window[1])


def repeat_command(args: argparse.Namespace) -> str:
    """The command that would repeat the run, with IN and OUT for the paths, which may hold a patient's name."""
    words = ["covfast", args.command]
    if hasattr(args, "input"):
        words.append("IN")
    words += ["-o", "OUT", "--model", file_name(args.model), "--device", args.device, "--precision", args.precision]
    for flag in ("threads", "memory_limit"):
        value = getattr(args, flag)
        if value is not None:
            words += [f"--{flag.replace('_', '-')}", str(value)]
    if getattr(args, "on_geometry", "error") != "error":
        words += ["--on-geometry", args.on_geometry]
    window = _window(args)
    if window is not None:
        words += ["--input-window", f"{window[0]:g}", f"{window[1]:g}"]
    return shlex.join(words)


def summary(result: Result) -> str:
    """One line: lung volume, infection in mL and percent; what the scan cuts off is said, not counted as 0."""
    lungs = (result.lungs > 0).sum() * result.geometry.voxel_ml
    infection = (result.labels == 3).sum() * result.geometry.voxel_ml
    return f"lungs {lungs:.0f} mL, infection {infection:.1f} mL ({100 * infection / lungs:.1f} % of what was scanned)"
