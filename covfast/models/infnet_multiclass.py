"""The U-Net behind Inf-Net that tells ground glass from consolidation (github.com/DengPingFan/Inf-Net).

Written from published facts, not from its code; the names of the modules are those of its weight files. Its input is a
slice of three channels and, as three more, the infection that Inf-Net found, both normalised as ImageNet's pictures.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

MULTIPLE = 16
"""What both sizes of an input must be multiples of."""

CHANNELS = ("ground-glass opacity", "consolidation", "background")
"""What the channels of the published files mean: its one-hot coding moves every class one channel down, so that the
background comes last."""


class DoubleConv(nn.Module):
    """Twice 3x3 convolution with bias, batch norm, ReLU."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        return cast(Tensor, self.double_conv(x))


class Down(nn.Module):
    """(N, inputs, H, W) -> (N, outputs, H / 2, W / 2): the maximum of 2x2, then `DoubleConv`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.maxpool_conv(x))


class Up(nn.Module):
    """(N, i/2, H, W), skip (N, i/2, 2H, 2W) -> (N, outputs, 2H, 2W): bilinear x2, corners aligned; cat(skip, x)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = DoubleConv(inputs, inputs // 2, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return cast(Tensor, self.conv(torch.cat([skip, self.up(x)], 1)))


class Out(nn.Module):
    """1x1 convolution to logits."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x))


class InfNetMultiClass(nn.Module):
    """The multi-class U-Net. 17,269,251 parameters.

    Args:
        in_channels: of the slice (blue, green, red in the published files, all equal) and of the infection's map.
        classes: `CHANNELS` in the published files, each with a sigmoid of its own in training.
        width: channels of the first stage.
    """

    def __init__(self, in_channels: int = 6, classes: int = 3, width: int = 64) -> None:
        super().__init__()
        self.inc = DoubleConv(in_channels, width, width)
        self.down1 = Down(width, 2 * width)
        self.down2 = Down(2 * width, 4 * width)
        self.down3 = Down(4 * width, 8 * width)
        self.down4 = Down(8 * width, 8 * width)
        self.up1 = Up(16 * width, 4 * width)
        self.up2 = Up(8 * width, 2 * width)
        self.up3 = Up(4 * width, width)
        self.up4 = Up(2 * width, width)
        self.outc = Out(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) float32, H and W multiples of 16 -> (N, classes, H, W) logits."""
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        y = self.up1(self.down4(x4), x4)
        y = self.up2(y, x3)
        y = self.up3(y, x2)
        y = self.up4(y, x1)
        return cast(Tensor, self.outc(y))
