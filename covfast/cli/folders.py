"""What `segment` and `predict` do with a folder: every case, whatever becomes of the others, and a manifest of them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from covfast.batch import Outcome, Outcomes
from covfast.errors import CovfastError, NoLungsError, OutputError, ValueRangeError, describe, file_name
from covfast.manifest import CONTINUE, DONE, NEW, OVERWRITE, Job, Manifest
from covfast.pipeline import Progress, Segmenter
from covfast.statistics import DECLARED_NOTES

log = logging.getLogger("covfast")

SOME_FAILED = 8

MOST_UNWRITTEN = 3
"""Cases in a row that could not be written, after which a batch stops: a disk that is full stays full."""


def add_continue(parser: argparse.ArgumentParser, *aliases: str) -> None:
    """`--continue`."""
    parser.add_argument(
        "--continue",
        *aliases,
        dest="continue_batch",
        action="store_true",
        help="of a folder, do the cases that are not done yet, and those that failed",
    )


def mode_of(args: argparse.Namespace) -> str:
    """How a batch treats results that are there. Raises: ValueRangeError: both flags."""
    if args.continue_batch and args.overwrite:
        raise ValueRangeError(describe("--continue", "--overwrite too", "one of them"))
    return CONTINUE if args.continue_batch else OVERWRITE if args.overwrite else NEW


def run_facts(segmenter: Segmenter, args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides about the results of a batch: a case that another run made is not taken for done."""
    facts = segmenter.facts()
    roles = [role for role in ("model", "lungs_model", "lesion_types_model") if role in facts]
    return {
        "command": args.command,
        **{role: {key: facts[role][key] for key in ("name", "sha256")} for role in roles},
        "options": {
            "precision": args.precision,
            "on_geometry": args.on_geometry,
            "input_window": args.input_window,
            **options,
        },
    }


def run_batch(
    outcomes: Callable[[Iterable[Any]], Outcomes],
    manifest: Manifest,
    todo: list[Job],
    finish: Callable[[Job, Outcome], str],
    report: Progress | None,
    refused: Mapping[str, CovfastError] | None = None,
) -> int:
    """Segments the jobs, finishes each, and prints a line for it. Returns the exit code: 0, or 8 if a case failed.

    Args:
        outcomes: makes the outcomes of images.
        manifest: open; every case is noted in it.
        todo: what it left to be done.
        finish: writes an outcome, or raises its error; returns the line for stdout.
        report: told how many cases are done.
        refused: errors of cases that need not be tried, by name.
    Raises: OutputError: `MOST_UNWRITTEN` cases in a row, or the manifest in the end, could not be written.
    """
    failed = unwritten = 0
    errors = refused or {}
    for job in (job for job in todo if job.name in errors):
        failed += 1
        _record_failure(manifest, job, errors[job.name])
    tried = [job for job in todo if job.name not in errors]
    with outcomes(job.inputs if len(job.inputs) > 1 else job.inputs[0] for job in tried) as found:
        for done, (job, outcome) in enumerate(zip(tried, found, strict=True), 1):
            try:
                line = finish(job, outcome)
            except (CovfastError, MemoryError) as error:
                failed += 1
                unwritten = unwritten + 1 if isinstance(error, OutputError) else 0
                _record_failure(manifest, job, error)
                if unwritten == MOST_UNWRITTEN:
                    raise _stopped(manifest.folder, len(tried) - done) from None
            else:
                unwritten = 0
                manifest.record(job, DONE)
                with suppress(BrokenPipeError):  # who read the lines has gone; the cases are written all the same
                    print(f"{job.name}: {line}", flush=True)
            if report is not None:
                report("cases", done, len(tried))
    if failed:
        log.error("%d of %d cases failed", failed, len(todo))
    if manifest.unsaved is not None:
        raise manifest.unsaved
    return SOME_FAILED if failed else 0


def _record_failure(manifest: Manifest, job: Job, error: Exception) -> None:
    text = f"{type(error).__name__}: {error}"
    log.error("%s: %s", job.name, text)
    manifest.record(job, "no_lungs" if isinstance(error, NoLungsError) else "failed", text)


def _stopped(folder: Path, left: int) -> OutputError:
    got = f"{MOST_UNWRITTEN} cases in a row that could not be written to {file_name(folder)}, {left} not tried"
    return OutputError(describe("-o", got, "room for them", "make room, then --continue"))


def log_notes(outcome: Outcome, label: str = "") -> None:
    """Says what reading changed: what it always does with -v, the rest as warnings."""
    for note in outcome.source.notes if outcome.source is not None else ():
        level = logging.INFO if note["code"] in DECLARED_NOTES else logging.WARNING
        log.log(level, "%s%s: %s", label, note["code"], note["message"])
