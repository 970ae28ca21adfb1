"""Res2Net-50 v1b 26w x 4s, the backbone of Inf-Net (Gao et al., IEEE TPAMI 43(2):652-662, 2021, arXiv 1904.01169).

Written from published facts, not from its code. The names of the modules are those of its weight files, ImageNet's
classifier `fc` among them, so that a state dict of ImageNet's weights loads as it is. A residual network of 3, 4, 6, 3
blocks; inside a block the 3x3 convolution is split into a hierarchy over four groups of channels.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

SCALE = 4
"""Groups of channels in a block."""
BLOCKS = (3, 4, 6, 3)
"""Blocks of the four layers."""
EXPANSION = 4
"""Channels that leave a block, in planes."""

_BASE_WIDTH = 26  # channels of one group, of 64 planes
_IMAGENET_CLASSES = 1000


class Bottle2neck(nn.Module):
    """relu(bn3(conv3(cat(y_1 .. y_4))) + shortcut), y_i the groups of relu(bn1(conv1(x))) after their convolutions.

    The first block of a layer: y_i = relu(bns(convs(g_i))) for i < 4, y_4 = 3x3 average of g_4 (borders count as 0).
    Other blocks: y_i = relu(bns(convs(g_i + y_(i-1)))) with y_0 = 0, y_4 = g_4.

    Args:
        inputs: channels.
        planes: p: groups of floor(26 p / 64) channels, 4 p channels at the end.
        stride: of the first block of a layer.
        is_first: of a layer: no hierarchy, and a shortcut of average pooling, 1x1 convolution and batch norm.
    """

    def __init__(self, inputs: int, planes: int, stride: int = 1, is_first: bool = False) -> None:
        super().__init__()
        self.is_first = is_first
        width, outputs = planes * _BASE_WIDTH // 64, EXPANSION * planes
        self.conv1 = nn.Conv2d(inputs, SCALE * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(SCALE * width)
        self.pool = nn.AvgPool2d(3, stride, 1)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, stride, 1, bias=False) for _ in range(SCALE - 1))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(SCALE - 1))
        self.conv3 = nn.Conv2d(SCALE * width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        if is_first:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, 4 planes, H / stride, W / stride)."""
        groups = torch.relu(self.bn1(self.conv1(x))).chunk(SCALE, 1)
        done: list[Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=False):
            given = group if self.is_first or not done else done[-1] + group
            done.append(torch.relu(bn(conv(given))))
        done.append(self.pool(groups[-1]) if self.is_first else groups[-1])
        shortcut = self.downsample(x) if self.is_first else x
        return torch.relu(self.bn3(self.conv3(torch.cat(done, 1))) + shortcut)


class Res2Net(nn.Module):
    """Res2Net-50 v1b 26w x 4s as a source of features. 25,718,352 parameters, 2,049,000 of them in the unused `fc`.

    Args:
        in_channels: of the image.
        planes: of the first layer; each layer has twice those of the one before it. 64 in the published network.
    """

    def __init__(self, in_channels: int = 3, planes: int = 64) -> None:
        super().__init__()
        half = planes // 2
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, half, 3, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, 1, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, planes, 3, 1, 1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(planes)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = planes
        for layer, count in enumerate(BLOCKS):
            wide = planes * 2**layer
            blocks = [Bottle2neck(inputs, wide, 1 if layer == 0 else 2, is_first=True)]
            blocks += [Bottle2neck(EXPANSION * wide, wide) for _ in range(count - 1)]
            self.add_module(f"layer{layer + 1}", nn.Sequential(*blocks))
            inputs = EXPANSION * wide
        # Part of the published files and never applied: frozen, so that no optimiser or reducer waits for its gradient.
        self.fc = nn.Linear(inputs, _IMAGENET_CLASSES).requires_grad_(False)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, in_channels, H, W) -> outputs of the layers k = 0 .. 3, (N, 4 planes 2^k, H / 2^(k+2), W / 2^(k+2))."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        outputs = []
        for layer in range(1, len(BLOCKS) + 1):
            x = cast(Tensor, self.get_submodule(f"layer{layer}")(x))
            outputs.append(x)
        return tuple(outputs)
