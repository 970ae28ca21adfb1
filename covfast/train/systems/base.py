"""What the trainer asks of a system."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.recipe import Recipe


class System(ABC):
    """A network with its data, loss and schedule: one stage of a published training.

    A run is a row of turns. A turn draws once and makes `steps_a_turn` optimiser steps, more than one where a batch is
    shown at several scales. All randomness of the data comes from the generator that `draw` is given, and `draw` runs
    in a thread of its own, so it must not touch the network.

    Attributes:
        table: The resolved recipe.
        average: Decay of the moving average of the weights, which then is what is validated and kept; None: no average.
        has_unused: Whether a step may leave parameters without a gradient (for DistributedDataParallel).
    """

    average: float | None = None
    has_unused: ClassVar[bool] = False
    steps_a_turn: int = 1
    turns: int

    def __init__(self, table: Recipe) -> None:
        self.table = table

    @abstractmethod
    def build(self) -> nn.Module:
        """A fresh network; torch's global generator is seeded by the caller."""

    @abstractmethod
    def optimiser(self, module: nn.Module) -> Any:
        """The optimiser; a group's "rate_multiplier" (default 1) multiplies its rate."""

    @abstractmethod
    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[Batch]:
        """This process's part of the batches of a turn, one for each optimiser step; tensors on the CPU."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """Learning rate of an optimiser step."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """The loss of a batch, a scalar; `network` is called here, and only here."""

    def clip(self, module: nn.Module) -> None:
        """Limit the gradients before a step; by default they stay as they are."""
        del module

    def validate(self, module: nn.Module, device: torch.device) -> float | None:
        """Score of a network in evaluation mode, larger is better; None: the recipe holds nothing out."""
        return None

    def splits(self) -> dict[str, list[str]]:
        """Names of the cases on each side, for the record."""
        return {}

    def files(self) -> Sequence[Path]:
        """The files that were read, for their hashes in the record."""
        return ()

    def facts(self) -> dict[str, Any]:
        """What the network's input and output depend on beside the recipe, as JSON values: a package needs it."""
        return {}


class Epochs:
    """Batches of shuffled epochs.

    The order of an epoch comes from the seed and the number of the epoch, so that a resumed run finds the same one.

    Args:
        count: Samples.
        batch: Samples a batch; fewer samples than this are one batch.
        seed: Of the orders.
        drops_last: Whether a rest that fills no batch is left out of an epoch.
    """

    def __init__(self, count: int, batch: int, seed: int, drops_last: bool = True) -> None:
        self.count, self.batch, self.seed = count, min(batch, count), seed
        whole = count // self.batch
        self.length = whole if drops_last or count % self.batch == 0 else whole + 1
        self._held: tuple[int, tuple[Tensor, ...]] = (-1, ())

    def indices(self, turn: int) -> Tensor:
        """Indices of the samples of a turn."""
        epoch, place = divmod(turn, self.length)
        if self._held[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._held = (epoch, torch.randperm(self.count, generator=generator).split(self.batch))
        return self._held[1][place]


def fold_sides(cases: Sequence[str], split: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(training, validation) cases of a fold: sorted names in an order drawn with the split's seed, dealt in turn.

    With one fold all cases train and none validates.

    Raises:
        ValueRangeError: fewer cases than folds, or no such fold.
    """
    names, folds, fold = sorted(set(cases)), int(split["folds"]), int(split["fold"])
    if fold >= folds:
        raise ValueRangeError(describe("split.fold", str(fold), f"0 to {folds - 1}", "split.folds is their number"))
    if folds == 1:
        return names, []
    if len(names) < folds:
        raise ValueRangeError(describe("split.folds", str(folds), f"at most the {len(names)} cases"))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(int(split["seed"]))).tolist()
    held = {names[k] for k in order[fold::folds]}
    return [name for name in names if name not in held], [name for name in names if name in held]


def require_validation(run: Mapping[str, Any], is_held_out: bool) -> None:
    """Refuse keys of a recipe's `run` table that nothing would come of.

    Args:
        run: The table.
        is_held_out: Whether there are cases to validate on.

    Raises:
        ValueRangeError: The best weights or an early stop are asked for, and no validation takes place.
    """
    asked = [key for key in ("keep", "patience") if run[key] not in ("last", 0)]
    if asked and not (is_held_out and run["validate_every"]):
        got = f"{run[asked[0]]} without a validation"
        hint = "run.validate_every says how often, split.folds or split.published on what"
        raise ValueRangeError(describe(f"run.{asked[0]}", got, "cases held out and looked at", hint))


def dice(truth: Tensor, mask: Tensor) -> float:
    """2 |A and B| / (|A| + |B|) of two bool masks; 1 if both are empty."""
    total = int(truth.sum()) + int(mask.sum())
    return 2.0 * int((truth & mask).sum()) / total if total else 1.0


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan
