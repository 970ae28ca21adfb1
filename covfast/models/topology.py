"""The shape of a U-Net without its weights: features, kernels, strides and counts of its stages. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from covfast.errors import ValueRangeError, describe

Axes = Sequence[int]
"""One number per spatial axis, ([D,] H, W)."""


@dataclass(frozen=True)
class Topology:
    """Of encoder and decoder, but for the channels of the image and the classes.

    Attributes:
        features: channels of each stage, at least two stages.
        kernels: of the convolutions of each stage, one number per axis.
        strides: of the first convolution of each stage.
        convs: convolutions (or residual blocks) in each stage: one number, or one per stage.
        decoder_convs: in each level of the decoder, the lowest resolution first.
        decoder_kernels: of the decoder's levels, the lowest resolution first; those of the encoder's stage of the same
            size by default. The first generation of nnU-Net took those of the stage below.
        bias: whether convolutions have biases.
        eps: of the norms.
        slope: of the leaky ReLUs.

    Raises:
        ValueRangeError: lists of different lengths, kernels or strides that are not of 2 or of 3 numbers, a number < 1.
    """

    features: Sequence[int]
    kernels: Sequence[Axes]
    strides: Sequence[Axes]
    convs: int | Sequence[int] = 2
    decoder_convs: int | Sequence[int] = 2
    decoder_kernels: Sequence[Axes] | None = None
    bias: bool = True
    eps: float = 1e-5
    slope: float = 0.01

    def __post_init__(self) -> None:
        counts, above, levels = self.stage_convs, self.level_convs, self.level_kernels
        given = (self.features, self.kernels, self.strides, counts, (0, *above), (0, *levels))
        ranks = {len(axes) for axes in (*self.kernels, *self.strides, *levels)}
        if len(self.features) < 2 or len({len(rows) for rows in given}) > 1 or ranks not in ({2}, {3}):
            lengths = f"{len(self.features)} features, {len(self.kernels)} kernels, {len(self.strides)} strides"
            got = f"{lengths}, {len(counts)} and {len(above)} counts, ranks {sorted(ranks)}"
            expected = "as many of each, one count less in the decoder, each kernel and stride of 2 or of 3 numbers"
            raise ValueRangeError(describe("features, kernels, strides", got, expected))
        if min(*self.features, *counts, *above, *(n for axes in (*self.kernels, *self.strides) for n in axes)) < 1:
            raise ValueRangeError(describe("features, kernels, strides", "a number below 1", "numbers from 1 on"))

    @property
    def rank(self) -> int:
        """Spatial axes, 2 or 3."""
        return len(self.strides[0])

    @property
    def multiple(self) -> tuple[int, ...]:
        """What each size of an input is a multiple of."""
        return tuple(math.prod(stride[axis] for stride in self.strides) for axis in range(self.rank))

    @property
    def stage_convs(self) -> list[int]:
        """Convolutions (or blocks) of each stage of the encoder."""
        return [self.convs] * len(self.features) if isinstance(self.convs, int) else list(self.convs)

    @property
    def level_convs(self) -> list[int]:
        """Convolutions of each level of the decoder, the lowest resolution first."""
        levels = len(self.features) - 1
        return [self.decoder_convs] * levels if isinstance(self.decoder_convs, int) else list(self.decoder_convs)

    @property
    def level_kernels(self) -> Sequence[Axes]:
        """Kernels of each level of the decoder, the lowest resolution first."""
        return self.kernels[-2::-1] if self.decoder_kernels is None else self.decoder_kernels
