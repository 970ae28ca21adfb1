"""Flags that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from covfast.models.store import DEFAULT_MODEL


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    """Parser of one command, with the flags that all have."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("-q", "--quiet", action="count", default=0, help="say less")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for tracebacks")
    parser.set_defaults(run=run)
    return parser


def add_output(parser: argparse.ArgumentParser, help_text: str, *, required: bool = True) -> None:
    """`-o OUT` and `--overwrite`."""
    parser.add_argument("-o", "--output", required=required, type=path_text, metavar="OUT", help=help_text)
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there")


def path_text(text: str) -> str:
    """A path of the command line; an empty one, as of an unset variable, would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("got an empty path")
    return text


def add_ids(parser: argparse.ArgumentParser) -> None:
    """`--ids`."""
    parser.add_argument(
        "--ids",
        choices=("hash", "uid", "none"),
        default="hash",
        help="how series are named in outputs (default %(default)s)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """`-m MODEL`, `-d DEVICE` and what else a run of a model takes."""
    parser.add_argument("-m", "--model", default=DEFAULT_MODEL, help="name or path of a model (default %(default)s)")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu, cuda or cuda:N (default %(default)s)")
    parser.add_argument(
        "--precision", default="fp32", help="fp32 (default), or bf16: networks of many channels in bfloat16"
    )
    add_threads(parser)
    parser.add_argument("--memory-limit", metavar="SIZE", help="refuse what needs more, such as 4GiB")
    add_progress(parser)


def add_helpers(parser: argparse.ArgumentParser) -> None:
    """`--lungs` and `--lesion-types`: models beside that of the infection."""
    parser.add_argument(
        "--lungs",
        nargs="?",
        const="miniseg-lung",
        metavar="MODEL",
        help="dense lung that a model finds joins the native lungs (without MODEL, behind IN: %(const)s)",
    )
    parser.add_argument(
        "--lesion-types",
        nargs="?",
        const="miniseg-ggo",
        metavar="MODEL",
        help="ground glass and consolidation apart, in lesion_types.nii.gz (without MODEL, behind IN: %(const)s)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """`--threads`."""
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all that may be used)")


def add_progress(parser: argparse.ArgumentParser) -> None:
    """`--progress`."""
    parser.add_argument(
        "--progress", choices=("auto", "json", "none"), default="auto", help="on stderr; auto: a bar on a terminal"
    )


def add_input(parser: argparse.ArgumentParser) -> None:
    """What reading a scan takes."""
    parser.add_argument(
        "--on-geometry",
        choices=("error", "repair"),
        default="error",
        help="series whose slices do not fit together: refuse (default), or repair and record it in run.json",
    )
    parser.add_argument(
        "--input-window",
        type=float,
        nargs=2,
        metavar=("LO", "HI"),
        help="the image is already windowed to these HU, as the benchmark's radiopaedia cases are (-1250 250)",
    )


def segmenter_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `Segmenter` from the flags of `add_model`."""
    return {
        "model": args.model,
        "device": args.device,
        "precision": args.precision,
        "threads": args.threads,
        "memory_limit": args.memory_limit,
    }
