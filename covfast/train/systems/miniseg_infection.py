"""MiniSeg on slices cropped to the lungs: the training of covfast's own `miniseg-infection`, from 8-bit slices."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.models import MiniSeg
from covfast.outputs import make_folder
from covfast.train.augment import Augmentation, augment
from covfast.train.data import (
    DOCTOR,
    PNG,
    PSEUDO,
    STORED,
    Slices,
    content_key,
    picture_files,
    read_slices,
    split_cases,
)
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.losses import supervised
from covfast.train.recipe import Recipe
from covfast.train.record import claim
from covfast.train.schedules import warmup_cosine
from covfast.train.systems.base import System, dice, fold_sides, mean, require_validation
from covfast.train.systems.stage import Context, run_stage


class MiniSegInfection(System):
    """AdamW, linear warm-up and half a cosine, soft cross entropy and Dice with deep supervision, averaged weights.

    Every batch is drawn by kind: expert slices, slices with carried-over expert masks, equalised slices.

    Args:
        table: Recipe.
        slices: Training side.
        held: Held-out side; validation is the mean Dice at 0.5 over its expert slices.
        data: Folder of the data, for the record.

    Raises:
        ValueRangeError: No kind of slices that is there has a share; or as `base.require_validation`.

    Attributes:
        judged: Kind of the held-out slices that validation looks at.
    """

    judged: ClassVar[str] = "doctor"

    def __init__(self, table: Recipe, slices: Slices, held: Slices | None = None, data: Path | None = None) -> None:
        super().__init__(table)
        check_shares("optimisation.shares", table["optimisation"]["shares"], slices.kinds)
        require_validation(table["run"], held is not None and self.judged in held.kinds)
        self.slices, self.held, self.data = slices, held, data
        self.images, self.masks = torch.from_numpy(slices.images), torch.from_numpy(slices.masks)
        self.augmentation = Augmentation(size=table["input"]["size"], **table["augmentation"])
        self.turns = table["optimisation"]["steps"]
        self.average = table["optimisation"]["average"]

    @classmethod
    def open(cls, table: Recipe, data: Path, folder: Path) -> MiniSegInfection:
        """The system with its slices, read from `data` or from the cache in `folder`.

        Raises:
            FormatError: A file of the data cannot be read.
            ValueRangeError: A held-out volume is none of the data's, or there is no such fold.
        """
        slices = read_slices(data, folder / "slices.npz")
        inside, outside = expert_sides(slices, table["split"])
        return cls(table, slices.take(inside), slices.take(outside), data)

    def build(self) -> nn.Module:
        """MiniSeg for three equal channels."""
        return cast(nn.Module, MiniSeg().to(memory_format=torch.channels_last))

    def optimiser(self, module: nn.Module) -> Any:
        """AdamW on everything."""
        settings = self.table["optimisation"]
        return torch.optim.AdamW(module.parameters(), lr=settings["rate"], weight_decay=settings["decay"])

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[Batch]:
        """Augmented slices of kinds drawn by their shares."""
        settings = self.table["optimisation"]
        which = draw_batch(self.slices, settings["shares"], settings["batch"], generator)
        x, y = augment(self.images[which], self.masks[which], self.augmentation, generator)
        return [{"x": share.of(self._normalised(x)), "y": share.of(y)}]

    def _normalised(self, x: Tensor) -> Tensor:
        given = self.table["input"]
        x = (x - given["mean"]) / given["std"]
        return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

    def rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to 1 %."""
        settings = self.table["optimisation"]
        return warmup_cosine(step, settings["rate"], settings["warmup"], settings["steps"])

    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Cross entropy and soft Dice of the output, and of the auxiliary outputs with less weight."""
        settings = self.table["optimisation"]
        outputs = network(batch["x"])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        cross_entropy = settings.get("cross_entropy", 1.0)  # the recipes of lungs and lesion types have no such key
        return supervised(outputs, batch["y"], settings["positive_weight"], settings["auxiliary"], cross_entropy)

    def clip(self, module: nn.Module) -> None:
        """Norm of all gradients at most 5."""
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)

    def validate(self, module: nn.Module, device: torch.device) -> float | None:
        """Mean Dice at 0.5 over the held-out slices of the kind `judged`, at the stored size."""
        if self.held is None:
            return None
        masks = torch.from_numpy(self.held.masks)
        scores = [dice(masks[k] >= 128, p[1] > 0.5) for k, p in self.probabilities(self.held, module, device)]
        return mean(scores) if scores else None

    def probabilities(self, slices: Slices, module: nn.Module, device: torch.device) -> Iterator[tuple[int, Tensor]]:
        """(index, (classes, STORED, STORED) probabilities) of every slice of the kind `judged`."""
        size = self.table["input"]["size"]
        for k in (i for i, kind in enumerate(slices.kinds) if kind == self.judged):
            x = torch.from_numpy(slices.images[k])[None, None].float() / 255.0
            x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
            logits = module(self._normalised(x).to(device)).float().cpu()
            yield k, F.interpolate(logits.softmax(1), size=(STORED, STORED), mode="bilinear")[0]

    def splits(self) -> dict[str, list[str]]:
        """Volumes and groups of slices: those that training draws, and those that are held out."""
        shares, held = self.table["optimisation"]["shares"], () if self.held is None else self.held.cases
        drawn = {c for c, kind in zip(self.slices.cases, self.slices.kinds, strict=True) if shares.get(kind, 0.0) > 0.0}
        return {"training": sorted(drawn), "validation": sorted(set(held))}

    def files(self) -> Sequence[Path]:
        """All pictures of the three sets."""
        folders = (DOCTOR, PSEUDO, PNG)
        return [] if self.data is None else [path for name in folders for path in picture_files(self.data / name)]


def expert_sides(slices: Slices, split: Mapping[str, Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(training, held-out) indices: the volumes of `split.held_out`, and one fold of the expert slices.

    Folds take whole groups of expert slices of one picture size: no patient is given, and equal sizes may be one.

    Raises:
        ValueRangeError: As `split_cases` and `covfast.train.systems.base.fold_sides`.
    """
    groups = [case for case, kind in zip(slices.cases, slices.kinds, strict=True) if kind == MiniSegInfection.judged]
    return split_cases(slices.cases, [*split["held_out"], *fold_sides(groups, split)[1]])


def check_shares(name: str, shares: Mapping[str, float], kinds: Sequence[str]) -> None:
    """Raises: ValueRangeError: no kind of slices that is there has a share."""
    if not any(share > 0.0 for kind, share in shares.items() if kind in kinds):
        raise ValueRangeError(describe(name, dict(shares), f"a share above 0 for one of {sorted(set(kinds))}"))


def draw_batch(slices: Slices, shares: dict[str, float], batch: int, generator: torch.Generator) -> Tensor:
    """Indices of one batch: the kind by its share, then a slice of that kind."""
    kinds = [kind for kind in shares if kind in slices.kinds]
    weights = torch.tensor([shares[kind] for kind in kinds])
    chosen = torch.multinomial(weights, batch, replacement=True, generator=generator)
    pools = [[i for i, kind in enumerate(slices.kinds) if kind == wanted] for wanted in kinds]
    draws = torch.rand(batch, generator=generator)
    picks = zip(chosen.tolist(), draws.tolist(), strict=True)
    return torch.tensor([pools[k][int(u * len(pools[k]))] for k, u in picks])


def run(context: Context) -> nn.Module:
    """Train in one stage, or in two: all kinds of slices first, then, with other shares, towards the experts' slices.

    The first stage is the same training for all folds where its share of expert slices is 0, and a finished one may be
    copied: no held-out slice chooses its weights, and what it is made from is compared.
    """
    table = context.table
    with context.share.in_turn():
        system = MiniSegInfection.open(table, context.data, context.out)
    if not table["refinement"]["steps"]:
        return run_stage(context, system)
    check_shares("refinement.shares", table["refinement"]["shares"], system.slices.kinds)
    last = {**table, "run": {**table["run"], "keep": "last", "patience": 0}}
    base = MiniSegInfection(last, system.slices, system.held, system.data)
    if context.share.rank == 0:
        claim(make_folder(context.out / "base") / "made_from.json", made_from(base))
    first = run_stage(context, base, "base")
    second = {**table, "optimisation": {**table["optimisation"], **table["refinement"]}}
    refined = MiniSegInfection(second, system.slices, system.held, system.data)
    return run_stage(context, refined, "refinement", first.state_dict())


def made_from(system: MiniSegInfection) -> dict[str, Any]:
    """All that the weights of a stage from random ones depend on, but for `threads` and the device."""
    kept = {key: system.table[key] for key in ("seed", "input", "optimisation", "augmentation")}
    pictures = "" if system.data is None else content_key(system.data)
    return {
        **kept,
        "precision": system.table["run"]["precision"],
        "cases": system.splits()["training"],
        "pictures": pictures,
    }
