"""The thread pool: fixed blocks, any number of threads, after fork, from several threads at once."""

from __future__ import annotations

import ctypes
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


BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@pytest.mark.parametrize("brought", [1, 2, 3, 5])
def test_loops_run_on_the_threads_of_an_openmp_runtime_while_its_team_lives(brought: int) -> None:
    asked: list[int] = []

    @ctypes.CFUNCTYPE(None, BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    def parallel(body: object, data: int, threads: int, flags: int) -> None:
        """GOMP_parallel of a runtime that brings so many threads, whatever it is asked for."""
        asked.append(threads)
        others = [threading.Thread(target=body, args=(data,)) for _ in range(brought - 1)]
        for other in others:
            other.start()
        body(data)
        for other in others:
            other.join()

    address = ctypes.cast(parallel, ctypes.c_void_p).value
    assert address is not None
    with _core.OpenMpThreads(address, 3):
        assert np.array_equal(ops.null(X, threads=3), X)
        assert asked == [3]
        assert np.array_equal(ops.null(X, threads=2), X)  # a loop of fewer threads leaves the others be
        assert asked == [3, 3]
        assert np.array_equal(ops.null(X, threads=4), X)  # one of more takes the pool
        assert np.array_equal(ops.null(X, threads=1), X)
    assert np.array_equal(ops.null(X, threads=3), X)
    assert asked == [3, 3]
