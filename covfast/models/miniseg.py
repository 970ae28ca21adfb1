"""MiniSeg, the 82,912-parameter lesion network of Qiu et al. (AAAI 2021, arXiv 2004.09750v3).

Written from the paper's facts, not from its code. The names of the modules are those of the published weight files, so
that their state dicts (467 entries with the auxiliary heads) load as they are. In evaluation mode the forward pass is a
plain graph of convolution, batch norm, PReLU, average pooling, sums, products, sigmoid, concatenation, channel splits
and bilinear resizing to the size of another tensor; dropout vanishes.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe

BRANCHES = 4
"""Parallel dilated branches K of an AHSP block, with dilations 1, 2, 4, 8."""


def depthwise(channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Depthwise convolution that keeps the size at stride 1."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)


def resize_like(x: Tensor, reference: Tensor) -> Tensor:
    """Bilinear resize (half-pixel centres) of (N, C, h, w) to the (H, W) of `reference`."""
    return F.interpolate(x, size=reference.shape[2:], mode="bilinear", align_corners=False)


class ConvBlock(nn.Module):
    """CB: 3x3 convolution, batch norm, PReLU. Parameters 9 i o + 3 o."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, i, H, W) -> (N, o, H / stride, W / stride)."""
        return cast(Tensor, self.act(self.bn(self.conv(x))))


class LongPathBlock(nn.Module):
    """DB: 1x1 convolution, 5x5 depthwise convolution, batch norm, PReLU. Parameters i o + 28 o.

    With stride 2 it downsamples the image or the features, with stride 1 it is the block of the long path.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.conv1 = depthwise(outputs, 5, stride)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, i, H, W) -> (N, o, H / stride, W / stride)."""
        return cast(Tensor, self.act(self.bn(self.conv1(self.conv0(x)))))


class AttentiveBlock(nn.Module):
    """AHSP: attentive hierarchical spatial pyramid. Parameters i m + 9 o + o m + o + 3 o with m = o / K, K = 4.

    x = 1x1(input) has m channels, c_k = depthwise 3x3 of dilation 2^(k-1), p = 3x3 average of x:
    d_1 = c_1 + p, d_k = d_(k-1) + c_k, a_k = sigmoid(one map from d_k),
    out = PReLU(BN(grouped 1x1(cat(d_k + d_k a_k)))).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, branches: int = BRANCHES) -> None:
        super().__init__()
        self.branches = branches
        width = outputs // branches
        self.conv1x1_down = nn.Conv2d(inputs, width, 1, bias=False)
        for branch in range(branches):
            self.add_module(f"conv{branch + 1}", depthwise(width, 3, stride, 2**branch))
        self.pool = nn.AvgPool2d(3, stride, 1, count_include_pad=True)
        self.conv1x1_fuse = nn.Conv2d(outputs, outputs, 1, groups=branches, bias=False)
        self.attention = nn.Conv2d(outputs, branches, 1, groups=branches, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, i, H, W) -> (N, o, H / stride, W / stride)."""
        x = self.conv1x1_down(x)
        sums = [self.conv1(x) + self.pool(x)]
        for branch in range(1, self.branches):
            sums.append(sums[-1] + self.get_submodule(f"conv{branch + 1}")(x))
        maps = torch.sigmoid(self.attention(torch.cat(sums, 1))).chunk(self.branches, 1)
        weighted = torch.cat([d + d * a for d, a in zip(sums, maps, strict=True)], 1)
        return cast(Tensor, self.act(self.bn(self.conv1x1_fuse(weighted))))


class DecoderBlock(nn.Module):
    """D2: 1x1 convolution, sum of two depthwise 3x3 (dilations 1 and 2), batch norm, no activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.conv1 = depthwise(outputs, 3, dilation=1)
        self.conv2 = depthwise(outputs, 3, dilation=2)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, i, H, W) -> (N, o, H, W)."""
        x = self.conv0(x)
        return cast(Tensor, self.bn(self.conv1(x) + self.conv2(x)))


class MiniSeg(nn.Module):
    """MiniSeg v3.

    Args:
        classes: Number of output classes.
        in_channels: Channels of the input (3 in the published files).
        channels: Channels of the four stages; those of stages 2 to 4 are multiples of `branches`.
        blocks: Blocks of each stage after its downsampling; the long path has half as many.
        aux: Whether the heads of deep supervision exist.
        branches: Parallel branches of an AHSP block.

    Raises:
        ValueRangeError: A stage's channels do not split into the branches, or there are not four stages.
    """

    def __init__(
        self,
        classes: int = 2,
        in_channels: int = 3,
        channels: Sequence[int] = (8, 24, 32, 64),
        blocks: Sequence[int] = (2, 3, 8, 6),
        aux: bool = True,
        branches: int = BRANCHES,
    ) -> None:
        super().__init__()
        if len(channels) != 4 or len(blocks) != 4 or branches < 1 or any(c % branches for c in channels[1:]):
            expected = f"four each, channels[1:] multiples of {branches}"
            raise ValueRangeError(describe("channels, blocks", (tuple(channels), tuple(blocks)), expected))
        self.aux, self.branches = aux, branches
        widths = (in_channels, *channels)
        for stage in (1, 2, 3, 4):
            self._add_stage(stage, widths[stage - 1], widths[stage], blocks[stage - 1])
        self._add_decoder(channels)
        for level in (4, 3, 2, 1) if aux else (1,):
            self.add_module(
                f"pred{level}", nn.Sequential(nn.Dropout2d(0.01), nn.Conv2d(channels[level - 1], classes, 1))
            )

    def _add_stage(self, stage: int, inputs: int, outputs: int, blocks: int) -> None:
        """Register the modules of one encoder stage under their published names."""
        block = ConvBlock if stage == 1 else partial(AttentiveBlock, branches=self.branches)
        self.add_module(f"long{stage}", LongPathBlock(inputs, outputs, 2))
        self.add_module(f"down{stage}", block(inputs, outputs, 2))
        self.add_module(f"level{stage}", nn.ModuleList([block(outputs, outputs) for _ in range(blocks)]))
        longs = [LongPathBlock(outputs, outputs) for _ in range(blocks // 2)]
        self.add_module(f"level{stage}_long", nn.ModuleList(longs))
        if stage < 4:
            fuse = nn.Conv2d(2 * outputs, 2 * outputs, 1, bias=False)
            self.add_module(f"cat{stage}", nn.Sequential(fuse, nn.BatchNorm2d(2 * outputs)))

    def _add_decoder(self, channels: Sequence[int]) -> None:
        """Register the modules of the decoder under their published names."""
        self.up4_conv4 = nn.Conv2d(channels[3], channels[3], 1)
        self.up4_bn4 = nn.BatchNorm2d(channels[3])
        self.up4_act = nn.PReLU(channels[3])
        for level in (3, 2, 1):
            width = channels[level - 1]
            self.add_module(f"up{level}_conv{level + 1}", DecoderBlock(channels[level], width))
            self.add_module(f"up{level}_conv{level}", nn.Conv2d(width, width, 1))
            self.add_module(f"up{level}_bn{level}", nn.BatchNorm2d(width))
            self.add_module(f"up{level}_act", nn.PReLU(width))

    def _encode_stage(self, stage: int, to_long: Tensor, to_short: Tensor) -> tuple[Tensor, Tensor]:
        """One encoder stage: (long path, short path), both (N, C_stage, H, W)."""
        long = self.get_submodule(f"long{stage}")(to_long)
        out = self.get_submodule(f"down{stage}")(to_short)
        longs = list(self.get_submodule(f"level{stage}_long").children())
        for index, block in enumerate(self.get_submodule(f"level{stage}").children()):
            both = out + long
            out = block(both) + out
            if index < len(longs):
                long = longs[index](both) + long
        return long, out

    def encode(self, x: Tensor) -> list[Tensor]:
        """The short path's features of the four stages, (N, C_stage, H / 2^stage, W / 2^stage)."""
        to_long = to_short = x
        outs: list[Tensor] = []
        for stage in (1, 2, 3, 4):
            long, out = self._encode_stage(stage, to_long, to_short)
            outs.append(out)
            if stage < 4:
                left, right = self.get_submodule(f"cat{stage}")(torch.cat([long, out], 1)).chunk(2, 1)
                to_long, to_short = left + long, right + out
        return outs

    def _decode(self, level: int, below: Tensor, skip: Tensor) -> Tensor:
        """One decoder level: (N, C_level, H, W) from the level below at the same size and the encoder's output."""
        lateral = self.get_submodule(f"up{level}_bn{level}")(self.get_submodule(f"up{level}_conv{level}")(skip))
        rising = self.get_submodule(f"up{level}_conv{level + 1}")(below)
        return cast(Tensor, self.get_submodule(f"up{level}_act")(rising + lateral))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of (N, in_channels, H, W) float32.

        Returns:
            In evaluation mode, or without auxiliary heads: pred1 (N, classes, H, W). In training mode with them: the
            tuple (pred1, pred2, pred3, pred4), each of that shape.
        """
        outs = self.encode(x)
        features = self.up4_act(self.up4_bn4(self.up4_conv4(outs[3])))
        levels: list[Tensor] = []
        for level in (3, 2, 1):
            # The published network reads the auxiliary heads after this resize, not before it.
            features = resize_like(features, outs[level - 1])
            levels.append(features)
            features = self._decode(level, features, outs[level - 1])
        levels.append(features)
        heads = (1, 2, 3, 4) if self.training and self.aux else (1,)
        logits = tuple(resize_like(self.get_submodule(f"pred{k}")(levels[4 - k]), x) for k in heads)
        return logits if len(logits) > 1 else logits[0]
