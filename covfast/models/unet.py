"""U-Nets of nnU-Net in 2-D and 3-D: plain convolutions, or a residual encoder. Written from their description.

Isensee et al., nnU-Net (Nature Methods 18, 2021, doi 10.1038/s41592-020-01008-z), and nnU-Net Revisited (MICCAI 2024,
arXiv 2404.09556) for the residual encoder. The names of the modules are those of nnU-Net's weights, so that a state
dict of theirs loads as it is, less the second names that it gives to the same tensors (`covfast.models.nnunet`).

With S stages of C_s channels and strides r_s (the first is 1 as a rule): stage s of the encoder gives (N, C_s, X / (r_0
... r_s)). The decoder goes up from the deepest stage: a transposed convolution whose kernel is its stride, concatenated
with the encoder's output of that size (upsampled first), then convolutions, and at every level a 1x1 convolution to
logits. Each convolution is followed by an instance norm with weight and bias and a leaky ReLU.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe

Axes = Sequence[int]
"""One number per spatial axis, ([D,] H, W)."""

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_AVERAGE = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class ConvNorm(nn.Module):
    """Convolution that keeps the size at stride 1, instance norm, and a leaky ReLU unless `slope` is None."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Axes, stride: Axes, bias: bool, eps: float, slope: float | None
    ) -> None:
        super().__init__()
        padding = [(k - 1) // 2 for k in kernel]
        self.conv = _CONV[len(kernel)](inputs, outputs, tuple(kernel), tuple(stride), padding, bias=bias)
        self.norm = _NORM[len(kernel)](outputs, eps=eps, affine=True)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, X) -> (N, outputs, X / stride)."""
        y = self.norm(self.conv(x))
        return cast(Tensor, y if self.slope is None else F.leaky_relu(y, self.slope))


class ConvStack(nn.Module):
    """`count` times convolution, norm and activation; the stride is the first one's."""

    def __init__(self, count: int, inputs: int, outputs: int, kernel: Axes, stride: Axes, **options: Any) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        parts = [
            ConvNorm(outputs if i else inputs, outputs, kernel, ones if i else stride, **options) for i in range(count)
        ]
        self.convs = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, X) -> (N, outputs, X / stride)."""
        return cast(Tensor, self.convs(x))


class ResidualBlock(nn.Module):
    """leaky_relu(conv2(conv1(x)) + skip(x)), the skip of a ResNet-D: average pooling, then 1x1 convolution and norm.

    Either part of the skip is there only where it is needed: the size changes, the channels change.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Axes, stride: Axes, bias: bool, eps: float, slope: float
    ) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        self.conv1 = ConvNorm(inputs, outputs, kernel, stride, bias, eps, slope)
        self.conv2 = ConvNorm(outputs, outputs, kernel, ones, bias, eps, None)
        skip: list[nn.Module] = [_AVERAGE[len(kernel)](tuple(stride), tuple(stride))] if max(stride) > 1 else []
        if inputs != outputs:
            skip.append(ConvNorm(inputs, outputs, ones, ones, False, eps, None))
        self.skip = nn.Sequential(*skip)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, X) -> (N, outputs, X / stride)."""
        return F.leaky_relu(self.conv2(self.conv1(x)) + self.skip(x), self.slope)


class ResidualStage(nn.Module):
    """`count` residual blocks; the stride is the first one's."""

    def __init__(self, count: int, inputs: int, outputs: int, kernel: Axes, stride: Axes, **options: Any) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        parts = [
            ResidualBlock(outputs if i else inputs, outputs, kernel, ones if i else stride, **options)
            for i in range(count)
        ]
        self.blocks = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, X) -> (N, outputs, X / stride)."""
        return cast(Tensor, self.blocks(x))


class Encoder(nn.Module):
    """A stem, or none, and the stages, each at its own size."""

    def __init__(self, stages: Sequence[nn.Module], stem: nn.Module | None = None) -> None:
        super().__init__()
        if stem is not None:
            self.stem = stem
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The outputs of all stages, the largest first."""
        if hasattr(self, "stem"):
            x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class Decoder(nn.Module):
    """From the deepest stage up; entry 0 of each list belongs to the lowest resolution.

    Args:
        classes: channels of the logits.
        features, strides: of the encoder's stages.
        kernels: of each level's convolutions, from the lowest resolution up.
        convs: how many of them, in the same order.
        options: bias, eps, slope of `ConvNorm`.
    """

    def __init__(
        self,
        classes: int,
        features: Sequence[int],
        strides: Sequence[Axes],
        kernels: Sequence[Axes],
        convs: Sequence[int],
        **options: Any,
    ) -> None:
        super().__init__()
        rank = len(strides[0])
        below, here = features[:0:-1], features[-2::-1]
        self.transpconvs = nn.ModuleList(
            _TRANSPOSED[rank](deep, wide, tuple(stride), tuple(stride), bias=options["bias"])
            for deep, wide, stride in zip(below, here, strides[:0:-1], strict=True)
        )
        self.stages = nn.ModuleList(
            ConvStack(count, 2 * wide, wide, kernel, [1] * rank, **options)
            for count, wide, kernel in zip(convs, here, kernels, strict=True)
        )
        self.seg_layers = nn.ModuleList(_CONV[rank](wide, classes, 1) for wide in here)

    def forward(self, skips: Sequence[Tensor], every_level: bool) -> Tensor | tuple[Tensor, ...]:
        """Logits (N, classes, X) of the largest size, or those of every level, the largest first."""
        x, logits = skips[-1], []
        for level, (up, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True)):
            x = stage(torch.cat([up(x), skips[-2 - level]], 1))
            if every_level or level == len(self.stages) - 1:
                logits.append(self.seg_layers[level](x))
        return tuple(reversed(logits)) if every_level else logits[0]


class _UNet(nn.Module):
    """What both U-Nets share: encoder, decoder and the forward pass."""

    encoder: Encoder
    decoder: Decoder

    def __init__(self, strides: Sequence[Axes], deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.multiple = tuple(math.prod(stride[axis] for stride in strides) for axis in range(len(strides[0])))

    def _initialise(self) -> None:
        """He normal for the slope 0.01, biases 0."""
        convolutions: tuple[Any, ...] = (*_CONV.values(), *_TRANSPOSED.values())
        for part in self.modules():
            if isinstance(part, convolutions):
                nn.init.kaiming_normal_(part.weight, a=0.01)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of (N, in_channels, [D,] H, W) float32, sizes multiples of `multiple`.

        Returns:
            (N, classes, [D,] H, W). In training mode with `deep_supervision`: a tuple of the logits of every level, the
            largest first, each smaller by the stride of its stage.
        """
        return cast(
            "Tensor | tuple[Tensor, ...]", self.decoder(self.encoder(x), self.training and self.deep_supervision)
        )


class PlainUNet(_UNet):
    """nnU-Net's plain U-Net; its names are those of `PlainConvUNet` in nnU-Net's weights.

    With one input channel, two classes, features 32 64 128 256 320 320, kernels 1x3x3 then 3x3x3 and strides 1x1x1
    1x2x2 2x2x2 2x2x2 2x2x2 1x2x2 it has 30,703,498 parameters.

    Args:
        in_channels: of the image, and one more per foreground label behind a cascade's first network.
        classes: channels of the logits.
        features: channels of each stage, at least two stages.
        kernels: of the convolutions of each stage, one number per axis.
        strides: of the first convolution of each stage.
        convs: convolutions in each stage: one number, or one per stage.
        decoder_convs: in each level of the decoder, the lowest resolution first.
        decoder_kernels: of the decoder's levels, the lowest resolution first; those of the encoder's stage of the same
            size by default. The first generation of nnU-Net took those of the stage below.
        bias: whether convolutions have biases.
        eps: of the norms.
        slope: of the leaky ReLUs.
        deep_supervision: whether training gives the logits of every level.

    Raises:
        ValueRangeError: lists of different lengths.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        features: Sequence[int],
        kernels: Sequence[Axes],
        strides: Sequence[Axes],
        convs: int | Sequence[int] = 2,
        decoder_convs: int | Sequence[int] = 2,
        decoder_kernels: Sequence[Axes] | None = None,
        bias: bool = True,
        eps: float = 1e-5,
        slope: float = 0.01,
        deep_supervision: bool = False,
    ) -> None:
        counts, above = _counts(features, kernels, strides, convs, decoder_convs, decoder_kernels)
        super().__init__(strides, deep_supervision)
        options: dict[str, Any] = {"bias": bias, "eps": eps, "slope": slope}
        inputs = [in_channels, *features[:-1]]
        rows = zip(counts, inputs, features, kernels, strides, strict=True)
        self.encoder = Encoder([nn.Sequential(ConvStack(*row, **options)) for row in rows])
        self.decoder = Decoder(classes, features, strides, decoder_kernels or kernels[-2::-1], above, **options)
        self._initialise()


class ResidualEncoderUNet(_UNet):
    """nnU-Net's U-Net with a residual encoder; its names are those of `ResidualEncoderUNet` in nnU-Net's weights.

    With one input channel, two classes, features 32 64 128 256 320 320, 3x3x3 kernels, strides 1 then 2 and the
    defaults it has 102,349,770 parameters.

    Args:
        blocks: residual blocks in each stage; 1, 3, 4, 6, 6, ... by default.
        decoder_convs: in each level of the decoder, the lowest resolution first.
        in_channels, classes, features, kernels, strides, bias, eps, slope, deep_supervision: as of `PlainUNet`.

    Raises:
        ValueRangeError: lists of different lengths.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        features: Sequence[int],
        kernels: Sequence[Axes],
        strides: Sequence[Axes],
        blocks: int | Sequence[int] | None = None,
        decoder_convs: int | Sequence[int] = 1,
        bias: bool = True,
        eps: float = 1e-5,
        slope: float = 0.01,
        deep_supervision: bool = False,
    ) -> None:
        if blocks is None:
            blocks = [1, 3, 4, *[6] * len(features)][: len(features)]
        counts, above = _counts(features, kernels, strides, blocks, decoder_convs, None)
        super().__init__(strides, deep_supervision)
        options: dict[str, Any] = {"bias": bias, "eps": eps, "slope": slope}
        stem = ConvStack(1, in_channels, features[0], kernels[0], [1] * len(kernels[0]), **options)
        inputs = [features[0], *features[:-1]]
        rows = zip(counts, inputs, features, kernels, strides, strict=True)
        self.encoder = Encoder([ResidualStage(*row, **options) for row in rows], stem)
        self.decoder = Decoder(classes, features, strides, kernels[-2::-1], above, **options)
        self._initialise()
        for part in self.modules():
            if isinstance(part, ResidualBlock):  # a new block begins as its skip
                nn.init.zeros_(part.conv2.norm.weight)
                nn.init.zeros_(part.conv2.norm.bias)


def _counts(
    features: Sequence[int],
    kernels: Sequence[Axes],
    strides: Sequence[Axes],
    convs: int | Sequence[int],
    decoder_convs: int | Sequence[int],
    decoder_kernels: Sequence[Axes] | None,
) -> tuple[list[int], list[int]]:
    """Convolutions (blocks) of each stage and of each level of the decoder. Raises: ValueRangeError."""
    stages = len(features)
    counts = [convs] * stages if isinstance(convs, int) else list(convs)
    above = [decoder_convs] * (stages - 1) if isinstance(decoder_convs, int) else list(decoder_convs)
    levels = above if decoder_kernels is None else decoder_kernels
    lengths = (stages, len(kernels), len(strides), len(counts), len(above) + 1, len(levels) + 1)
    ranks = {len(axes) for axes in (*kernels, *strides, *(decoder_kernels or ()))}
    if stages < 2 or len(set(lengths)) > 1 or ranks not in ({2}, {3}):
        got = (
            f"{stages} features, {len(kernels)} kernels, {len(strides)} strides, {len(counts)} and {len(above)} counts"
        )
        expected = "as many of each, one count less in the decoder, each kernel and stride of 2 or of 3 numbers"
        raise ValueRangeError(describe("features, kernels, strides", f"{got}, ranks {sorted(ranks)}", expected))
    if min(*features, *counts, *above, *(n for axes in (*kernels, *strides) for n in axes)) < 1:
        raise ValueRangeError(describe("features, kernels, strides", "a number below 1", "numbers from 1 on"))
    return counts, above
