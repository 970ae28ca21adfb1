"""lungs_extend: a twin that grows step by step, laws, any layout, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from covfast import DTypeError, ShapeError, ops

Labels = npt.NDArray[np.uint8]


def twin(lungs: Labels, found: Labels) -> Labels:
    """A step at a time: first the left lung takes the free found voxels that it touches, then the right one."""
    out = lungs.copy()
    while True:
        before = out.copy()
        for side in (1, 2):
            edge = np.pad((before if side == 1 else np.where(out == 1, 1, before)) == side, 1)
            near = np.zeros_like(edge)
            for axis in range(3):
                near |= np.roll(edge, 1, axis) | np.roll(edge, -1, axis)
            out[near[1:-1, 1:-1, 1:-1] & (out == 0) & (found != 0)] = side
        if (out == before).all():
            return out


def case(seed: int, shape: tuple[int, int, int]) -> tuple[Labels, Labels]:
    random = np.random.default_rng(seed)
    lungs = random.choice(np.array([0, 1, 2], np.uint8), shape, p=[0.97, 0.015, 0.015])
    return lungs, (random.random(shape) < 0.45).astype(np.uint8) * 7


SHAPES = [(1, 1, 1), (1, 1, 9), (5, 1, 4), (1, 20, 30), (12, 14, 17), (3, 40, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_extend_lungs_equals_its_twin(seed: int, shape: tuple[int, int, int]) -> None:
    lungs, found = case(seed, shape)
    np.testing.assert_array_equal(ops.extend_lungs(lungs, found), twin(lungs, found))


@pytest.mark.parametrize("threads", [1, 3, 7])
def test_extend_lungs_gives_the_same_for_any_layout_and_number_of_threads(threads: int) -> None:
    lungs, found = case(9, (13, 20, 21))
    expected = ops.extend_lungs(lungs, found)
    turned = np.asfortranarray(lungs[::-1]), found[::-1, :, :].transpose(0, 2, 1).copy().transpose(0, 2, 1)
    np.testing.assert_array_equal(ops.extend_lungs(*turned, threads=threads)[::-1], expected)
    np.testing.assert_array_equal(ops.extend_lungs(lungs, found != 0, threads=threads), expected)


def test_extend_lungs_keeps_lungs_and_leaves_out_what_none_touches() -> None:
    lungs, found = np.zeros((3, 3, 9), np.uint8), np.zeros((3, 3, 9), np.uint8)
    lungs[1, 1, 0], lungs[1, 1, 6] = 1, 2
    found[1, 1, :6] = 1  # between both: the middle goes to the nearer one, the left one of two
    found[0, 0, 8] = 1  # apart
    before = lungs.copy()
    assert ops.extend_lungs(lungs, found)[1, 1].tolist() == [1, 1, 1, 1, 2, 2, 2, 0, 0]
    assert ops.extend_lungs(lungs, found)[0, 0, 8] == 0
    np.testing.assert_array_equal(lungs, before)


@pytest.mark.parametrize(
    ("lungs", "found", "error"),
    [
        (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 5), np.uint8), ShapeError),
        (np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.uint8), ShapeError),
        (np.zeros((2, 3, 4), np.int16), np.zeros((2, 3, 4), np.uint8), DTypeError),
        (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.float32), DTypeError),
    ],
)
def test_extend_lungs_refuses_other_arrays(lungs: Any, found: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"lungs|found"):
        ops.extend_lungs(lungs, found)
