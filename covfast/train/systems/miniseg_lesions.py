"""MiniSeg for ground glass and consolidation apart: the training of covfast's own `miniseg-ggo`.

Only the 50 slices of COVID-SemiSeg tell the two apart. The other slices of `miniseg-infection` have one mask of both;
they teach the sum of the two probabilities, p_1 + p_2, and nothing about the type.
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from covfast.models import MiniSeg
from covfast.train.augment import augment
from covfast.train.data import Bytes, Slices, picture_files, read_slices, stretch
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.losses import any_lesion, lesion_type_loss, supervised
from covfast.train.recipe import Recipe
from covfast.train.systems.base import dice, mean
from covfast.train.systems.infnet_multiclass import VALUES
from covfast.train.systems.miniseg_infection import MiniSegInfection, draw_batch, expert_sides
from covfast.train.systems.pictures import Part, Pictures
from covfast.train.systems.stage import Context, run_stage

CLASSES = Path("covid_semiseg/TrainingSet/MultiClassInfection-Train")


class MiniSegLesions(MiniSegInfection):
    """Soft cross entropy and Dice of any lesion on all slices, and of the type where it is known.

    Args:
        table: Recipe.
        slices: Training side.
        consolidation: (N, STORED, STORED) uint8 of the training side, 255 = consolidation; 0 where it is not known.
        held: Held-out side, and its consolidation; validation is the mean Dice of both types over its expert slices,
            by the largest of the three probabilities; a type that is absent and not found counts 1.
        data: Folder of the data, for the record.
    """

    def __init__(
        self,
        table: Recipe,
        slices: Slices,
        consolidation: Bytes,
        held: tuple[Slices, Bytes] | None = None,
        data: Path | None = None,
    ) -> None:
        super().__init__(table, slices, None if held is None else held[0], data)
        self.consolidation = torch.from_numpy(consolidation)
        self.held_consolidation = None if held is None else torch.from_numpy(held[1])
        self.known = torch.tensor([kind == self.judged for kind in slices.kinds])

    @classmethod
    def open(cls, table: Recipe, data: Path, folder: Path) -> MiniSegLesions:
        """The system with its slices, read from `data` or from the cache in `folder`.

        Held out: the volumes of `split.held_out`, and the expert slices of the fold, whole groups of one picture size.

        Raises:
            FormatError: A file of the data cannot be read, or a class mask holds another value than 0, 38 and 75.
            ValueRangeError: A held-out volume is none of the data's, or there is no such fold.
        """
        slices = read_slices(data, folder / "slices.npz")
        types = consolidation_masks(data, slices)
        inside, outside = expert_sides(slices, table["split"])
        held = (slices.take(outside), types[outside])
        return cls(table, slices.take(inside), types[inside], held, data)

    def build(self) -> nn.Module:
        """MiniSeg of three classes for three equal channels."""
        return cast(nn.Module, MiniSeg(classes=3).to(memory_format=torch.channels_last))

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[Batch]:
        """Augmented slices of kinds drawn by their shares: lesion and consolidation as two masks of one grid."""
        settings = self.table["optimisation"]
        which = draw_batch(self.slices, settings["shares"], settings["batch"], generator)
        masks = torch.stack([self.masks[which], self.consolidation[which]], 1)
        x, y = augment(self.images[which], masks, self.augmentation, generator)
        known = self.known[which].float()[:, None, None, None]
        return [{"x": share.of(self._normalised(x)), "y": share.of(y), "known": share.of(known)}]

    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Loss of any lesion plus `type_weight` times that of the types, auxiliary outputs with less weight."""
        settings = self.table["optimisation"]
        outputs = network(batch["x"])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        lesion, consolidation = batch["y"][:, :1], batch["y"][:, 1:]
        types = [lesion_type_loss(output, lesion, consolidation, batch["known"]) for output in outputs]
        type_loss = types[0] + settings["auxiliary"] * sum(types[1:])
        both = [any_lesion(output) for output in outputs]
        whole = supervised(both, lesion, settings["positive_weight"], settings["auxiliary"])
        return whole + cast(Tensor, settings["type_weight"] * type_loss)

    def validate(self, module: nn.Module, device: torch.device) -> float | None:
        """Mean Dice of ground glass and consolidation over the held-out expert slices, at the stored size."""
        if self.held is None or self.held_consolidation is None:
            return None
        scores = []
        for k, p in self.probabilities(self.held, module, device):
            consolidation = self.held_consolidation[k] >= 128
            ground_glass = (torch.from_numpy(self.held.masks[k]) >= 128) & ~consolidation
            found = p.argmax(0)
            scores += [dice(truth, found == c) for c, truth in ((1, ground_glass), (2, consolidation))]
        return mean(scores) if scores else None

    def files(self) -> Sequence[Path]:
        """All pictures of the three sets, and the masks of the classes."""
        return [] if self.data is None else [*super().files(), *picture_files(self.data / CLASSES / "GT")]


def consolidation_masks(data: Path, slices: Slices) -> Bytes:
    """(N, STORED, STORED) uint8, 255 = consolidation, of the expert slices; 0 for all others.

    Raises:
        FormatError: A mask is missing, of another size than its slice, or holds a value outside the protocol.
    """
    names = [name for name, kind in zip(slices.names, slices.kinds, strict=True) if kind == MiniSegLesions.judged]
    folder = data / CLASSES
    masks = Pictures({"image": Part(folder / "Imgs"), "mask": Part(folder / "GT", values=VALUES)}, None, names)
    masks.sizes(names)
    found = np.zeros_like(slices.masks)
    for k, kind in enumerate(slices.kinds):
        if kind == MiniSegLesions.judged:
            grey = masks.pixels("mask", slices.names[k])[0]
            found[k] = stretch(np.where(grey == VALUES[2], 255, 0).astype(np.uint8))
    return found


def run(context: Context) -> nn.Module:
    """Train in one stage."""
    with context.share.in_turn():
        system = MiniSegLesions.open(context.table, context.data, context.out)
    return run_stage(context, system)
