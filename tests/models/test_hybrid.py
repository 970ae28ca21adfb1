"""Hybrid-encoder U-Net: the fusion unit against its formula, names, sizes, gradients, and the native engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import randomise  # noqa: E402
from unets import assert_native_equals_torch, images, topology  # noqa: E402

from covfast.models import HybridEncoderUNet, PlainUNet  # noqa: E402
from covfast.models.hybrid import SelectiveFusion  # noqa: E402


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(("channels", "short"), [(8, 8), (160, 10)])
def test_fusion_is_its_formula(rank: int, channels: int, short: int) -> None:
    unit = randomise(SelectiveFusion(channels, rank), 1)
    unit.norm.bias.data.uniform_(-0.5, 0.5)
    torch.manual_seed(0)
    f_d, f_a = torch.randn(2, 2, channels, *[3] * rank).double()
    unit.double()
    w, a, b = (part.weight.detach().numpy().reshape(part.weight.shape[:2]) for part in
               (unit.squeeze, unit.dedicated, unit.adapted))  # fmt: skip
    assert w.shape == (short, channels)
    s = (f_d + f_a).numpy().mean(tuple(range(2, 2 + rank)))
    z = s @ w.T
    z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
    z = z * unit.norm.weight.detach().numpy() + unit.norm.bias.detach().numpy()
    z = np.where(z > 0, z, 0.01 * z)
    scores = np.exp(np.stack([z @ a.T, z @ b.T]))
    share = (scores / scores.sum(0)).reshape(2, 2, channels, *[1] * rank)
    assert float(np.ptp(share)) > 0.2
    expected = share[0] * f_d.numpy() + share[1] * f_a.numpy()
    np.testing.assert_allclose(unit(f_d, f_a).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_fusion_begins_as_the_mean_and_keeps_equal_maps() -> None:
    unit = SelectiveFusion(8, 3)
    f_d, f_a = torch.randn(2, 1, 8, 2, 4, 4)
    assert torch.allclose(unit(f_d, f_a), (f_d + f_a) / 2)
    assert torch.allclose(randomise(unit, 0)(f_d, f_d), f_d, atol=1e-6)


def test_fusion_with_encoders_swapped_swaps_their_parts() -> None:
    unit = randomise(SelectiveFusion(8, 2), 2)
    f_d, f_a = torch.randn(2, 1, 8, 4, 4)
    share = unit.share(f_d, f_a)
    unit.dedicated, unit.adapted = unit.adapted, unit.dedicated
    assert torch.allclose(unit.share(f_d, f_a), 1 - share)


@pytest.mark.parametrize("rank", [2, 3])
def test_names_and_number_of_parameters(rank: int) -> None:
    shape = topology(rank)
    module, plain = HybridEncoderUNet(2, 3, shape), PlainUNet.of(2, 3, shape)
    names = [key.partition(".")[0] for key in module.state_dict()]
    assert list(dict.fromkeys(names)) == ["adapted", "dedicated", "fusion", "decoder"]
    assert {key.split(".")[1] for key in module.state_dict() if key.startswith("fusion.")} == {"0", "1", "2"}
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in plain.named_children()}
    units = sum(3 * channels * 8 + 2 * 8 for channels in shape.features)
    assert sum(p.numel() for p in module.parameters()) == 2 * count["encoder"] + count["decoder"] + units
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    for key, value in module.state_dict().items():
        if not key.startswith("fusion."):
            assert value.shape == shapes[key.replace("adapted.", "encoder.").replace("dedicated.", "encoder.")]


def test_equal_encoders_make_the_plain_network() -> None:
    plain = randomise(PlainUNet.of(2, 3, topology(3)), 0)
    hybrid = randomise(HybridEncoderUNet(2, 3, topology(3)), 1)
    for encoder in (hybrid.adapted, hybrid.dedicated):
        encoder.load_state_dict(plain.encoder.state_dict())
    hybrid.decoder.load_state_dict(plain.decoder.state_dict())
    x = images(3)
    with torch.no_grad():
        assert torch.allclose(hybrid(x), plain(x), atol=1e-5)


@pytest.mark.parametrize("rank", [2, 3])
def test_deep_supervision_gives_every_level_in_training_and_gradients_reach_all(rank: int) -> None:
    module = HybridEncoderUNet(2, 3, topology(rank), deep_supervision=True)
    levels = randomise(module, 0).train()(images(rank))
    assert [tuple(y.shape) for y in levels] == [(1, 3, *(8, 16, 24)[3 - rank :]), (1, 3, *(8, 8, 12)[3 - rank :])]
    sum(y.square().mean() for y in levels[:1]).backward()
    heads = "decoder.seg_layers.0."  # of the level that has no part in this loss
    missing = [name for name, p in module.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert [name for name in missing if ".conv.bias" not in name] == [heads + "weight", heads + "bias"]
    assert torch.equal(module.eval()(images(rank)), levels[0])


@pytest.mark.parametrize("rank", [2, 3])
def test_export_native_equals_torch(rank: int, tmp_path: Path) -> None:
    assert_native_equals_torch(HybridEncoderUNet(2, 3, topology(rank)), rank, tmp_path / "m.covfast")
