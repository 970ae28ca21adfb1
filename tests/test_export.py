"""export: torch modules become packages that answer as torch does, or a typed error says why not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import covfast
from covfast import ShapeError, ValueRangeError, package

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Plain(nn.Module):
    """Every op of the list that a 2-D network may use, and values that are read late."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.pool = nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(12, 3, 1)
        self.drop = nn.Dropout2d(0.5)
        self.scale = nn.Parameter(torch.linspace(0.5, 2, 8).reshape(1, 8, 1, 1))

    def forward(self, x: Any) -> Any:
        a = self.first(x)
        b = F.leaky_relu(self.depthwise(a), 0.1, inplace=True)
        c = self.norm(torch.relu(a) * self.scale - 0.25)
        low = F.interpolate(self.pool(c), size=a.shape[2:], mode="bilinear", align_corners=True)
        left, _ = (1 - torch.sigmoid(low) * b).chunk(2, 1)
        y = self.last(self.drop(torch.cat([left, c], 1)))
        y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        return torch.softmax(y + x[:, 1:2], 1), y


def with_statistics(module: Any) -> Any:
    """The module with random BatchNorm statistics, so that folding is seen."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.BatchNorm3d)):
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
            part.weight.data.uniform_(0.5, 2, generator=generator)
            part.bias.data.normal_(generator=generator)
    return module


def assert_same(module: Any, path: Path, x: np.ndarray[Any, Any]) -> None:
    """Both engines answer as the module does."""
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    expected = (expected[0] if isinstance(expected, tuple) else expected).numpy()
    for engine in ("native", "torch"):
        got = covfast.load(path, engine=engine, device="cpu")(x)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * max(1.0, float(np.ptp(expected))))


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.manual_seed(0)
    module = with_statistics(Plain()).eval()
    path = tmp_path_factory.mktemp("plain") / "plain.covfast"
    return module, covfast.export(module, path, (1, 2, 48, 64), licence="Apache-2.0", labels={0: "a", 1: "b"})


@pytest.mark.parametrize("shape", [(1, 2, 48, 64), (3, 2, 33, 41), (2, 2, 9, 100)])
def test_export_any_batch_and_size_equals_torch(plain: tuple[Any, Path], shape: tuple[int, ...]) -> None:
    module, path = plain
    assert_same(module, path, normal(*shape))


def test_export_folds_batch_norm_after_a_convolution_only(plain: tuple[Any, Path]) -> None:
    nodes = package.read_metadata(plain[1])["graph"]["nodes"]
    assert [node["op"] for node in nodes].count("affine") == 2  # the norm behind a difference, the learned scale
    assert nodes[0]["op"] == "conv"
    assert "bias" in nodes[0]
    assert "first.0.weight" in package.read_tensors(plain[1])


def test_export_writes_what_it_is_told(plain: tuple[Any, Path]) -> None:
    metadata = package.read_metadata(plain[1])
    assert metadata["name"] == "plain"
    assert metadata["licence"] == "Apache-2.0"
    assert metadata["labels"] == {"0": "a", "1": "b"}
    assert metadata["recipe"] is None
    assert metadata["input"] == {"channels": 2, "rank": 2, "multiple": [1, 1], "size": None}


class Up(nn.Module):
    """A 3-D network whose size must be a multiple of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv3d(1, 4, 3, 2, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 3, 2, 1))
        self.out = nn.Conv3d(5, 2, 1)

    def forward(self, x: Any) -> Any:
        y = F.interpolate(self.down(x), scale_factor=4, mode="trilinear")
        return self.out(torch.cat([x, y], 1))


def test_export_3d_network_with_a_multiple_equals_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = with_statistics(Up()).eval()
    path = covfast.export(module, tmp_path / "up.covfast", (1, 1, 8, 16, 24), multiple=4)
    assert package.read_metadata(path)["input"]["multiple"] == [4, 4, 4]
    assert_same(module, path, normal(2, 1, 12, 8, 20))
    with pytest.raises(ShapeError, match="size: got 10, expected a multiple of 4"):
        covfast.load(path)(normal(1, 1, 8, 8, 10))


class Alias(nn.Module):
    """A BatchNorm behind a dropout whose output is read again: what stands before it must stay as it is."""

    def __init__(self, reads_again: bool) -> None:
        super().__init__()
        self.conv, self.drop, self.norm = nn.Conv2d(1, 4, 3), nn.Dropout(0.5), nn.BatchNorm2d(4)
        self.reads_again = reads_again

    def forward(self, x: Any) -> Any:
        y = self.drop(self.conv(x))
        return self.norm(y) + y if self.reads_again else self.norm(y)


@pytest.mark.parametrize(("reads_again", "ops"), [(True, ["conv", "affine", "add"]), (False, ["conv"])])
def test_export_folds_batch_norm_through_an_alias_only_where_nobody_else_reads(
    tmp_path: Path, reads_again: bool, ops: list[str]
) -> None:
    module = with_statistics(Alias(reads_again)).eval()
    path = covfast.export(module, tmp_path / "m.covfast", (1, 1, 16, 16))
    assert [node["op"] for node in package.read_metadata(path)["graph"]["nodes"]] == ops
    assert_same(module, path, normal(2, 1, 12, 20))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_export_module_on_a_gpu_equals_torch(tmp_path: Path) -> None:
    module = with_statistics(Up()).eval().cuda()
    path = covfast.export(module, tmp_path / "up.covfast", (1, 1, 8, 16, 24), multiple=4)
    assert_same(module.cpu(), path, normal(2, 1, 12, 8, 20))


def test_export_keeps_the_training_mode(tmp_path: Path) -> None:
    for training in (True, False):
        module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).train(training)
        covfast.export(module, tmp_path / "m.covfast", (1, 1, 8, 8))
        assert module.training == training
        assert module[1].num_batches_tracked == 0


def test_export_keeps_the_mode_of_every_part(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Sequential(nn.BatchNorm2d(1), nn.Dropout()))
    module.train()
    module[1].eval()  # frozen, as for fine-tuning
    module[2][0].eval()
    covfast.export(module, tmp_path / "m.covfast", (1, 1, 8, 8))
    assert [part.training for part in module.modules()] == [True, True, False, True, False, True]
    module.eval()
    module[2][1].train()
    with pytest.raises(ShapeError):
        covfast.export(module, tmp_path / "m.covfast", (1, 1, 8))
    with pytest.raises(ValueRangeError):
        covfast.export(nn.Sequential(module, nn.Tanh()), tmp_path / "m.covfast", (1, 1, 8, 8))
    assert [part.training for part in module.modules()] == [False] * 5 + [True]


class Inside(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(2, 2, 1), inner)

    def forward(self, x: Any) -> Any:
        return self.block(x)


class Applied(nn.Module):
    """A function of one tensor."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


class Resized(nn.Module):
    def forward(self, x: Any) -> Any:
        return F.interpolate(x, size=(7, 7), mode="bilinear")


@pytest.mark.parametrize(
    ("inner", "match"),
    [
        (nn.Hardswish(), r"the op hardswish in module 'block.1' \(hardswish\), expected one of .*add, "),
        (nn.Upsample(scale_factor=2, mode="bicubic"), "the op upsample_bicubic2d in module 'block.1'"),
        (nn.ReflectionPad2d(1), r"a padding reflect by \[1, 1, 1, 1\] in module 'block.1'"),
        (nn.AvgPool2d(2, divisor_override=3), "a pooling with divisor_override in module 'block.1'"),
        (Applied(lambda x: x.mean(1, keepdim=True)), r"a mean over axes \[1\] in module 'block.1'"),
        (Applied(lambda x: x.mean((2, 3))), r"a mean over axes \[2, 3\] in module 'block.1'"),
        (Applied(lambda x: x[:, :, :5]), "a slice of rows by what varies in module 'block.1'"),
        (Applied(lambda x: x[:, :, ::2]), "a slice along axis 2 by 2 in module 'block.1'"),
        (Applied(lambda x: x / x), "a division by a tensor or 0, or a rounded one in module 'block.1'"),
        (Applied(lambda x: x + torch.ones(1, 1, 1, 16)), "the op ones in module 'block.1'"),
        (Applied(lambda x: torch.cat([x, x], 3)), "a concatenation along axis 3 in module 'block.1'"),
        (Applied(lambda x: x.split(8, 2)[0]), "a split along axis 2 in module 'block.1'"),
        (Resized(), "a resize to a size of its own in module 'block.1'"),
        (nn.Softmax(dim=2), "a softmax over axis 2 in module 'block.1'"),
        (nn.BatchNorm2d(2, track_running_stats=False), "a BatchNorm without running statistics in module 'block.1'"),
    ],
)
def test_export_unsupported_op_raises_naming_the_place(tmp_path: Path, inner: Any, match: str) -> None:
    with pytest.raises(ValueRangeError, match=match):
        covfast.export(Inside(inner), tmp_path / "m.covfast", (1, 2, 16, 16))
    assert list(tmp_path.iterdir()) == []


class Wide(nn.Module):
    """Ops that Plain has not: norms, maxima, transposed convolution, nearest samples, padding, repeated operands."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.Sequential(nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4))
        self.norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
        self.down = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.wide_up = nn.Sequential(nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=2, dilation=1), nn.BatchNorm2d(6))
        self.same = nn.Conv2d(6, 4, (4, 3), padding="same")
        self.valid = nn.Conv2d(4, 4, 3, padding="valid")

    def forward(self, x: Any) -> Any:
        a = self.norm(self.up(self.down(self.norms(x))))
        gate = torch.sigmoid(F.adaptive_avg_pool2d(a, 1) + a.mean((2, 3), keepdim=True) - F.adaptive_max_pool2d(a, 1))
        coarse = F.interpolate(F.interpolate(F.adaptive_avg_pool2d(a, 2), scale_factor=2), a.shape[2:], mode="nearest")
        exact = F.interpolate(self.down(a), size=a.shape[2:], mode="nearest-exact")
        padded = F.pad(a, (1, 2, 3, 4), value=0.5)[:, :, 2:-2, 1:-1]
        cut = F.pad(nn.ZeroPad2d(1)(padded)[:, :, 4:, :-3], (0, 0, 0, 1))
        reverse = (-1 * torch.sigmoid(a[:, -1:]) + 1).expand(-1, 4, -1, -1).mul(a)
        left, right = torch.split(-(a / 2), 2, 1)
        late = self.valid(F.pad(self.same(self.wide_up(self.down(a))), (0, 1, 0, 1)))
        late = F.interpolate(late, size=a.shape[2:], mode="bilinear")
        alike = torch.cat([right, left.contiguous()], 1) + a[:, :1].expand(-1, 4, -1, -1).expand_as(a)
        y = gate * a + coarse + exact + reverse + late + alike
        return torch.log_softmax(y, 1) + F.interpolate(cut, size=a.shape[2:], mode="bilinear")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("shape", [(1, 4, 32, 48), (3, 4, 20, 12), (2, 4, 8, 4)])
def test_export_norms_maxima_and_transposed_convolutions_equal_torch(tmp_path: Path, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = with_statistics(Wide()).eval()
    path = covfast.export(module, tmp_path / "wide.covfast", (1, 4, 32, 48), multiple=4)
    assert_same(module, path, normal(*shape))


def test_export_folds_batch_norm_into_a_grouped_transposed_convolution(tmp_path: Path) -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose3d(4, 6, 3, 2, 1, output_padding=1, groups=2, bias=False)
    module = with_statistics(nn.Sequential(up, nn.BatchNorm3d(6))).eval()
    path = covfast.export(module, tmp_path / "m.covfast", (1, 4, 4, 6, 8))
    assert [node["op"] for node in package.read_metadata(path)["graph"]["nodes"]] == ["conv_transpose"]
    assert_same(module, path, normal(2, 4, 3, 5, 6))


THREE_D = {
    "max pool": nn.MaxPool3d(3, 2, 1, dilation=2, ceil_mode=True),
    "max pool with places": Applied(lambda x: F.max_pool3d(x, 2, return_indices=True)[0]),
    "nearest": nn.Upsample(scale_factor=(1, 2, 2)),
    "nearest-exact": nn.Upsample(scale_factor=2, mode="nearest-exact"),
    "global": nn.AdaptiveAvgPool3d(1),
    "constant": nn.ConstantPad3d((1, 0, 2, 1, -1, 3), 0.25),
    "rows": Applied(lambda x: x[:, :, 1:, 2:-1, -x.shape[4] :]),
    "narrowed": Applied(lambda x: x.narrow(3, 2, x.shape[3] - 3).narrow(1, 1, 1)),
    "norm": nn.GroupNorm(1, 2),
    "dropout": nn.Sequential(nn.Conv3d(2, 3, 1), nn.AlphaDropout(), nn.FeatureAlphaDropout(), nn.Dropout3d()),
}


@pytest.mark.parametrize("case", THREE_D)
def test_export_3d_op_equals_torch(tmp_path: Path, case: str) -> None:
    module = THREE_D[case].eval()
    path = covfast.export(module, tmp_path / "m.covfast", (1, 2, 8, 12, 16))
    assert_same(module, path, normal(2, 2, 6, 7, 10))


class Branching(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + 1 if x.sum() > 0 else x - 1


def test_export_module_that_cannot_be_traced_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match=r"module: got .*, expected one that torch.export traces"):
        covfast.export(Branching(), tmp_path / "m.covfast", (1, 2, 16, 16))


def test_export_wrong_arguments_raise(tmp_path: Path) -> None:
    module = nn.Conv2d(2, 2, 1)
    with pytest.raises(ShapeError, match="input_shape: got"):
        covfast.export(module, tmp_path / "m.covfast", (2, 16, 16))
    with pytest.raises(ShapeError, match="multiple: got 5"):
        covfast.export(module, tmp_path / "m.covfast", (1, 2, 16, 16), multiple=5)
    with pytest.raises(ShapeError, match="multiple: got"):
        covfast.export(module, tmp_path / "m.covfast", (1, 2, 16, 16), multiple=[4])
    with pytest.raises(ShapeError, match="multiple: got '4'"):
        covfast.export(module, tmp_path / "m.covfast", (1, 2, 16, 16), multiple="4")  # type: ignore[arg-type]
    for shape in (None, 4, (1, 2, "16", 16), (1, 2, 16.5, 16)):
        with pytest.raises(ShapeError, match="input_shape: got"):
            covfast.export(module, tmp_path / "m.covfast", shape)  # type: ignore[arg-type]
    for wrong in (None, "net", lambda x: x):
        with pytest.raises(ValueRangeError, match=r"module: got .*, expected a torch\.nn\.Module"):
            covfast.export(wrong, tmp_path / "m.covfast", (1, 2, 16, 16))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("labels", ["a", "b"]),
        ("labels", {0: 1}),
        ("labels", {"lung": "a"}),
        ("labels", {True: "a"}),
        ("recipe", [1]),
        ("provenance", "the net"),
        ("licence", 3),
        ("name", 3),
    ],
)
def test_export_facts_of_a_wrong_kind_raise(tmp_path: Path, field: str, wrong: Any) -> None:
    with pytest.raises(ValueRangeError, match=f"{field}: got"):
        covfast.export(nn.Conv2d(2, 2, 1), tmp_path / "m.covfast", (1, 2, 16, 16), **{field: wrong})
    assert list(tmp_path.iterdir()) == []


def test_export_module_that_gives_no_tensor_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="module: got an output of type dict, expected a tensor"):
        covfast.export(Applied(lambda x: {"a": torch.relu(x)}), tmp_path / "m.covfast", (1, 2, 16, 16))
    with pytest.raises(ValueRangeError, match="module: got no output, expected a tensor"):
        covfast.export(Applied(lambda x: ()), tmp_path / "m.covfast", (1, 2, 16, 16))


HINTS = {
    "padding": lambda x: F.pad(x, (x.shape[3] // 2, 0)),
    "pooling": lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, 1)),
    "pooling to a number": lambda x: F.adaptive_avg_pool2d(x, 4),
}


@pytest.mark.parametrize("case", HINTS)
def test_export_of_what_needs_a_multiple_says_so(tmp_path: Path, case: str) -> None:
    with pytest.raises(ValueRangeError, match="; give multiple= where it needs one"):
        covfast.export(Applied(HINTS[case]), tmp_path / "m.covfast", (1, 2, 24, 24))


ORDERS = [
    "import covfast; f = covfast.export; from covfast.export import export",
    "from covfast.export import export; import covfast; f = covfast.export",
    "import covfast.export; f = covfast.export; from covfast.export import export",
    "import covfast; covfast.export; import covfast.export; f = covfast.export; from covfast.export import export",
]


@pytest.mark.parametrize("order", ORDERS)
def test_export_is_a_function_in_any_order_of_imports(order: str) -> None:
    call = "try: {}(None, 'm.covfast', (1,))\nexcept covfast.ShapeError: pass"
    code = "\n".join([order, call.format("f"), call.format("export")])
    subprocess.run([sys.executable, "-c", code], check=True)
