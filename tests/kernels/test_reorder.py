"""reorder: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from reference.blocked import bf16_bits, planar_of, to_blocked

from covfast import ShapeError, ValueRangeError, blocked_ops

pytestmark = pytest.mark.op("reorder")

CHANNELS = [1, 2, 3, 6, 7, 8, 15, 16, 17, 24]


def normal(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def lanes_of(channels: int) -> list[int]:
    return list(range(channels)) + [-1] * (-channels % 16)


@pytest.mark.parametrize("channels", CHANNELS)
def test_to_blocked_f32_equals_reference(backend: str, channels: int) -> None:
    for plane in (1, 15, 16, 17, 70, 515):
        x = normal(channels, plane)
        got = blocked_ops.to_blocked(x, lanes_of(channels))
        np.testing.assert_array_equal(got, to_blocked(x, lanes_of(channels)))


def test_to_blocked_every_size_to_70_comes_back(backend: str) -> None:
    for plane in range(1, 71):
        x = normal(5, plane)
        got = blocked_ops.to_planar(blocked_ops.to_blocked(x, lanes_of(5)), lanes_of(5), 5)
        np.testing.assert_array_equal(got, x)


def test_to_blocked_bf16_rounds_to_nearest_even(backend: str) -> None:
    x = np.concatenate([normal(3, 1000) * 10.0**k for k in range(-6, 6)], axis=1).astype(np.float32)
    x[0, :4] = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF], np.uint32).view(np.float32)  # ties, overflow
    got = blocked_ops.to_blocked(x, lanes_of(3), element="bf16")
    np.testing.assert_array_equal(got, bf16_bits(to_blocked(x, lanes_of(3))))
    back = blocked_ops.to_planar(got, lanes_of(3), 3, element="bf16")
    np.testing.assert_array_equal(back, planar_of(got, lanes_of(3), 3))


def test_to_blocked_u8_rounds_and_clamps(backend: str) -> None:
    x, scale = normal(6, 333) * 3, 0.03
    got = blocked_ops.to_blocked(x, lanes_of(6), element="u8", scale=scale)
    exact = to_blocked(x, lanes_of(6)).astype(np.float64) / scale + 128
    assert (np.abs(got - np.clip(exact, 0, 255)) <= 0.5 + 1e-4).all()
    back = blocked_ops.to_planar(got, lanes_of(6), 6, element="u8", scale=scale)
    np.testing.assert_allclose(back, np.clip(x, -128 * scale, 127 * scale), atol=0.51 * scale)
    np.testing.assert_array_equal(got[0, :, 6:], 128)


@pytest.mark.parametrize("element", blocked_ops.ELEMENTS)
def test_reorder_gaps_and_order_of_lanes_are_kept(backend: str, element: str) -> None:
    lanes = [3, -1, 0, *[-1] * 13, -1, 2, 1, *[-1] * 13]
    x = normal(4, 50)
    blocked = blocked_ops.to_blocked(x, lanes, element=element, scale=0.05)
    np.testing.assert_array_equal(blocked[0, :, 1], 128 if element == "u8" else 0)
    back = blocked_ops.to_planar(blocked, lanes, 4, element=element, scale=0.05)
    np.testing.assert_allclose(back, x, atol=0.026 if element == "u8" else 0.02)
    assert element != "f32" or (back == x).all()
    part = blocked_ops.to_planar(blocked[1:], lanes[16:], 4, element=element, scale=0.05)
    assert np.isnan(part[[0, 3]]).all()  # of no lane: not written
    np.testing.assert_array_equal(part[1:3], back[1:3])


def test_reorder_extreme_values_stay(backend: str) -> None:
    x = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45] * 5] * 3, np.float32)
    np.testing.assert_array_equal(blocked_ops.to_planar(blocked_ops.to_blocked(x, lanes_of(3)), lanes_of(3), 3), x)
    halves = blocked_ops.to_blocked(x[:, :20], lanes_of(3), element="bf16")
    back: Any = blocked_ops.to_planar(halves, lanes_of(3), 3, element="bf16")
    np.testing.assert_array_equal(back[:, :3], x[:, :3])
    ends = np.array([[np.nan, np.inf, -np.inf, 1e30, -1e30] * 5], np.float32)
    q = blocked_ops.to_blocked(ends, lanes_of(1), element="u8", scale=1e-3)
    np.testing.assert_array_equal(q[0, :5, 0], [0, 255, 0, 255, 0])


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_reorder_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(17, 5000)
    many = blocked_ops.to_blocked(x, lanes_of(17), element="bf16", threads=threads)
    np.testing.assert_array_equal(many, blocked_ops.to_blocked(x, lanes_of(17), element="bf16", threads=1))


def test_reorder_empty_plane_gives_nothing(backend: str) -> None:
    assert blocked_ops.to_blocked(normal(3, 0), lanes_of(3)).shape == (1, 0, 16)


def test_reorder_wrong_arguments_raise() -> None:
    with pytest.raises(ShapeError, match="map: got 3 lanes, expected a multiple of 16"):
        blocked_ops.to_blocked(normal(3, 4), [0, 1, 2])
    with pytest.raises(ShapeError, match="map: got channel 3 in lane 3, expected -1 to 2"):
        blocked_ops.to_blocked(normal(3, 4), [0, 1, 2, 3, *[-1] * 12])
    with pytest.raises(ValueRangeError, match="element: got 'f64'"):
        blocked_ops.to_blocked(normal(3, 4), lanes_of(3), element="f64")
    with pytest.raises(ValueRangeError, match="scale: got 0"):
        blocked_ops.to_blocked(normal(3, 4), lanes_of(3), element="u8", scale=0.0)
