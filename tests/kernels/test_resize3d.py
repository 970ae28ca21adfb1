"""resize3d: reference, laws, edges, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from kernels.tolerances import POSITION
from reference.resize3d import nearest3d
from reference.resize3d import resize3d as reference

from covfast import ShapeError, ValueRangeError, ops

pytestmark = pytest.mark.op("resize3d")


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(7, 11, 13), (14, 22, 26), (3, 5, 4), (1, 1, 1), (20, 3, 300)])
def test_resize3d_to_a_size_equals_reference(backend: str, size: tuple[int, int, int], align_corners: bool) -> None:
    x = normal(2, 3, 7, 11, 13)
    got = ops.resize3d(x, size, align_corners=align_corners)
    np.testing.assert_allclose(got, reference(x, size, align_corners), atol=POSITION["float32"])


@pytest.mark.parametrize("factor", [2.0, 1.5, 0.5])
def test_resize3d_by_a_factor_uses_its_scale(backend: str, factor: float) -> None:
    x = normal(1, 2, 5, 7, 9)
    size = [math.floor(n * factor) for n in x.shape[2:]]
    got = ops.resize3d(x, factor=factor)
    np.testing.assert_allclose(got, reference(x, size, False, factor), atol=POSITION["float32"])


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("size", [(7, 11, 13), (14, 22, 26), (3, 5, 4), (1, 1, 1), (20, 3, 300)])
def test_resize3d_nearest_copies_the_reference_s_sample(backend: str, size: tuple[int, int, int], mode: str) -> None:
    x = normal(2, 3, 7, 11, 13)
    x[0, 0, 3, 3, 3], x[0, 0, 2, 2, 2] = np.nan, np.inf  # which reach no other sample
    expected = nearest3d(x, size, mode == "nearest-exact")
    np.testing.assert_array_equal(ops.resize3d(x, size, mode=mode), expected)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("factor", [2.0, 4.0, 1.5, 0.5])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17])
def test_resize3d_nearest_by_a_factor_uses_its_scale(backend: str, size: int, factor: float, mode: str) -> None:
    if size * factor < 1:
        factor = 2 * factor
    x = normal(1, 3, size, size + 2, 2 * size)
    target = [math.floor(n * factor) for n in x.shape[2:]]
    expected = nearest3d(x, target, mode == "nearest-exact", factor)
    np.testing.assert_array_equal(ops.resize3d(x, factor=factor, mode=mode), expected)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_resize3d_nearest_equals_torch(backend: str, mode: str) -> None:
    torch = pytest.importorskip("torch")
    x = normal(1, 2, 19, 23)
    for target in [(19, 23), (38, 46), (57, 70), (7, 9), (100, 3)]:
        expected = torch.nn.functional.interpolate(torch.from_numpy(x), size=target, mode=mode)
        np.testing.assert_array_equal(ops.resize3d(x, target, mode=mode), expected.numpy())


@pytest.mark.parametrize("size", [1, 255, 256, 257])
def test_resize3d_2d_edge_sizes_equal_reference(backend: str, size: int) -> None:
    x = normal(1, 1, 3, size)
    got = ops.resize3d(x, (size, 2 * size))
    np.testing.assert_allclose(
        got[:, :, None], reference(x[:, :, None], (1, size, 2 * size), False), atol=POSITION["float32"]
    )


@pytest.mark.parametrize("width", [*range(1, 35), 63, 64, 65, 511, 512, 513, 1025])
def test_resize3d_doubled_widths_equal_reference(backend: str, width: int) -> None:
    x = normal(1, 2, 2, 3, width)
    got = ops.resize3d(x, factor=2.0)
    np.testing.assert_allclose(got, reference(x, got.shape[2:], False, 2.0), atol=POSITION["float32"])


@pytest.mark.parametrize(("width", "size"), [(5000, 700), (5000, 100), (90, 2000), (1, 600)])
def test_resize3d_of_long_rows_equals_reference(backend: str, width: int, size: int) -> None:
    x = np.sin(np.arange(6 * width, dtype=np.float32) / 50).reshape(1, 2, 3, width)  # smooth: positions are in f32
    got = ops.resize3d(x, (5, size))
    expected = reference(x[:, :, None], (1, 5, size), False)[:, :, 0]
    np.testing.assert_allclose(got, expected, atol=POSITION["float32"])


def test_resize3d_nan_reaches_its_neighbours_alone(backend: str) -> None:
    x = normal(1, 2, 20, 50)
    x[0, 0, 7, 31] = np.nan
    expected = np.zeros((1, 2, 40, 100), bool)
    expected[0, 0, 13:17, 61:65] = True
    np.testing.assert_array_equal(np.isnan(ops.resize3d(x, factor=2.0)), expected)


@pytest.mark.parametrize("align_corners", [False, True])
def test_resize3d_constant_stays_constant(backend: str, align_corners: bool) -> None:
    y = ops.resize3d(np.full((1, 1, 4, 5, 6), 0.1, np.float32), (9, 3, 17), align_corners=align_corners)
    np.testing.assert_array_equal(y, np.full_like(y, 0.1))


def test_resize3d_same_size_gives_the_input(backend: str) -> None:
    x = normal(1, 2, 4, 5, 6)
    np.testing.assert_array_equal(ops.resize3d(x, (4, 5, 6)), x)


@pytest.mark.parametrize("threads", [2, 3])
def test_resize3d_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(1, 4, 65, 67)
    many = ops.resize3d(x, (300, 301), threads=threads)
    np.testing.assert_array_equal(many, ops.resize3d(x, (300, 301), threads=1))


def test_resize3d_wrong_arguments_raise() -> None:
    with pytest.raises(ShapeError, match="size: got 4 to 0, expected at least 1"):
        ops.resize3d(normal(1, 1, 4, 4), (0, 4))
    with pytest.raises(ShapeError, match="size, factor: got"):
        ops.resize3d(normal(1, 1, 4, 4))
    with pytest.raises(ValueRangeError, match=r"factor: got .*-1"):
        ops.resize3d(normal(1, 1, 4, 4), factor=[1.0, -1.0])
    with pytest.raises(ValueRangeError, match="factor: got"):
        ops.resize3d(normal(1, 1, 4, 4), factor=[1.0])
    with pytest.raises(ValueRangeError, match="kind: got 'nearest with align_corners', expected one of"):
        ops.resize3d(normal(1, 1, 4, 4), (8, 8), mode="nearest", align_corners=True)
