"""covfast: every figure of a case from one call, and its border voxels for the peers that measure those."""

from __future__ import annotations

from cases import LABELS, TOLERANCE_MM, Case, Figures, threads

import covfast

NAME, SURFACE, IS_SLOW = "covfast", "surfels", False
VERSION = covfast.__version__


def evaluate(case: Case) -> Figures:
    report = covfast.metrics.evaluate(
        case.truth, case.prediction, case.spacing_mm, LABELS, TOLERANCE_MM, threads=threads()
    )
    return {
        label: {"dice": one.dice, "nsd": one.nsd, "assd": one.assd_mm, "hd95": one.hausdorff95_mm}
        for label, one in report.labels.items()
    }


def evaluate_voxels(case: Case) -> Figures:
    """The same of border voxels, as MONAI and the recipes define them; not timed."""
    found = {}
    for label, value in LABELS.items():
        masks = case.truth == value, case.prediction == value
        surface = covfast.metrics.surface_distances(*masks, case.spacing_mm, surface="voxels", threads=threads())
        nsd = surface.nsd(TOLERANCE_MM[label])
        dice = covfast.metrics.dice(*masks)
        found[label] = {"dice": dice, "nsd": nsd, "assd": surface.assd(), "hd95": surface.hausdorff(95)}
    return found
