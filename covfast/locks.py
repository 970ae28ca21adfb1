"""Lock files: a sign of life, free again when its process dies. Some file systems have none: nobody waits there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from covfast.errors import OutputError, describe, file_name


def hold(path: Path, option: str, *, wait: bool) -> int:
    """The locked descriptor of a lock file, made if it is not there.

    Args:
        path: Of the file.
        option: How the user calls the folder, for the message.
        wait: Until another process that holds it lets go.

    Raises:
        BlockingIOError: Another holds it and `wait` is false.
        OutputError: The folder cannot be written.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            got = f"{file_name(path.parent)}: {error.strerror}"
            raise OutputError(describe(option, got, "a folder that can be written")) from None
        if not lock(descriptor, wait=wait):
            os.close(descriptor)
            raise BlockingIOError(path.name)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # who held it removed the file between our two calls


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file; False if another process holds it. True too where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def release(path: Path, descriptor: int) -> None:
    """Remove a lock file while it is locked, then close it."""
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(descriptor)
