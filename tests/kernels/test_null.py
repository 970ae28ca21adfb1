"""null: the template to copy. Order of a kernel's test file: reference, laws, edges, errors."""

from __future__ import annotations

import numpy as np
import pytest
from reference.null import null as reference

from covfast import DeviceError, ops

TILE = 256  # threads of a CUDA block; the sizes around it are where a kernel goes wrong


def test_null_any_array_equals_reference(backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32)
    np.testing.assert_array_equal(ops.null(x), reference(x))


@pytest.mark.parametrize("n", [0, 1, TILE - 1, TILE, TILE + 1, (1 << 16) + 1])
def test_null_edge_sizes_equal_reference(backend: str, n: int) -> None:
    x = np.arange(n, dtype=np.float32)
    np.testing.assert_array_equal(ops.null(x), reference(x))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_null_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = np.random.default_rng(1).standard_normal(300_001).astype(np.float32)
    np.testing.assert_array_equal(ops.null(x, threads=threads), x)


def test_null_input_is_not_changed(backend: str) -> None:
    x = np.ones(9, dtype=np.float32)
    ops.null(x)[:] = 2
    np.testing.assert_array_equal(x, 1)


def test_null_unknown_device_raises() -> None:
    with pytest.raises(DeviceError, match="device: got 'tpu', expected 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        ops.null([1.0], device="tpu")
