"""Progress on stderr: a bar on a terminal, one JSON object a line, or nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from covfast.pipeline import Progress


@contextmanager
def progress(kind: str) -> Iterator[Progress | None]:
    """The callback for `--progress KIND`: "auto", "json" or "none"."""
    if kind == "json":
        yield _json_line
    elif kind == "auto" and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
            tasks = {}

            def update(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total)
                bar.update(tasks[stage], completed=done, total=total)

            yield update
    else:
        yield None


def announcer(args: argparse.Namespace, names: Sequence[str]) -> Callable[[], None]:
    """To be called as each case begins: says which on stderr, where `--progress auto` shows no bar, and without -q."""
    is_loud = args.progress == "auto" and not args.quiet and not sys.stderr.isatty()
    waiting = iter(enumerate(names, 1))

    def announce() -> None:
        number, name = next(waiting)
        if is_loud:
            with suppress(OSError):  # no line is worth the case
                print(f"covfast: case {number} of {len(names)}: {name}", file=sys.stderr, flush=True)

    return announce


def _json_line(stage: str, done: int, total: int) -> None:
    with suppress(BrokenPipeError):  # who watched has gone; the work goes on
        # One write: another thread's line, of the next case, would come between a line and its end.
        sys.stderr.write(json.dumps({"stage": stage, "done": done, "total": total}) + "\n")
        sys.stderr.flush()
