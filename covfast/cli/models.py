"""`covfast models list|show|verify|add`: the model packages that are installed."""

from __future__ import annotations

import argparse
import json
from typing import Any

from covfast import package
from covfast.cli import options
from covfast.errors import CovfastError
from covfast.models import store


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = commands.add_parser("models", help="List, show, verify and add models.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    options.add_command(actions, "list", _list, "List the installed models.")
    show = options.add_command(actions, "show", _show, "Show a model: layers, labels, licence, provenance.")
    show.add_argument("model", help="name or path")
    show.add_argument("--json", action="store_true", help="print the package's metadata as JSON")
    verify = options.add_command(actions, "verify", _verify, "Check models against their checksums.")
    verify.add_argument("model", nargs="*", help="names or paths (default: all that are installed)")
    add = options.add_command(actions, "add", _add, "Install a model package for this user.")
    add.add_argument("path", metavar="FILE", help="a .covfast file")
    add.add_argument("--name", help="the name to install it under (default: the file's)")
    add.add_argument("--overwrite", action="store_true", help="replace a model of this name")


def _list(_args: argparse.Namespace) -> int:
    entries = store.entries()
    for entry in entries:
        try:
            about = str(entry.metadata()["licence"]) or "licence not stated"
        except CovfastError as error:
            about = str(error)  # the others are still listed
        print(package.plain_text(f"{entry.name:<24} {entry.source:<16} {about}"))
    if not entries:
        print("no models are installed; the trained ones come with covfast-weights")
    return 0


def _show(args: argparse.Namespace) -> int:
    path = store.find(args.model)
    print(json.dumps(package.read_metadata(path), indent=2) if args.json else package.summary(path))
    return 0


def _verify(args: argparse.Namespace) -> int:
    code = 0
    for model in args.model or [entry.name for entry in store.entries()]:
        try:
            package.verify(store.find(model))
            print(package.plain_text(f"{model}: ok"))
        except CovfastError as error:
            print(package.plain_text(f"{model}: {error}"))
            code = error.exit_code
    return code


def _add(args: argparse.Namespace) -> int:
    entry = store.add(args.path, args.name, args.overwrite)
    print(f"{entry.name}: installed")
    return 0
