"""MONAI: its four functions of one-hot masks; border voxels by KD-tree."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch
from cases import LABELS, TOLERANCE_MM, Case, Figures, threads
from monai import metrics

NAME, SURFACE, IS_SLOW = "MONAI", "voxels", True
VERSION = version("monai")
torch.set_num_threads(threads())


def evaluate(case: Case) -> Figures:
    values = (0, *LABELS.values())
    truth, prediction = (
        torch.from_numpy(np.stack([labels == value for value in values])[None]).float()
        for labels in (case.truth, case.prediction)
    )
    options = {"include_background": False, "spacing": case.spacing_mm}
    found = {
        "dice": metrics.compute_dice(prediction, truth, include_background=False),
        "nsd": metrics.compute_surface_dice(prediction, truth, list(TOLERANCE_MM.values()), **options),
        "assd": metrics.compute_average_surface_distance(prediction, truth, symmetric=True, **options),
        "hd95": metrics.compute_hausdorff_distance(prediction, truth, percentile=95, **options),
    }
    return {
        label: {name: float(values[0, index]) for name, values in found.items()} for index, label in enumerate(LABELS)
    }
