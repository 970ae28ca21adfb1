"""Lock files: one holder at a time, of the file that is at the path."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from covfast import locks
from covfast.errors import OutputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work.lock"


def is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one at the path."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def before_first(lock: Callable[..., bool], act: Callable[[], object]) -> Callable[..., bool]:
    """`lock`, where something happens between the opening of the file and the first try."""
    acts = [act]

    def late(descriptor: int, *, wait: bool) -> bool:
        if acts:
            acts.pop()()
        return lock(descriptor, wait=wait)

    return late


def test_held_lock_is_refused_and_left_to_its_holder(path: Path) -> None:
    descriptor = locks.hold(path, "out", wait=False)
    assert is_at(path, descriptor)
    open_files = len(os.listdir("/dev/fd"))
    with pytest.raises(BlockingIOError, match=r"work\.lock"):
        locks.hold(path, "out", wait=False)
    assert len(os.listdir("/dev/fd")) == open_files
    assert is_at(path, descriptor)
    locks.release(path, descriptor)


def test_release_removes_the_file_and_frees_the_lock(path: Path) -> None:
    descriptor = locks.hold(path, "out", wait=False)
    locks.release(path, descriptor)
    assert not path.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    again = locks.hold(path, "out", wait=False)
    assert is_at(path, again)
    locks.release(path, again)


def test_release_of_a_removed_file_frees_the_lock(path: Path) -> None:
    descriptor = locks.hold(path, "out", wait=False)
    path.unlink()
    locks.release(path, descriptor)
    locks.release(path, locks.hold(path, "out", wait=False))


def test_file_of_a_dead_holder_is_free(path: Path) -> None:
    os.close(locks.hold(path, "out", wait=False))  # as at a process's end: the file stays
    assert path.exists()
    locks.release(path, locks.hold(path, "out", wait=False))


@pytest.mark.parametrize("wait", [False, True])
def test_removed_file_is_tried_again(path: Path, wait: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "lock", before_first(locks.lock, path.unlink))
    descriptor = locks.hold(path, "out", wait=wait)
    assert is_at(path, descriptor)
    locks.release(path, descriptor)


def test_replaced_file_is_locked_in_place_of_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace() -> None:
        other = path.with_name("other")
        other.touch()
        other.replace(path)

    monkeypatch.setattr(locks, "lock", before_first(locks.lock, replace))
    descriptor = locks.hold(path, "out", wait=False)
    assert is_at(path, descriptor)
    locks.release(path, descriptor)


def test_waiting_ends_when_the_holder_lets_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, waits, found = locks.hold(path, "out", wait=False), threading.Event(), []
    monkeypatch.setattr(locks, "lock", before_first(locks.lock, waits.set))
    thread = threading.Thread(target=lambda: found.append(locks.hold(path, "out", wait=True)), daemon=True)
    thread.start()
    assert waits.wait(10)
    thread.join(0.1)
    assert not found
    locks.release(path, held)
    thread.join(10)
    (descriptor,) = found
    assert is_at(path, descriptor)
    locks.release(path, descriptor)


@pytest.mark.parametrize("kind", ["absent", "file", "read-only"])
def test_folder_that_cannot_be_written_is_named(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "results"
    if kind == "file":
        folder.touch()
    elif kind == "read-only":
        if os.geteuid() == 0:
            pytest.skip("root writes into every folder")
        folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"out: got results: .*, expected a folder that can be written") as caught:
        locks.hold(folder / "work.lock", "out", wait=False)
    assert str(tmp_path) not in str(caught.value)


def test_file_system_without_locks_leaves_two_runs_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(descriptor: int, how: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    both = [locks.hold(path, "out", wait=False) for _ in range(2)]
    assert all(is_at(path, descriptor) for descriptor in both)
    for descriptor in both:
        locks.release(path, descriptor)
