"""Relation-driven collaborative learning: a general and a target encoder before one decoder.

Zhang et al., Exploiting Shared Knowledge from Non-COVID Lesions for Annotation-Efficient COVID-19 CT Lung Infection
Segmentation (IEEE JBHI 2021, doi 10.1109/jbhi.2021.3106341, arXiv 2012.15564). What the abstract says: two parallel
encoders of one architecture, one shared decoder that gets the features of both concatenated, and a loss that holds the
relation among samples consistent between the encoders. No code was published. Our reading, not the paper's word: skips
of every stage are concatenated and the stages of the decoder keep a plain U-Net's width, so that the transposed
convolution of the bottleneck takes 2 C_n channels and the convolutions of a level 3 C_s; the loss looks at the
bottleneck, or at every stage.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor

from covfast.models.state_dict import load_parts
from covfast.models.topology import Topology
from covfast.models.unet import Decoder, UNet, plain_encoder


class RelationOutput(NamedTuple):
    """What a `RelationUNet` gives in training.

    Attributes:
        logits: (N, classes, X), or with deep supervision those of every level, the largest first.
        general, target: of each encoder, features (N, C_s, X_s) whose relations are compared, pair by pair: the
            bottleneck's alone, or those of every stage, the largest first.
    """

    logits: Tensor | tuple[Tensor, ...]
    general: tuple[Tensor, ...]
    target: tuple[Tensor, ...]


class RelationUNet(UNet):
    """General and target encoder of one topology, their outputs concatenated at every stage, one decoder.

    State dict: `general.stages.*`, `target.stages.*` (both as `encoder.stages.*` of a `PlainUNet`) and `decoder.*`.

    Args:
        in_channels: of the image.
        classes: channels of the logits.
        topology: of each encoder and, but for what it takes, of the decoder.
        deep_supervision: whether training gives the logits of every level.
        relate_every_stage: whether training gives the features of every stage, not the bottleneck's alone.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        topology: Topology,
        deep_supervision: bool = False,
        relate_every_stage: bool = False,
    ) -> None:
        super().__init__(topology, deep_supervision)
        self.relate_every_stage = relate_every_stage
        self.general = plain_encoder(in_channels, topology)
        self.target = plain_encoder(in_channels, topology)
        self.decoder = Decoder(classes, topology, sources=2)
        self._initialise()

    def load_general(self, pretrained: Mapping[str, Tensor], also_target: bool = False) -> None:
        """Begin the general encoder, and the target encoder too if asked, as the encoder of a pre-trained U-Net.

        Args:
            pretrained: state dict of a `PlainUNet` or a `MultiHeadUNet`; of it `encoder.*`.
            also_target: whether the target encoder begins as a copy too, instead of from new weights.

        Raises:
            WeightsError: a tensor of the encoder is missing, not wanted, of another shape, or not finite.
        """
        targets = ("general.", "target.") if also_target else ("general.",)
        load_parts(self, pretrained, [("encoder.", target) for target in targets], "pretrained", "a RelationUNet")

    def encode(self, x: Tensor) -> list[Tensor]:
        """The concatenated outputs of all stages, general first, the largest first."""
        return _concatenated(*self._features(x))

    def forward(self, x: Tensor) -> RelationOutput | Tensor:
        """Logits of (N, in_channels, [D,] H, W) float32, sizes multiples of `multiple`; in training, features too.

        Returns:
            Training: a `RelationOutput`. Evaluation: logits (N, classes, [D,] H, W).
        """
        if not self.training:
            return cast(Tensor, super().forward(x))
        general, target = self._features(x)
        logits = self.decoder(_concatenated(general, target), self.deep_supervision)
        first = 0 if self.relate_every_stage else -1
        return RelationOutput(logits, tuple(general[first:]), tuple(target[first:]))

    def _features(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        return self.general(x), self.target(x)


def _concatenated(general: list[Tensor], target: list[Tensor]) -> list[Tensor]:
    return [torch.cat(pair, 1) for pair in zip(general, target, strict=True)]
