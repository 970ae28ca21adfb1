"""The multi-class follow-up of Semi-Inf-Net: ground glass and consolidation from a slice and its infection map.

Fan et al., IEEE TMI 39(8):2626-2637, 2020. The released code's one-hot targets are shifted by one place; `fidelity`
chooses, and docs/infnet.md says what that means for the channels.
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from covfast.models import InfNetMultiClass
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.loop import WEIGHT
from covfast.train.losses import multiclass_bce
from covfast.train.recipe import Recipe
from covfast.train.systems.base import Epochs, System, dice, fold_sides, mean
from covfast.train.systems.pictures import Part, Pictures, group_by_size, normalised
from covfast.train.systems.stage import Context, run_stage

VALUES = (0, 38, 75)
"""Grey values of the labels: background, ground glass, consolidation."""


class MultiClassSystem(System):
    """SGD with momentum, binary cross entropy of three channels.

    Args:
        table: Recipe.
        pictures: Parts "image", "prior", "mask".
        train, held: Names; validation is the mean Dice of ground glass and consolidation over the held-out slices.
    """

    def __init__(self, table: Recipe, pictures: Pictures, train: Sequence[str], held: Sequence[str] = ()) -> None:
        super().__init__(table)
        self.pictures, self.train, self.held = pictures, list(train), list(held)
        settings = table["optimisation"]
        self.order = Epochs(len(self.train), settings["batch"], table["seed"], drops_last=False)
        self.turns = settings["epochs"] * self.order.length

    def build(self) -> nn.Module:
        """The U-Net for six channels: slice and infection map, three each."""
        return cast(nn.Module, InfNetMultiClass(width=self.table["model"]["width"]))

    def optimiser(self, module: nn.Module) -> Any:
        """SGD."""
        settings = self.table["optimisation"]
        return torch.optim.SGD(module.parameters(), lr=settings["rate"], momentum=settings["momentum"])

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[Batch]:
        """Slices in shuffled order."""
        indices = self.order.indices(turn)
        names = [self.train[i] for i in share.dealt(indices).tolist()]
        return [{"x": self.inputs(names), "y": self.labels(names), WEIGHT: share.weight(len(indices))}]

    def inputs(self, names: Sequence[str]) -> Tensor:
        """(N, 6, size, size): the slice, blue first, and its infection map, both normalised as ImageNet's pictures."""
        given = self.table["input"]
        image = self.pictures.stack("image", names).flip(1)
        prior = self.pictures.stack("prior", names).expand(-1, 3, -1, -1)
        return torch.cat([normalised(part, given["mean"], given["std"]) for part in (image, prior)], 1)

    def labels(self, names: Sequence[str]) -> Tensor:
        """(N, size, size) int64: 0, 1, 2."""
        grey = torch.stack([torch.from_numpy(self.pictures.pixels("mask", name))[0] for name in names])
        return (grey == VALUES[1]).long() + 2 * (grey == VALUES[2]).long()

    def rate(self, step: int) -> float:
        """One rate for all steps."""
        return float(self.table["optimisation"]["rate"])

    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Mean binary cross entropy of every channel, its one-hot targets shifted as the code's or not."""
        return multiclass_bce(network(batch["x"]), batch["y"], self.table["fidelity"])

    def validate(self, module: nn.Module, device: torch.device) -> float | None:
        """Mean over slices and both classes of the Dice; a class that is absent and not found counts 1."""
        scores = []
        for name in self.held:
            found = module(self.inputs([name]).to(device)).float().argmax(1).cpu()
            truth = self.labels([name])
            scores += [dice(truth == label, found == label - 1) for label in (1, 2)]
        return mean(scores) if scores else None

    def splits(self) -> dict[str, list[str]]:
        """Names of the slices."""
        return {"training": self.train, "validation": self.held}

    def files(self) -> Sequence[Path]:
        """Pictures of both sides."""
        return self.pictures.files([*self.train, *self.held])


def run(context: Context) -> nn.Module:
    """Train in one stage."""
    folder = context.data / context.table["data"]["folder"]
    parts = {
        "image": Part(folder / "Imgs", 3),
        "prior": Part(folder / "Prior"),
        "mask": Part(folder / "GT", nearest=True, values=VALUES),
    }
    pictures = Pictures(parts, context.table["input"]["size"])
    groups = group_by_size(pictures.names, pictures.sizes(pictures.names))
    sides = fold_sides(list(groups), context.table["split"])
    train, held = ([name for group in side for name in groups[group]] for side in sides)
    return run_stage(context, MultiClassSystem(context.table, pictures, train, held))
