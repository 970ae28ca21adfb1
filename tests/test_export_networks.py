"""export of whole networks, small and with random weights, as their published code builds them: nnU-Net's two U-Nets,
lungmask's U-Net, Inf-Net's parts. The native engine equals torch at the exported size and two others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import covfast
from covfast import ValueRangeError

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

TOLERANCE = 1e-4  # of the output's range


# ---- nnU-Net: dynamic_network_architectures ----


def ops_of(rank: int) -> tuple[Any, Any, Any, Any]:
    """Convolution, transposed convolution, instance norm and average pooling of 2-D or 3-D networks."""
    if rank == 2:
        return nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d, nn.AvgPool2d
    return nn.Conv3d, nn.ConvTranspose3d, nn.InstanceNorm3d, nn.AvgPool3d


class ConvNormAct(nn.Module):
    """Convolution, instance norm, LeakyReLU; `all_modules` holds the same modules again, as in nnU-Net's files."""

    def __init__(self, cin: int, cout: int, kernel: Sequence[int], stride: Sequence[int], acts: bool = True) -> None:
        super().__init__()
        conv, _, norm, _ = ops_of(len(kernel))
        self.conv = conv(cin, cout, tuple(kernel), tuple(stride), tuple((k - 1) // 2 for k in kernel), bias=True)
        self.norm = norm(cout, eps=1e-5, affine=True)
        parts = [self.conv, self.norm]
        if acts:
            self.nonlin = nn.LeakyReLU(negative_slope=1e-2, inplace=True)
            parts.append(self.nonlin)
        self.all_modules = nn.Sequential(*parts)

    def forward(self, x: Any) -> Any:
        return self.all_modules(x)


class BasicBlockD(nn.Module):
    """Two convolutions beside a skip: pooled where strided, 1x1 convolution and norm where the channels change."""

    def __init__(self, cin: int, cout: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        rank = len(kernel)
        conv, _, norm, pool = ops_of(rank)
        self.conv1 = ConvNormAct(cin, cout, kernel, stride)
        self.conv2 = ConvNormAct(cout, cout, kernel, [1] * rank, acts=False)
        self.nonlin2 = nn.LeakyReLU(1e-2, inplace=True)
        skip = [pool(tuple(stride), tuple(stride))] if max(stride) > 1 else []
        if cin != cout:
            skip += [conv(cin, cout, 1, bias=False), norm(cout, eps=1e-5, affine=True)]
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Any) -> Any:
        residual = self.skip(x)
        out = self.conv2(self.conv1(x))
        out += residual
        return self.nonlin2(out)


class UNet(nn.Module):
    """PlainConvUNet (`residual` False) or ResidualEncoderUNet."""

    def __init__(
        self,
        channels: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        classes: int,
        residual: bool,
    ) -> None:
        super().__init__()
        rank = len(kernels[0])
        conv, transposed, _, _ = ops_of(rank)
        ones = [1] * rank
        cins = [2, *channels[:-1]]
        self.stages, self.transpconvs, self.decoder, self.seg_layers = (nn.ModuleList() for _ in range(4))
        for stage, (cin, cout, kernel, stride) in enumerate(zip(cins, channels, kernels, strides, strict=True)):
            if residual:
                stem = [ConvNormAct(cin, cout, kernel, ones)] if stage == 0 else []
                first = BasicBlockD(cout if stage == 0 else cin, cout, kernel, stride)
                self.stages.append(nn.Sequential(*stem, first, BasicBlockD(cout, cout, kernel, ones)))
            else:
                self.stages.append(
                    nn.Sequential(ConvNormAct(cin, cout, kernel, stride), ConvNormAct(cout, cout, kernel, ones))
                )
        for level in range(len(channels) - 1, 0, -1):
            below, skip, stride, kernel = channels[level], channels[level - 1], strides[level], kernels[level - 1]
            self.transpconvs.append(transposed(below, skip, tuple(stride), tuple(stride), bias=True))
            blocks = [ConvNormAct(2 * skip, skip, kernel, ones)]
            self.decoder.append(nn.Sequential(*blocks, *([] if residual else [ConvNormAct(skip, skip, kernel, ones)])))
            self.seg_layers.append(conv(skip, classes, 1, 1, 0, bias=True))

    def forward(self, x: Any) -> Any:
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        outputs = []
        for level, skip in enumerate(reversed(skips[:-1])):
            x = torch.cat((self.transpconvs[level](x), skip), 1)
            x = self.decoder[level](x)
            outputs.append(self.seg_layers[level](x))
        return outputs[-1]


# ---- lungmask: resunet.py ----


def lungmask_block(cin: int, cout: int) -> Any:
    """ReLU stands before the norm."""
    parts = [nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(cout)]
    return nn.Sequential(*parts, nn.Conv2d(cout, cout, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(cout))


class LungmaskUp(nn.Module):
    def __init__(self, cin: int, cout: int, mode: str) -> None:
        super().__init__()
        self.up = (
            nn.ConvTranspose2d(cin, cout, 2, 2)
            if mode == "upconv"
            else nn.Sequential(nn.Upsample(mode="bilinear", scale_factor=2), nn.Conv2d(cin, cout, 1))
        )
        self.conv_block = lungmask_block(cin, cout)

    @staticmethod
    def center_crop(layer: Any, target_size: Sequence[Any]) -> Any:
        _, _, height, width = layer.size()
        y, x = (height - target_size[0]) // 2, (width - target_size[1]) // 2
        return layer[:, :, y : (y + target_size[0]), x : (x + target_size[1])]

    def forward(self, x: Any, bridge: Any) -> Any:
        up = self.up(x)
        return self.conv_block(torch.cat([up, self.center_crop(bridge, up.shape[2:])], 1))


class Lungmask(nn.Module):
    """UNet(1, n_classes, depth, wf, padding=True, batch_norm=True, up_mode, residual=False)."""

    def __init__(self, classes: int, depth: int, wf: int, mode: str = "upsample") -> None:
        super().__init__()
        widths = [2 ** (wf + i) for i in range(depth)]
        self.down_path = nn.ModuleList(
            lungmask_block(cin, cout) for cin, cout in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.up_path = nn.ModuleList(LungmaskUp(widths[i], widths[i - 1], mode) for i in range(depth - 1, 0, -1))
        self.last = nn.Conv2d(widths[0], classes, 1)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, x: Any) -> Any:
        blocks = []
        for i, down in enumerate(self.down_path):
            x = down(x)
            if i != len(self.down_path) - 1:
                blocks.append(x)
                x = F.avg_pool2d(x, 2)
        for i, up in enumerate(self.up_path):
            x = up(x, blocks[-i - 1])
        return self.softmax(self.last(x))


# ---- Inf-Net: Res2Net.py, InfNet_Res2Net.py ----


class BasicConv2d(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: Any, stride: int = 1, padding: Any = 0, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)  # not applied

    def forward(self, x: Any) -> Any:
        return self.bn(self.conv(x))


class Bottle2neck(nn.Module):
    """Res2Net-50 v1b 26w x 4s; the first block of a layer is a 'stage' block."""

    def __init__(self, cin: int, planes: int, stride: int, is_stage: bool) -> None:
        super().__init__()
        self.width, self.is_stage = planes * 26 // 64, is_stage
        self.conv1 = nn.Conv2d(cin, self.width * 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(self.width * 4)
        self.pool = nn.AvgPool2d(3, stride, 1)
        self.convs = nn.ModuleList(nn.Conv2d(self.width, self.width, 3, stride, 1, bias=False) for _ in range(3))
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in range(3))
        self.conv3 = nn.Conv2d(self.width * 4, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if is_stage:
            pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(pool, nn.Conv2d(cin, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4))

    def forward(self, x: Any) -> Any:
        spx = torch.split(self.relu(self.bn1(self.conv1(x))), self.width, 1)
        out = sp = None
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            sp = spx[i] if i == 0 or self.is_stage else sp + spx[i]
            sp = self.relu(bn(conv(sp)))
            out = sp if out is None else torch.cat((out, sp), 1)
        out = torch.cat((out, self.pool(spx[3]) if self.is_stage else spx[3]), 1)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class RFB(nn.Module):
    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.relu = nn.ReLU(True)
        self.branches = nn.ModuleList([BasicConv2d(cin, cout, 1)])
        for k in (3, 5, 7):
            parts = [BasicConv2d(cin, cout, 1), BasicConv2d(cout, cout, (1, k), padding=(0, k // 2))]
            parts += [BasicConv2d(cout, cout, (k, 1), padding=(k // 2, 0)), BasicConv2d(cout, cout, 3, 1, k, k)]
            self.branches.append(nn.Sequential(*parts))
        self.conv_cat = BasicConv2d(4 * cout, cout, 3, padding=1)
        self.conv_res = BasicConv2d(cin, cout, 1)

    def forward(self, x: Any) -> Any:
        return self.relu(self.conv_cat(torch.cat([branch(x) for branch in self.branches], 1)) + self.conv_res(x))


class InfNet(nn.Module):
    """Inf-Net with two layers of its backbone and one reverse attention, and an attention by global pooling."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*stem, nn.Conv2d(16, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(True))
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Bottle2neck(32, 16, 1, True), Bottle2neck(64, 16, 1, False))
        self.layer2 = nn.Sequential(Bottle2neck(64, 32, 2, True), Bottle2neck(128, 32, 1, False))
        self.rfb1, self.rfb2 = RFB(64, width), RFB(128, width)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv_upsample = BasicConv2d(width, width, 3, padding=1)
        self.conv_concat = BasicConv2d(2 * width, 2 * width, 3, padding=1)
        self.conv5 = nn.Conv2d(2 * width, 1, 1)
        self.edge = BasicConv2d(64, width, 1)
        self.ra_conv1, self.ra_conv2 = BasicConv2d(128, width, 1), BasicConv2d(2 * width, 2 * width, 5, padding=2)
        self.ra_conv3 = BasicConv2d(2 * width, 1, 1)
        self.avgpool, self.gate = nn.AdaptiveAvgPool2d(1), nn.Conv2d(128, 128, 1)

    def forward(self, x: Any) -> Any:
        x1 = self.layer1(self.maxpool(self.stem(x)))
        x2 = self.layer2(x1)
        x2 = x2 * torch.sigmoid(self.gate(self.avgpool(x2)))
        r1, r2 = self.rfb1(x1), self.rfb2(x2)
        fine = self.conv_upsample(self.upsample(r2)) * r1
        global_map = self.conv5(self.conv_concat(torch.cat((fine, self.upsample(r2)), 1)))
        crop = F.interpolate(global_map, scale_factor=0.5, mode="bilinear")
        reverse = -1 * (torch.sigmoid(crop)) + 1
        reverse = reverse.expand(-1, 128, -1, -1).mul(x2)
        edge = F.interpolate(self.edge(x1), scale_factor=1 / 2, mode="bilinear")
        out = F.relu(self.ra_conv2(torch.cat((self.ra_conv1(reverse), edge), dim=1)))
        lateral = self.ra_conv3(out) + crop
        return F.interpolate(lateral, scale_factor=8, mode="bilinear"), global_map


# ---- the test ----


def two_d(residual: bool) -> Any:
    return UNet((8, 16, 17, 24), [(3, 3)] * 4, [(1, 1), (2, 2), (2, 2), (2, 2)], 3, residual)


def three_d(residual: bool) -> Any:
    kernels, strides = [(1, 3, 3), *[(3, 3, 3)] * 3], [(1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 2, 2)]
    return UNet((6, 8, 15, 16), kernels, strides, 4, residual)


NETWORKS: dict[str, tuple[Any, tuple[int, ...], Any, list[tuple[int, ...]]]] = {
    "PlainConvUNet 2-D": (lambda: two_d(False), (1, 2, 48, 64), 8, [(2, 2, 32, 80), (1, 2, 72, 24)]),
    "PlainConvUNet 3-D": (lambda: three_d(False), (1, 2, 6, 32, 40), (2, 8, 8), [(2, 2, 4, 24, 16), (1, 2, 8, 16, 48)]),
    "ResidualEncoderUNet 2-D": (lambda: two_d(True), (1, 2, 48, 64), 8, [(2, 2, 32, 80), (1, 2, 72, 24)]),
    "ResidualEncoderUNet 3-D": (
        lambda: three_d(True),
        (1, 2, 6, 32, 40),
        (2, 8, 8),
        [(2, 2, 4, 24, 16), (1, 2, 8, 16, 48)],
    ),
    "lungmask": (lambda: Lungmask(3, 5, 3), (1, 1, 64, 64), 16, [(3, 1, 48, 80), (1, 1, 128, 32)]),
    "lungmask upconv": (lambda: Lungmask(6, 4, 3, "upconv"), (1, 1, 64, 64), 8, [(3, 1, 40, 80), (1, 1, 128, 32)]),
    "Inf-Net": (InfNet, (1, 3, 64, 96), 8, [(2, 3, 88, 72), (1, 3, 96, 160)]),
}


def randomised(module: Any) -> Any:
    """The module with random norms and statistics, so that each one shows."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if getattr(part, "running_var", None) is not None:
            part.running_mean.normal_(0, 0.2, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
        if isinstance(part, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.InstanceNorm3d)):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.normal_(0, 0.2, generator=generator)
    return module.eval()


@pytest.fixture(scope="module", params=list(NETWORKS))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, list[Any]]:
    """A network, its package, and the inputs to compare them on."""
    build, shape, multiple, others = NETWORKS[request.param]
    torch.manual_seed(0)
    module = randomised(build())
    path = covfast.export(module, tmp_path_factory.mktemp("net") / "m.covfast", shape, multiple=multiple)
    rng = np.random.default_rng(0)
    return module, path, [rng.standard_normal(size, dtype=np.float32) for size in (shape, *others)]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_export_network_equals_torch_at_three_sizes(exported: tuple[Any, Path, list[Any]], engine: str) -> None:
    module, path, inputs = exported
    net = covfast.load(path, engine=engine, device="cpu")
    for x in inputs:
        with torch.no_grad():
            expected = module(torch.from_numpy(x))
        expected = (expected[0] if isinstance(expected, tuple) else expected).numpy()
        np.testing.assert_allclose(net(x), expected, rtol=0, atol=TOLERANCE * float(np.ptp(expected)))


@pytest.mark.op("conv3d")
def test_export_network_any_backend_and_number_of_threads(exported: tuple[Any, Path, list[Any]], backend: str) -> None:
    module, path, inputs = exported
    x = inputs[1]
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    expected = (expected[0] if isinstance(expected, tuple) else expected).numpy()
    alone = covfast.load(path, threads=1)(x)
    np.testing.assert_allclose(alone, expected, rtol=0, atol=TOLERANCE * float(np.ptp(expected)))
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(covfast.load(path, threads=threads)(x), alone)


@pytest.mark.parametrize("multiple", [None, 4])
def test_export_network_of_another_multiple_raises_asking_for_it(tmp_path: Path, multiple: Any) -> None:
    with pytest.raises(ValueRangeError, match=r"Sizes of tensors must match .* at a size of .*give multiple="):
        covfast.export(two_d(False), tmp_path / "m.covfast", (1, 2, 48, 64), multiple=multiple)
    assert list(tmp_path.iterdir()) == []
