"""`covfast inspect PATH`: what would be used of a series, folder or model package, and why."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covfast.cli import options
from covfast.errors import FormatError, ValueRangeError, describe, file_name
from covfast.models.store import SUFFIX
from covfast.volume import CANONICAL, Geometry

if TYPE_CHECKING:
    from covfast.io import Inspection


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
    parser.add_argument("-m", "--model", help="say how much memory this model needs for the scan, at most")
    options.add_helpers(parser)
    options.add_ids(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the inspection; exit code 3 if nothing there can be used."""
    path = Path(args.input)
    if args.model is None and (args.lungs or args.lesion_types):
        raise ValueRangeError(describe("--model", "none", "the model beside which these would work"))
    if path.name.endswith(SUFFIX):
        from covfast import package

        if args.model is not None:
            raise ValueRangeError(describe("--model", path.name, "a scan as PATH, whose memory is estimated"))

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
    need = None if args.model is None else _memory_bytes(inspection, args)
    if args.json:
        print(json.dumps(inspection.to_json() | ({} if need is None else {"memory_bytes": need}), indent=2))
    else:
        print(inspection)
        if need is not None:
            models = [file_name(name) for name in (args.model, args.lungs, args.lesion_types) if name]
            print(f"memory: {need / 2**30:.2f} GiB at most, with {', '.join(models)}")
    return 0 if inspection.chosen is not None else FormatError.exit_code


def _memory_bytes(inspection: Inspection, args: argparse.Namespace) -> int | None:
    """What the models need for the series that would be read; None where there is none. Only headers are read."""
    from covfast.pipeline import Segmenter

    series = None if inspection.chosen is None else inspection.series[inspection.chosen]
    if series is None or series.shape is None or series.spacing_mm is None:
        return None
    geometry = Geometry.from_spacing(series.shape, series.spacing_mm, series.orientation or CANONICAL)
    segmenter = Segmenter(args.model, lungs=args.lungs, lesion_types=args.lesion_types)
    item_bytes = 4 if series.dtype.startswith(("float", "f")) else 2
    return segmenter.estimate_bytes_for(geometry, item_bytes * math.prod(series.shape))
