"""mikan: border voxels by KD-tree, in Rust; it has no surface Dice, and takes the spacing in reverse."""

from __future__ import annotations

import math
from importlib.metadata import version

from cases import LABELS, Case, Figures
from mikan import ArrayEvaluator

NAME, SURFACE, IS_SLOW = "mikan", "voxels", False
VERSION = version("mikan-rs")


def evaluate(case: Case) -> Figures:
    evaluator = ArrayEvaluator(case.truth, case.prediction, case.spacing_mm[::-1])
    names = {"dice": "dice", "assd": "assd", "hd95": "hausdorff_distance_95"}
    found = evaluator.labels(list(LABELS.values())).metrics(list(names.values()))
    return {
        label: {"nsd": math.nan, **{name: float(found[str(value)][theirs]) for name, theirs in names.items()}}
        for label, value in LABELS.items()
    }
