"""Labels out of resampled logits: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.spline import resample_logits

from covfast import ShapeError, ValueRangeError, resample_ops

Floats = np.ndarray[Any, np.dtype[np.float32]]


def logits_of(shape: tuple[int, ...], seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_labels(got: np.ndarray[Any, Any], exact: np.ndarray[Any, Any], regions: bool) -> None:
    """Equal wherever the exact logits decide by more than their rounding; that must be nearly everywhere."""
    if regions:
        expected = np.zeros(exact.shape[1:], np.uint8)
        for c, x in enumerate(exact):
            expected[x > 0] = c + 1
        clear = np.abs(exact).min(axis=0) > 2e-6
    else:
        expected = exact.argmax(axis=0).astype(np.uint8)
        clear = np.ptp(np.sort(exact, axis=0)[-2:], axis=0) > 2e-6 if len(exact) > 1 else np.ones(got.shape, bool)
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got[clear], expected[clear])


@pytest.mark.op("resample_argmax")
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((4, 5, 33, 40), (7, 40, 47)),
        ((1, 1, 1, 1), (3, 4, 5)),
        ((3, 9, 20, 130), (4, 9, 31)),
        ((2, 3, 70, 50), (3, 70, 300)),
        ((256, 2, 3, 30), (3, 5, 70)),
        ((3, 2, 4, 2100), (2, 3, 90)),
    ],
)
def test_labels_equal_reference(
    backend: str, shape: tuple[int, ...], size: tuple[int, int, int], regions: bool
) -> None:
    logits = logits_of(shape)
    values = [c % 256 for c in range(shape[0])] if not regions else [min(c + 1, 255) for c in range(shape[0])]
    got = resample_ops.resample_labels(logits, size, regions=regions, values=values)
    exact = resample_logits(logits, size, (1, 1, 1))
    if regions and shape[0] == 256:
        exact = exact[:255]
        got = resample_ops.resample_labels(logits[:255], size, regions=True)
    assert_labels(got, exact, regions)


@pytest.mark.op("resample_argmax")
@pytest.mark.parametrize("order", [(0, 1, 1), (1, 0, 1), (0, 0, 0), (1, 1, 0)])
def test_labels_nearest_along_some_axes(backend: str, order: tuple[int, int, int]) -> None:
    logits = logits_of((3, 4, 21, 18))
    got = resample_ops.resample_labels(logits, (9, 14, 37), order=order)
    assert_labels(got, resample_logits(logits, (9, 14, 37), order), False)


@pytest.mark.op("resample_argmax")
def test_labels_on_the_same_grid_are_the_argmax(backend: str) -> None:
    logits = logits_of((5, 4, 33, 61))
    np.testing.assert_array_equal(resample_ops.resample_labels(logits, (4, 33, 61)), logits.argmax(axis=0))


@pytest.mark.op("resample_argmax")
def test_first_of_equals_wins_and_half_precision_makes_equals(backend: str) -> None:
    logits = np.ones((3, 2, 8, 40), np.float32)
    logits[1] += 1e-4  # lost in half precision
    logits[2, :, :, 20:] = 2
    expected = np.where(np.arange(40) < 20, 0, 2)
    assert (resample_ops.resample_labels(logits, (2, 8, 40), round_to_half=True) == expected).all()
    assert (resample_ops.resample_labels(logits, (2, 8, 40)) == np.where(np.arange(40) < 20, 1, 2)).all()


@pytest.mark.op("resample_argmax")
def test_half_precision_is_numpys(backend: str) -> None:
    logits = logits_of((4, 3, 40, 35)) * 0.01
    exact = resample_logits(logits, (5, 50, 61), (1, 1, 1))
    halves = exact.astype(np.float16)
    clear = (np.abs(exact - halves) < 0.49 * np.spacing(np.abs(halves)).astype(np.float64)).all(axis=0)
    got = resample_ops.resample_labels(logits, (5, 50, 61), round_to_half=True)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(got[clear], halves.argmax(axis=0)[clear])


@pytest.mark.op("resample_argmax")
def test_values_name_the_channels(backend: str) -> None:
    logits = logits_of((3, 3, 20, 30))
    plain = resample_ops.resample_labels(logits, (3, 25, 33))
    named = resample_ops.resample_labels(logits, (3, 25, 33), values=[255, 0, 9])
    np.testing.assert_array_equal(named, np.array([255, 0, 9], np.uint8)[plain])


@pytest.mark.op("resample_argmax")
@pytest.mark.parametrize("threads", [2, 3])
def test_labels_any_number_of_threads_same(backend: str, threads: int) -> None:
    logits = logits_of((4, 6, 60, 70))
    one = resample_ops.resample_labels(logits, (9, 90, 60), threads=1)
    np.testing.assert_array_equal(resample_ops.resample_labels(logits, (9, 90, 60), threads=threads), one)


@pytest.mark.op("resample_argmax")
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("regions", [False, True])
def test_logits_that_are_not_finite_raise(backend: str, value: float, regions: bool) -> None:
    logits = logits_of((2, 3, 9, 40))
    logits[1, 2, 4, 33] = value
    with pytest.raises(ValueRangeError, match="logits: got NaN or an infinite number"):
        resample_ops.resample_labels(logits, (5, 9, 50), regions=regions)


def test_wrong_arguments_raise() -> None:
    with pytest.raises(ShapeError, match=r"size: got \(3, 3\), expected three numbers"):
        resample_ops.resample_labels(np.zeros((1, 2, 2, 2)), (3, 3))
    with pytest.raises(ShapeError, match="values: got 1 numbers, expected one for each of 2 channels"):
        resample_ops.resample_labels(np.zeros((2, 2, 2, 2)), (3, 3, 3), values=[1])
    with pytest.raises(ShapeError, match="expected 1 to 256"):
        resample_ops.resample_labels(np.zeros((257, 1, 2, 2)), (1, 3, 3), values=[0] * 257)
    with pytest.raises(ValueRangeError, match="order: got 3, expected 0 or 1"):
        resample_ops.resample_labels(np.zeros((2, 2, 2, 2)), (3, 3, 3), order=3)
    with pytest.raises(ValueRangeError, match=r"values: got \[0, 256\]"):
        resample_ops.resample_labels(np.zeros((2, 2, 2, 2)), (3, 3, 3), values=[0, 256])
