"""MiniSeg: its size, its names, its published outputs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import covfast  # noqa: E402
from covfast.errors import ValueRangeError  # noqa: E402
from covfast.models import MiniSeg  # noqa: E402
from covfast.models.miniseg_ablations import ABLATIONS  # noqa: E402

# Parameters of the blocks, from the paper's class definitions.
BLOCKS = {
    "long1": 248, "down1": 240, "level1": 1200, "level1_long": 288, "cat1": 288,
    "long2": 864, "down2": 504, "level2": 1800, "level2_long": 1248, "cat2": 2400,
    "long3": 1664, "down3": 864, "level3": 7424, "level3_long": 7680, "cat3": 4224,
    "long4": 3840, "down4": 2368, "level4": 17280, "level4_long": 17664,
    "pred4": 130, "pred3": 66, "pred2": 50, "pred1": 18,
}  # fmt: skip


def test_parameters_with_and_without_auxiliary_heads_match_the_paper() -> None:
    assert sum(p.numel() for p in MiniSeg().parameters()) == 82912
    assert sum(p.numel() for p in MiniSeg(aux=False).parameters()) == 82666


@pytest.mark.parametrize(("name", "count"), BLOCKS.items())
def test_parameters_of_every_block_match_the_paper(name: str, count: int) -> None:
    assert sum(p.numel() for p in MiniSeg().get_submodule(name).parameters()) == count


def test_state_dict_has_467_entries_with_the_published_names_and_shapes() -> None:
    state = MiniSeg().state_dict()
    assert len(state) == 467
    shapes = {
        "long1.conv0.weight": (8, 3, 1, 1), "long1.conv1.weight": (8, 1, 5, 5), "long1.act.weight": (8,),
        "down1.conv.weight": (8, 3, 3, 3), "cat1.0.weight": (16, 16, 1, 1), "down2.conv1x1_down.weight": (6, 8, 1, 1),
        "down2.conv4.weight": (6, 1, 3, 3), "down2.conv1x1_fuse.weight": (24, 6, 1, 1),
        "down2.attention.weight": (4, 6, 1, 1), "level3.7.bn.running_var": (32,), "level4_long.2.act.weight": (64,),
        "up4_conv4.bias": (64,), "up3_conv4.conv2.weight": (32, 1, 3, 3), "up3_conv3.weight": (32, 32, 1, 1),
        "up2_conv2.weight": (24, 24, 1, 1), "up1_bn1.running_mean": (8,), "pred4.1.weight": (2, 64, 1, 1),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


# Parameters of the paper's configurations.
VARIANTS = {
    "K2": 102_336, "K8": 73_200, "a1": 41_672, "a2": 42_504, "a4": 82_912, "a5": 81_448, "a6": 72_218, "a7": 82_666,
    "a8": 81_870, "a9": 75_232, "p10": 448_952, "p11": 78_608, "p12": 50_028,
}  # fmt: skip


def test_the_table_of_ablations_holds_the_configurations_with_a_known_count() -> None:
    assert set(ABLATIONS) == set(VARIANTS)


@pytest.mark.parametrize(("name", "count"), VARIANTS.items())
def test_ablation_has_the_published_parameters_and_uses_them_all(name: str, count: int) -> None:
    module = ABLATIONS[name]()
    assert sum(p.numel() for p in module.parameters()) == count
    outputs = module.train()(torch.rand(2, 3, 64, 64))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert {tuple(y.shape) for y in outputs} == {(2, 2, 64, 64)}
    sum(y.square().sum() for y in outputs).backward()
    assert [key for key, p in module.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", ["a1", "a6"])
def test_ablation_becomes_a_package_that_equals_torch(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    module = ABLATIONS[name]().eval()
    net = covfast.load(covfast.export(module, tmp_path / "m.covfast", (1, 3, 64, 64)))
    x = np.random.default_rng(0).standard_normal((1, 3, 72, 56), dtype=np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(x)).numpy()
    assert np.abs(net(x) - expected).max() <= 1e-4 * np.ptp(expected)


def test_forward_in_training_returns_four_predictions_of_the_input_size() -> None:
    outputs = MiniSeg().train()(torch.rand(2, 3, 40, 56))
    assert [tuple(y.shape) for y in outputs] == [(2, 2, 40, 56)] * 4


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 131)])
def test_forward_in_evaluation_of_any_size_returns_one_prediction(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        y = MiniSeg().eval()(torch.rand(1, 3, *size))
    assert tuple(y.shape) == (1, 2, *size)


def test_forward_without_auxiliary_heads_equals_the_one_with_them() -> None:
    full, lean = MiniSeg().eval(), MiniSeg(aux=False).eval()
    lean.load_state_dict({k: v for k, v in full.state_dict().items() if k[:5] not in ("pred2", "pred3", "pred4")})
    x = torch.rand(1, 3, 48, 48)
    with torch.inference_mode():
        assert torch.equal(full(x), lean(x))


@pytest.mark.parametrize(("channels", "branches"), [((8, 22, 32, 64), 4), ((8, 28, 32, 64), 8)])
def test_channels_that_do_not_split_raise(channels: tuple[int, ...], branches: int) -> None:
    with pytest.raises(ValueRangeError, match=f"multiples of {branches}"):
        MiniSeg(channels=channels, branches=branches)


def test_golden_outputs_of_the_published_weights_are_reproduced(data_dir: Path) -> None:
    folder = data_dir / "miniseg_official"
    state = torch.load(folder / "MiniSeg_CrossVal1.pth", map_location="cpu", weights_only=True)
    module = MiniSeg()
    assert list(state) == list(module.state_dict())
    module.load_state_dict(state)
    golden = np.load(folder / "golden_CT100_fold1.npz")
    for name in (key for key in golden.files if key.startswith("in_")):
        expected = golden[f"out_{name[3:]}"]
        with torch.inference_mode():
            found = module.eval()(torch.from_numpy(golden[name])).numpy()
        assert np.abs(found - expected).max() <= 1e-4 * np.ptp(expected), name


def test_golden_sums_of_the_published_weights_are_reproduced(data_dir: Path) -> None:
    # Sums over pred1 of x[0, c, i, j] = sin(0.01 i (c + 1) + 0.02 j), computed with the published network.
    module = MiniSeg().eval()
    path = data_dir / "miniseg_official" / "MiniSeg_CrossVal1.pth"
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    i = torch.arange(512, dtype=torch.float64)
    x = torch.stack([torch.sin(0.01 * i[:, None] * (c + 1) + 0.02 * i[None]) for c in range(3)])[None].float()
    with torch.inference_mode():
        y = module(x)[0].double()
    assert y[0].sum().item() == pytest.approx(1202581.875, rel=1e-5)
    assert y[1].sum().item() == pytest.approx(-1343567.181, rel=1e-5)
    assert (y.max().item(), y.min().item()) == pytest.approx((18.172626, -21.153063), abs=1e-4)
    assert abs(int((y[1] > y[0]).sum()) - 47028) <= 2


def test_import_of_the_models_package_leaves_torch_alone() -> None:
    code = "import sys, covfast.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_models_without_torch_name_the_extra_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import covfast.models\n"
        "from covfast.errors import BackendUnavailable\n"
        "try:\n    covfast.models.MiniSeg\n"
        "except BackendUnavailable as error:\n    sys.exit(0 if 'covfast[train]' in str(error) else 2)\n"
        "sys.exit(1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
