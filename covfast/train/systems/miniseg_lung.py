"""MiniSeg for lung fields on whole axial slices: the training of covfast's own `miniseg-lung`.

Lungs are one class: the experts' masks do not tell left from right. Schedule and averaging are those of
`miniseg-infection`, in one stage and with cross entropy at the weight of Dice; the slices and their augmentation
differ (see `covfast.train.lung_slices`).
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from torch import nn

from covfast.train.data import read_slices, split_cases
from covfast.train.lung_slices import lung_slices
from covfast.train.recipe import Recipe
from covfast.train.systems.miniseg_infection import MiniSegInfection
from covfast.train.systems.stage import Context, run_stage


class MiniSegLung(MiniSegInfection):
    """Lungs against everything else. Validation is the mean Dice at 0.5 over the held-out equalised whole slices."""

    judged: ClassVar[str] = "whole"

    @classmethod
    def open(cls, table: Recipe, data: Path, folder: Path) -> MiniSegLung:
        """The system with its slices, read from `data` or from the cache in `folder`.

        Raises:
            FormatError: A file of the data cannot be read.
            ValueRangeError: A held-out volume is none of the data's.
        """
        slices = lung_slices(read_slices(data, folder / "slices.npz"), data, table["data"]["phantoms"])
        inside, outside = split_cases(slices.cases, table["split"]["held_out"])
        return cls(table, slices.take(inside), slices.take(outside), data)


def run(context: Context) -> nn.Module:
    """Train in one stage."""
    with context.share.in_turn():
        system = MiniSegLung.open(context.table, context.data, context.out)
    return run_stage(context, system)
