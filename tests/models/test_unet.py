"""nnU-Net's U-Nets: sizes, names, outputs of every level, and the real classes where they are installed."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import FEATURES, KERNELS, STRIDES, randomise, with_second_names  # noqa: E402

from covfast.errors import ValueRangeError  # noqa: E402
from covfast.models import PlainUNet, ResidualEncoderUNet  # noqa: E402

STAGES = [32, 64, 128, 256, 320, 320]
ANISOTROPIC = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]


def test_plain_unet_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        module = PlainUNet(1, 2, STAGES, [[1, 3, 3], *[[3, 3, 3]] * 5], ANISOTROPIC)
    assert sum(p.numel() for p in module.parameters()) == 30_703_498
    assert len(with_second_names(module.state_dict())) == 292
    assert module.multiple == (8, 32, 32)


def test_residual_encoder_unet_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        module = ResidualEncoderUNet(1, 2, STAGES, [[3] * 3] * 6, [[1] * 3, *[[2] * 3] * 5])
    assert sum(p.numel() for p in module.parameters()) == 102_349_770
    assert len(with_second_names(module.state_dict())) == 956


@pytest.mark.parametrize("kind", [PlainUNet, ResidualEncoderUNet])
@pytest.mark.parametrize("rank", [2, 3])
def test_deep_supervision_gives_every_level_in_training_and_one_output_else(kind: Any, rank: int) -> None:
    kernels, strides = ([row[3 - rank :] for row in rows] for rows in (KERNELS, STRIDES))
    module = kind(2, 3, FEATURES, kernels, strides, deep_supervision=True)
    x = torch.rand(2, 2, 8, 16, 16)[(slice(None), slice(None), *[0] * (3 - rank))]
    levels = module(x)
    sizes = [(8, 16, 16), (8, 8, 8)]
    assert [tuple(y.shape) for y in levels] == [(2, 3, *size[3 - rank :]) for size in sizes]
    assert torch.equal(module.eval()(x), levels[0])


def test_a_new_residual_block_begins_as_its_skip() -> None:
    module = ResidualEncoderUNet(1, 2, FEATURES, KERNELS, STRIDES)
    block = module.encoder.stages[0].blocks[0]
    x = torch.rand(1, 4, 4, 8, 8)
    assert torch.equal(block(x), torch.nn.functional.leaky_relu(x, 0.01))


def test_gradients_reach_every_parameter() -> None:
    module = randomise(PlainUNet(1, 2, FEATURES, KERNELS, STRIDES, deep_supervision=True), 0).train()
    sum(y.square().mean() for y in module(torch.rand(1, 1, 8, 16, 16))).backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in module.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"features": [4, 8]},
        {"features": [4]},
        {"convs": [2, 2]},
        {"decoder_convs": [2]},
        {"strides": [[1, 1]] * 3},
        {"kernels": [[3, 3, 0]] * 3},
        {"decoder_kernels": [[3, 3, 3]]},
    ],
)
def test_lists_that_do_not_fit_raise(changes: dict[str, Any]) -> None:
    given: dict[str, Any] = {"features": FEATURES, "kernels": KERNELS, "strides": STRIDES, **changes}
    with pytest.raises(ValueRangeError, match="features, kernels, strides"):
        PlainUNet(1, 2, **given)


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("rank", [2, 3])
def test_outputs_are_those_of_the_real_class(kind: str, rank: int) -> None:
    theirs = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason="not installed: nnunetv2")
    kernels, strides = ([row[3 - rank :] for row in rows] for rows in (KERNELS, STRIDES))
    conv, norm = getattr(torch.nn, f"Conv{rank}d"), getattr(torch.nn, f"InstanceNorm{rank}d")
    counts = {"n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage": [2, 1, 2]}
    real = getattr(theirs, kind)(
        input_channels=2, n_stages=3, features_per_stage=FEATURES, conv_op=conv, kernel_sizes=kernels, strides=strides,
        num_classes=3, n_conv_per_stage_decoder=[1, 2], conv_bias=True, norm_op=norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        **counts,
    )  # fmt: skip
    randomise(real, 3)
    ours = (PlainUNet if kind == "PlainConvUNet" else ResidualEncoderUNet)(
        2, 3, FEATURES, kernels, strides, [2, 1, 2], [1, 2]
    )
    state = real.state_dict()
    assert set(state) == set(with_second_names(ours.state_dict()))
    ours.load_state_dict({name: state[name] for name in ours.state_dict()})
    x = torch.rand(2, 2, 8, 16, 16)[(slice(None), slice(None), *[0] * (3 - rank))]
    with torch.no_grad():
        assert torch.allclose(ours.eval()(x), real(x), atol=1e-6)
