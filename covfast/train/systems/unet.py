"""nnU-Net's training of a U-Net, 3-D or of slices (Isensee et al., Nature Methods 18, 203-211, 2021).

SGD with Nesterov's momentum and poly decay, Dice and cross entropy at every level of the decoder, a third of the
patches centred on foreground. The network of a recipe is given, or planned from the cases by `nnunet_plan`.
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.models.nnunet_plan import Plan, nnunet_plan
from covfast.models.topology import Topology
from covfast.models.unet import PlainUNet, ResidualEncoderUNet
from covfast.sliding import SlidingWindow
from covfast.train.augment_volume import VolumeAugmentation
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.losses import deep_supervision, dice_cross_entropy
from covfast.train.patches import Patches
from covfast.train.recipe import Recipe
from covfast.train.schedules import poly
from covfast.train.systems.base import System, dice, mean
from covfast.train.systems.cases import Grids, target_volumes, training_grids
from covfast.train.systems.stage import Context, run_stage
from covfast.train.volumes import Volumes


def axes(rows: Sequence[str], key: str) -> list[list[int]]:
    """["1 2 2", ...] as numbers. Raises: ValueRangeError."""
    try:
        return [[int(number) for number in row.split()] for row in rows]
    except ValueError:
        raise ValueRangeError(describe(key, list(rows), 'texts such as "1 2 2", a number for each axis')) from None


def topology(table: Recipe) -> Topology:
    """The shape of a recipe's network. Raises: ValueRangeError: its lists do not fit together."""
    given = table["model"]
    strides = axes(given["strides"], "model.strides")
    kernels = axes(given["kernels"], "model.kernels") or [[3] * len(row) for row in strides]
    return Topology(given["features"], kernels, strides)


def check_patch(table: Recipe) -> None:
    """Raises: ValueRangeError: patches are not of the network's axes, not what its strides divide, or none a batch."""
    shape, size = topology(table), table["patch"]["size"]
    if len(size) != shape.rank or any(n % m for n, m in zip(size, shape.multiple, strict=True)):
        raise ValueRangeError(describe("patch.size", size, f"multiples of {list(shape.multiple)}, one for each axis"))
    if table["optimisation"]["batch"] < 1:
        raise ValueRangeError(describe("optimisation.batch", "0", "1 or more, where model.features are given"))


def planned(table: Recipe, grids: Grids) -> Recipe:
    """A recipe without a network with one, and patch, voxel size and batch filled in where it leaves them to the cases.

    A network of slices sees axial ones. nnU-Net leaves the distance of slices as each case has it; here it is the
    median of the cases for all.

    Args:
        table: Recipe.
        grids: Of the training cases, as the recipe's `data` table wants them.

    Raises:
        ValueRangeError: As `nnunet_plan` and `check_patch`; slices that would be planned along another axis.
    """
    given = table["model"]
    budget, residual = given["budget_gib"] * 2**30, given["kind"] == "residual"
    plan: Plan = nnunet_plan(
        grids.spacings_mm,
        grids.sizes,
        memory_budget_bytes=budget,
        rank=given["rank"],
        classes=grids.classes,
        residual=residual,
    )
    if plan.axes not in ((0, 1, 2), (1, 2)):
        got, hint = f"planned across axis {3 - sum(plan.axes)} of D, H, W", "data.spacing_mm, the first the largest"
        raise ValueRangeError(describe("model.rank", got, "axial slices", hint))
    rows = {key: [" ".join(map(str, row)) for row in getattr(plan, key)] for key in ("kernels", "strides")}
    model = {**given, "features": list(plan.features), **rows}
    patch = {**table["patch"], "size": table["patch"]["size"] or list(plan.patch_size)}
    settings = {**table["optimisation"], "batch": table["optimisation"]["batch"] or plan.batch}
    lead = [] if len(plan.axes) == 3 else [float(median(step for step, _, _ in grids.spacings_mm))]
    data = {**table["data"], "spacing_mm": table["data"]["spacing_mm"] or [*lead, *plan.spacing_mm]}
    found = {**table, "data": data, "model": model, "patch": patch, "optimisation": settings}
    check_patch(found)
    return found


class PatchSystem(System):
    """What every system on patches of volumes shares: draws, SGD, poly decay, validation by sliding window.

    Args:
        table: Recipe; its `optimisation` and `patch` tables rule.
        train: Training volumes.
        held: Held-out volumes; validation is the mean Dice of the foreground classes over them.
        read: Files that they come from, for the record.
    """

    has_unused: ClassVar[bool] = True  # the lowest level of deep supervision weighs 0

    def __init__(self, table: Recipe, train: Volumes, held: Volumes | None = None, read: Sequence[Path] = ()) -> None:
        super().__init__(table)
        settings = table["optimisation"]
        self.train, self.held, self.read = train, held, read
        self.turns = settings["epochs"] * settings["iterations"]
        self.patches = patches(table, train, settings["batch"])

    def optimiser(self, module: nn.Module) -> Any:
        """SGD with Nesterov's momentum, on what asks for gradients."""
        return self.sgd([parameter for parameter in module.parameters() if parameter.requires_grad])

    def sgd(self, parameters: Any) -> Any:
        """The optimiser of parameters or of groups of them."""
        settings = self.table["optimisation"]
        rate, momentum, decay = settings["rate"], settings["momentum"], settings["decay"]
        return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, nesterov=momentum > 0)

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[Batch]:
        """Patches, a part of them centred on foreground."""
        return [self.patches.draw(turn, generator, share)]

    def epoch(self, step: int) -> int:
        """The epoch of a step."""
        return step // int(self.table["optimisation"]["iterations"])

    def rate(self, step: int) -> float:
        """Poly over epochs."""
        settings = self.table["optimisation"]
        return poly(self.epoch(step), settings["rate"], settings["epochs"], settings["power"])

    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Dice and cross entropy at every level."""
        return self.segmentation(network(batch["image"]), batch["labels"])

    def segmentation(self, outputs: Any, labels: Tensor) -> Tensor:
        """Dice and cross entropy of one output, or of those of every level; slices share one Dice, as nnU-Net's do."""
        levels = outputs if isinstance(outputs, tuple) else (outputs,)
        one = partial(dice_cross_entropy, batch_dice=self.patches.is_slice)
        return deep_supervision(levels, labels, one)

    def clip(self, module: nn.Module) -> None:
        """Norm of all gradients at most `clip`."""
        nn.utils.clip_grad_norm_(module.parameters(), self.table["optimisation"]["clip"])

    def validate(self, module: nn.Module, device: torch.device) -> float | None:
        """Mean Dice of the foreground classes over the held-out volumes; absent and not found counts 1."""
        if self.held is None:
            return None
        window, scores = SlidingWindow(self.table["patch"]["size"]), []
        for k in range(len(self.held)):
            found = torch.from_numpy(window(self.held.image(k)[None], module))
            truth = torch.from_numpy(self.held.labels(k).copy())
            scores += [dice(truth == kind, found.reshape(truth.shape) == kind) for kind in range(1, self.train.classes)]
        return mean(scores)

    def splits(self) -> dict[str, list[str]]:
        """Names of the cases."""
        return {"training": list(self.train.names), "validation": [] if self.held is None else list(self.held.names)}

    def files(self) -> Sequence[Path]:
        """Images and masks of both sides."""
        return self.read

    def facts(self) -> dict[str, Any]:
        """As `facts_of` the training volumes."""
        return facts_of(self.train)


def facts_of(volumes: Volumes) -> dict[str, Any]:
    """Classes, and low, high, mean and deviation of the normalisation in HU."""
    return {"classes": volumes.classes, "normalisation_hu": list(astuple(volumes.normalisation))}


def patches(table: Recipe, volumes: Volumes, batch: int) -> Patches:
    """Patches as the recipe's `patch` and `augmentation` tables want them."""
    given, size = table["augmentation"], table["patch"]["size"]
    augmentation = None
    if given["enabled"]:
        is_slice = len(size) == 2
        rotate = (given["rotate_degrees"][0], 0.0, 0.0) if is_slice else tuple(given["rotate_degrees"])
        flips = tuple(axis for axis in given["flip_axes"] if not (is_slice and axis == 0))
        augmentation = VolumeAugmentation(flip_axes=flips, rotate_degrees=rotate)
    return Patches(volumes, size, batch, foreground=table["patch"]["foreground"], augmentation=augmentation)


class UNetSystem(PatchSystem):
    """One U-Net from new weights."""

    def build(self) -> nn.Module:
        """A plain U-Net, or one with a residual encoder."""
        shape, classes = topology(self.table), self.train.classes
        if self.table["model"].get("kind") == "residual":  # recipes of other systems have no kind
            rows = (shape.features, shape.kernels, shape.strides)
            return cast(nn.Module, ResidualEncoderUNet(1, classes, *rows, deep_supervision=True))
        return PlainUNet.of(1, classes, shape, deep_supervision=True)


def run(context: Context) -> nn.Module:
    """Train in one stage."""
    table, data = context.table, context.data
    with context.share.in_turn():
        if table["model"]["features"]:
            check_patch(table)
        else:
            table = planned(table, training_grids(table, data))
        train, held, files = target_volumes(table, data, context.out)
    return run_stage(context, UNetSystem(table, train, held, files))
