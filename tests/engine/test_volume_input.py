"""From raw channels to the input of a network: reference, nnU-Net's own preprocessing, laws, errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from reference.spline import matrix, resize

from covfast import ShapeError, ValueRangeError, _core

NONE, CLIP, ZSCORE, RESCALE01, DIVIDE = range(5)
Array = npt.NDArray[Any]
Axes = tuple[int, int, int]


class Norm(NamedTuple):
    kind: int
    masked: bool = False
    low: float = 0
    high: float = 0
    mean: float = 0
    std: float = 1


CT = Norm(CLIP, False, -950.0, 300.0, -540.25, 310.5)


def prepare(
    channels: list[Array],
    norms: list[Norm],
    size: Axes,
    box: tuple[Axes, Axes] | None = None,
    *,
    order: Axes = (3, 3, 3),
    separate: int = -1,
    first: bool = True,
    threads: int = 0,
) -> npt.NDArray[np.float32]:
    begin, end = box or ((0, 0, 0), channels[0].shape)
    plan = (begin, end, size, order, separate, first)
    return _core.prepare_input(channels, [tuple(norm) for norm in norms], plan, threads)


def scan(shape: Axes, seed: int = 0) -> npt.NDArray[np.int16]:
    rng = np.random.default_rng(seed)
    return rng.normal(-400, 500, shape).astype(np.int16)


def normalised(x: Array, norm: Norm) -> npt.NDArray[np.float64]:
    if norm.kind == CLIP:
        return (np.clip(x, norm.low, norm.high) - norm.mean) / norm.std
    if norm.kind == ZSCORE:
        return (x - x.mean(dtype=np.float64)) / x.std(dtype=np.float64)
    if norm.kind == RESCALE01:
        return (x - float(x.min())) / (float(x.max()) - float(x.min()))
    return x / 255 if norm.kind == DIVIDE else x.astype(np.float64)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("norm", [CT, Norm(ZSCORE), Norm(RESCALE01), Norm(DIVIDE), Norm(NONE)])
@pytest.mark.parametrize("size", [(9, 40, 31), (14, 70, 33), (5, 20, 90), (9, 25, 33), (9, 33, 30)])
def test_input_equals_reference(size: Axes, norm: Norm, dtype: type) -> None:
    x = scan((9, 33, 31)).astype(dtype)
    expected = resize(normalised(x, norm), size, 3)
    got = prepare([x], [norm], size)[0]
    np.testing.assert_allclose(got, expected, atol=3e-6 * np.abs(expected).max())
    later = prepare([x], [norm], size, first=False)[0]
    np.testing.assert_allclose(
        later, normalised(resize(x, size, 3), norm), atol=3e-6 * max(1, np.abs(later).max()), rtol=1e-5
    )


def test_nothing_to_resample_gives_numpys_bits() -> None:
    x = scan((5, 20, 40))
    got = prepare([x], [CT], x.shape)[0]
    expected = np.clip(x.astype(np.float32), CT.low, CT.high)
    expected -= CT.mean
    expected /= CT.std
    np.testing.assert_array_equal(got, expected)


def test_box_and_strides() -> None:
    x = scan((40, 50, 30))
    view = x.transpose(2, 0, 1)[:, ::-1]
    box = ((3, 5, 7), (20, 35, 44))
    got = prepare([view, view], [CT, Norm(ZSCORE)], (11, 41, 30), box)
    cropped = np.ascontiguousarray(view[3:20, 5:35, 7:44])
    np.testing.assert_array_equal(got, prepare([cropped, cropped], [CT, Norm(ZSCORE)], (11, 41, 30)))


@pytest.mark.parametrize("separate", [0, 1, 2])
def test_slices_apart(separate: int) -> None:
    x = scan((9, 21, 24)) // 7 * 7
    size = [14, 30, 35]
    order = [3, 3, 3]
    order[separate] = 0
    got = prepare([x], [CT], (14, 30, 35), order=(order[0], order[1], order[2]), separate=separate)[0]
    slices = np.moveaxis(normalised(x, CT), separate, 0)
    in_plane = [n for axis, n in enumerate(size) if axis != separate]
    resized = np.stack([resize(plane, in_plane, 3) for plane in slices])
    picked = np.tensordot(matrix(len(slices), size[separate], 0), resized, axes=(1, 0))
    np.testing.assert_allclose(got, np.moveaxis(picked, 0, separate), atol=5e-6)


def test_masked_zscore_takes_the_image_with_its_holes() -> None:
    x = np.zeros((8, 20, 22), np.float32)
    x[2:6, 4:16, 5:18] = np.random.default_rng(0).normal(100, 20, (4, 12, 13))
    x[3:5, 8:10, 9:11] = 0  # a hole
    inside = np.zeros(x.shape, bool)
    inside[2:6, 4:16, 5:18] = True
    expected = np.where(inside, (x - x[inside].mean()) / x[inside].std(), 0)
    got = prepare([x], [Norm(ZSCORE, True)], x.shape)[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_not_a_number_becomes_zero_in_version_1() -> None:
    x = scan((6, 20, 20)).astype(np.float32)
    zeros = x.copy()
    x[2, 3, 4], zeros[2, 3, 4] = np.nan, 0
    got = prepare([x], [CT], (9, 30, 31), first=False)
    np.testing.assert_array_equal(got, prepare([zeros], [CT], (9, 30, 31), first=False))


@pytest.mark.parametrize("threads", [2, 5])
def test_any_number_of_threads_same_bits(threads: int) -> None:
    x = scan((40, 70, 66))
    for norm in (CT, Norm(ZSCORE), Norm(RESCALE01)):
        one = prepare([x], [norm], (31, 90, 50), threads=1)
        np.testing.assert_array_equal(prepare([x], [norm], (31, 90, 50), threads=threads), one)


def test_a_single_voxel_and_thin_volumes() -> None:
    np.testing.assert_array_equal(prepare([np.full((1, 1, 1), 7, np.int16)], [Norm(NONE)], (3, 4, 5)), np.float32(7))
    x = scan((1, 40, 30))
    np.testing.assert_allclose(prepare([x], [CT], (1, 31, 44))[0], resize(normalised(x, CT), (1, 31, 44), 3), atol=5e-6)


def test_nonzero_box() -> None:
    a, b = np.zeros((6, 9, 11), np.int16), np.zeros((6, 9, 11), np.float32)
    assert _core.nonzero_box([a, b], 0) == ([0, 0, 0], [0, 0, 0])
    a[2, 3, 4], b[4, 1, 7] = 5, np.nan
    assert _core.nonzero_box([a, b], 0) == ([2, 1, 4], [5, 4, 8])
    assert _core.nonzero_box([a.transpose(2, 1, 0)], 1) == ([4, 3, 2], [5, 4, 3])


def test_previous_labels_become_channels() -> None:
    labels = np.zeros((4, 10, 12), np.uint8)
    labels[1:3, 2:8, 3:9] = 2
    labels[1, 4:6, 5:7] = 5
    plan = ((0, 1, 1), (4, 9, 11), (8, 16, 20), (3, 3, 3), -1, True)
    got = _core.prepare_previous(labels, [2, 5, 9], plan, [], 0)
    assert got.shape == (3, 8, 16, 20)
    assert set(np.unique(got)) == {0.0, 1.0}
    assert not got[2].any()
    doubled = np.repeat(np.repeat(np.repeat(labels[:, 1:9, 1:11], 2, 0), 2, 1), 2, 2)  # each nearest voxel twice
    assert (got[0] == (doubled == 2)).mean() > 0.98
    assert got[1].sum() > 0


def test_wrong_plans_raise() -> None:
    x = scan((4, 5, 6))
    with pytest.raises(ShapeError, match=r"box: got \[0, 7\) on axis 2, expected a part of \[0, 6\)"):
        prepare([x], [CT], (4, 5, 6), ((0, 0, 0), (4, 5, 7)))
    with pytest.raises(ShapeError, match="image: got channels of different sizes"):
        prepare([x, x[1:]], [CT, CT], (4, 5, 6))
    with pytest.raises(ShapeError, match="image: got 1 channels, expected 2"):
        prepare([x], [CT, CT], (4, 5, 6))
    with pytest.raises(ShapeError, match=r"size: got \(4, 0, 6\), expected at least 1"):
        prepare([x], [CT], (4, 0, 6))
    with pytest.raises(ValueRangeError, match="order: got 2, expected 0, 1 or 3"):
        prepare([x], [CT], (4, 6, 6), order=(3, 2, 3))
    with pytest.raises(ValueRangeError, match="order: got 1 along the separate axis 2"):
        prepare([x], [CT], (4, 6, 8), order=(3, 3, 1), separate=2)
