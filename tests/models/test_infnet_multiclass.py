"""The multi-class network behind Inf-Net: its size, its names, its files on the native engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import covfast  # noqa: E402
from covfast import package  # noqa: E402
from covfast.errors import WeightsError  # noqa: E402
from covfast.models import InfNetMultiClass, import_checkpoint  # noqa: E402

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def small() -> Any:
    """A narrow network with random norms and statistics."""
    torch.manual_seed(0)
    module = InfNetMultiClass(width=8)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.7, 1.3)
            nn.init.normal_(part.bias, 0, 0.1)
            part.momentum = None
    with torch.no_grad():
        module.train()(torch.randn(2, 6, 64, 96))
    return module.eval()


def write(tmp_path: Path, state: object) -> Path:
    path = tmp_path / "multi.pth"
    torch.save(state, path)
    return path


def test_parameters_match_the_published_network() -> None:
    with torch.device("meta"):
        module = InfNetMultiClass()
    assert sum(p.numel() for p in module.parameters()) == 17_269_251


def test_state_dict_has_the_published_names() -> None:
    blocks = ["inc", *(f"down{k}.maxpool_conv.1" for k in (1, 2, 3, 4)), *(f"up{k}.conv" for k in (1, 2, 3, 4))]
    names = {f"{block}.double_conv.{k}.{part}" for block in blocks for k in (0, 3) for part in ("weight", "bias")}
    names |= {f"{block}.double_conv.{k}.{part}" for block in blocks for k in (1, 4) for part in BATCH_NORM}
    with torch.device("meta"):
        state = InfNetMultiClass().state_dict()
    assert set(state) == names | {"outc.conv.weight", "outc.conv.bias"}
    shapes = {
        "inc.double_conv.0.weight": (64, 6, 3, 3), "down4.maxpool_conv.1.double_conv.3.weight": (512, 512, 3, 3),
        "up1.conv.double_conv.0.weight": (512, 1024, 3, 3), "up1.conv.double_conv.3.weight": (256, 512, 3, 3),
        "up4.conv.double_conv.3.weight": (64, 64, 3, 3), "outc.conv.weight": (3, 64, 1, 1),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_import_gives_a_bare_network_that_says_what_its_channels_are(tmp_path: Path) -> None:
    checkpoint = import_checkpoint(write(tmp_path, {f"module.{k}": v for k, v in small().state_dict().items()}))
    assert checkpoint.format == "infnet-multiclass"
    assert any("ground-glass opacity, consolidation, background, in this order" in note for note in checkpoint.notes)
    checkpoint.export(tmp_path / "m.covfast")
    assert package.read_metadata(tmp_path / "m.covfast")["recipe"] is None


def test_import_with_a_missing_tensor_raises_weights_error(tmp_path: Path) -> None:
    state = small().state_dict()
    del state["up3.conv.double_conv.4.running_mean"]
    with pytest.raises(WeightsError, match=r"no tensor 'up3\.conv\.double_conv\.4\.running_mean'"):
        import_checkpoint(write(tmp_path, state))


def test_native_engine_equals_torch_at_352_and_another_size(tmp_path: Path) -> None:
    module = small()
    import_checkpoint(write(tmp_path, module.state_dict())).export(tmp_path / "m.covfast")
    net = covfast.load(tmp_path / "m.covfast", engine="native", device="cpu")
    rng = np.random.default_rng(0)
    for size in ((352, 352), (80, 144)):
        x = rng.standard_normal((1, 6, *size), dtype=np.float32)
        with torch.inference_mode():
            expected = module(torch.from_numpy(x)).numpy()
        assert expected.shape == (1, 3, *size)
        assert np.abs(net(x) - expected).max() <= 1e-4 * np.ptp(expected), size
