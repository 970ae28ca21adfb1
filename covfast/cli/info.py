"""`covfast info`: build, machine, backends and versions."""

from __future__ import annotations

import argparse
import json
from typing import Any

import covfast
from covfast.cli import options


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = options.add_command(commands, "info", run, "Show the build, the backends of this machine and versions.")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints what this installation can do."""
    facts = covfast.info()
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    for name, version in facts["versions"].items():
        print(f"{name:<16} {version or 'not installed'}")
    print(f"{'threads':<16} {facts['machine']['threads']}")
    for backend in covfast.backends():
        print(f"backend {backend}")
    return 0
