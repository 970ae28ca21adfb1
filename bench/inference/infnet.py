"""Inf-Net (Fan et al., IEEE TMI 39(8):2626-2637, 2020) with its Res2Net-50 v1b 26w x 4s, written from published facts.

31,072,143 parameters and 13.84 G multiply-adds at 352x352: without the unused classifier of its backbone and the head
of its edges. The answer is the finest of its maps, logits of one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def _up(x: Any, factor: float, corners: bool = False) -> Any:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=corners)


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, no activation."""

    def __init__(
        self, cin: int, cout: int, kernel: Any = 3, padding: Any = 1, stride: int = 1, dilation: int = 1
    ) -> None:
        conv = nn.Conv2d(cin, cout, kernel, stride, padding, dilation, bias=False)
        super().__init__(conv, nn.BatchNorm2d(cout))


class Bottle2neck(nn.Module):
    """Four groups of channels between two 1x1 convolutions; the first block of a layer does not accumulate."""

    def __init__(self, cin: int, planes: int, stride: int, is_first: bool) -> None:
        super().__init__()
        self.width, self.is_first = planes * 26 // 64, is_first
        self.conv1 = ConvNorm(cin, 4 * self.width, 1, 0)
        self.convs = nn.ModuleList(ConvNorm(self.width, self.width, stride=stride) for _ in range(3))
        self.pool = nn.AvgPool2d(3, stride, 1)
        self.conv3 = ConvNorm(4 * self.width, 4 * planes, 1, 0)
        nn.init.constant_(self.conv3[1].weight, 0.2)  # random blocks as strong as their shortcuts amplify rounding
        shortcut = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        self.downsample = nn.Sequential(shortcut, ConvNorm(cin, 4 * planes, 1, 0)) if is_first else nn.Identity()

    def forward(self, x: Any) -> Any:
        parts = torch.split(torch.relu(self.conv1(x)), self.width, 1)
        done: list[Any] = []
        for part, conv in zip(parts, self.convs, strict=False):
            done.append(torch.relu(conv(part if self.is_first or not done else done[-1] + part)))
        done.append(self.pool(parts[3]) if self.is_first else parts[3])
        return torch.relu(self.conv3(torch.cat(done, 1)) + self.downsample(x))


class RFB(nn.Module):
    """Four branches of growing reach and a 1x1 shortcut."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNorm(cin, cout, 1, 0)])
        for k in (3, 5, 7):
            row, column = ConvNorm(cout, cout, (1, k), (0, k // 2)), ConvNorm(cout, cout, (k, 1), (k // 2, 0))
            wide = ConvNorm(cout, cout, 3, k, dilation=k)
            self.branches.append(nn.Sequential(ConvNorm(cin, cout, 1, 0), row, column, wide))
        self.conv_cat, self.conv_res = ConvNorm(4 * cout, cout), ConvNorm(cin, cout, 1, 0)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.conv_cat(torch.cat([branch(x) for branch in self.branches], 1)) + self.conv_res(x))


class Aggregation(nn.Module):
    """The parallel partial decoder: the global map from three scales."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.ups = nn.ModuleList([*(ConvNorm(c, c) for _ in range(4)), ConvNorm(2 * c, 2 * c)])
        self.concat2, self.concat3, self.conv4 = ConvNorm(2 * c, 2 * c), ConvNorm(3 * c, 3 * c), ConvNorm(3 * c, 3 * c)
        self.conv5 = nn.Conv2d(3 * c, 1, 1)

    def forward(self, x1: Any, x2: Any, x3: Any) -> Any:
        up1 = _up(x1, 2, True)
        x2_1 = self.ups[0](up1) * x2
        x3_1 = self.ups[1](_up(up1, 2, True)) * self.ups[2](_up(x2, 2, True)) * x3
        x2_2 = self.concat2(torch.cat((x2_1, self.ups[3](up1)), 1))
        x3_2 = self.concat3(torch.cat((x3_1, self.ups[4](_up(x2_2, 2, True))), 1))
        return self.conv5(self.conv4(x3_2))


class ReverseAttention(nn.Module):
    """What the coarser map leaves out of the features, beside the edges, refines that map."""

    def __init__(self, cin: int, width: int, kernel: int, last: int, middle: int) -> None:
        super().__init__()
        self.first = ConvNorm(cin, width, 1, 0)
        inputs = [width + 64, *[width] * (middle - 1)]
        self.middle = nn.ModuleList(ConvNorm(n, width, kernel, kernel // 2) for n in inputs)
        self.last = ConvNorm(width, 1, last, last // 2)

    def forward(self, coarse: Any, x: Any, edge: Any) -> Any:
        y = torch.cat((self.first((1 - torch.sigmoid(coarse)) * x), edge), 1)
        for conv in self.middle:
            y = torch.relu(conv(y))
        return self.last(y) + coarse


class InfNet(nn.Module):
    """(N, 3, H, W), sizes multiples of 32 -> (N, 1, H, W)."""

    def __init__(self, width: int = 32, blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        stem = [ConvNorm(3, 32, stride=2), nn.ReLU(), ConvNorm(32, 32), nn.ReLU(), ConvNorm(32, 64), nn.ReLU()]
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        cin, stages = 64, []
        for planes, count, stride in zip((64, 128, 256, 512), blocks, (1, 2, 2, 2), strict=True):
            layer = [Bottle2neck(cin, planes, stride, True)]
            layer += [Bottle2neck(4 * planes, planes, 1, False) for _ in range(count - 1)]
            stages.append(nn.Sequential(*layer))
            cin = 4 * planes
        self.layers = nn.ModuleList(stages)
        self.rfb = nn.ModuleList(RFB(channels, width) for channels in (512, 1024, 2048))
        self.decoder = Aggregation(width)
        self.edge = nn.Sequential(ConvNorm(256, 64, 1, 0), ConvNorm(64, 64), ConvNorm(64, 64))
        self.ra4 = ReverseAttention(2048, 256, 5, 1, 3)
        self.ra3, self.ra2 = ReverseAttention(1024, 64, 3, 3, 2), ReverseAttention(512, 64, 3, 3, 2)

    def forward(self, x: Any) -> Any:
        x1 = self.layers[0](self.stem(x))
        x2 = self.layers[1](x1)
        x3 = self.layers[2](x2)
        x4 = self.layers[3](x3)
        coarse = self.decoder(self.rfb[2](x4), self.rfb[1](x3), self.rfb[0](x2))
        edge = self.edge(x1)
        map4 = self.ra4(_up(coarse, 0.25), x4, _up(edge, 0.125))
        map3 = self.ra3(_up(map4, 2), x3, _up(edge, 0.25))
        map2 = self.ra2(_up(map3, 2), x2, _up(edge, 0.5))
        return _up(map2, 8)
