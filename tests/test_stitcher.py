"""The stitcher behind SlidingWindow by itself: one array to write to, one call at a time."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import Any

import numpy as np
import pytest

from covfast import DTypeError, ShapeError, ValueRangeError, _core

Array = np.ndarray[Any, Any]
SIZE, UNMOVED = (4, 6, 5), (False, False, False)


def stitcher(size: tuple[int, int, int] = SIZE, mirrors: int = 1) -> _core.WindowStitcher:
    """One window as large as the volume."""
    plan = _core.WindowPlan(size, size, (1.0, 1.0, 1.0), True, 2)
    return _core.WindowStitcher(plan, 2, False, mirrors, 1)


def test_stitcher_holds_its_array() -> None:
    s, x = stitcher(), np.random.default_rng(0).standard_normal((2, *SIZE), np.float32)
    base = np.zeros((2, *SIZE), np.float32)
    s.write_averages(base[:])  # a view that nobody else holds
    gc.collect()
    s.add(0, 0, x, UNMOVED)
    s.finish()
    np.testing.assert_allclose(base, x, rtol=1e-6)


def test_stitcher_writes_to_one_array() -> None:
    averages, labels = np.zeros((2, *SIZE), np.float32), np.zeros(SIZE, np.uint8)
    for first in ("averages", "labels"):
        s = stitcher()
        s.write_averages(averages) if first == "averages" else s.write_labels(labels, [0, 1], False)
        with pytest.raises(ValueRangeError, match="got a second array"):
            s.write_labels(labels, [0, 1], False)
        with pytest.raises(ValueRangeError, match="got a second array"):
            s.write_averages(averages)


def test_stitcher_without_an_array_raises() -> None:
    s = stitcher()
    with pytest.raises(ValueRangeError, match="got no array to write to"):
        s.add(0, 0, np.zeros((2, *SIZE), np.float32), UNMOVED)
    with pytest.raises(ValueRangeError, match="got no array to write to"):
        s.finish()


def test_stitcher_refused_arrays_leave_it_without_one() -> None:
    s = stitcher()
    with pytest.raises(DTypeError, match="averages: got int32, expected float32"):
        s.write_averages(np.zeros((2, *SIZE), np.int32))
    with pytest.raises(ShapeError, match="labels: got another size"):
        s.write_labels(np.zeros((1, 1, 1), np.uint8), [0, 1], False)
    with pytest.raises(DTypeError, match="labels: got int16"):
        s.write_labels(np.zeros(SIZE, np.int16), [0, 1], False)
    s.write_averages(np.zeros((2, *SIZE), np.float32))


def test_stitcher_refuses_a_call_while_another_one_runs() -> None:
    size, mirrors, refused, done = (48, 256, 256), 16, 0, threading.Event()
    s, averages = stitcher(size, mirrors), np.zeros((2, *size), np.float32)
    s.write_averages(averages)
    x = np.broadcast_to(np.float32(3.0), (2, *size))

    def add_all() -> None:
        reading = 0
        for _ in range(10_000):  # the other thread's calls come first now and then
            with contextlib.suppress(ValueRangeError):
                s.add(0, reading, x, UNMOVED)
                reading += 1
            if reading == mirrors:
                break
        done.set()

    thread = threading.Thread(target=add_all)
    thread.start()
    while not done.is_set():
        with pytest.raises(ValueRangeError) as caught:
            s.write_averages(averages)
        refused += "while another one runs" in str(caught.value)
    thread.join()
    assert refused > 0
    s.finish()
    np.testing.assert_allclose(averages, 3.0, rtol=1e-6)
