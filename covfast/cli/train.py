"""`covfast train RECIPE --data DIR -o OUT`: train a model as a recipe says."""

from __future__ import annotations

import argparse
from typing import Any

from covfast.cli import options
from covfast.errors import ValueRangeError, describe


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = options.add_command(commands, "train", run, "Train a model from a recipe.")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, such as miniseg-infection, or a .toml file")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the training data")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder; an unfinished run there resumes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")


def run(args: argparse.Namespace) -> int:
    """Trains, or goes on where a killed run stopped."""
    from covfast.train import train

    changes = {}
    for item in args.set:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ValueRangeError(describe("--set", repr(item), "KEY=VALUE"))
        changes[key] = value
    train(args.recipe, args.data, args.output, set=changes)
    return 0
