"""`covfast import PATH -o M`: a published weight file becomes a model package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from covfast.cli import options
from covfast.errors import OutputError, describe, file_name


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
    if out.exists() and not args.overwrite:
        raise OutputError(describe("-o", f"{file_name(out)}, which exists", "a new file", "pass --overwrite"))
    checkpoint = import_checkpoint(args.input, format=args.format)
    checkpoint.export(out)
    print(f"{file_name(out)}: written")
    return 0
