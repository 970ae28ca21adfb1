"""MiniSeg's figures of 2-D masks: mIoU of a data set, and SEN, SPC, DSC and foreground Hausdorff distance of images.

Source: MiniSeg, evaluate.py, IOUEval.py and test.py, github.com/yun-liu/MiniSeg; Qiu et al. 2021, AAAI 35(6):4846-4854.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import ShapeError, describe

Mask = npt.NDArray[np.bool_]

EPS = 1e-8
"""Added to the denominators of the mIoU, as IOUEval.py does."""


@dataclass(frozen=True)
class MiniSegFigures:
    """Figures of one image, or the mean over the images of several cases.

    Attributes:
        sensitivity, specificity, dice: 0..1.
        hausdorff_px: pixels.
        confusion: TP, FP, FN, TN of all images together.
        images: number of images, the weight of this case in a mean over images.
    """

    sensitivity: float
    specificity: float
    dice: float
    hausdorff_px: float
    confusion: tuple[int, int, int, int]
    images: int = 1

    def mean_iou(self) -> float:
        """Mean IoU of foreground and background from the summed confusion: the published mIoU of a data set."""
        tp, fp, fn, tn = self.confusion
        return (tp / (tp + fp + fn + EPS) + tn / (tn + fp + fn + EPS)) / 2


def figures(truth: Mask, prediction: Mask) -> MiniSegFigures:
    """SEN = 1 - FN / (TP + FN), SPC = TN / (TN + FP), DSC = 2 TP / (2 TP + FP + FN), HD = `foreground_hausdorff`.

    An image whose prediction is empty scores 0 in all four, in SPC and HD too. The published script ends with an error
    where the truth is empty and the prediction is not; here SEN and HD are then NaN.

    The script compares at 512 x 512 pixels: truth resized by `nearest` (value 255 is foreground), prediction as the
    network gives it. The masks are measured on the grid they are on: resizing is up to the caller.

    Args:
        truth, prediction: (H, W) or (D, H, W) bool. Of a volume the axial slices with truth are the images, as in
            MiniSeg's data sets; it is our reading that the others are left out.
    Returns: MiniSegFigures; for (D, H, W) the mean over the slices with truth, all NaN without any.
    """
    if truth.ndim == 2:
        return _of_image(truth, prediction)
    pages = zip(truth, prediction, strict=True)
    return pooled([_of_image(mask, predicted) for mask, predicted in pages if mask.any()])


def pooled(cases: list[MiniSegFigures]) -> MiniSegFigures:
    """Mean over the images of all cases, confusion summed; without images all NaN."""
    images = np.array([case.images for case in cases], np.float64)
    count = int(images.sum())
    rows = [(case.sensitivity, case.specificity, case.dice, case.hausdorff_px) for case in cases if case.images]
    means = images[images > 0] @ np.array(rows) / count if count else np.full(4, np.nan)
    tp, fp, fn, tn = np.array([case.confusion for case in cases], np.int64).reshape(-1, 4).sum(axis=0).tolist()
    sensitivity, specificity, dice, hausdorff_px = means.tolist()
    return MiniSegFigures(sensitivity, specificity, dice, hausdorff_px, (tp, fp, fn, tn), count)


def foreground_hausdorff(truth: Mask, prediction: Mask) -> float:
    """Hausdorff distance in pixels between all foreground voxels, of the surface and inside.

    max over a in A of min over b in B |a - b|, the greater of the two directions. It is not the Hausdorff distance of
    the surfaces: a voxel inside the other mask is at distance 0, and the farthest voxel may lie deep inside its own
    mask, as the centre of a disk does from a ring around it. NaN if a mask is empty.

    Args:
        truth, prediction: (H, W) or (D, H, W) bool of one shape.
    Source: ITK, HausdorffDistanceImageFilter with spacing 1, which MiniSeg's script calls.
    """
    if not truth.any() or not prediction.any():
        return float("nan")
    import SimpleITK

    # The distances are between foreground voxels, which all lie in the masks' common box.
    box = _box(truth | prediction)
    first, second = (SimpleITK.GetImageFromArray(mask[box].astype(np.uint8)) for mask in (truth, prediction))
    measure = SimpleITK.HausdorffDistanceImageFilter()
    measure.Execute(first, second)
    return float(measure.GetHausdorffDistance())


def nearest(image: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """The image (H, W) on a grid of another size: pixel floor(i * old / new), as OpenCV's INTER_NEAREST."""
    if image.ndim != 2 or image.size == 0:
        raise ShapeError(describe("image", f"shape {image.shape}", "(H, W), not empty"))
    rows, columns = (
        np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(np.int64), old - 1)
        for old, new in zip(image.shape, shape, strict=True)
    )
    return image[np.ix_(rows, columns)]


def _of_image(truth: Mask, prediction: Mask) -> MiniSegFigures:
    tp = int(np.count_nonzero(truth & prediction))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    tn = truth.size - tp - fp - fn
    confusion = (tp, fp, fn, tn)
    if tp + fp == 0:
        return MiniSegFigures(0.0, 0.0, 0.0, 0.0, confusion)
    return MiniSegFigures(
        sensitivity=1 - fn / (tp + fn) if tp + fn else float("nan"),
        specificity=tn / (tn + fp) if tn + fp else float("nan"),
        dice=2 * tp / (2 * tp + fp + fn),
        hausdorff_px=foreground_hausdorff(truth, prediction),
        confusion=confusion,
    )


def _box(mask: Mask) -> tuple[slice, ...]:
    others = [tuple(a for a in range(mask.ndim) if a != axis) for axis in range(mask.ndim)]
    spans = [np.flatnonzero(mask.any(axis=rest)) for rest in others]
    return tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
