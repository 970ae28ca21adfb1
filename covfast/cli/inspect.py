"""`covfast inspect PATH`: what would be used of a series, folder or model package, and why."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from covfast.cli import options
from covfast.errors import FormatError, ValueRangeError, describe
from covfast.models.store import SUFFIX


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = options.add_command(commands, "inspect", run, "Show what would be used of a scan or a package, and why.")
    parser.add_argument("input", metavar="PATH", type=options.path_text, help="DICOM folder, image or model package")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--size",
        type=int,
        nargs="+",
        metavar="N",
        help="show a package's layers for inputs of this size, [D] H W (default: its own, or a typical one)",
    )
    options.add_ids(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the inspection; exit code 3 if nothing there can be used."""
    path = Path(args.input)
    if path.name.endswith(SUFFIX):
        from covfast import package

        contents = package.read_verified(path)
        print(json.dumps(contents.metadata, indent=2) if args.json else package.summary(path, args.size))
        return 0
    if args.size is not None:
        raise ValueRangeError(describe("--size", path.name, "a model package, whose layers have sizes"))
    from covfast.io import cases

    batch = cases(path)
    if not batch:
        return _show(path, args)
    codes = []
    for name, case in batch.items():
        print(f"{'' if args.json else '== '}{json.dumps({'case': name}) if args.json else name}")
        codes.append(_show(case, args))
    return max(codes)


def _show(path: Path, args: argparse.Namespace) -> int:
    from covfast.io import inspect

    inspection = inspect(path, ids=args.ids)
    print(json.dumps(inspection.to_json(), indent=2) if args.json else inspection)
    return 0 if inspection.chosen is not None else FormatError.exit_code
