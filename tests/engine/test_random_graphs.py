"""Fused, laid out and sharing memory, a network gives what its nodes give one by one: native against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine.conftest import normal
from engine.random_graphs import random_package

import covfast

pytest.importorskip("torch")
pytestmark = pytest.mark.op("conv3d")

FEW, MANY = (1, 2, 3, 5, 6, 8, 13, 15), (16, 17, 19, 20, 24, 32, 33, 40)
SHAPES = {2: ((1, 12, 20), (2, 28, 36)), 3: ((1, 4, 8, 12), (2, 8, 12, 4))}


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 60))])
@pytest.mark.parametrize(("rank", "widths"), [(2, FEW), (2, MANY), (3, FEW), (3, MANY)])
def test_random_network_equals_torch(
    backend: str, tmp_path: Path, seed: int, rank: int, widths: tuple[int, ...]
) -> None:
    path = random_package(tmp_path / "m.covfast", seed, rank, widths)
    reference, exact = covfast.load(path, engine="torch", device="cpu"), covfast.load(path, exact=True)
    winograd = covfast.load(path, threads=2)
    for batch, *size in SHAPES[rank]:
        x = normal(batch, winograd.metadata["input"]["channels"], *size, seed=seed)
        expected = reference(x)
        span = max(float(np.ptp(expected)), 1e-3 * float(np.abs(expected).max()), 1e-6)
        for net, tolerance in ((exact, 1e-4), (winograd, 5e-4)):
            assert float(np.abs(net(x) - expected).max()) <= tolerance * span, net.summary()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("rank", "widths"), [(2, MANY), (3, MANY)])
def test_random_network_any_number_of_threads_same_bits(
    backend: str, tmp_path: Path, seed: int, rank: int, widths: tuple[int, ...]
) -> None:
    path = random_package(tmp_path / "m.covfast", 100 + seed, rank, widths)
    for precision in ("fp32", "bf16"):
        nets = [covfast.load(path, threads=threads, precision=precision) for threads in (1, 2, 3, 7)]
        batch, *size = SHAPES[rank][1]
        x = normal(batch, nets[0].metadata["input"]["channels"], *size, seed=seed)
        first = nets[0](x)
        for net in nets:
            np.testing.assert_array_equal(net(x), first)
            np.testing.assert_array_equal(net(x[:1]), first[:1])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rank", [2, 3])
def test_random_network_in_bf16_stays_near_torch(backend: str, tmp_path: Path, seed: int, rank: int) -> None:
    path = random_package(tmp_path / "m.covfast", 200 + seed, rank, MANY, nodes=12)
    batch, *size = SHAPES[rank][1]
    net = covfast.load(path, precision="bf16")
    x = normal(batch, net.metadata["input"]["channels"], *size, seed=seed)
    expected = covfast.load(path, engine="torch", device="cpu")(x)
    error = np.sqrt(np.mean((net(x) - expected) ** 2)) / max(float(expected.std()), 1e-6)
    assert error < 0.05, error
