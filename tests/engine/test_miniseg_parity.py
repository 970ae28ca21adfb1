"""MiniSeg through export, package and engines: parity with torch, and with the published network's outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import covfast

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.op("conv3d")
TOLERANCE = 1e-4  # of the output's range


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A MiniSeg with few blocks and random weights: module and package."""
    torch.manual_seed(0)
    module = covfast.models.MiniSeg(channels=(8, 12, 16, 32), blocks=(1, 2, 2, 1))
    module.train()
    with torch.no_grad():  # so that the statistics are not those of a new network
        module(torch.randn(2, 3, 64, 64))
    module.eval()
    return module, covfast.export(module, tmp_path_factory.mktemp("miniseg") / "shallow.covfast", (1, 3, 96, 128))


@pytest.mark.parametrize("shape", [(1, 3, 96, 128), (2, 3, 97, 131), (1, 3, 33, 260)])
def test_miniseg_native_equals_torch(backend: str, shallow: tuple[Any, Path], shape: tuple[int, ...]) -> None:
    module, path = shallow
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    got = covfast.load(path)(x)
    assert np.abs(got - expected).max() <= TOLERANCE * (expected.max() - expected.min())


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Package of the published weights of data set CT100, fold 1, and what the published network answered."""
    data = os.environ.get("COVFAST_DATA")
    if not data:
        pytest.skip("COVFAST_DATA is not set: this test needs the real data")
    folder = Path(data) / "miniseg_official"
    model = covfast.import_checkpoint(folder / "MiniSeg_CrossVal1.pth")
    path = covfast.export(model.module, tmp_path_factory.mktemp("miniseg") / "ct100.covfast", (1, 3, 512, 512))
    with np.load(folder / "golden_CT100_fold1.npz") as golden:
        return path, dict(golden)


@pytest.mark.parametrize("case", ["real_512", "real_352x416", "noise_97x131"])
def test_miniseg_native_equals_the_published_network(
    backend: str, official: tuple[Path, dict[str, Any]], case: str
) -> None:
    path, golden = official
    x, expected = golden[f"in_{case}"], golden[f"out_{case}"]
    got = covfast.load(path)(x)
    assert np.abs(got - expected).max() <= TOLERANCE * (expected.max() - expected.min())


def test_miniseg_torch_engine_equals_the_published_network(official: tuple[Path, dict[str, Any]]) -> None:
    path, golden = official
    x, expected = golden["in_noise_97x131"], golden["out_noise_97x131"]
    got = covfast.load(path, engine="torch", device="cpu")(x)
    assert np.abs(got - expected).max() <= TOLERANCE * (expected.max() - expected.min())


@pytest.mark.parametrize("threads", [2, 3])
def test_miniseg_any_number_of_threads_same_bits(official: tuple[Path, dict[str, Any]], threads: int) -> None:
    path, golden = official
    x = golden["in_real_352x416"]
    np.testing.assert_array_equal(covfast.load(path, threads=threads)(x), covfast.load(path, threads=1)(x))
