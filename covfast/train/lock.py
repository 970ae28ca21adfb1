"""One training at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from covfast.errors import OutputError, describe, file_name

LOCK = ".covfast-train.lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While the block runs, no other training begins in the folder; what a dead process held is free.

    A file system without locks leaves two trainings to the user's care.

    Raises:
        OutputError: Another training is at work there, or the folder cannot be written.
    """
    path = folder / LOCK
    descriptor = _held(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _held(path: Path) -> int:
    """The open file, locked, and the one that stands at its path. Raises: OutputError."""
    busy = f"{file_name(path.parent)}, where another training is at work"
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            got = f"{file_name(path.parent)}: {error.strerror}"
            raise OutputError(describe("out", got, "a folder that can be written")) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise OutputError(describe("out", busy, "a folder of its own", "wait for it")) from None
        except OSError:
            return descriptor
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # who held it removed the file between our two calls
