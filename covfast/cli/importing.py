"""`covfast import PATH -o M`: a published weight file becomes a model package."""

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
    parser = options.add_command(commands, "import", run, "Turn a published weight file into a model package.")
    parser.add_argument("input", metavar="PATH", help="weight file, such as MiniSeg's .pth")
    options.add_output(parser, "the .covfast file to write")
    parser.add_argument("--format", choices=("miniseg",), help="found out by itself by default")


def run(args: argparse.Namespace) -> int:
    """Reads the weight file and writes the package."""
    from covfast.models.checkpoint import import_checkpoint

    out = Path(args.output)
    if not out.name.endswith(SUFFIX):
        raise ValueRangeError(describe("-o", file_name(out), f"a name that ends in {SUFFIX}"))
    if out.is_dir() or not out.parent.is_dir():
        raise OutputError(describe("-o", file_name(out), "a file in a folder that exists"))
    if out.exists() and not args.overwrite:
        raise OutputError(describe("-o", f"{file_name(out)}, which exists", "a new file", "pass --overwrite"))
    checkpoint = import_checkpoint(args.input, format=args.format)
    for note in checkpoint.notes:
        log.warning("%s", note)
    checkpoint.export(out)
    print(f"{file_name(out)}: written")
    return 0
