"""The thread pool: fixed blocks, any number of threads, after fork, from several threads at once."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from covfast import ValueRangeError, _core, ops

X = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)


def test_hardware_threads_is_at_least_one_and_at_most_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVFAST_NUM_THREADS", raising=False)
    assert 1 <= _core.hardware_threads() <= len(os.sched_getaffinity(0))


def test_hardware_threads_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVFAST_NUM_THREADS", "3")
    assert _core.hardware_threads() == 3


@pytest.mark.parametrize("text", ["junk", "0", "-3", "1e3", "2 "])
def test_hardware_threads_refuses_what_is_no_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("COVFAST_NUM_THREADS", text)
    with pytest.raises(ValueRangeError, match="COVFAST_NUM_THREADS: got"):
        _core.hardware_threads()


def test_parallel_work_after_fork_completes() -> None:
    ops.null(X, threads=4)  # the parent's pool has threads now; the child inherits none of them
    child = os.fork()
    if child == 0:
        ok = np.array_equal(ops.null(X, threads=4), X)
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_parallel_work_from_many_threads_at_once_is_right() -> None:
    results: list[bool] = []

    def work() -> None:
        results.extend(np.array_equal(ops.null(X, threads=3), X) for _ in range(20))

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [True] * 120
