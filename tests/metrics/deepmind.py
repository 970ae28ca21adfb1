"""What google-deepmind/surface-distance 0.1 says of two masks: the definition that the defaults of covfast follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from metrics.masks import Pair

PERCENTILES = (0, 5, 50, 75, 90, 95, 99, 99.9, 100)


# Its source spells these the way NumPy 1 and SciPy 1.7 did.
SPELLINGS = (
    (np, "Inf", np.inf),
    (np, "NaN", np.nan),
    (scipy.ndimage, "filters", scipy.ndimage),
    (scipy.ndimage, "morphology", scipy.ndimage),
)


def figures(pair: Pair) -> dict[str, float]:
    """Every figure of the package, by name; `assd`, which it lacks, is the mean over both of its lists together."""
    package = pytest.importorskip("surface_distance.metrics", reason="surface-distance is missing: covfast[test]")
    with pytest.MonkeyPatch.context() as patch, np.errstate(invalid="ignore", divide="ignore"):
        for module, name, value in SPELLINGS:
            patch.setattr(module, name, value, raising=False)
        return {name: float(value) for name, value in asked(package, pair).items()}


def asked(package: Any, pair: Pair) -> dict[str, Any]:
    found = package.compute_surface_distances(pair.truth, pair.prediction, pair.spacing_mm)
    to_pred, to_truth = found["distances_gt_to_pred"], found["distances_pred_to_gt"]
    truth, pred = found["surfel_areas_gt"], found["surfel_areas_pred"]
    average = package.compute_average_surface_distance(found)
    values = {
        "dice": package.compute_dice_coefficient(pair.truth, pair.prediction),
        "assd": (np.sum(to_pred * truth) + np.sum(to_truth * pred)) / (np.sum(truth) + np.sum(pred)),
        "average, truth to pred": average[0],
        "average, pred to truth": average[1],
    }
    for tolerance in pair.tolerances_mm:
        overlap = package.compute_surface_overlap_at_tolerance(found, tolerance)
        values[f"nsd at {tolerance!r}"] = package.compute_surface_dice_at_tolerance(found, tolerance)
        values[f"overlap at {tolerance!r}, truth"] = overlap[0]
        values[f"overlap at {tolerance!r}, pred"] = overlap[1]
    for percent in PERCENTILES:
        values[f"hausdorff {percent}"] = package.compute_robust_hausdorff(found, percent)
    return values
