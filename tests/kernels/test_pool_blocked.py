"""pool_blocked: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from kernels.tolerances import SUM
from reference.blocked import BF16, rounded
from reference.pool3d import pool3d as reference

from covfast import ShapeError, ValueRangeError, blocked_layers, ops

pytestmark = pytest.mark.op("pool_blocked")

CHANNELS = [1, 2, 3, 6, 7, 8, 15, 16, 17, 24]
WINDOWS = {
    "3 at 1": (3, 1, 1),
    "2 at 2": (2, 2, 0),
    "3 at 2": (3, 2, 1),
    "flat": ((1, 2, 5), (1, 3, 2), (0, 1, 2)),
    "wide": ((1, 1, 19), (1, 1, 4), (0, 0, 9)),
}


def normal(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def tolerance(element: str) -> dict[str, float]:
    return {"rtol": BF16 * 1.01 if element == "bf16" else 0, "atol": SUM["float32"]}


@pytest.mark.parametrize("element", ["f32", "bf16"])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_pool_blocked_mean_equals_reference(
    backend: str, window: str, include: bool, ceil_mode: bool, element: str
) -> None:
    kernel, stride, padding = WINDOWS[window]
    x = rounded(normal(1, 18, 6, 9, 38), element)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    options["count_include_pad"] = include
    got = blocked_layers.pool_blocked(x, "mean", kernel, **options, element=element)
    np.testing.assert_allclose(got, reference(x, "mean", kernel, **options), **tolerance(element))


@pytest.mark.parametrize("element", ["f32", "bf16"])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, (1, 3, 4)])
@pytest.mark.parametrize("window", WINDOWS)
def test_pool_blocked_max_equals_reference(
    backend: str, window: str, dilation: Any, ceil_mode: bool, element: str
) -> None:
    kernel, stride, padding = WINDOWS[window]
    x = rounded(normal(1, 18, 9, 13, 80), element)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    got = blocked_layers.pool_blocked(x, "max", kernel, **options, element=element)
    np.testing.assert_array_equal(got, reference(x, "max", kernel, **options))


@pytest.mark.parametrize("channels", CHANNELS)
def test_pool_blocked_of_any_channels_equals_reference(backend: str, channels: int) -> None:
    x = normal(1, channels, 3, 7, 9)
    for kind in ("mean", "max"):
        got = blocked_layers.pool_blocked(x, kind, 3, stride=2, padding=1)
        np.testing.assert_allclose(got, reference(x, kind, 3, stride=2, padding=1), rtol=0, atol=SUM["float32"])


def test_pool_blocked_sizes_to_70(backend: str) -> None:
    for size in range(1, 71):
        x = normal(1, 3, 1, 2, size)
        for kind in ("mean", "max"):
            options: dict[str, Any] = {"stride": (1, 1, 2), "padding": (0, 1, 1)}
            got = blocked_layers.pool_blocked(x, kind, (1, 3, 3), **options)
            np.testing.assert_allclose(got, reference(x, kind, (1, 3, 3), **options), rtol=0, atol=SUM["float32"])


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_pool_blocked_of_a_whole_image_equals_numpy(backend: str, kind: str) -> None:
    x = normal(1, 5, 61, 70) + 3  # a mean near 0 would make a relative error of nothing
    got = blocked_layers.pool_blocked(x, kind, (61, 70))
    flat = x.astype(np.float64).reshape(5, -1)
    np.testing.assert_allclose(got.reshape(5), flat.mean(1) if kind == "mean" else flat.max(1), rtol=2e-6)


def test_pool_blocked_means_of_large_padded_windows_equal_reference(backend: str) -> None:
    x = normal(1, 3, 9, 20, 41)
    options: dict[str, Any] = {"stride": 4, "padding": (1, 4, 8), "count_include_pad": False, "ceil_mode": True}
    got = blocked_layers.pool_blocked(x, "mean", (3, 9, 17), **options)
    np.testing.assert_allclose(got, reference(x, "mean", (3, 9, 17), **options), rtol=0, atol=SUM["float32"])


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_pool_blocked_of_u8_keeps_its_steps(backend: str, kind: str) -> None:
    x, scale = rounded(normal(1, 7, 8, 10), "u8", 0.03), 0.03
    got = blocked_layers.pool_blocked(x, kind, 2, element="u8", scale=scale)
    expected = reference(x[:, :, None], kind, (1, 2, 2))[:, :, 0]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 if kind == "max" else 0.501 * scale)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_pool_blocked_nan_reaches_every_window_that_has_it(backend: str, kind: str) -> None:
    x = normal(1, 17, 1, 9, 20)
    x[0, 16, 0, 4, 7] = np.nan
    got = blocked_layers.pool_blocked(x, kind, (1, 3, 3), stride=1, padding=(0, 1, 1))
    expected = np.zeros(got.shape, bool)
    expected[:, 16, :, 3:6, 6:9] = True
    np.testing.assert_array_equal(np.isnan(got), expected)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_pool_blocked_has_the_planar_bits(backend: str, kind: str) -> None:
    x = normal(1, 20, 7, 8, 9)
    options: dict[str, Any] = {"stride": 2, "padding": 1, "ceil_mode": True}
    got = blocked_layers.pool_blocked(x, kind, 3, **options)
    np.testing.assert_allclose(got, ops.pool3d(x, kind, 3, **options), rtol=0, atol=1e-6 if kind == "mean" else 0)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_pool_blocked_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(1, 33, 50, 57)
    for kernel in (3, 50):
        many = blocked_layers.pool_blocked(x, "mean", kernel, stride=1, threads=threads)
        np.testing.assert_array_equal(many, blocked_layers.pool_blocked(x, "mean", kernel, stride=1, threads=1))


def test_pool_blocked_wrong_arguments_raise() -> None:
    x = normal(1, 1, 8, 8)
    with pytest.raises(ValueRangeError, match="padding: got 1, 2, expected at least 1 and 0 to 1"):
        blocked_layers.pool_blocked(x, "mean", 3, stride=1, padding=2)
    with pytest.raises(ShapeError, match="y: got size 0"):
        blocked_layers.pool_blocked(normal(1, 1, 2, 2), "mean", 3)
    with pytest.raises(ValueRangeError, match="stride: got 0"):
        blocked_layers.pool_blocked(x, "mean", 3, stride=0)
    with pytest.raises(ValueRangeError, match="dilation: got 2, expected 1, or more for a maximum"):
        blocked_layers.pool_blocked(x, "mean", 3, dilation=2)
    with pytest.raises(ValueRangeError, match="kind: got 'sum', expected one of"):
        blocked_layers.pool_blocked(x, "sum", 3)
    with pytest.raises(ValueRangeError, match="a window that holds no value of an axis of 1"):
        blocked_layers.pool_blocked(x[..., :1], "max", (1, 2), stride=1, padding=(0, 1), dilation=(1, 2))
