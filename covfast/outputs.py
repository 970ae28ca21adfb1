"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from covfast.errors import OutputError, describe, file_name


def replace_file(path: Path, fill: Callable[[IO[bytes]], None]) -> None:
    """Makes `path` hold what `fill` writes into an open file, in one step.

    Raises: OutputError: not written; whatever was at `path` before is still there, and nothing else is left behind.
    """
    part = path.with_name(f".covfast-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            fill(file)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(
            describe(file_name(path), error.strerror or "an error", "a file that can be written")
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Makes a file hold a text in UTF-8, in one step. Raises: OutputError: as `replace_file`."""

    def fill(file: IO[bytes]) -> None:
        file.write(text.encode())

    replace_file(path, fill)


def make_folder(path: Path) -> Path:
    """The folder, made where it is missing. Raises: OutputError: it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            describe(file_name(path), error.strerror or "an error", "a folder that can be written")
        ) from None
    return path
