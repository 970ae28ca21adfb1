"""resize_blocked: reference, laws, edges, errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from kernels.tolerances import POSITION
from reference.blocked import BF16, rounded
from reference.resize3d import nearest3d
from reference.resize3d import resize3d as reference

from covfast import ShapeError, ValueRangeError, blocked_layers, ops

pytestmark = pytest.mark.op("resize_blocked")

CHANNELS = [1, 2, 3, 6, 7, 8, 15, 16, 17, 24]
SIZES = [
    ((4, 5, 6), (8, 10, 12)),
    ((4, 5, 6), (3, 13, 7)),
    ((1, 9, 70), (1, 18, 140)),
    ((3, 1, 1), (6, 4, 5)),
    ((5, 30, 31), (1, 1, 1)),
    ((2, 3, 100), (2, 5, 190)),
]


def normal(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("element", ["f32", "bf16"])
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_resize_blocked_linear_equals_reference(
    backend: str, sizes: tuple[tuple[int, ...], tuple[int, ...]], corners: bool, element: str
) -> None:
    x = rounded(normal(1, 18, *sizes[0]), element)
    got = blocked_layers.resize_blocked(x, sizes[1], align_corners=corners, element=element)
    rtol = BF16 * 1.01 if element == "bf16" else 0
    np.testing.assert_allclose(got, reference(x, sizes[1], corners), rtol=rtol, atol=POSITION["float32"])


@pytest.mark.parametrize("channels", CHANNELS)
def test_resize_blocked_of_any_channels_equals_reference(backend: str, channels: int) -> None:
    x = normal(1, channels, 2, 5, 7)
    got = blocked_layers.resize_blocked(x, (4, 9, 15))
    np.testing.assert_allclose(got, reference(x, (4, 9, 15), False), rtol=0, atol=POSITION["float32"])


def test_resize_blocked_sizes_to_70(backend: str) -> None:
    for size in range(1, 71):
        x = normal(1, 2, 1, 3, size)
        for target in ((1, 6, 2 * size), (1, 2, 71 - size)):
            got = blocked_layers.resize_blocked(x, target)
            np.testing.assert_allclose(got, reference(x, target, False), rtol=0, atol=POSITION["float32"])


@pytest.mark.parametrize("corners", [False, True])
def test_resize_blocked_of_many_columns_has_the_planar_values(backend: str, corners: bool) -> None:
    x = normal(1, 3, 2, 3, 600)
    for size in ((3, 5, 610), (1, 2, 3), (2, 3, 128)):
        got = blocked_layers.resize_blocked(x, size, align_corners=corners)
        np.testing.assert_allclose(got, ops.resize3d(x, size, align_corners=corners), rtol=0, atol=2e-6)


def test_resize_blocked_by_a_factor_has_its_positions(backend: str) -> None:
    x = normal(1, 3, 1, 7, 9)
    got = blocked_layers.resize_blocked(x, (1, 10, 13), factor=1.5)
    np.testing.assert_allclose(got[:, :, 0], ops.resize3d(x[:, :, 0], factor=1.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("element", ["f32", "bf16", "u8"])
@pytest.mark.parametrize("exact", [False, True])
def test_resize_blocked_nearest_copies(backend: str, exact: bool, element: str) -> None:
    mode = "nearest-exact" if exact else "nearest"
    x = rounded(normal(1, 19, 2, 5, 8), element, 0.02)
    for size in ((4, 10, 16), (1, 3, 5), (3, 5, 8)):
        got = blocked_layers.resize_blocked(x, size, mode=mode, element=element, scale=0.02)
        np.testing.assert_allclose(got, nearest3d(x, size, exact), rtol=0, atol=5e-7 if element == "u8" else 0)


def test_resize_blocked_of_u8_keeps_its_steps(backend: str) -> None:
    x, scale = rounded(normal(1, 7, 2, 8, 10), "u8", 0.03), 0.03
    got = blocked_layers.resize_blocked(x, (4, 16, 20), element="u8", scale=scale)
    np.testing.assert_allclose(got, reference(x, (4, 16, 20), False), rtol=0, atol=0.501 * scale)


def test_resize_blocked_constant_stays_constant_and_same_size_stays(backend: str) -> None:
    x = np.full((1, 5, 3, 4, 5), 1.7, np.float32)
    np.testing.assert_array_equal(
        blocked_layers.resize_blocked(x, (7, 9, 11)), np.full((1, 5, 7, 9, 11), x[0, 0, 0, 0, 0])
    )
    x = normal(1, 5, 3, 4, 5)
    np.testing.assert_array_equal(blocked_layers.resize_blocked(x, (3, 4, 5)), x)


def test_resize_blocked_nan_reaches_its_neighbours_alone(backend: str) -> None:
    x = normal(1, 17, 1, 6, 6)
    x[0, 16, 0, 3, 3] = np.nan
    got = blocked_layers.resize_blocked(x, (1, 12, 12))
    expected = np.zeros(got.shape, bool)
    expected[:, 16, :, 5:9, 5:9] = True
    np.testing.assert_array_equal(np.isnan(got), expected)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_resize_blocked_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(1, 33, 4, 20, 21)
    many = blocked_layers.resize_blocked(x, (8, 40, 42), threads=threads)
    np.testing.assert_array_equal(many, blocked_layers.resize_blocked(x, (8, 40, 42), threads=1))


def test_resize_blocked_wrong_arguments_raise() -> None:
    with pytest.raises(ShapeError, match="size: got 2 to 0"):
        blocked_layers.resize_blocked(normal(1, 1, 2, 3), (0, 3))
    with pytest.raises(ShapeError, match="size: got"):
        blocked_layers.resize_blocked(normal(1, 1, 2, 3), (3,))
    with pytest.raises(ValueRangeError, match="mode: got 'cubic'"):
        blocked_layers.resize_blocked(normal(1, 1, 2, 3), (4, 6), mode="cubic")
