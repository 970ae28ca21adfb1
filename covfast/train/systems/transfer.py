"""Multi-lesion pre-training and the transfer strategies of Wang et al. (CMPB 2021, doi 10.1016/j.cmpb.2021.106004).

What each strategy loads, freezes and trains is our reading of the names; docs/transfer.md says so point by point.
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.models.multihead import MultiHeadUNet
from covfast.models.transfer import Strategy, transfer
from covfast.models.unet import PlainUNet
from covfast.protocols.splits import volume_folds
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.recipe import Recipe
from covfast.train.systems.cases import matched, preparation, require_cases, target_volumes
from covfast.train.systems.stage import Context, run_stage
from covfast.train.systems.unet import PatchSystem, UNetSystem, check_patch, facts_of, patches, topology
from covfast.train.volumes import Case, Volumes, prepare

SCRATCH = "scratch"
"""The strategy that transfers nothing, to compare with."""

POOLED = "lesion"
"""Name of the one head where all lesions count as one class."""


class Pretraining(PatchSystem):
    """One body, and a head for each data set of lesions; batches alternate over the data sets.

    Args:
        table: Recipe; its `pretraining` table takes the place of `optimisation`.
        sources: Data set -> volumes.
        read: Files that they come from.
        is_pooled: One head for all data sets, whose foreground is one class, instead of one each.
    """

    def __init__(
        self, table: Recipe, sources: Mapping[str, Volumes], read: list[Path] | None = None, is_pooled: bool = False
    ) -> None:
        first = next(iter(sources.values()))
        changed = {**table["optimisation"], **table["pretraining"]}
        super().__init__({**table, "optimisation": changed}, first, None, read or [])
        self.sources, self.is_pooled = dict(sources), is_pooled
        self.names = list(sources)
        batch = self.table["optimisation"]["batch"]
        self.drawn = {name: patches(table, volumes, batch) for name, volumes in sources.items()}

    def heads(self) -> dict[str, int]:
        """Classes of each head."""
        if self.is_pooled:
            return {POOLED: 2}
        return {f"head_{name}": volumes.classes for name, volumes in self.sources.items()}

    def build(self) -> nn.Module:
        """Body and heads."""
        body = PlainUNet.of(1, 2, topology(self.table), deep_supervision=True)
        return cast(nn.Module, MultiHeadUNet(body, self.heads()))

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[Batch]:
        """Patches of the data set whose turn it is."""
        batch = self.drawn[self.name_at(turn)].draw(turn // len(self.names), generator, share)
        return [{**batch, "labels": batch["labels"].clamp_max(1)} if self.is_pooled else batch]

    def name_at(self, step: int) -> str:
        """The data set of a step."""
        return self.names[step % len(self.names)]

    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Dice and cross entropy of the data set's head."""
        head = POOLED if self.is_pooled else f"head_{self.name_at(step)}"  # a module has names of its own
        return self.segmentation(network(batch["image"], head), batch["labels"])

    def splits(self) -> dict[str, list[str]]:
        """Cases of each data set."""
        return {name: list(volumes.names) for name, volumes in self.sources.items()}

    def facts(self) -> dict[str, Any]:
        """Classes and normalisation of each data set."""
        return {name: facts_of(volumes) for name, volumes in self.sources.items()}


class TransferSystem(PatchSystem):
    """A strategy's network, begun from a pre-trained body; groups of parameters have rates of their own.

    Args:
        table, train, held, read: As of `PatchSystem`.
        pretrained: State dict of the body.
    """

    def __init__(self, *arguments: Any, pretrained: Mapping[str, Tensor]) -> None:
        super().__init__(*arguments)
        self.pretrained = pretrained
        self._rates: Mapping[str, float] = {}

    def build(self) -> nn.Module:
        """The network with what the strategy loads."""
        strategy, rate = Strategy(self.table["strategy"]["name"]), self.table["strategy"]["body_rate"]
        shape, classes = topology(self.table), self.train.classes
        made = transfer(strategy, self.pretrained, 1, classes, shape, rate, deep_supervision=True)
        self._rates = made.rates
        return made.module

    def optimiser(self, module: nn.Module) -> Any:
        """SGD over one group for each rate; frozen parameters are left out."""
        named = dict(module.named_parameters())
        rates = sorted({rate for rate in self._rates.values() if rate > 0})
        groups = [
            {"params": [named[name] for name, own in self._rates.items() if own == rate], "rate_multiplier": rate}
            for rate in rates
        ]
        return self.sgd(groups)


def check_sources(given: Mapping[str, Any]) -> None:
    """Raises: ValueRangeError: a recipe's `sources` table has no data set, or not its images, or not its masks."""
    names = set(given["images"])
    if not names or names != set(given["labels"]):
        got = f"images of {sorted(names)}, labels of {sorted(given['labels'])}"
        raise ValueRangeError(describe("sources", got, "the same names, at least one"))
    for key in ("classes", "published"):
        strange = set(given[key]) - names
        if strange:
            raise ValueRangeError(describe(f"sources.{key}", sorted(strange), f"names of sources, {sorted(names)}"))


def training_cases(cases: Sequence[Case], source: str) -> list[Case]:
    """Those on which the benchmark's Task 2 trains of a source. Raises: FormatError: one is not there."""
    wanted = volume_folds(f"task2-{source}")[0].train
    require_cases([case.name for case in cases], wanted, f"Task 2's {source}")
    return [case for case in cases if case.name in wanted]


def source_volumes(context: Context) -> tuple[dict[str, Volumes], list[Path]]:
    """Volumes of every data set of the recipe's `sources`, of a published one its training cases, and their files.

    Raises:
        FormatError, GeometryError, ValueRangeError: As `covfast.train.systems.cases`.
    """
    given, table = context.table["sources"], context.table
    check_sources(given)
    how, found, files = preparation(table["data"]), {}, []
    for name, images in given["images"].items():
        cases = matched(context.data / images, context.data / given["labels"][name])
        if name in given["published"]:
            cases = training_cases(cases, given["published"][name])
        how = replace(how, classes={value: value for value in range(given["classes"].get(name, 1) + 1)})
        found[name] = prepare(cases, context.out / "prepared" / "sources" / name, how)
        files += [path for case in cases for path in (case.image, case.labels) if isinstance(path, Path)]
    return found, files


def pretrain(context: Context, is_pooled: bool = False) -> dict[str, Tensor]:
    """The body's state dict, with its head where there is only one; a finished pre-training is only read."""
    with context.share.in_turn():
        sources, files = source_volumes(context)
    module = run_stage(context, Pretraining(context.table, sources, files, is_pooled), "pretraining")
    body = cast(MultiHeadUNet, module)
    state = body.body_state() if len(body.heads) == 1 else body.state_dict()
    return {name: value.cpu() for name, value in state.items()}


def run(context: Context) -> nn.Module:
    """Pre-train on the other lesions, then train the strategy on the target."""
    table = context.table
    check_patch(table)
    with context.share.in_turn():
        target = target_volumes(table, context.data, context.out)
    if table["strategy"]["name"] == SCRATCH:
        return run_stage(context, UNetSystem(table, *target), SCRATCH)
    system = TransferSystem(table, *target, pretrained=pretrain(context))
    return run_stage(context, system, table["strategy"]["name"])
