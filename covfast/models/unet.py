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

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.models.topology import Axes, Topology

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
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
        self.conv = CONV[len(kernel)](inputs, outputs, tuple(kernel), tuple(stride), padding, bias=bias)
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


class Trunk(nn.Module):
    """From the deepest stage up, without logits; entry 0 of each list belongs to the lowest resolution.

    Args:
        transpconvs: upsampling of each level.
        stages: of each level, of the upsampled tensor and the skips concatenated.
    """

    def __init__(self, transpconvs: nn.ModuleList, stages: nn.ModuleList) -> None:
        super().__init__()
        self.transpconvs = transpconvs
        self.stages = stages

    def features(self, skips: Sequence[Tensor]) -> list[Tensor]:
        """(N, C_s, X_s) of every level, the lowest resolution first, from the encoder's outputs, the largest first."""
        x, levels = skips[-1], []
        for skip, up, stage in zip(skips[-2::-1], self.transpconvs, self.stages, strict=True):
            x = stage(torch.cat([up(x), skip], 1))
            levels.append(x)
        return levels


class Decoder(Trunk):
    """A trunk, and at every level a 1x1 convolution to logits.

    Args:
        classes: channels of the logits.
        topology: of the network.
        sources: encoders whose outputs come concatenated: each skip, the deepest too, has `sources` times the channels.
    """

    def __init__(self, classes: int, topology: Topology, sources: int = 1) -> None:
        features, strides, rank = topology.features, topology.strides, topology.rank
        below, here = [sources * features[-1], *features[-2:0:-1]], features[-2::-1]
        options = _options(topology)
        super().__init__(
            nn.ModuleList(
                _TRANSPOSED[rank](deep, wide, tuple(stride), tuple(stride), bias=topology.bias)
                for deep, wide, stride in zip(below, here, strides[:0:-1], strict=True)
            ),
            nn.ModuleList(
                ConvStack(count, (1 + sources) * wide, wide, kernel, [1] * rank, **options)
                for count, wide, kernel in zip(topology.level_convs, here, topology.level_kernels, strict=True)
            ),
        )
        self.seg_layers = new_heads(classes, topology)

    def forward(self, skips: Sequence[Tensor], every_level: bool) -> Tensor | tuple[Tensor, ...]:
        """Logits (N, classes, X) of the largest size, or those of every level, the largest first."""
        return logits(self.features(skips), self.seg_layers, every_level)


def new_heads(classes: int, topology: Topology) -> nn.ModuleList:
    """1x1 convolutions to logits, one for each level of a decoder, the lowest resolution first."""
    return nn.ModuleList(CONV[topology.rank](wide, classes, 1) for wide in topology.features[-2::-1])


def logits(levels: Sequence[Tensor], heads: nn.ModuleList, every_level: bool) -> Tensor | tuple[Tensor, ...]:
    """Logits (N, classes, X) of the largest size, or those of every level, the largest first.

    Args:
        levels: features of every level, the lowest resolution first.
        heads: 1x1 convolution of each.
        every_level: whether a tuple of all is wanted.
    """
    if not every_level:
        return cast(Tensor, heads[-1](levels[-1]))
    return tuple(head(x) for head, x in zip(reversed(heads), reversed(levels), strict=True))


def plain_encoder(in_channels: int, topology: Topology) -> Encoder:
    """Of stages of plain convolutions."""
    inputs = [in_channels, *topology.features[:-1]]
    rows = zip(topology.stage_convs, inputs, topology.features, topology.kernels, topology.strides, strict=True)
    return Encoder([nn.Sequential(ConvStack(*row, **_options(topology))) for row in rows])


def _options(topology: Topology) -> dict[str, Any]:
    return {"bias": topology.bias, "eps": topology.eps, "slope": topology.slope}


class UNet(nn.Module):
    """What all U-Nets share: encoder, decoder and forward pass; those of two encoders have an `encode` of their own.

    Attributes:
        topology: as built.
        multiple: what each size of an input is a multiple of.
        deep_supervision: whether training gives the logits of every level.
    """

    encoder: Encoder
    decoder: Decoder

    def __init__(self, topology: Topology, deep_supervision: bool) -> None:
        super().__init__()
        self.topology = topology
        self.multiple = topology.multiple
        self.deep_supervision = deep_supervision

    def _initialise(self) -> None:
        """He normal for the slope 0.01, biases 0."""
        convolutions: tuple[Any, ...] = (*CONV.values(), *_TRANSPOSED.values())
        for part in self.modules():
            if isinstance(part, convolutions):
                nn.init.kaiming_normal_(part.weight, a=0.01)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def encode(self, x: Tensor) -> list[Tensor]:
        """What the decoder gets: a tensor of every stage, the largest first."""
        return cast("list[Tensor]", self.encoder(x))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of (N, in_channels, [D,] H, W) float32, sizes multiples of `multiple`.

        Returns:
            (N, classes, [D,] H, W). In training mode with `deep_supervision`: a tuple of the logits of every level, the
            largest first, each smaller by the stride of its stage.
        """
        every_level = self.training and self.deep_supervision
        return cast("Tensor | tuple[Tensor, ...]", self.decoder(self.encode(x), every_level))


class PlainUNet(UNet):
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
        topology = Topology(features, kernels, strides, convs, decoder_convs, decoder_kernels, bias, eps, slope)
        super().__init__(topology, deep_supervision)
        self.encoder = plain_encoder(in_channels, topology)
        self.decoder = Decoder(classes, topology)
        self._initialise()

    @classmethod
    def of(cls, in_channels: int, classes: int, topology: Topology, deep_supervision: bool = False) -> PlainUNet:
        """The network of a topology."""
        return cls(in_channels, classes, **vars(topology), deep_supervision=deep_supervision)


class ResidualEncoderUNet(UNet):
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
        topology = Topology(features, kernels, strides, blocks, decoder_convs, None, bias, eps, slope)
        super().__init__(topology, deep_supervision)
        options = _options(topology)
        stem = ConvStack(1, in_channels, features[0], kernels[0], [1] * topology.rank, **options)
        inputs = [features[0], *features[:-1]]
        rows = zip(topology.stage_convs, inputs, features, kernels, strides, strict=True)
        self.encoder = Encoder([ResidualStage(*row, **options) for row in rows], stem)
        self.decoder = Decoder(classes, topology)
        self._initialise()
        for part in self.modules():
            if isinstance(part, ResidualBlock):  # a new block begins as its skip
                nn.init.zeros_(part.conv2.norm.weight)
                nn.init.zeros_(part.conv2.norm.bias)
