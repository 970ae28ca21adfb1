"""`run.json`: what a training was, so that it can be judged and repeated. No path of the machine stands in it."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covfast.errors import FormatError, ValueRangeError, describe
from covfast.info import versions
from covfast.outputs import replace_text
from covfast.train.recipe import Recipe, flatten

NAME = "run.json"
SCHEMA_VERSION = 1

_FREE = ("run.device", "run.interval", "run.prefetch", "run.tensorboard", "run.package", "threads")
"""Keys that a resumed run may change: no weight depends on them, but for the rounding of another device."""


class Record:
    """The record of a folder of outputs.

    Args:
        out: Folder; a record that is there is continued.
        table: Resolved recipe.
        writes: False in the other processes of a distributed run.

    Raises:
        FormatError: The record that is there cannot be read.
        ValueRangeError: It is of another recipe.
    """

    def __init__(self, out: Path, table: Recipe, writes: bool = True) -> None:
        self.path, self.writes = out / NAME, writes
        held = read_record(self.path) if self.path.exists() else {}
        if held:
            _refuse_another(held.get("recipe", {}), table)
        self.content: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "status": "running",
            "recipe": table,
            "stages": held.get("stages", {}),
            "versions": versions(),
            "commit": commit(),
            "use": "research only, not a medical device",
        }

    def stage(self, name: str, splits: Mapping[str, Sequence[str]], files: Sequence[Path], data: Path) -> None:
        """Enter what a stage trains on: cases on each side, SHA-256 of every file by its place under `data`.

        Raises:
            ValueRangeError: The stage began on other files; the message names one.
        """
        if self.writes:
            hashes = {place(path, data): digest(path) for path in files}
            _refuse_changed(self.content["stages"].get(name, {}).get("files", hashes), hashes)
            self.content["stages"][name] = {
                "splits": {key: list(cases) for key, cases in splits.items()},
                "files": hashes,
            }
            self.save()

    def end(self, name: str, **facts: Any) -> None:
        """Add facts to a stage, such as its steps, seconds and score."""
        if self.writes:
            self.content["stages"].setdefault(name, {}).update(facts)
            self.save()

    def finish(self, weights: Path) -> None:
        """Say that the run is done, and which file it left."""
        if self.writes:
            self.content["status"] = "done"
            self.content["weights"] = {"file": weights.name, "sha256": digest(weights)}
            self.save()

    def save(self) -> None:
        """Write the record, whole. Raises: OutputError: it cannot be written."""
        replace_text(self.path, json.dumps(self.content, indent=1) + "\n")


def claim(path: Path, made_from: dict[str, Any]) -> None:
    """Note in a file what a stage is made from; a stage copied from another run must be made from the same.

    Raises:
        FormatError: The note that is there cannot be read.
        OutputError: It cannot be written.
        ValueRangeError: The stage there is made from something else; the message names the first key that differs.
    """
    if path.exists():
        _refuse_another(read_record(path), made_from)
    replace_text(path, json.dumps(made_from, indent=1) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """A `run.json`. Raises: FormatError: it cannot be read."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(describe(path.name, type(error).__name__, "the record of a training")) from error
    if not isinstance(held, dict):
        raise FormatError(describe(path.name, type(held).__name__, "the record of a training"))
    return held


def _refuse_another(held: Mapping[str, Any], table: Recipe) -> None:
    """Raises ValueRangeError if the folder holds a run of another recipe."""
    before, now = flatten(held), flatten(table)
    for key in sorted({*before, *now}):
        if key not in _FREE and before.get(key) != now.get(key):
            got, expected = f"{now.get(key)!r}", f"{before.get(key)!r} as the unfinished run there"
            raise ValueRangeError(describe(key, got, expected, "another folder begins anew"))


def _refuse_changed(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raises ValueRangeError if the files of an unfinished run are not those that it began with."""
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            got = "no longer a file" if name not in now else "a new file" if name not in before else "another content"
            expected = "the data that the run there began with"
            raise ValueRangeError(describe(name, got, expected, "another folder begins anew"))


def place(path: Path, data: Path) -> str:
    """The path of a file under the data folder; elsewhere, such as pseudo-labels, its folder's name and its own."""
    return path.relative_to(data).as_posix() if path.is_relative_to(data) else "/".join(path.parts[-2:])


def digest(path: Path) -> str:
    """SHA-256 of a file. Raises: FormatError: it cannot be read."""
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    except OSError as error:
        raise FormatError(describe(path.name, error.strerror or "an error", "a readable file")) from error
    return total.hexdigest()


def commit() -> str | None:
    """The commit of covfast's source, "+changed" behind it where files differ; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    head, state = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
    return None if head is None or state is None else head + ("+changed" if state else "")


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.strip()
