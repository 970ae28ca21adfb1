"""Linear resampling of a separable table: reference, laws, edges, errors."""

from __future__ import annotations

import numpy as np
import pytest
from reference.resample import resample as reference

from covfast import ShapeError, ops

TOLERANCE = 2e-6  # f32 sums of at most a dozen weighted taps of values up to 4


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(5, 7, 11), (3, 31, 4), (1, 1, 1), (20, 3, 40)])
def test_resample_equals_reference(backend: str, size: tuple[int, int, int], antialias: bool) -> None:
    x = np.random.default_rng(0).standard_normal((9, 13, 17)).astype(np.float32)
    got = ops.resample(x, size, antialias=antialias)
    np.testing.assert_allclose(got, reference(x, size, antialias), atol=TOLERANCE)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (257, 64)])
def test_resample_constant_stays_constant(backend: str, size: tuple[int, int]) -> None:
    np.testing.assert_allclose(ops.resample(np.full((65, 33), 7.0), size), 7.0, rtol=1e-6)


def test_resample_mirrored_input_gives_mirrored_output(backend: str) -> None:
    x = np.random.default_rng(1).standard_normal((40, 50)).astype(np.float32)
    np.testing.assert_allclose(
        ops.resample(x[::-1, ::-1], (23, 81)), ops.resample(x, (23, 81))[::-1, ::-1], atol=TOLERANCE
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_resample_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = np.random.default_rng(2).standard_normal((300, 200)).astype(np.float32)
    np.testing.assert_array_equal(ops.resample(x, (111, 333), threads=threads), ops.resample(x, (111, 333), threads=1))


def test_resample_size_of_another_rank_raises() -> None:
    with pytest.raises(ShapeError, match=r"size: got \(3, 3, 3\), expected 2 numbers"):
        ops.resample(np.zeros((4, 4)), (3, 3, 3))


def test_resample_to_nothing_raises() -> None:
    with pytest.raises(ShapeError, match="size: got 4 to 0, expected at least 1"):
        ops.resample(np.zeros((4, 4)), (0, 4))
