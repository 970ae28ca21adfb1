"""One stage of a run: a system trained in a folder of its own, entered in the record."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from covfast.outputs import make_folder
from covfast.train.distributed import Share
from covfast.train.loop import Progress, Trainer, run
from covfast.train.recipe import Recipe
from covfast.train.record import Record
from covfast.train.systems.base import System


@dataclass(frozen=True)
class Context:
    """What a run of a system is given.

    Attributes:
        table: Resolved recipe.
        data: Folder of the training data.
        out: Folder of the outputs, which exists.
        device: Of the networks.
        share: Of this process.
        record: `run.json`.
        progress: Told after every turn.
    """

    table: Recipe
    data: Path
    out: Path
    device: torch.device
    share: Share
    record: Record
    progress: Progress | None = None


def run_stage(
    context: Context, system: System, name: str = "", initial: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Train a system to its end, enter it in the record and return the network that is kept.

    Args:
        context: Of the run.
        system: What is trained; its own table rules.
        name: Of the stage and its folder in `out`; empty: the only stage, in `out` itself.
        initial: Weights to start from.
    """
    key = name or str(context.table["name"])
    context.record.stage(key, system.splits(), system.files(), context.data)
    module, trainer = train_stage(context, system, name, initial)
    waiting = 100.0 * trainer.waited_s / trainer.seconds if trainer.seconds else 0.0
    facts: dict[str, Any] = {"steps": trainer.step, "seconds": round(trainer.seconds, 1)}
    facts["waiting_percent"] = round(waiting, 1)
    score = None if trainer.best == -float("inf") else trainer.best
    changed = {part: value for part, value in system.table.items() if value != context.table[part]}
    if changed:  # what the stage trained by where the recipe left it open, or has another table for it
        facts["recipe"] = changed
    facts["facts"] = system.facts()
    context.record.end(key, **facts, best_score=score, stopped_early=trainer.is_stopped)
    return module


def train_stage(
    context: Context, system: System, name: str = "", initial: Mapping[str, Tensor] | None = None
) -> tuple[nn.Module, Trainer]:
    """Train a system to its end as `run_stage` does, without an entry in the record.

    Returns:
        The network that is kept, and its trainer. A finished stage is only read.
    """
    folder = make_folder(context.out / name) if name else context.out
    trainer = Trainer(system, context.device, context.share, initial)
    return run(trainer, folder, progress=context.progress), trainer
