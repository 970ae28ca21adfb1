"""google-deepmind/surface-distance: the definition itself, one label after another."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import scipy.ndimage
from cases import LABELS, TOLERANCE_MM, Case, Figures

# The package spells these the way NumPy 1 and SciPy 1.7 did.
for module, name, value in ((np, "Inf", np.inf), (np, "NaN", np.nan)):
    setattr(module, name, value)
for name in ("filters", "morphology"):
    setattr(scipy.ndimage, name, scipy.ndimage)

import surface_distance  # noqa: E402

NAME, SURFACE, IS_SLOW = "deepmind", "surfels", True
VERSION = version("surface-distance")


def evaluate(case: Case) -> Figures:
    found = {}
    for label, value in LABELS.items():
        truth, prediction = case.truth == value, case.prediction == value
        surfaces = surface_distance.compute_surface_distances(truth, prediction, case.spacing_mm)
        sizes = surfaces["surfel_areas_gt"].sum(), surfaces["surfel_areas_pred"].sum()
        means = surface_distance.compute_average_surface_distance(surfaces)
        found[label] = {
            "dice": surface_distance.compute_dice_coefficient(truth, prediction),
            "nsd": surface_distance.compute_surface_dice_at_tolerance(surfaces, TOLERANCE_MM[label]),
            "assd": (means[0] * sizes[0] + means[1] * sizes[1]) / (sizes[0] + sizes[1]),
            "hd95": surface_distance.compute_robust_hausdorff(surfaces, 95),
        }
    return found
