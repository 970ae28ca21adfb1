"""exacta's evaluate: DeepMind's surfels by dense distance transforms in C++."""

from __future__ import annotations

from importlib.metadata import version

import exacta.functional
import torch
from cases import LABELS, TOLERANCE_MM, Case, Figures, threads

NAME, SURFACE, IS_SLOW = "exacta", "surfels", False
VERSION = version("exacta")
torch.set_num_threads(threads())


def evaluate(case: Case) -> Figures:
    surfels = {"surface": "surfels"}
    found = exacta.functional.evaluate(
        case.prediction[None],
        case.truth[None],
        num_classes=len(LABELS) + 1,
        include_background=False,
        spacing=case.spacing_mm,
        metrics={
            "dice": {},
            "hd95": surfels,
            "assd": surfels,
            "nsd": {**surfels, "tolerance": list(TOLERANCE_MM.values())},
        },
    )
    return {
        label: {name: float(values[0, index]) for name, values in found.items()} for index, label in enumerate(LABELS)
    }
