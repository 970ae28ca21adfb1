"""`covfast demo -o OUT`: the main job on a built-in synthetic chest CT, scored against its known truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from covfast.cli import options
from covfast.cli.progress import progress
from covfast.cli.segment import log_warnings, open_segmenter, repeat_command, summary
from covfast.errors import ValueRangeError, describe
from covfast.pipeline import Result


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = options.add_command(
        commands, "demo", run, "Segment a built-in synthetic chest CT and score the result against its known truth."
    )
    options.add_output(parser, "folder for the results")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic CT (default %(default)s)")
    options.add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Makes the phantom, segments it and prints the Dice of each label."""
    from covfast.phantom import chest_phantom
    from covfast.report import refuse_taken, save

    refuse_taken(Path(args.output), args.overwrite)
    if args.seed < 0:
        raise ValueRangeError(describe("--seed", args.seed, "a number of at least 0"))
    segmenter = open_segmenter(args)
    phantom = chest_phantom(seed=args.seed)
    with progress(args.progress) as report:
        result = segmenter(phantom.volume, progress=report)
    save(result, Path(args.output), overwrite=args.overwrite, command=repeat_command(args))
    log_warnings(result)
    print(summary(result))
    print(json.dumps({"dice_against_known_truth": scores(result, phantom.truth.labels, phantom.lungs.labels)}))
    return 0


def dice(truth: Any, found: Any) -> float | None:
    """Dice of two masks, 2|A and B| / (|A| + |B|); None if both are empty."""
    total = int(truth.sum()) + int(found.sum())
    return None if total == 0 else round(2.0 * int(np.logical_and(truth, found).sum()) / total, 4)


def scores(result: Result, truth: Any, lungs: Any) -> dict[str, float | None]:
    """Dice of left lung, right lung (infection included) and infection."""
    return {
        "left lung": dice(lungs == 1, result.lungs == 1),
        "right lung": dice(lungs == 2, result.lungs == 2),
        "infection": dice(truth == 3, result.labels == 3),
    }
