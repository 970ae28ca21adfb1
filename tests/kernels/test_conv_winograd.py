"""conv_winograd: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.conv3d import conv3d as reference

from covfast import ShapeError, ValueRangeError, _core
from covfast.winograd_ops import conv_winograd

pytestmark = pytest.mark.op("conv_winograd")
TOLERANCE = 1e-5  # of the output's range


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_close(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert got.shape == expected.shape
    span = max(1.0, float(expected.max() - expected.min()))
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * span)


CASES = {
    "3-D": ((1, 20, 9, 13, 18), (24, 20, 3, 3, 3), (1, 1, 1)),
    "2-D": ((1, 17, 1, 21, 30), (33, 17, 1, 3, 3), (0, 1, 1)),
    "planes": ((1, 3, 4, 9, 10), (7, 3, 1, 3, 3), (0, 1, 1)),
    "one channel": ((1, 1, 5, 6, 7), (1, 1, 3, 3, 3), (1, 1, 1)),
    "no padding": ((1, 5, 6, 9, 8), (6, 5, 3, 3, 3), (0, 0, 0)),
    "wide padding": ((1, 5, 3, 4, 6), (6, 5, 3, 3, 3), (2, 2, 2)),
    "mixed padding": ((1, 5, 4, 7, 6), (6, 5, 3, 3, 3), (2, 0, 1)),
    "many channels": ((1, 160, 3, 5, 5), (130, 160, 3, 3, 3), (1, 1, 1)),
    "shares of blocks": ((1, 8, 2, 5, 9), (270, 8, 3, 3, 3), (1, 1, 1)),
    "three blocks": ((1, 48, 2, 18, 17), (48, 48, 3, 3, 3), (1, 1, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_conv_winograd_equals_reference(backend: str, case: str) -> None:
    x_shape, w_shape, padding = CASES[case]
    x, b = normal(*x_shape), normal(w_shape[0], seed=2)
    w = normal(*w_shape, seed=1) / np.float32(np.sqrt(np.prod(w_shape[1:])))
    got, total, _ = conv_winograd(x, w, b, padding=padding)
    assert_close(got, reference(x, w, b, padding=padding))
    assert total is None


def test_conv_winograd_positive_input_stays_within_the_tolerance(backend: str) -> None:
    x, w = np.abs(normal(1, 64, 4, 16, 16)) + 1, normal(32, 64, 3, 3, 3, seed=1) / np.float32(40)
    assert_close(conv_winograd(x, w)[0], reference(x, w, padding=1))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 70])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_conv_winograd_sizes_equal_reference(backend: str, size: int, axis: int) -> None:
    shape = [3, 5, 6]
    shape[axis] = size
    x, w = normal(1, 3, *shape), normal(5, 3, 3, 3, 3, seed=1)
    assert_close(conv_winograd(x, w)[0], reference(x, w, padding=1))


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 7, 8, 15, 16, 17, 24, 49])
def test_conv_winograd_channels_equal_reference(backend: str, channels: int) -> None:
    x, w = normal(1, channels, 2, 5, 9), normal(channels + 3, channels, 3, 3, 3, seed=1)
    assert_close(conv_winograd(x, w)[0], reference(x, w, padding=1))


def test_conv_winograd_lanes_with_gaps_equal_reference(backend: str) -> None:
    x, w, b = normal(1, 20, 3, 9, 9), normal(5, 20, 3, 3, 3, seed=1), normal(5, seed=2)
    in_lanes = [*range(7), *[-1] * 9, *range(7, 20), *[-1] * 3]
    out_lanes = [-1, 4, 3, -1, *[-1] * 12, *[-1] * 13, 0, 1, 2]
    got, _, stats = conv_winograd(x, w, b, in_lanes=in_lanes, out_lanes=out_lanes)
    assert_close(got, reference(x, w, b, padding=1))
    np.testing.assert_array_equal(stats[:, [lane < 0 for lane in out_lanes]], 0)


def test_conv_winograd_lanes_without_channel_hold_zero(backend: str) -> None:
    x, lanes = normal(1, 3, 4, 6, 16), np.array([0, 1, 2, *[-1] * 13], np.int32)
    nothing = (None, None, (None, None, None), (1, 1, 1), "auto", 1)
    y, _, _ = _core.conv_winograd(x.reshape(1, 3, 4, 6, 16), normal(3, 3, 3, 3, 3), lanes, lanes, *nothing)
    np.testing.assert_array_equal(y[..., 3:], 0)


@pytest.mark.parametrize("names", [(), ("before",), ("after",), ("other",), ("before", "after", "other")])
@pytest.mark.parametrize("has_slope", [True, False])
def test_conv_winograd_epilogue_equals_reference(backend: str, names: tuple[str, ...], has_slope: bool) -> None:
    x, w, b = normal(1, 18, 3, 7, 10), normal(19, 18, 3, 3, 3, seed=1), normal(19, seed=2)
    slope = np.linspace(0, 0.5, 19, dtype=np.float32) if has_slope else None
    extra = {name: normal(1, 19, 3, 7, 10, seed=3 + i) for i, name in enumerate(names)}
    y, total, _ = conv_winograd(x, w, b, slope=slope, **extra)
    expected = reference(x, w, b, padding=1) + extra.get("before", 0)
    if slope is not None:
        expected = np.where(expected > 0, expected, expected * slope.reshape(-1, 1, 1, 1))
    expected = expected + extra.get("after", 0)
    assert_close(y, expected)
    assert (total is None) == ("other" not in extra)
    if total is not None:
        assert_close(total, expected + extra["other"])


def test_conv_winograd_minus_infinity_becomes_zero_by_relu_alone(backend: str) -> None:
    x, w, b = normal(1, 18, 3, 7, 10), normal(19, 18, 3, 3, 3, seed=1), normal(19, seed=2)
    slope, before = np.arange(19, dtype=np.float32) % 3, np.full((1, 19, 3, 7, 10), -np.inf, np.float32)
    y, _, _ = conv_winograd(x, w, b, slope=slope, before=before)
    expected = np.where(slope == 0, 0, -np.inf).reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(y[0], np.broadcast_to(expected, before.shape[1:]))


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3)])
def test_conv_winograd_statistics_are_those_of_the_sums(backend: str, kernel: tuple[int, ...]) -> None:
    padding = (kernel[0] // 2, 1, 1)
    x, w, b = normal(1, 9, 6, 23, 18), normal(35, 9, *kernel, seed=1), normal(35, seed=2)
    slope = np.zeros(35)
    stats = conv_winograd(x, w, b, padding=padding, slope=slope)[2].astype(np.float64).sum(0)
    sums = reference(x, w, b, padding=padding)[0].reshape(35, -1)
    np.testing.assert_allclose(stats[:35, 0], sums.sum(1), rtol=0, atol=1e-5 * np.abs(sums).sum(1).max())
    np.testing.assert_allclose(stats[:35, 1], (sums**2).sum(1), rtol=1e-5)
    np.testing.assert_array_equal(stats[35:], 0)


def test_conv_winograd_statistics_have_several_parts(backend: str) -> None:
    assert len(conv_winograd(normal(1, 1, 1, 64, 64), normal(1, 1, 1, 3, 3), padding=(0, 1, 1))[2]) > 1


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3)])
def test_conv_winograd_any_number_of_threads_same_bits(backend: str, kernel: tuple[int, ...], threads: int) -> None:
    x, w = normal(1, 17, 6, 40, 41), normal(18, 17, *kernel, seed=1)
    got, one = (conv_winograd(x, w, padding=(kernel[0] // 2, 1, 1), threads=n) for n in (threads, 1))
    np.testing.assert_array_equal(got[0], one[0])
    np.testing.assert_array_equal(got[2], one[2])


def test_conv_winograd_shares_of_blocks_same_bits_and_statistics(backend: str) -> None:
    x, w = normal(1, 8, 2, 5, 9), normal(270, 8, 3, 3, 3, seed=1)
    got, one = (conv_winograd(x, w, threads=n) for n in (3, 1))
    np.testing.assert_array_equal(got[0], one[0])
    np.testing.assert_array_equal(got[2], one[2])
    sums = reference(x, w, padding=1)[0].reshape(270, -1)
    np.testing.assert_allclose(one[2].astype(np.float64).sum(0)[:270, 1], (sums**2).sum(1), rtol=1e-5)


def test_conv_winograd_identity_kernel_gives_the_input(backend: str) -> None:
    x, w = normal(1, 3, 4, 9, 30), np.zeros((3, 3, 3, 3, 3), np.float32)
    w[range(3), range(3), 1, 1, 1] = 1
    assert_close(conv_winograd(x, w)[0], x.astype(np.float64))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_conv_winograd_nan_reaches_its_tiles_and_no_further(backend: str, value: float) -> None:
    """Voxel (0, 9, 14) is seen by the tiles of rows 8 to 11 and columns 12 to 15; the reference's NaN stay NaN."""
    x, w = normal(1, 2, 1, 20, 30), normal(3, 2, 1, 3, 3, seed=1)
    clean = conv_winograd(x, w, padding=(0, 1, 1))[0]
    x[0, 1, 0, 9, 14] = value
    got = conv_winograd(x, w, padding=(0, 1, 1))[0]
    inside = np.zeros((20, 30), bool)
    inside[8:12, 12:16] = True
    assert np.isnan(got[0, :, 0, 9, 14]).all()
    np.testing.assert_array_equal(got[..., ~inside], clean[..., ~inside])
    assert not np.isfinite(got[0, :, 0, 8:11, 13:16]).any()


def test_conv_winograd_inputs_are_not_changed(backend: str) -> None:
    x, w = normal(1, 2, 3, 5, 5), normal(2, 2, 3, 3, 3)
    kept = x.copy(), w.copy()
    conv_winograd(x, w)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(w, kept[1])


@pytest.mark.parametrize(
    ("x", "w", "options", "error", "match"),
    [
        ((1, 2, 4), (2, 2, 3, 3, 3), {}, ShapeError, "x: got shape"),
        ((2, 2, 4, 4, 4), (2, 2, 3, 3, 3), {}, ShapeError, "x: got shape"),
        ((1, 2, 4, 4, 4), (2, 3, 3, 3, 3), {}, ShapeError, "weight: got shape"),
        ((1, 2, 4, 4, 4), (2, 2, 3, 3, 5), {}, ValueRangeError, "weight: got kernel"),
        ((1, 2, 4, 4, 4), (2, 2, 2, 3, 3), {}, ValueRangeError, "weight: got kernel"),
        ((1, 2, 4, 2, 4), (2, 2, 3, 3, 3), {"padding": (1, 0, 1)}, ShapeError, "y: got size 0"),
        ((1, 2, 4, 4, 4), (2, 2, 3, 3, 3), {"padding": (1, -1, 1)}, ValueRangeError, "padding: got -1"),
        ((1, 2, 4, 4, 4), (2, 2, 3, 3, 3), {"in_lanes": [0, 1]}, ShapeError, "in_lanes, out_lanes: got 2 lanes"),
        ((1, 2, 4, 4, 4), (2, 2, 3, 3, 3), {"bias": [1.0]}, ShapeError, r"bias: got shape \(1,\)"),
    ],
)
def test_conv_winograd_wrong_arguments_raise(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        conv_winograd(normal(*x), normal(*w), **options)
