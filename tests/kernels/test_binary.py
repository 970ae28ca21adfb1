"""binary: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import ROUND
from reference.pointwise import binary as reference

from covfast import ShapeError, ValueRangeError, ops

pytestmark = pytest.mark.op("binary")
PIECE = 1 << 13  # values of one item of the CPU kernel


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("kind", ["add", "sub", "mul"])
@pytest.mark.parametrize(("a_channels", "b_channels"), [(5, 5), (5, 1), (1, 5), (1, 1)])
def test_binary_equals_reference(backend: str, kind: str, a_channels: int, b_channels: int) -> None:
    a, b = normal(2, a_channels, 3, 5, 7), normal(2, b_channels, 3, 5, 7, seed=1)
    np.testing.assert_allclose(ops.binary(a, b, kind), reference(a, b, kind), rtol=ROUND["float32"])


@pytest.mark.parametrize("n", [1, PIECE - 1, PIECE, PIECE + 1])
def test_binary_edge_sizes_equal_reference(backend: str, n: int) -> None:
    a, b = normal(1, 2, 1, n), normal(1, 1, 1, n, seed=1)
    np.testing.assert_allclose(ops.binary(a, b, "mul"), reference(a, b, "mul"), rtol=ROUND["float32"])


def test_binary_swapped_operands_change_the_sign_of_a_difference(backend: str) -> None:
    a, b = normal(1, 3, 4, 5), normal(1, 3, 4, 5, seed=1)
    np.testing.assert_array_equal(ops.binary(a, b, "sub"), -ops.binary(b, a, "sub"))


@pytest.mark.parametrize("threads", [2, 3])
def test_binary_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    a, b = normal(1, 3, 100, 501), normal(1, 3, 100, 501, seed=1)
    np.testing.assert_array_equal(ops.binary(a, b, "add", threads=threads), ops.binary(a, b, "add", threads=1))


def test_binary_wrong_arguments_raise() -> None:
    with pytest.raises(ShapeError, match="channels, expected 1 or 3"):
        ops.binary(normal(1, 3, 4, 4), normal(1, 2, 4, 4), "add")
    with pytest.raises(ShapeError, match="b: got another batch or size"):
        ops.binary(normal(1, 3, 4, 4), normal(1, 3, 4, 5), "add")
    with pytest.raises(ValueRangeError, match="kind: got 'div'"):
        ops.binary(normal(1, 3, 4, 4), normal(1, 3, 4, 4), "div")
