"""Inf-Net: its size, its names, and what the native engine makes of its weight files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import covfast  # noqa: E402
from covfast import package  # noqa: E402
from covfast.cli import main  # noqa: E402
from covfast.errors import ValueRangeError, WeightsError  # noqa: E402
from covfast.models import Checkpoint, InfNet, import_checkpoint, infnet, infnet_files  # noqa: E402
from covfast.models.checkpoint import PICTURES_HU, slice_recipe  # noqa: E402
from covfast.models.infnet import TwoClasses  # noqa: E402
from covfast.phantom import Phantom  # noqa: E402

TOLERANCE = 1e-4
"""Of the output's range: sums of float32 in another order, through 60 convolutions."""

# Parameters of the blocks, counted in the published network.
BLOCKS = {
    "resnet.conv1": 28_640, "resnet.layer1": 214_056, "resnet.layer2": 1_229_856, "resnet.layer3": 7_198_368,
    "resnet.layer4": 14_998_304, "resnet.fc": 2_049_000,
    "rfb2_1": 178_112, "rfb3_1": 260_032, "rfb4_1": 423_872, "ParDec": 277_473,
    "ra4_conv1": 524_800, "ra4_conv2": 2_048_512, "ra4_conv3": 1_638_912, "ra4_conv4": 1_638_912, "ra4_conv5": 258,
    "ra3_conv1": 65_664, "ra3_conv2": 73_856, "ra3_conv3": 36_992, "ra3_conv4": 578,
    "ra2_conv1": 32_896, "ra2_conv2": 73_856, "ra2_conv3": 36_992, "ra2_conv4": 578,
    "edge_conv1": 16_512, "edge_conv2": 36_992, "edge_conv3": 36_992, "edge_conv4": 578,
}  # fmt: skip


def picture(shape: tuple[int, ...], seed: int) -> Any:
    """Blocks of 16 pixels and noise: white noise alone would hardly reach the deep features, and drown in rounding."""
    rng = np.random.default_rng(seed)
    n, c, height, width = shape
    blocks = rng.standard_normal((n, c, height // 16, width // 16)).repeat(16, 2).repeat(16, 3)
    return torch.from_numpy((blocks + 0.3 * rng.standard_normal(shape)).astype(np.float32))


def settled(module: Any, shape: tuple[int, ...]) -> Any:
    """The module with random norms, and the statistics that fit them from a run in training mode."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.7, 1.3, generator=generator)
            part.bias.data.normal_(0, 0.1, generator=generator)
            part.momentum = None  # the statistics of this one run
        if hasattr(part, "bn3"):
            nn.init.constant_(part.bn3.weight, 0.2)  # random blocks as strong as their shortcuts amplify rounding
    with torch.no_grad():
        module.train()(picture(shape, seed=1))
    return module.eval()


def small() -> Any:
    torch.manual_seed(0)
    return settled(InfNet(channel=8, planes=8), (2, 3, 352, 352))


@pytest.fixture(scope="module")
def on_meta() -> Any:
    """The published size without memory for its weights."""
    with torch.device("meta"):
        return InfNet()


def write(tmp_path: Path, state: object) -> Path:
    path = tmp_path / "Inf-Net.pth"
    torch.save(state, path)
    return path


def test_parameters_match_the_published_network(on_meta: Any) -> None:
    assert sum(p.numel() for p in on_meta.parameters()) == 33_121_721


@pytest.mark.parametrize(("name", "count"), BLOCKS.items())
def test_parameters_of_every_block_match_the_published_network(on_meta: Any, name: str, count: int) -> None:
    assert sum(p.numel() for p in on_meta.get_submodule(name).parameters()) == count


def test_state_dict_has_946_entries_with_the_published_names_and_shapes(on_meta: Any) -> None:
    state = on_meta.state_dict()
    assert len(state) == 946
    shapes = {
        "resnet.conv1.0.weight": (32, 3, 3, 3), "resnet.conv1.4.running_var": (32,),
        "resnet.conv1.6.weight": (64, 32, 3, 3), "resnet.bn1.weight": (64,),
        "resnet.layer1.0.conv1.weight": (104, 64, 1, 1), "resnet.layer1.0.downsample.1.weight": (256, 64, 1, 1),
        "resnet.layer1.0.downsample.2.bias": (256,),
        "resnet.layer3.5.convs.2.weight": (104, 104, 3, 3), "resnet.layer3.5.bns.2.running_mean": (104,),
        "resnet.layer4.2.bn3.weight": (2048,), "resnet.fc.weight": (1000, 2048), "resnet.fc.bias": (1000,),
        "rfb2_1.branch0.conv.weight": (32, 512, 1, 1), "rfb2_1.branch1.1.conv.weight": (32, 32, 1, 3),
        "rfb2_1.branch1.2.conv.weight": (32, 32, 3, 1), "rfb4_1.branch3.3.bn.weight": (32,),
        "rfb3_1.conv_cat.conv.weight": (32, 128, 3, 3), "rfb3_1.conv_res.bn.bias": (32,),
        "ParDec.conv_upsample5.conv.weight": (64, 64, 3, 3), "ParDec.conv_concat3.bn.weight": (96,),
        "ParDec.conv4.conv.weight": (96, 96, 3, 3), "ParDec.conv5.weight": (1, 96, 1, 1), "ParDec.conv5.bias": (1,),
        "ra4_conv2.conv.weight": (256, 320, 5, 5), "ra4_conv5.conv.weight": (1, 256, 1, 1),
        "ra3_conv4.conv.weight": (1, 64, 3, 3), "ra2_conv4.bn.running_var": (1,), "edge_conv4.bn.weight": (1,),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_forward_takes_the_published_number_of_multiply_adds(on_meta: Any) -> None:
    counts: list[int] = []

    def count(module: Any, _: Any, output: Any) -> None:
        counts.append(module.weight.numel() * output.shape[2] * output.shape[3])

    hooks = [part.register_forward_hook(count) for part in on_meta.modules() if isinstance(part, nn.Conv2d)]
    on_meta.train()(torch.empty(1, 3, 352, 352, device="meta"))
    for hook in hooks:
        hook.remove()
    assert sum(counts) == pytest.approx(13.843e9, abs=0.5e6)


def test_forward_in_training_returns_four_maps_and_the_edge_of_the_input_size(on_meta: Any) -> None:
    outputs = on_meta.train()(torch.empty(2, 3, 256, 448, device="meta"))
    assert [tuple(y.shape) for y in outputs] == [(2, 1, 256, 448)] * 5


def test_forward_in_evaluation_is_the_finest_map_of_training() -> None:
    module = small()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        found = module(x)
        module.training = True  # all its parts stay in evaluation mode
        maps = module(x)
    assert [torch.equal(found, y) for y in maps] == [False, False, False, True, False]


def test_every_parameter_but_the_unused_classifier_gets_a_gradient() -> None:
    module = InfNet(channel=8, planes=8).train()
    sum(y.square().sum() for y in module(torch.randn(2, 3, 64, 64))).backward()
    without = {name for name, p in module.named_parameters() if p.grad is None}
    assert without == {"resnet.fc.weight", "resnet.fc.bias"}
    assert not any(p.requires_grad for p in module.resnet.fc.parameters())


def test_reverse_attention_looks_where_the_coarse_map_is_low() -> None:
    # With a map so far of -30 the features count as they are, with one of 30 not at all.
    module = small()
    step = infnet._STEPS[2]
    features = [torch.randn(1, 64, 8, 8), torch.randn(1, 64, 8, 8)]
    edges = torch.randn(1, 64, 8, 8)
    with torch.no_grad():
        low, high = (
            [module._refine(step, torch.full((1, 1, 8, 8), level), f, edges) - level for f in features]
            for level in (-30.0, 30.0)
        )
    assert float((low[0] - low[1]).abs().max()) > 1e-2
    assert float((high[0] - high[1]).abs().max()) < 1e-5


def test_more_than_one_class_raises() -> None:
    with pytest.raises(ValueRangeError, match="classes: got 3, expected 1"):
        InfNet(classes=3)


@pytest.mark.parametrize(
    "wrap", [dict, lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}}]
)
def test_import_finds_the_format_and_loads_every_tensor(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    module = small()
    checkpoint = import_checkpoint(write(tmp_path, wrap(module.state_dict())))
    assert (checkpoint.format, checkpoint.multiple, checkpoint.input_shape) == ("infnet", 32, (1, 3, 352, 352))
    held = checkpoint.module.network.state_dict()
    assert not checkpoint.module.training
    assert all(torch.equal(held[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["resnet.layer2.3.bns.1.running_var", "edge_conv4.conv.weight", "resnet.fc.bias"])
def test_import_with_a_missing_tensor_raises_weights_error(tmp_path: Path, name: str) -> None:
    state = small().state_dict()
    del state[name]
    with pytest.raises(WeightsError, match=f"no tensor '{name}'"):
        import_checkpoint(write(tmp_path, state))


def test_import_of_other_tensors_as_this_format_raises_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="make no Inf-Net"):
        import_checkpoint(write(tmp_path, nn.Linear(2, 2).state_dict()), format="infnet")


def test_import_recipe_states_window_size_and_imagenets_statistics(tmp_path: Path) -> None:
    checkpoint = import_checkpoint(write(tmp_path, small().state_dict()))
    stages = {stage["stage"]: stage for stage in checkpoint.recipe["stages"]}
    assert stages["resample"]["size"] == [0, 352, 352]
    assert (stages["normalise"]["mean"], stages["normalise"]["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert stages["threshold"]["above"] == 0.5
    assert any("window" in note for note in checkpoint.notes)


class Grey(nn.Module):
    """A network of one logit: 10 (v - 0.5) of the window's grey value v."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.conv.weight.data = 10 * torch.tensor(std).reshape(1, 3, 1, 1) / 3
        self.conv.bias.data = torch.tensor([10 * (sum(mean) / 3 - 0.5)])

    def forward(self, x: Any) -> Any:
        return self.conv(x)


def test_recipe_labels_a_probability_above_a_half_within_the_lungs(tmp_path: Path, small_phantom: Phantom) -> None:
    network = Grey(infnet_files.IMAGENET_MEAN, infnet_files.IMAGENET_STD)
    recipe = slice_recipe(PICTURES_HU, 96, infnet_files.IMAGENET_MEAN, infnet_files.IMAGENET_STD, margin_mm=10.0)
    checkpoint = Checkpoint(TwoClasses(network), recipe, "infnet", multiple=32)
    checkpoint.export(tmp_path / "m.covfast", input_shape=(1, 3, 96, 96))
    result = covfast.Segmenter(tmp_path / "m.covfast")(small_phantom.volume)
    expected = (small_phantom.volume.hu > -500) & (result.lungs > 0)  # the middle of the window
    found = result.labels == 3
    assert expected.any()
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.8


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A narrow network, and the package that the command line makes of its weight file."""
    folder = tmp_path_factory.mktemp("infnet")
    module = small()
    assert main(["import", str(write(folder, module.state_dict())), "-o", str(folder / "m.covfast")]) == 0
    return module, folder / "m.covfast"


def test_command_writes_a_package_that_says_what_it_assumed(imported: tuple[Any, Path]) -> None:
    provenance = package.read_metadata(imported[1])["provenance"]
    assert provenance["format"] == "infnet"
    assert any("window" in note for note in provenance["notes"])


def equal_to_torch(module: Any, path: Path, sizes: list[tuple[int, int]]) -> None:
    net = covfast.load(path, engine="native", device="cpu")
    for size in sizes:
        x = picture((1, 3, *size), seed=0)
        with torch.inference_mode():
            expected = module(x).numpy()
        zeros, found = np.split(net(x.numpy()), 2, axis=1)
        assert not zeros.any()
        assert found.shape == expected.shape == (1, 1, *size)
        assert np.ptp(expected) > 1
        assert np.abs(found - expected).max() <= TOLERANCE * np.ptp(expected), size


def test_native_engine_of_a_narrow_network_equals_torch_at_352_and_another_size(imported: tuple[Any, Path]) -> None:
    equal_to_torch(*imported, [(352, 352), (96, 160)])


@pytest.mark.slow
def test_native_engine_of_the_published_size_equals_torch_at_352_and_another_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = settled(InfNet(), (2, 3, 352, 352))
    import_checkpoint(write(tmp_path, module.state_dict())).export(tmp_path / "m.covfast")
    equal_to_torch(module, tmp_path / "m.covfast", [(352, 352), (256, 448)])
