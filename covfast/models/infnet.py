"""Inf-Net (Fan et al., IEEE TMI 39(8):2626-2637, 2020, arXiv 2004.14133): lung infection on single CT slices.

Written from published facts, not from its code. The names of the modules are those of the published weight files (946
entries, the unused classifier of the backbone among them). A Res2Net-50 gives features at strides 4, 8, 16, 32; three
receptive field blocks and a parallel partial decoder make the global map at stride 8 of the last three; three steps of
reverse attention, from the deepest features up, refine it with features of edges at hand.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.models.res2net import EXPANSION, Res2Net

MULTIPLE = 32
"""What both sizes of an input must be multiples of."""

_EDGE = 64  # channels of the edge features


def _resize(x: Tensor, factor: float, align_corners: bool = False) -> Tensor:
    """Bilinear, (N, C, h, w) -> (N, C, factor h, factor w)."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=align_corners)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm; no activation. The size stays. Parameters k i o + 2 o.

    Args:
        inputs, outputs: channels.
        kernel: odd, one number or (rows, columns).
        dilation: of both axes.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], dilation: int = 1) -> None:
        super().__init__()
        sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = tuple(dilation * (k // 2) for k in sizes)
        self.conv = nn.Conv2d(inputs, outputs, sizes, 1, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        return cast(Tensor, self.bn(self.conv(x)))


class ReceptiveField(nn.Module):
    """RFB: relu(conv_cat(cat(branches)) + conv_res(x)): branches of growing reach, with no activation in them.

    branch0 is 1x1; branch k = 1, 2, 3 with s = 3, 5, 7 is 1x1, 1xs, sx1, and 3x3 of dilation s.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branch0 = ConvNorm(inputs, outputs, 1)
        for branch, size in enumerate((3, 5, 7), 1):
            parts = [
                ConvNorm(inputs, outputs, 1),
                ConvNorm(outputs, outputs, (1, size)),
                ConvNorm(outputs, outputs, (size, 1)),
                ConvNorm(outputs, outputs, 3, dilation=size),
            ]
            self.add_module(f"branch{branch}", nn.Sequential(*parts))
        self.conv_cat = ConvNorm(4 * outputs, outputs, 3)
        self.conv_res = ConvNorm(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        branches = [self.get_submodule(f"branch{k}")(x) for k in range(4)]
        return torch.relu(self.conv_cat(torch.cat(branches, 1)) + self.conv_res(x))


class PartialDecoder(nn.Module):
    """Parallel partial decoder of features a (stride 32), b (16), c (8), all of `channels`; u doubles the size.

    With K_i = conv_upsample_i, products by element:
    b' = K_1(u a) b, c' = K_2(u u a) K_3(u b) c, b'' = conv_concat2(cat(b', K_4(u a))),
    out = conv5(conv4(conv_concat3(cat(c', K_5(u b''))))), one channel.

    Here, and here only, the corners of a resize are aligned.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        for number in (1, 2, 3, 4):
            self.add_module(f"conv_upsample{number}", ConvNorm(channels, channels, 3))
        self.conv_upsample5 = ConvNorm(2 * channels, 2 * channels, 3)
        self.conv_concat2 = ConvNorm(2 * channels, 2 * channels, 3)
        self.conv_concat3 = ConvNorm(3 * channels, 3 * channels, 3)
        self.conv4 = ConvNorm(3 * channels, 3 * channels, 3)
        self.conv5 = nn.Conv2d(3 * channels, 1, 1)

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """(N, channels, h, w), twice and four times that size -> (N, 1, 4 h, 4 w) logits."""
        a1 = _resize(a, 2, align_corners=True)
        a2 = _resize(a1, 2, align_corners=True)
        b1 = self.conv_upsample1(a1) * b
        c1 = self.conv_upsample2(a2) * self.conv_upsample3(_resize(b, 2, align_corners=True)) * c
        b2 = self.conv_concat2(torch.cat([b1, self.conv_upsample4(a1)], 1))
        c2 = self.conv_concat3(torch.cat([c1, self.conv_upsample5(_resize(b2, 2, align_corners=True))], 1))
        return cast(Tensor, self.conv5(self.conv4(c2)))


class _Step(NamedTuple):
    """One step of reverse attention: the modules ra{level}_conv{1, 2, ..}."""

    level: int  # of the backbone's layer
    width: int  # channels inside
    kernel: int  # of the convolutions between the first and the last
    between: int  # how many
    last: int  # kernel of the last one


_STEPS = (_Step(4, 256, 5, 3, 1), _Step(3, 64, 3, 2, 3), _Step(2, 64, 3, 2, 3))


class InfNet(nn.Module):
    """Inf-Net. 33,121,721 parameters, 2,049,000 of them unused; 13.84 G multiply-adds for a 352x352 slice.

    Args:
        in_channels: of the image (3 equal ones in the published files).
        classes: 1: there is one map for attention to reverse.
        channel: of the receptive field blocks.
        planes: width of the backbone, 64 in the published network (`Res2Net`); smaller ones train on a CPU.

    Raises:
        ValueRangeError: More than one class.
    """

    def __init__(self, in_channels: int = 3, classes: int = 1, channel: int = 32, planes: int = 64) -> None:
        super().__init__()
        if classes != 1:
            raise ValueRangeError(describe("classes", classes, "1", "InfNetMultiClass tells kinds of lesions apart"))
        features = [EXPANSION * planes * 2**layer for layer in range(4)]
        self.resnet = Res2Net(in_channels, planes)
        self.rfb2_1 = ReceptiveField(features[1], channel)
        self.rfb3_1 = ReceptiveField(features[2], channel)
        self.rfb4_1 = ReceptiveField(features[3], channel)
        self.ParDec = PartialDecoder(channel)
        for step in _STEPS:
            self._add_step(step, features[step.level - 1])
        self.edge_conv1 = ConvNorm(features[0], _EDGE, 1)
        self.edge_conv2 = ConvNorm(_EDGE, _EDGE, 3)
        self.edge_conv3 = ConvNorm(_EDGE, _EDGE, 3)
        self.edge_conv4 = ConvNorm(_EDGE, 1, 3)

    def _add_step(self, step: _Step, inputs: int) -> None:
        """Register the modules of one step under their published names."""
        name = f"ra{step.level}_conv"
        self.add_module(f"{name}1", ConvNorm(inputs, step.width, 1))
        for index in range(step.between):
            wide = step.width + (0 if index else _EDGE)
            self.add_module(f"{name}{index + 2}", ConvNorm(wide, step.width, step.kernel))
        self.add_module(f"{name}{step.between + 2}", ConvNorm(step.width, 1, step.last))

    def _refine(self, step: _Step, coarse: Tensor, features: Tensor, edges: Tensor) -> Tensor:
        """coarse + what the features, where the coarse map is low, and the edges say: (N, 1, h, w) logits."""
        first, *between, last = (self.get_submodule(f"ra{step.level}_conv{k + 1}") for k in range(step.between + 2))
        y = torch.cat([first((1 - torch.sigmoid(coarse)) * features), edges], 1)
        for conv in between:
            y = torch.relu(conv(y))
        return cast(Tensor, last(y) + coarse)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of (N, in_channels, H, W) float32, H and W multiples of 32.

        Returns:
            In evaluation mode: map2, the prediction, (N, 1, H, W). In training mode: (map5, map4, map3, map2, edge),
            each of that shape; map5 is the global map, `edge` the border of the infection.
        """
        x1, x2, x3, x4 = self.resnet(x)
        edges = self.edge_conv3(self.edge_conv2(self.edge_conv1(x1)))
        map5 = self.ParDec(self.rfb4_1(x4), self.rfb3_1(x3), self.rfb2_1(x2))
        map4 = self._refine(_STEPS[0], _resize(map5, 0.25), x4, _resize(edges, 0.125))
        map3 = self._refine(_STEPS[1], _resize(map4, 2), x3, _resize(edges, 0.25))
        map2 = self._refine(_STEPS[2], _resize(map3, 2), x2, _resize(edges, 0.5))
        if not self.training:
            return _resize(map2, 8)
        maps = ((map5, 8), (map4, 32), (map3, 16), (map2, 8), (self.edge_conv4(edges), 4))
        return tuple(_resize(logits, stride) for logits, stride in maps)


class TwoClasses(nn.Module):
    """(0, z) of a network's logit z: the softmax of both is (1 - sigmoid(z), sigmoid(z)).

    Args:
        network: (N, C, H, W) -> (N, 1, H, W) in evaluation mode, such as `InfNet`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 2, H, W) logits: not infected, infected."""
        z = self.network(x)
        return torch.cat([0 * z, z], 1)
