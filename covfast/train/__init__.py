"""Training of covfast's networks. Importing this package costs nothing; torch is imported by `train`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covfast.errors import BackendUnavailable, ValueRangeError, describe
from covfast.train.recipe import read_recipe

if TYPE_CHECKING:
    from covfast.train.loop import Trainer

__all__ = ["read_recipe", "train"]


def prepare(table: Mapping[str, Any], data: Path, cache: Path | None) -> Trainer:
    """A fresh trainer of a recipe: seeded model, training side of the split, settings."""
    import torch

    from covfast.models import MiniSeg
    from covfast.train.augment import Augmentation
    from covfast.train.data import read_slices, split_cases
    from covfast.train.loop import Settings, Trainer

    if table["model"] != "MiniSeg":
        raise ValueRangeError(describe("model", repr(table["model"]), "'MiniSeg'"))
    torch.set_num_threads(int(table["threads"]))
    slices = read_slices(data, cache)
    split = table["split"]
    inside, _ = split_cases(slices, split["held_out"], split["doctor_count"], table["seed"])
    settings = Settings(
        seed=table["seed"], mean=table["input"]["mean"], std=table["input"]["std"], **table["optimisation"]
    )
    torch.manual_seed(table["seed"])
    augmentation = Augmentation(size=table["input"]["size"], **table["augmentation"])
    return Trainer(MiniSeg(), slices.take(inside), augmentation, settings)


def train(
    recipe: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    set: Mapping[str, Any] | None = None,
) -> Path:
    """Train a recipe; the same call goes on after a kill.

    Args:
        recipe: Name or path, see `read_recipe`.
        data: Folder that holds `covid_semiseg` and `coronacases_png`.
        out: Folder for the slice cache, checkpoint, log and the weights.
        set: Changes of the recipe, dotted key -> value.

    Returns:
        Path of the averaged weights, a state dict that `covfast.import_checkpoint` reads.

    Raises:
        BackendUnavailable: torch is not installed.
        FormatError: Recipe or data cannot be read.
        ValueRangeError: `set` names an unknown key.
    """
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailable(describe("train", "no torch", "torch", 'pip install "covfast[train]"')) from error
    from covfast.train.loop import run

    table = read_recipe(recipe, set)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = prepare(table, Path(data), folder / "slices.npz")
    average = run(trainer, folder)
    target = folder / f"{table['name']}.pt"
    torch.save(average.state_dict(), target)
    return target
