"""argmax: reference, laws, edges, errors."""

from __future__ import annotations

import numpy as np
import pytest
from reference.sliding import argmax as reference

from covfast import ShapeError
from covfast.window_ops import argmax

pytestmark = pytest.mark.op("argmax")


def scores(shape: tuple[int, ...]) -> np.ndarray:
    """Few different numbers, so that many are equal."""
    return np.random.default_rng(1).integers(-2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (4, 3, 64), (2, 5, 63), (4, 2, 129), (7, 1, 16), (256, 1, 70), (3, 40, 5)]
)
def test_argmax_equals_reference(backend: str, shape: tuple[int, int, int], regions: bool) -> None:
    x = scores(shape)
    values = np.random.default_rng(2).permutation(256)[: shape[0]].astype(np.uint8)
    y, bad = argmax(x, values, regions=regions)
    np.testing.assert_array_equal(y, reference(x, values, regions))
    assert not bad.any()


def test_argmax_first_of_equals_wins(backend: str) -> None:
    y, _ = argmax(np.zeros((5, 2, 100), np.float32), [3, 1, 4, 1, 5])
    assert (y == 3).all()


@pytest.mark.parametrize("column", [0, 63, 64, 99])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_argmax_flags_rows_whose_winner_is_not_finite(backend: str, value: float, column: int) -> None:
    x = scores((4, 5, 100))
    x[2, 3, column] = value
    y, bad = argmax(x)
    assert bad.tolist() == [False, False, False, True, False]
    np.testing.assert_array_equal(y, np.argmax(x, axis=0))  # of NumPy too, NaN is the greatest
    x[1, 3, column] = np.nan
    assert argmax(x)[0][3, column] == 1


def test_argmax_of_regions_flags_any_number_that_is_not_finite(backend: str) -> None:
    for value in (np.nan, np.inf, -np.inf):
        x = scores((3, 4, 70))
        x[0, 1, 69] = x[2, 2, 5] = value
        assert argmax(x, regions=True)[1].tolist() == [False, True, True, False]


def test_argmax_losing_infinities_are_no_fault(backend: str) -> None:
    x = scores((3, 2, 70))
    x[1] = -np.inf
    assert not argmax(x)[1].any()


def test_argmax_any_number_of_threads_gives_the_same(backend: str) -> None:
    x = scores((4, 200, 50))
    np.testing.assert_array_equal(argmax(x, threads=1)[0], argmax(x, threads=3)[0])


def test_argmax_wrong_arguments_raise() -> None:
    with pytest.raises(ShapeError, match="values: got 3 labels, expected 4"):
        argmax(scores((4, 2, 2)), [1, 2, 3])
    with pytest.raises(ShapeError, match="got 257 channels"):
        argmax(scores((257, 2, 2)), np.zeros(257))
    with pytest.raises(ShapeError, match="x: got 2 axes"):
        argmax(np.zeros((4, 4)))
