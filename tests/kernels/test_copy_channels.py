"""copy_channels, by its slices: exact copies, edges, errors. Concatenation is tested with the graphs."""

from __future__ import annotations

import numpy as np
import pytest

from covfast import ShapeError, ops

pytestmark = pytest.mark.op("copy_channels")


@pytest.mark.parametrize(("first", "count"), [(0, 5), (0, 1), (4, 1), (1, 3), (2, 0)])
def test_slice_channels_gives_the_channels(backend: str, first: int, count: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 2, 7, 9), dtype=np.float32)
    np.testing.assert_array_equal(ops.slice_channels(x, first, count), x[:, first : first + count])


@pytest.mark.parametrize("threads", [2, 3])
def test_slice_channels_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = np.random.default_rng(0).standard_normal((1, 5, 300, 400), dtype=np.float32)
    np.testing.assert_array_equal(ops.slice_channels(x, 1, 3, threads=threads), x[:, 1:4])


@pytest.mark.parametrize(("first", "count"), [(3, 3), (-1, 2), (0, -1), (6, 0)])
def test_slice_channels_outside_raises(first: int, count: int) -> None:
    with pytest.raises(ShapeError, match="channels: got"):
        ops.slice_channels(np.zeros((1, 5, 2, 2)), first, count)
