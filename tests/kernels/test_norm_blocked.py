"""norm_blocked: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from kernels.tolerances import NORM
from reference.blocked import BF16, rounded
from reference.group_norm import group_norm as reference

from covfast import ShapeError, ValueRangeError, blocked_ops

pytestmark = pytest.mark.op("norm_blocked")

CHANNELS = [1, 2, 3, 6, 7, 8, 15, 16, 17, 24]
SIZES = [(1, 1, 1), (1, 1, 70), (1, 9, 15), (3, 17, 5), (5, 31, 29)]
STATS = 1e-5  # of the largest output: sums of squares in f32, as a convolution leaves them


def normal(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def parts_of(x: npt.NDArray[np.float32], parts: int) -> npt.NDArray[np.float32]:
    """(parts, lanes, 2): what a convolution would give."""
    channels = x.shape[1]
    stats = np.zeros((parts, -(-channels // 16) * 16, 2), np.float32)
    flat = x.reshape(channels, -1).astype(np.float64)
    for i, piece in enumerate(np.array_split(flat, parts, axis=1)):
        stats[i, :channels] = np.stack([piece.sum(1), (piece**2).sum(1)], axis=1)
    return stats


def leaky(v: npt.NDArray[Any], slope: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(v > 0, v, v * slope.reshape(1, -1, 1, 1, 1))


def check(got: npt.NDArray[Any], expected: npt.NDArray[Any], element: str, tolerance: float) -> None:
    most = np.abs(expected).max()
    error = np.abs(got.astype(np.float64) - expected) / most
    assert error.max() <= tolerance + (2 * BF16 if element == "bf16" else 0)


@pytest.mark.parametrize("element", ["f32", "bf16"])
@pytest.mark.parametrize("parts", [0, 1, 7])
@pytest.mark.parametrize("channels", CHANNELS)
def test_norm_blocked_equals_reference(backend: str, channels: int, parts: int, element: str) -> None:
    weight, bias, slope = normal(channels, seed=1), normal(channels, seed=2), normal(channels, seed=3)
    for size in SIZES:
        x = rounded(normal(1, channels, *size) * 2 + 0.5, element)
        got = blocked_ops.norm_blocked(
            x,
            weight,
            bias,
            stats=parts_of(x, parts) if parts else None,
            activation="leaky",
            slope=slope,
            elements=(element, element, element),
        )
        expected = leaky(reference(x, channels, weight, bias), slope)
        check(got, expected, element, STATS if parts else NORM["float32"])


def test_norm_blocked_sizes_to_70(backend: str) -> None:
    for size in range(2, 71):
        x = normal(1, 3, 1, 2, size)
        check(blocked_ops.norm_blocked(x), reference(x, 3), "f32", NORM["float32"])


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("residual", ["f32", "bf16"])
def test_norm_blocked_adds_before_and_after(backend: str, residual: str, in_place: bool) -> None:
    x, slope = normal(1, 17, 3, 5, 6), np.full(17, 0.1, np.float32)
    before, after = (rounded(normal(1, 17, 3, 5, 6, seed=s), residual) for s in (1, 2))
    elements = ("f32", "f32", residual)
    options: dict[str, Any] = {"elements": elements, "in_place": in_place, "slope": slope, "activation": "leaky"}
    got = blocked_ops.norm_blocked(x, before=before, **options)
    check(got, leaky(reference(x, 17) + before, slope), "f32", NORM["float32"])
    got = blocked_ops.norm_blocked(x, before=before, after=after, **options)
    check(got, leaky(reference(x, 17) + before, slope) + after, "f32", NORM["float32"])
    got = blocked_ops.norm_blocked(x, activation="sigmoid")
    check(got, 1 / (1 + np.exp(-reference(x, 17))), "f32", NORM["float32"])


@pytest.mark.parametrize("from_element", ["f32", "bf16"])
@pytest.mark.parametrize("to_element", ["f32", "bf16", "u8"])
def test_norm_blocked_changes_elements(backend: str, from_element: str, to_element: str) -> None:
    x = rounded(normal(1, 20, 2, 9, 11), from_element)
    got = blocked_ops.norm_blocked(x, elements=(from_element, to_element, "f32"), y_scale=0.02)
    expected = reference(x, 20)
    if to_element == "u8":
        np.testing.assert_allclose(got, np.clip(expected, -2.56, 2.54), atol=0.0101)
    else:
        check(got, expected, to_element, NORM["float32"])


def test_norm_blocked_far_mean_keeps_its_digits(backend: str) -> None:
    x = (normal(1, 5, 2, 50, 60) + 1000).astype(np.float32)
    check(blocked_ops.norm_blocked(x), reference(x, 5), "f32", 1e-5)


def test_norm_blocked_many_own_parts(backend: str) -> None:
    x = normal(1, 18, 3, 50, 47) * np.linspace(1, 50, 47, dtype=np.float32)
    check(blocked_ops.norm_blocked(x), reference(x, 18), "f32", NORM["float32"])


def test_norm_blocked_constant_channel_becomes_its_bias(backend: str) -> None:
    x, bias = np.full((1, 4, 2, 3, 5), 3.25, np.float32), np.arange(4, dtype=np.float32)
    for stats in (None, parts_of(x, 2)):
        got = blocked_ops.norm_blocked(x, None, bias, stats=stats)
        np.testing.assert_allclose(got, np.broadcast_to(bias.reshape(1, 4, 1, 1, 1), x.shape), atol=1e-6)


def test_norm_blocked_variance_below_zero_counts_as_zero(backend: str) -> None:
    x = np.full((1, 1, 1, 1, 4), 1.0, np.float32)
    stats = np.zeros((1, 16, 2), np.float32)
    stats[0, 0] = (4.0, 3.9)
    np.testing.assert_array_equal(blocked_ops.norm_blocked(x, stats=stats), np.zeros_like(x))


def test_norm_blocked_minus_infinity_becomes_zero_by_relu_alone(backend: str) -> None:
    before, slope = np.full((1, 18, 1, 5, 7), -np.inf, np.float32), np.arange(18, dtype=np.float32) % 3
    before[0, 0, 0, 0, 0] = np.nan
    got = blocked_ops.norm_blocked(normal(1, 18, 1, 5, 7), activation="leaky", slope=slope, before=before)
    expected = np.broadcast_to(np.where(slope == 0, 0, -np.inf).reshape(1, -1, 1, 1, 1), before.shape).copy()
    expected[0, 0, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("with_stats", [False, True])
def test_norm_blocked_nan_stays_in_its_channel(backend: str, with_stats: bool) -> None:
    x = normal(1, 18, 1, 5, 7)
    x[0, 3, 0, 2, 2] = np.nan
    got = blocked_ops.norm_blocked(x, stats=parts_of(x, 3) if with_stats else None)
    assert np.isnan(got[0, 3]).all()
    assert not np.isnan(np.delete(got, 3, axis=1)).any()


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_norm_blocked_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(1, 33, 4, 40, 41)
    for stats in (None, parts_of(x, 5)):
        many = blocked_ops.norm_blocked(x, stats=stats, threads=threads)
        np.testing.assert_array_equal(many, blocked_ops.norm_blocked(x, stats=stats, threads=1))


def test_norm_blocked_wrong_arguments_raise() -> None:
    x = normal(1, 3, 2, 4, 5)
    with pytest.raises(ValueRangeError, match="eps: got -1"):
        blocked_ops.norm_blocked(x, eps=-1.0)
    with pytest.raises(ValueRangeError, match="slope: got none"):
        blocked_ops.norm_blocked(x, activation="leaky")
    with pytest.raises(ShapeError, match="weight: got 2 numbers, expected 3"):
        blocked_ops.norm_blocked(x, np.ones(2))
    with pytest.raises(ShapeError, match="stats: got other sizes"):
        blocked_ops.norm_blocked(x, stats=np.ones((1, 3, 2)))
    with pytest.raises(ValueRangeError, match="got u8, expected f32 or bf16"):
        blocked_ops.norm_blocked(x, elements=("u8", "f32", "f32"))
    with pytest.raises(ValueRangeError, match="y_scale: got 0"):
        blocked_ops.norm_blocked(x, elements=("f32", "u8", "f32"), y_scale=0.0)
    with pytest.raises(ShapeError, match="x: got shape"):
        blocked_ops.norm_blocked(normal(2, 3, 4, 5))
