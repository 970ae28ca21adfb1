"""gather: reference, laws, edges, errors."""

from __future__ import annotations

import numpy as np
import pytest
from reference.sliding import gather as reference

from covfast import ShapeError
from covfast.window_ops import gather

pytestmark = pytest.mark.op("gather")

FLIPS = [(False, False, False), (True, False, True), (False, True, False), (False, False, True), (True, True, True)]


def volume(shape: tuple[int, ...] = (2, 7, 9, 37)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize(
    ("origin", "window"),
    [
        ((0, 0, 0), (7, 9, 37)),
        ((2, 3, 5), (3, 4, 17)),
        ((-2, -1, -4), (5, 3, 33)),
        ((5, 7, 30), (4, 4, 16)),
        ((-3, -2, -5), (20, 14, 50)),
        ((7, 0, 0), (2, 2, 3)),
        ((0, 0, 37), (2, 2, 3)),
        ((0, 0, -9), (2, 2, 3)),
    ],
)
def test_gather_equals_reference(
    backend: str, origin: tuple[int, ...], window: tuple[int, ...], flip: tuple[bool, ...]
) -> None:
    y = gather(volume(), origin, window, flip=flip, fill=-3.5)
    np.testing.assert_array_equal(y, reference(volume(), origin, window, flip, -3.5))


def test_gather_strided_volume_equals_its_copy(backend: str) -> None:
    x = volume((9, 37, 7, 2)).transpose(3, 2, 0, 1)[:, ::-1, :, ::-2]
    args = ((-1, 2, -3), (6, 5, 18))
    np.testing.assert_array_equal(
        gather(x, *args, flip=(True, False, True)), gather(x.copy(), *args, flip=(True, False, True))
    )
    repeated = np.broadcast_to(volume((1, 4, 5, 6)), (3, 4, 5, 6))
    np.testing.assert_array_equal(gather(repeated, (0, 0, 0), (4, 5, 6)), repeated)


@pytest.mark.parametrize("width", [1, 3, 15, 16, 17, 31, 257])
def test_gather_any_width(backend: str, width: int) -> None:
    x = volume((1, 1, 2, width))
    for flip in ((False, False, False), (False, False, True)):
        y = gather(x, (0, 0, -1), (1, 2, width + 2), flip=flip, fill=9)
        np.testing.assert_array_equal(y, reference(x, (0, 0, -1), (1, 2, width + 2), flip, 9))


def test_gather_of_nothing_is_empty(backend: str) -> None:
    assert gather(volume(), (0, 0, 0), (0, 3, 3)).shape == (2, 0, 3, 3)
    assert (gather(volume((1, 0, 4, 4)), (0, 0, 0), (2, 2, 2), fill=4) == 4).all()


def test_gather_keeps_nan_and_infinity(backend: str) -> None:
    x = np.full((1, 1, 1, 20), np.nan, np.float32)
    x[..., 3] = np.inf
    np.testing.assert_array_equal(gather(x, (0, 0, 0), (1, 1, 20), flip=(False, False, True)), x[..., ::-1])


def test_gather_wrong_arguments_raise() -> None:
    with pytest.raises(ShapeError, match="window: got a size of -1"):
        gather(volume(), (0, 0, 0), (-1, 3, 3))
    with pytest.raises(ShapeError, match="x: got 3 axes"):
        gather(np.zeros((3, 3, 3)), (0, 0, 0), (1, 1, 1))
    with pytest.raises(ShapeError, match="origin: got"):
        gather(volume(), (0, 0), (1, 1, 1))
