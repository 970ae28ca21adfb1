"""`manifest.json`: which cases of a batch are done, by which model and options, so that a batch can be continued.

It lies in the folder of the outputs and is replaced whole after each case. No input path stands in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from covfast import locks
from covfast.errors import CovfastError, FormatError, OutputError, ValueRangeError, describe, file_name
from covfast.info import versions
from covfast.outputs import replace_file

SCHEMA_VERSION = 1
NAME = "manifest.json"
DONE, RUNNING = "ok", "running"
NEW, CONTINUE, OVERWRITE = "new", "continue", "overwrite"


@dataclass(frozen=True)
class Job:
    """One case of a batch.

    Attributes:
        name: of the case.
        inputs: its files or folders.
        outputs: names of the files that it leaves, inside the folder of the outputs.
    """

    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[str, ...]


def size_of(paths: Sequence[Path]) -> int:
    """Bytes of files, and of all files under folders; of what cannot be looked at, 0."""
    total = 0
    for path in paths:
        files = [path] if path.is_file() else [Path(top, name) for top, _, names in os.walk(path) for name in names]
        for file in files:
            with contextlib.suppress(OSError):
                total += file.stat().st_size
    return total


class Manifest:
    """The manifest of a folder of outputs. A context manager: at its end, jobs that were not recorded are free again.

    Several runs may write into one folder at once, such as the parts of a batch, as long as each has cases of its own.

    Args:
        folder: made if it is not there.
        run: what decides about the results: command, model and options, as JSON values. Cases that another run made
            are not taken for done.
    Raises: OutputError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        self.folder = folder
        self.unsaved: OutputError | None = None
        self._path = folder / NAME
        self._run: dict[str, Any] = json.loads(json.dumps(run))
        self._token = secrets.token_hex(4)
        self._lock = -1
        self._mine: set[str] = set()
        self._pending: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Manifest:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            got = f"{file_name(self.folder)}: {error.strerror}"
            raise OutputError(describe("-o", got, "a folder that can be written")) from None
        self._lock = locks.hold(self._sign_of_life(self._token), "-o", wait=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(CovfastError):  # what cannot be noted now is found out by the next run
            self._change(self._pending, drop=self._mine | set(self._pending))
        locks.release(self._sign_of_life(self._token), self._lock)

    def _sign_of_life(self, token: str) -> Path:
        """The file that a run holds locked while it lives: if it is killed, its cases are free."""
        return self.folder / f".covfast-run-{token}.lock"

    def todo(self, jobs: Sequence[Job], mode: str) -> list[Job]:
        """The jobs that are still to be done, which no other run may begin until this one ends.

        Args:
            jobs: all of the batch.
            mode: NEW: all, none of whose outputs may be there. OVERWRITE: all. CONTINUE: those that no run with these
                options finished, whose outputs are gone or have another size than then, or whose input has.
        Raises: OutputError: another run is at one of the cases, or outputs are there, in CONTINUE without a manifest
            that tells whose they are; ValueRangeError: in CONTINUE, there are outputs of another model or other
            options, even if not all that is asked for now; FormatError: a manifest that is none.
        """
        with self._exclusive():
            has_manifest = self._path.exists()
            cases = _cases_of(self._path) if has_manifest else {}
            self._refuse_busy([job.name for job in jobs], cases)
            todo = list(jobs)
            if mode != OVERWRITE:
                self._refuse_taken(jobs, mode, has_manifest)
            if mode == CONTINUE:
                self._refuse_other_runs([job.name for job in jobs if self._has_left(cases.get(job.name, {}))], cases)
                todo = [job for job in jobs if not self._is_done(job, cases.get(job.name, {}))]
            for job in todo:
                cases[job.name] = self._entry(job, RUNNING, self._token)
            self._write(cases)
            self._mine = {job.name for job in todo}
        return todo

    def record(self, job: Job, status: str, error: str | None = None) -> None:
        """Notes what became of a job and replaces the file.

        On a full disk the note is kept for the next call, and the error stands in `unsaved` until one succeeds.
        """
        self._pending[job.name] = self._entry(job, status, error)
        self._mine.discard(job.name)
        try:
            self._change(self._pending)
            self.unsaved = None
            self._pending.clear()
        except OutputError as error_of_disk:
            self.unsaved = error_of_disk

    def _entry(self, job: Job, status: str, error: str | None) -> dict[str, Any]:
        outputs = {name: self.folder / name for name in job.outputs} if status == DONE else {}
        return {
            "status": status,
            "run_id" if status == RUNNING else "error": error,
            "input_bytes": size_of(job.inputs),
            "outputs": {name: path.stat().st_size for name, path in outputs.items() if path.is_file()},
            "run": self._run,
        }

    def _change(self, new: Mapping[str, Any], drop: Iterable[str] = ()) -> None:
        """Reads what other runs noted meanwhile, adds and drops, and writes."""
        drop = list(drop)
        if not new and not drop:
            return
        with self._exclusive():
            cases = _cases_of(self._path) if self._path.exists() else {}
            self._write({**{name: case for name, case in cases.items() if name not in drop}, **new})

    def _write(self, cases: Mapping[str, Any]) -> None:
        runs: list[dict[str, Any]] = []
        shown = {}
        for name, case in sorted(cases.items()):
            if case["run"] not in runs:
                runs.append(case["run"])
            shown[name] = {**case, "run": runs.index(case["run"])}
        value = {"schema_version": SCHEMA_VERSION, "versions": versions(), "runs": runs, "cases": shown}
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"  # ASCII: a name may be no valid UTF-8

        def fill(file: IO[bytes]) -> None:
            file.write(text.encode("ascii"))

        replace_file(self._path, fill)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """While the block runs, no other run reads or writes the manifest."""
        path = self.folder / ".covfast-manifest.lock"
        lock = locks.hold(path, "-o", wait=True)
        try:
            yield
        finally:
            locks.release(path, lock)

    def _refuse_busy(self, names: Sequence[str], cases: Mapping[str, Mapping[str, Any]]) -> None:
        running = {name: cases[name]["run_id"] for name in names if cases.get(name, {}).get("status") == RUNNING}
        alive = {token for token in set(running.values()) if self._is_alive(token)}
        busy = [name for name, token in running.items() if token in alive]
        if busy:
            got = f"{file_name(self.folder)}, where another run is at {_some(busy)}"
            hint = "wait for it, or name another folder"
            raise OutputError(describe("-o", got, "cases that no other run is at", hint))

    def _is_alive(self, token: str) -> bool:
        path = self._sign_of_life(token)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        if not locks.lock(lock, wait=False):
            os.close(lock)
            return True
        locks.release(path, lock)
        return False

    def _refuse_taken(self, jobs: Sequence[Job], mode: str, has_manifest: bool) -> None:
        if mode == CONTINUE and has_manifest:
            return
        there = [name for job in jobs for name in job.outputs if os.path.lexists(self.folder / name)]
        if there:
            got = f"{file_name(self.folder)} with {_some(there)}"
            hint = "--continue does what is missing, --overwrite all"
            if mode == CONTINUE:
                got, hint = f"{got} but no {NAME} that says whose they are", "--overwrite replaces them"
            raise OutputError(describe("-o", got, "a folder without these results", hint))

    def _is_done(self, job: Job, case: Mapping[str, Any]) -> bool:
        if case.get("status") != DONE or case.get("input_bytes") != size_of(job.inputs):
            return False
        sizes = case.get("outputs", {})
        return set(job.outputs) <= set(sizes) and all(
            (self.folder / name).is_file() and (self.folder / name).stat().st_size == size
            for name, size in sizes.items()
        )

    def _has_left(self, case: Mapping[str, Any]) -> bool:
        """Whether outputs that a run noted are there, which doing the case again would replace."""
        return any(os.path.lexists(self.folder / name) for name in case.get("outputs", {}))

    def _refuse_other_runs(self, names: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> None:
        others = [name for name in names if known[name]["run"] != self._run]
        if not others:
            return
        changes = _changes(known[others[0]]["run"], self._run)
        hint = "--overwrite redoes all; or name another folder"
        raise ValueRangeError(describe("--continue", f"{_some(others)} done with {changes}", "the same run", hint))


def _cases_of(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> case with its run of a manifest. Raises: FormatError."""
    try:
        value = json.loads(path.read_bytes())
        if value["schema_version"] != SCHEMA_VERSION:
            raise ValueError("another version")
        return {
            str(name): {
                "status": str(case["status"]),
                **_state(case),
                "input_bytes": int(case["input_bytes"]),
                "outputs": {str(output): int(size) for output, size in case["outputs"].items()},
                "run": dict(value["runs"][int(case["run"])]),
            }
            for name, case in value["cases"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        expected = f"a manifest of version {SCHEMA_VERSION}"
        hint = "remove it to begin anew"
        raise FormatError(describe(file_name(path), type(error).__name__, expected, hint)) from None


def _state(case: Mapping[str, Any]) -> dict[str, Any]:
    """The id of the run that is at a case, which names a file, or why the case failed."""
    if case["status"] == RUNNING:
        return {"run_id": bytes.fromhex(case["run_id"]).hex()}
    return {"error": case["error"]}


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The entries of two runs that differ, in words."""
    flat = [{**run, **run.get("options", {}), "options": None, "model": run.get("model")} for run in (then, now)]
    keys = sorted(key for key in {*flat[0], *flat[1]} if flat[0].get(key) != flat[1].get(key))
    return ", ".join(f"{key} {json.dumps(flat[0].get(key))} (now {json.dumps(flat[1].get(key))})" for key in keys)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
