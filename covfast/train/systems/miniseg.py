"""MiniSeg as published (Qiu et al., AAAI 2021, 4846-4854): slices at 512x512, passes over several scales.

Order and strength of the augmentations are our reading of the released code's facts; docs/miniseg.md lists the points
where code and paper differ, which `fidelity` chooses.
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.errors import FormatError, ValueRangeError, describe
from covfast.models import MiniSeg
from covfast.protocols.miniseg_sets import volume_of
from covfast.protocols.splits import miniseg_folds
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.loop import WEIGHT
from covfast.train.losses import class_weights, miniseg_loss
from covfast.train.recipe import Recipe
from covfast.train.schedules import poly
from covfast.train.systems.base import Epochs, System, fold_sides
from covfast.train.systems.pictures import Part, Pictures
from covfast.train.systems.stage import Context, run_stage


class MiniSegSystem(System):
    """Adam with poly decay; every epoch passes once over the slices at each scale, in the recipe's order.

    Args:
        table: Recipe.
        pictures: Parts "image" and "mask", at their own sizes.
        train, held: Names of the slices; validation is the mean of the IoUs of both classes over the held-out ones.
    """

    def __init__(self, table: Recipe, pictures: Pictures, train: Sequence[str], held: Sequence[str] = ()) -> None:
        settings = table["optimisation"]
        self.pictures, self.train, self.held = pictures, list(train), list(held)
        self.order = Epochs(len(self.train), settings["batch"], table["seed"])
        epoch = len(settings["scales"]) * self.order.length
        super().__init__({**table, "run": chosen_epoch(table, epoch if held else 0)})
        self.turns = settings["epochs"] * epoch
        self.mean, self.std = statistics(pictures, self.train)
        self.weights = class_weights(histogram(pictures, self.train))

    def build(self) -> nn.Module:
        """MiniSeg with its auxiliary outputs."""
        return cast(nn.Module, MiniSeg())

    def optimiser(self, module: nn.Module) -> Any:
        """Adam, betas 0.9 and 0.999, with weight decay in the gradient."""
        settings = self.table["optimisation"]
        return torch.optim.Adam(module.parameters(), lr=settings["rate"], weight_decay=settings["decay"])

    def scale(self, turn: int) -> float:
        """The scale of the pass that a turn belongs to."""
        scales = self.table["optimisation"]["scales"]
        return float(scales[turn // self.order.length % len(scales)])

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[Batch]:
        """Slices at the pass's size, each cropped and flipped at random."""
        given, scale = self.table["augmentation"], self.scale(turn)
        stored = self.table["input"]["size"]
        size, crop = round(stored * scale), largest_crop(stored, scale)
        which = self.order.indices(turn)
        chances = torch.rand(len(which), 4, generator=generator)
        # Vertical is what the code's flip does; the paper's word is read as left to right.
        axis = 1 if self.table["fidelity"] == "code" else 2
        rows = []
        for index, draws in zip(share.dealt(which).tolist(), share.dealt(chances).tolist(), strict=True):
            x, y = self.sample(self.train[index], size)
            if draws[0] < given["crop"]:
                x, y = cropped(x, y, int(draws[1] * (crop + 1)), int(draws[2] * (crop + 1)))
            rows.append((x.flip(axis), y.flip(axis)) if draws[3] < given["flip"] else (x, y))
        x, y = (torch.stack(column) for column in zip(*rows, strict=True))
        return [{"x": x, "y": y[:, 0].long(), WEIGHT: share.weight(len(which))}]

    def sample(self, name: str, size: int) -> tuple[Tensor, Tensor]:
        """Normalised slice (3, size, size) and mask (1, size, size), float32: normalised first, resized then."""
        pixels = torch.from_numpy(self.pictures.pixels("image", name)).float() / 255.0
        x = (pixels.expand(3, -1, -1) - self.mean) / self.std
        y = (torch.from_numpy(self.pictures.pixels("mask", name)) > 0).float()
        x = F.interpolate(x[None], size=(size, size), mode="bilinear", align_corners=False)[0]
        return x, F.interpolate(y[None], size=(size, size), mode="nearest")[0]

    def rate(self, step: int) -> float:
        """Poly over all steps."""
        settings = self.table["optimisation"]
        return poly(step, settings["rate"], self.turns, settings["power"])

    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Class-weighted cross entropy of the output, and of the auxiliary ones with less weight."""
        outputs, auxiliary = network(batch["x"]), self.table["optimisation"]["auxiliary"]
        return miniseg_loss(outputs, batch["y"], self.weights, auxiliary)

    def validate(self, module: nn.Module, device: torch.device) -> float | None:
        """Mean over both classes of the IoU over all held-out slices together."""
        if not self.held:
            return None
        counts = torch.zeros(2, 2, dtype=torch.int64)
        for name in self.held:
            x, y = self.sample(name, self.table["input"]["size"])
            found = module(x[None].to(device)).float().argmax(1).cpu().flatten()
            counts += torch.bincount(2 * y.flatten().long() + found, minlength=4).reshape(2, 2)
        both = counts.diagonal()
        return float((both.double() / (counts.sum(0) + counts.sum(1) - both + 1e-8)).mean())

    def splits(self) -> dict[str, list[str]]:
        """Names of the slices."""
        return {"training": self.train, "validation": self.held}

    def files(self) -> Sequence[Path]:
        """Pictures of both sides."""
        return self.pictures.files([*self.train, *self.held])

    def facts(self) -> dict[str, Any]:
        """Mean and deviation of the three channels in [0, 1]."""
        return {"mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}


def chosen_epoch(table: Recipe, epoch: int) -> dict[str, Any]:
    """The `run` table of a recipe with a number and a choice where it leaves these to the epoch and to `fidelity`.

    The code's test takes the last epoch; the paper's figures are those of the best one on the validation side.

    Args:
        table: Recipe.
        epoch: Steps of an epoch; 0 where nothing is held out.
    """
    run = table["run"]
    every = epoch if run["validate_every"] < 0 else run["validate_every"]
    by_fidelity = "best" if table["fidelity"] == "paper" and epoch and every else "last"
    return {**run, "validate_every": every, "keep": by_fidelity if run["keep"] == "fidelity" else run["keep"]}


def statistics(pictures: Pictures, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(3, 1, 1) mean of the slices' means and mean of their standard deviations, channel by channel, of [0, 1]."""
    pixels = (torch.from_numpy(pictures.pixels("image", name)).double().div(255.0).flatten(1) for name in names)
    rows = [torch.stack([p.mean(1), p.std(1, correction=0)]).expand(2, 3) for p in pixels]
    found = torch.stack(rows).mean(0).float()
    return found[0].reshape(3, 1, 1), found[1].reshape(3, 1, 1).clamp_min(1e-6)


def histogram(pictures: Pictures, names: Sequence[str]) -> tuple[int, int]:
    """Background and foreground pixels of all masks together."""
    masks = [pictures.pixels("mask", name) > 0 for name in names]
    foreground = sum(int(mask.sum()) for mask in masks)
    return sum(mask.size for mask in masks) - foreground, foreground


def largest_crop(stored: int, scale: float) -> int:
    """Pixels cut off at most at each side: int(100 / 1024 * stored) for scales above 1, so 50 of 512; 16 else."""
    return int(100 / 1024 * stored) if scale > 1.0 else 16


def cropped(x: Tensor, y: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Slice and mask without `rows` and `columns` at each side, at their old size."""
    height, width = x.shape[1:]
    rows, columns = min(rows, (height - 1) // 2), min(columns, (width - 1) // 2)
    x, y = (part[None, :, rows : height - rows, columns : width - columns] for part in (x, y))
    x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
    return x[0], F.interpolate(y, size=(height, width), mode="nearest")[0]


def sides(table: Recipe, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """(training, held-out) names: a published division, or folds of the slices' volumes.

    Raises:
        FormatError: A slice of the published division is not there.
        ValueRangeError: No such fold.
    """
    split = table["split"]
    volumes = {name: volume_of(split["published"] or "ct100", name) for name in names}
    if split["published"]:
        fold = miniseg_folds(split["published"])[_published_fold(split)]
        for case in (*fold.train, *fold.test):
            if case not in volumes.values():
                raise FormatError(describe(case, "no picture", f"every case of {split['published']}"))
        inside, outside = fold.train, fold.test
    else:
        inside, outside = (tuple(side) for side in fold_sides(list(volumes.values()), split))
    return [n for n in names if volumes[n] in inside], [n for n in names if volumes[n] in outside]


def _published_fold(split: Recipe) -> int:
    """The fold, one of five. Raises: ValueRangeError."""
    if not 0 <= split["fold"] < 5:
        raise ValueRangeError(describe("split.fold", str(split["fold"]), "0 to 4"))
    return int(split["fold"])


def run(context: Context) -> nn.Module:
    """Train in one stage."""
    given = context.table["data"]
    parts = {
        "image": Part(context.data / given["images"], 3),
        "mask": Part(context.data / given["masks"], nearest=True, values=tuple(given["values"])),
    }
    pictures = Pictures(parts, None)
    pictures.sizes(pictures.names)
    return run_stage(context, MiniSegSystem(context.table, pictures, *sides(context.table, pictures.names)))
