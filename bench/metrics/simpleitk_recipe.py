"""The recipe of the SimpleITK notebooks: contours, and signed Maurer distance maps of them; border voxels.

Faces at the border of the volume are no contour there.
"""

from __future__ import annotations

import numpy as np
import SimpleITK
from cases import LABELS, TOLERANCE_MM, Case, Figures, threads

NAME, SURFACE, IS_SLOW = "SimpleITK recipe", "voxels", True
VERSION = SimpleITK.Version.VersionString()
SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads())


def evaluate(case: Case) -> Figures:
    images = [SimpleITK.GetImageFromArray(labels) for labels in (case.truth, case.prediction)]
    for image in images:
        image.SetSpacing(case.spacing_mm[::-1])
    found = {}
    for label, value in LABELS.items():
        masks = [image == value for image in images]
        contours = [SimpleITK.LabelContour(mask) for mask in masks]
        maps = [SimpleITK.Abs(SimpleITK.SignedMaurerDistanceMap(contour, False, False, True)) for contour in contours]
        places = [SimpleITK.GetArrayViewFromImage(contour) == 1 for contour in contours]
        to_pred, to_truth = (SimpleITK.GetArrayViewFromImage(maps[1 - i])[places[i]] for i in (0, 1))
        overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*masks)
        both = np.concatenate([to_pred, to_truth])
        found[label] = {
            "dice": overlap.GetDiceCoefficient(),
            "nsd": float(np.mean(both <= TOLERANCE_MM[label])),
            "assd": float(both.mean(dtype=np.float64)),
            "hd95": float(max(np.percentile(to_pred, 95), np.percentile(to_truth, 95))),
        }
    return found
