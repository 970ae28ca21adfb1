"""`covfast train RECIPE --data DIR -o OUT`: train a system as a recipe says."""

from __future__ import annotations

import argparse
import os
from typing import Any

from covfast.cli import options
from covfast.cli.progress import progress
from covfast.errors import ValueRangeError, describe


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = options.add_command(commands, "train", run, "Train a model from a recipe.")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, such as miniseg-infection, or a .toml file")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the training data")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder; an unfinished run there resumes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--fold", metavar="N|all", help="one fold of the recipe's cross-validation, or all of them")
    parser.add_argument("-d", "--device", help="auto, cpu, cuda or cuda:N; as --set run.device=DEVICE")
    options.add_progress(parser)


def changes(args: argparse.Namespace) -> dict[str, str]:
    """Key -> value of `--set` and the flags that stand for one. Raises: ValueRangeError: not KEY=VALUE."""
    found = {} if args.device is None else {"run.device": args.device}
    for item in args.set:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ValueRangeError(describe("--set", repr(item), "KEY=VALUE"))
        found[key] = value
    return found


def run(args: argparse.Namespace) -> int:
    """Trains, or goes on where a killed run stopped."""
    from covfast.train import train

    with progress(args.progress) as shown:
        weights = train(args.recipe, args.data, args.output, set=changes(args), fold=args.fold, progress=shown)
    if os.environ.get("RANK", "0") == "0":  # torchrun's first process
        print(weights)
    return 0
