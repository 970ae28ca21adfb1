"""The training loop: seeded, resumable after a kill, one CSV row and one progress line an interval."""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-untyped-decorators

from __future__ import annotations

import copy
import csv
import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from covfast.train.augment import Augmentation, augment
from covfast.train.data import Slices
from covfast.train.losses import supervised

log = logging.getLogger("covfast")


@dataclass(frozen=True)
class Settings:
    """What the loop needs to know.

    Attributes:
        steps: Optimiser steps.
        batch: Slices a step.
        seed: Of weights, order and augmentation.
        rate: Largest learning rate (AdamW); `warmup` steps of linear rise, then half a cosine to 1 % of it.
        decay: Weight decay.
        average: Decay of the exponential moving average of the weights, which is what is kept.
        positive_weight, auxiliary: Of the loss.
        mean, std: Normalisation of the one grey channel, x -> (x - mean) / std.
        shares: Part of every batch drawn from each kind of slice.
        interval: Steps between log rows and checkpoints.
    """

    steps: int
    batch: int
    seed: int
    rate: float
    warmup: int
    decay: float
    average: float
    positive_weight: float
    auxiliary: float
    mean: float
    std: float
    shares: dict[str, float]
    interval: int = 50


def rate_at(step: int, settings: Settings) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to 1 %."""
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    part = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * part)))


def draw_batch(slices: Slices, settings: Settings, generator: torch.Generator) -> Tensor:
    """Indices of one batch: the kind by its share, then a slice of that kind."""
    kinds = [kind for kind in settings.shares if kind in slices.kinds]
    weights = torch.tensor([settings.shares[kind] for kind in kinds])
    chosen = torch.multinomial(weights, settings.batch, replacement=True, generator=generator)
    pools = [[i for i, kind in enumerate(slices.kinds) if kind == wanted] for wanted in kinds]
    numbers = torch.rand(settings.batch, generator=generator)
    picks = zip(chosen.tolist(), numbers.tolist(), strict=True)
    return torch.tensor([pools[k][int(u * len(pools[k]))] for k, u in picks])


class Trainer:
    """Model, averaged model, optimiser and random state: everything that a checkpoint holds."""

    def __init__(self, model: nn.Module, slices: Slices, augmentation: Augmentation, settings: Settings) -> None:
        self.model = model.to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(model).eval()
        self.slices, self.augmentation, self.settings = slices, augmentation, settings
        self.images, self.masks = torch.from_numpy(slices.images), torch.from_numpy(slices.masks)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.decay)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.step = 0
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; tensors and numbers only. The global generator drives dropout."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["dropout"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def advance(self) -> float:
        """One optimiser step; returns the loss."""
        settings = self.settings
        which = draw_batch(self.slices, settings, self.generator)
        x, y = augment(self.images[which], self.masks[which], self.augmentation, self.generator)
        x = ((x - settings.mean) / settings.std).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, settings)
        outputs = self.model(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = supervised(outputs, y, settings.positive_weight, settings.auxiliary)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self._follow()
        self.step += 1
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the model; early steps weigh more, so that the start is forgotten."""
        keep = min(self.settings.average, (1.0 + self.step) / (10.0 + self.step))
        for mine, theirs in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1.0 - keep)
            else:
                mine.copy_(theirs)


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a kill leaves the old or the new one, never half of one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def run(trainer: Trainer, out: Path, stop_at: int | None = None) -> nn.Module:
    """Train to the end, from `out/checkpoint.pt` where it exists, and return the averaged model.

    Args:
        trainer: A fresh trainer.
        out: Folder for `checkpoint.pt` and `log.csv`.
        stop_at: Stop after this many steps, as a kill would.
    """
    settings, path = trainer.settings, out / "checkpoint.pt"
    torch.manual_seed(settings.seed)
    if path.exists():
        trainer.load(torch.load(path, weights_only=True))
    end = settings.steps if stop_at is None else min(stop_at, settings.steps)
    start, before, losses = time.monotonic(), trainer.seconds, []
    with open(out / "log.csv", "a", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        if file.tell() == 0:
            rows.writerow(["step", "loss", "rate", "seconds"])
        while trainer.step < end:
            losses.append(trainer.advance())
            if trainer.step % settings.interval == 0 or trainer.step == end:
                trainer.seconds = before + time.monotonic() - start
                loss, rate = sum(losses) / len(losses), rate_at(trainer.step, settings)
                rows.writerow([trainer.step, f"{loss:.5f}", f"{rate:.3e}", f"{trainer.seconds:.1f}"])
                file.flush()
                left = trainer.seconds / trainer.step * (settings.steps - trainer.step)
                log.info("step %d/%d loss %.4f, %.0f min left", trainer.step, settings.steps, loss, left / 60)
                save(trainer.state(), path)
                losses = []
    return trainer.average
