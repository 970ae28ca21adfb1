"""`covfast import PATH -o M`: published weights, a file or a folder of trained models, become a model package."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from covfast.cli import options
from covfast.errors import OutputError, ValueRangeError, describe, file_name
from covfast.models.store import SUFFIX

log = logging.getLogger("covfast")


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = options.add_command(commands, "import", run, "Turn published weights into a model package.")
    parser.add_argument(
        "input",
        metavar="PATH",
        help="weight file such as MiniSeg's, Inf-Net's or lungmask's .pth, or nnU-Net's results, a folder or zip file",
    )
    options.add_output(parser, "the .covfast file to write")
    parser.add_argument("--format", metavar="NAME", help="found out by itself by default")
    parser.add_argument(
        "--folds", "-f", nargs="+", metavar="FOLD", help="such as 0 1 2, or all; all that are there by default"
    )
    parser.add_argument(
        "--checkpoint", "-chk", metavar="NAME", help="such as checkpoint_best; the final one by default"
    )
    parser.add_argument(
        "--configuration", "-c", metavar="NAME", help="such as 3d_fullres, where a folder holds several"
    )
    parser.add_argument(
        "--fill", metavar="FILE", help="of lungmask's lobes: the weight file of lungs within which they are found"
    )
    parser.add_argument(
        "--postprocessing",
        action=argparse.BooleanOptionalAction,
        help="whether the postprocessing becomes part of the model; by default as the published tools do",
    )


def run(args: argparse.Namespace) -> int:
    """Reads the weights and writes the package."""
    from covfast.models.checkpoint import import_checkpoint

    out = Path(args.output)
    if not out.name.endswith(SUFFIX):
        raise ValueRangeError(describe("-o", file_name(out), f"a name that ends in {SUFFIX}"))
    if out.is_dir() or not out.parent.is_dir():
        raise OutputError(describe("-o", file_name(out), "a file in a folder that exists"))
    if out.exists() and not args.overwrite:
        raise OutputError(describe("-o", f"{file_name(out)}, which exists", "a new file", "pass --overwrite"))
    folds = None if args.folds is None else [int(fold) if fold.isdecimal() else fold for fold in args.folds]
    checkpoint = import_checkpoint(
        args.input,
        args.format,
        folds,
        checkpoint=args.checkpoint,
        configuration=args.configuration,
        postprocessing=args.postprocessing,
        fill=args.fill,
    )
    for note in checkpoint.notes:
        log.warning("%s", note)
    checkpoint.export(out)
    print(f"{file_name(out)}: written")
    return 0
