"""window_hu: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.window_hu import window_hu as reference

from covfast import DTypeError, ShapeError, ValueRangeError, ops


def volume(dtype: Any, shape: tuple[int, int, int] = (5, 33, 31)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(-3000, 3000, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_window_hu_equals_reference(backend: str, dtype: Any) -> None:
    hu = volume(dtype)
    np.testing.assert_allclose(ops.window_hu(hu, -1250, 250), reference(hu, -1250, 250), atol=1.2e-7)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_window_hu_strided_views_need_no_copy(backend: str, dtype: Any) -> None:
    hu = volume(dtype)
    view = hu.transpose(2, 0, 1)[::-1, :, ::-2]
    np.testing.assert_allclose(ops.window_hu(view, -1000, 400), reference(view, -1000, 400), atol=1.2e-7)


def test_window_hu_nan_and_infinite_give_the_ends(backend: str) -> None:
    hu = np.array([[[np.nan, np.inf, -np.inf]]], dtype=np.float32)
    np.testing.assert_array_equal(ops.window_hu(hu, -1000, 0), [[[0, 1, 0]]])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 255, 1), (2, 1, 257)])
def test_window_hu_edge_sizes_equal_reference(backend: str, shape: tuple[int, int, int]) -> None:
    hu = volume(np.int16, shape)
    np.testing.assert_allclose(ops.window_hu(hu, -1250, 250), reference(hu, -1250, 250), atol=1.2e-7)


def test_window_hu_wrong_arguments_raise() -> None:
    with pytest.raises(ValueRangeError, match="window: got"):
        ops.window_hu(volume(np.int16), 100, 100)
    with pytest.raises(DTypeError, match="hu: got uint8, expected int16 or float32"):
        ops.window_hu(np.zeros((2, 2, 2), np.uint8), 0, 1)
    with pytest.raises(ValueRangeError, match="window: got"):
        ops.window_hu(volume(np.int16), -np.inf, 0)
    packed = np.zeros((2, 2, 2), [("a", "i2"), ("b", "u1")])["a"]
    with pytest.raises(ShapeError, match="hu: got a layout that is no whole elements apart"):
        ops.window_hu(packed, 0, 1)
    with pytest.raises(ShapeError, match="hu: got 2 axes"):
        ops.window_hu(np.zeros((2, 2), np.int16), 0, 1)
