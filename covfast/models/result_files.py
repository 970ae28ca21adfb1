"""A folder of trained models or a zip file of one, read-only, as a list of names and files that open."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from covfast.errors import FormatError, describe, file_name

# What zipfile raises on damaged, encrypted or unknown entries, and the file system on those of a folder.
_UNREADABLE = (OSError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_MOST_FILES = 100_000
_MOST_FOLDERS_DEEP = 8
_SKIPPED = ("validation", "cv_niftis", "gt_niftis", "crossval_results_folds_all_niftis")  # images, thousands of them
_TEXT_LIMIT = 256 << 20
_FILE_LIMIT = 16 << 30
_SPOOL = 64 << 20  # bytes of an entry that stay in memory


class ResultFiles:
    """Names and contents of a folder or zip file.

    Args:
        path: of the folder or zip file.

    Attributes:
        names: of the files, relative, with "/".
        title: of the folder or zip file, for messages.

    Raises:
        FormatError: missing, neither of the two, or with too many files to be one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.title = Path(path), file_name(path)
        self._zip: zipfile.ZipFile | None = None
        try:
            if self.path.is_dir():
                self.names = tuple(self._walk())
            else:
                self._zip = zipfile.ZipFile(self.path)
                self.names = tuple(name for name in self._zip.namelist() if not name.endswith("/"))
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            got = getattr(error, "strerror", None) or type(error).__name__
            raise FormatError(describe(self.title, got, "a folder of trained models, or a zip file of one")) from error
        if len(self.names) > _MOST_FILES:
            raise FormatError(describe(self.title, "more than 100,000 files", "a folder of trained models"))

    def _walk(self) -> Iterator[str]:
        root = os.fspath(self.path)
        count = 0
        for folder, below, files in os.walk(root, followlinks=False):
            inside = Path(folder).relative_to(root)
            deep = len(inside.parts) >= _MOST_FOLDERS_DEEP
            below[:] = [] if deep else sorted(n for n in below if n not in _SKIPPED and not n.startswith("."))
            count += len(files)
            if count > _MOST_FILES:
                raise FormatError(describe(self.title, "more than 100,000 files", "a folder of trained models"))
            yield from ((inside / name).as_posix() for name in sorted(files))

    def folders(self, *marks: str) -> list[str]:
        """The folders ("" is the top) that hold a file of one of these names."""
        return sorted({parent(name) for name in self.names if PurePosixPath(name).name in marks})

    def open(self, name: str) -> BinaryIO:
        """A seekable file. Raises: FormatError: missing, damaged or encrypted."""
        try:
            if self._zip is None:
                return open(self.path / name, "rb")
            info = self._zip.getinfo(name)
            if info.file_size > _FILE_LIMIT:
                raise FormatError(describe(name, f"{info.file_size} bytes", f"at most {_FILE_LIMIT}"))
            spooled = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115 - the caller closes it
            try:
                with self._zip.open(info) as packed:
                    shutil.copyfileobj(packed, spooled, 1 << 20)
            except BaseException:
                spooled.close()
                raise
            spooled.seek(0)
            return spooled  # type: ignore[return-value]
        except _UNREADABLE as error:
            got = "no such file" if isinstance(error, (KeyError, FileNotFoundError)) else type(error).__name__
            raise FormatError(describe(f"{self.title}: {name}", got, "a file that can be read")) from error

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file. Raises: FormatError."""
        with self.open(name) as file:
            text = file.read(_TEXT_LIMIT + 1)
        try:
            held = json.loads(text) if len(text) <= _TEXT_LIMIT else None
        except (ValueError, RecursionError) as error:
            raise FormatError(describe(f"{self.title}: {name}", "no JSON", "a JSON object")) from error
        if not isinstance(held, dict):
            raise FormatError(describe(f"{self.title}: {name}", type(held).__name__, "a JSON object"))
        return held

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self.names


def parent(name: str) -> str:
    """The folder of a name; "" at the top."""
    folder = PurePosixPath(name).parent.as_posix()
    return "" if folder == "." else folder


def join(folder: str, name: str) -> str:
    """A name within a folder, where "" is the top."""
    return f"{folder}/{name}" if folder else name
