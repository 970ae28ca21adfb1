"""One training at a time in a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from covfast import locks
from covfast.errors import OutputError, describe, file_name

LOCK = ".covfast-train.lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While the block runs, no other training begins in the folder; what a dead process held is free.

    Raises:
        OutputError: Another training is at work there, or the folder cannot be written.
    """
    path = folder / LOCK
    try:
        lock = locks.hold(path, "out", wait=False)
    except BlockingIOError:
        got = f"{file_name(folder)}, where another training is at work"
        raise OutputError(describe("out", got, "a folder of its own", "wait for it")) from None
    try:
        yield
    finally:
        locks.release(path, lock)
