"""activation: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import EXP, ROUND
from reference.pointwise import activation as reference

from covfast import ShapeError, ValueRangeError, ops

pytestmark = pytest.mark.op("activation")
KINDS = ["affine", "leaky", "relu", "sigmoid"]
PIECE = 1 << 13  # values of one item of the CPU kernel


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_activation_equals_reference(backend: str, kind: str, per_channel: bool) -> None:
    x = 4 * normal(2, 5, 3, 7, 9)
    a, b = (np.linspace(-1, 1, 5, dtype=np.float32), np.arange(5, dtype=np.float32)) if per_channel else (0.25, -1.5)
    np.testing.assert_allclose(
        ops.activation(x, kind, a, b), reference(x, kind, a, b), rtol=4 * ROUND["float32"], atol=EXP["float32"]
    )


@pytest.mark.parametrize("n", [1, PIECE - 1, PIECE, PIECE + 1])
def test_activation_edge_sizes_equal_reference(backend: str, n: int) -> None:
    x = normal(1, 2, 1, n)
    np.testing.assert_allclose(
        ops.activation(x, "leaky", [0.5, 2]), reference(x, "leaky", np.array([0.5, 2])), rtol=ROUND["float32"]
    )


def test_activation_sigmoid_stays_in_its_range(backend: str) -> None:
    x = np.linspace(-200, 200, 100_001, dtype=np.float32).reshape(1, 1, 1, -1)
    y = ops.activation(x, "sigmoid").ravel()
    assert y[0] == 0
    assert y[-1] == 1
    assert (np.diff(y) >= -EXP["float32"]).all()
    np.testing.assert_allclose(y, reference(x, "sigmoid").ravel(), rtol=0, atol=EXP["float32"])
    middle = np.abs(x.ravel()) < 80
    np.testing.assert_allclose(y[middle], reference(x, "sigmoid").ravel()[middle], rtol=EXP["float32"])


@pytest.mark.parametrize("kind", KINDS)
def test_activation_nan_stays_nan(backend: str, kind: str) -> None:
    x = np.array([np.nan, 1, np.nan], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_array_equal(np.isnan(ops.activation(x, kind, 0.5)), np.isnan(x))


def test_activation_infinite_values_give_the_limits(backend: str) -> None:
    x = np.array([-np.inf, np.inf], np.float32).reshape(1, 1, 1, 2)
    np.testing.assert_array_equal(ops.activation(x, "relu").ravel(), [0, np.inf])
    np.testing.assert_array_equal(ops.activation(x, "leaky", 0.0).ravel(), [0, np.inf])
    np.testing.assert_array_equal(ops.activation(x, "leaky", 0.5).ravel(), [-np.inf, np.inf])
    np.testing.assert_array_equal(ops.activation(x, "sigmoid").ravel(), [0, 1])


@pytest.mark.parametrize("threads", [2, 3])
def test_activation_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(1, 3, 100, 501)
    np.testing.assert_array_equal(
        ops.activation(x, "sigmoid", threads=threads), ops.activation(x, "sigmoid", threads=1)
    )


def test_activation_wrong_arguments_raise() -> None:
    with pytest.raises(ValueRangeError, match="kind: got 'tanh'"):
        ops.activation(normal(1, 2, 3, 3), "tanh")
    with pytest.raises(ShapeError, match="a, b: got 3 and 1 numbers, expected 1 or 2"):
        ops.activation(normal(1, 2, 3, 3), "leaky", [1, 2, 3])
