"""The command line: parse, call the library, print results to stdout and everything else to stderr."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import covfast
from covfast import package
from covfast.cli import benchmark, demo, evaluate, importing, info, inspect, models, predict, segment, train
from covfast.errors import CovfastError, MemoryLimitError, OutputError

_COMMANDS = (segment, predict, evaluate, inspect, demo, importing, train, benchmark, models, info)


def build_parser() -> argparse.ArgumentParser:
    """Parser of the whole command line; each command's module adds its own part."""
    parser = argparse.ArgumentParser(
        prog="covfast",
        description="From a chest CT to lung and infection masks, measurements and metrics. Research use only.",
    )
    parser.add_argument("--version", action="version", version=f"covfast {covfast.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit code: 0 ok, 1 bug, 2 usage, 3 to 10 the library's errors, 130 interrupted."""
    args = build_parser().parse_args(argv)
    level = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)[max(0, min(3, 1 + args.verbose - args.quiet))]
    logging.basicConfig(stream=sys.stderr, level=level, format="covfast: %(message)s")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except CovfastError as error:
        _complain(error, args.verbose)
        return error.exit_code
    except KeyboardInterrupt:
        print("covfast: interrupted", file=sys.stderr)
        return 130
    except MemoryError as error:
        print(f"covfast: MemoryLimitError: {error or 'the system refused memory'}", file=sys.stderr)
        return MemoryLimitError.exit_code
    except BrokenPipeError:  # the reader of stdout has gone, as in `covfast info | head`: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OutputError.exit_code
    except OSError as error:  # what no part could name better, such as a full disk behind stdout
        print(f"covfast: {error.strerror or type(error).__name__}", file=sys.stderr)
        return OutputError.exit_code
    except Exception as error:
        print(f"covfast: this is a bug, please report it: {type(error).__name__}: {error}", file=sys.stderr)
        if args.verbose:
            traceback.print_exc()
        else:
            print("covfast: -v shows where", file=sys.stderr)
        return 1


def _terminate(signum: int, frame: object) -> None:
    """SIGTERM, as a scheduler sends it: leaves through the `finally`s, so that nothing half-written stays."""
    print("covfast: terminated", file=sys.stderr)
    raise SystemExit(128 + signum)


def _complain(error: CovfastError, verbose: int) -> None:
    print(f"covfast: {type(error).__name__}: {package.plain_text(str(error))}", file=sys.stderr)
    if verbose > 1:
        traceback.print_exc()
