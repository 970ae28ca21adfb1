"""Inf-Net's figures of probability maps: MAE, S-measure, E-measure, and curves over 256 thresholds.

All are figures of a 2-D image. A volume (D, H, W) is a stack of D axial images: each is measured alone, and the figures
are the mean over them.

Source: Inf-Net, EvaluationTool (MATLAB), github.com/DengPingFan/Inf-Net; Fan et al. 2020, IEEE TMI 39(8):2626-2637.
S-measure: Fan et al. 2017, ICCV, "Structure-measure". E-measure: Fan et al. 2018, IJCAI, "Enhanced-alignment measure".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import DTypeError, ShapeError, ValueRangeError, describe
from covfast.metrics.imresize import imresize

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

EPS = float(np.finfo(np.float64).eps)
"""MATLAB's eps, 2.2204e-16: it keeps the script's quotients finite."""

CURVES = ("dice", "sensitivity", "specificity", "precision", "e_measure")


def _thresholds() -> Floats:
    """MATLAB's 1:-1/255:0. Its colon counts from both ends to the middle, so the last bits of t are those of
    1 - k * (1 / 255) in the first half and of k * (1 / 255) in the second; an 8-bit map meets each of them exactly."""
    k = np.arange(128) * (1 / 255)
    return np.concatenate([1 - k, k[::-1]])


THRESHOLDS = _thresholds()
"""(256,) float64 from 1 down to 0. A map is cut by `map >= threshold`."""
THRESHOLDS.flags.writeable = False


@dataclass(frozen=True)
class ThresholdCurves:
    """Figures of a map cut at each of `THRESHOLDS`; each a (256,) float64 array, the mean over `images`.

    With TP, FP, FN, TN the pixels of one image at one threshold; all of the first four are 0 where TP = 0, the
    specificity too.

    Attributes:
        dice: 2 TP / (2 TP + FP + FN).
        sensitivity: TP / (TP + FN).
        specificity: TN / (TN + FP).
        precision: TP / (TP + FP).
        e_measure: `e_measure` of the cut map.
        images: number of images that the curves are the mean of.
    """

    dice: Floats
    sensitivity: Floats
    specificity: Floats
    precision: Floats
    e_measure: Floats
    images: int = 1

    def mean(self) -> dict[str, float]:
        """Mean over thresholds of each curve: the published "mean" figures."""
        return {name: float(np.mean(getattr(self, name))) for name in CURVES}

    def max(self) -> dict[str, float]:
        """Largest value of each curve: the published "max" figures, once the curves are the mean over all images."""
        return {name: float(np.max(getattr(self, name))) for name in CURVES}


@dataclass(frozen=True)
class Saliency:
    """What `saliency` found in one image, or the mean over the images of a volume.

    Attributes:
        mae, s_measure: as the functions of this module.
        curves: the threshold curves.
        adaptive: dice, sensitivity, specificity and precision at the image's own threshold min(2 mean(map), 1).
        images: number of images, the weight of this case in a mean over images.
    """

    mae: float
    s_measure: float
    curves: ThresholdCurves
    adaptive: Mapping[str, float]
    images: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Numbers, and lists of 256 numbers under "curves": ready for JSON."""
        return {
            "images": self.images,
            "mae": self.mae,
            "s_measure": self.s_measure,
            "mean": self.curves.mean(),
            "max": self.curves.max(),
            "adaptive": dict(self.adaptive),
            "curves": {
                "threshold": THRESHOLDS.tolist(),
                **{name: getattr(self.curves, name).tolist() for name in CURVES},
            },
        }


def saliency(truth: npt.ArrayLike, probability: npt.ArrayLike) -> Saliency:
    """All figures of a map, prepared as Inf-Net's evaluation prepares it.

    Each image of the map is resized to the truth's size where it differs (`imresize`, an 8-bit map stays 8-bit), scaled
    to [0, 1] and stretched from min..max to 0..1 (`stretched`); then measured.

    Args:
        truth: (H, W) or (D, H, W) bool, or numbers 0 and 1.
        probability: uint8 0..255 or float 0..1; its last two axes may differ from the truth's.
    Returns: Saliency; for (D, H, W) the mean over the D images.
    Raises: ShapeError, DTypeError, ValueRangeError (NaN or values outside 0..1).
    """
    found = [_measured(mask, image) for mask, image in _images(truth, probability, may_resize=True)]
    return pooled(found)


def pooled(cases: list[Saliency]) -> Saliency:
    """The mean over the images of all cases, each case weighted by its number of images; one case or more."""
    images = np.array([case.images for case in cases], np.float64)
    weights = images / images.sum()

    def mean(values: list[Any]) -> Any:
        return np.tensordot(weights, np.asarray(values, np.float64), axes=1)

    count = int(images.sum())
    curves = {name: mean([getattr(case.curves, name) for case in cases]) for name in CURVES}
    return Saliency(
        mae=float(mean([case.mae for case in cases])),
        s_measure=float(mean([case.s_measure for case in cases])),
        curves=ThresholdCurves(**curves, images=count),
        adaptive={name: float(mean([case.adaptive[name] for case in cases])) for name in cases[0].adaptive},
        images=count,
    )


def mean_absolute_error(truth: npt.ArrayLike, probability: npt.ArrayLike) -> float:
    """mean |truth - probability|, of the map as it is given (not stretched).

    Args:
        truth: (H, W) or (D, H, W) bool, or numbers 0 and 1.
        probability: the same shape, float 0..1 or uint8 0..255.
    Raises: ShapeError, DTypeError, ValueRangeError (NaN or values outside 0..1).
    """
    return _mean_over_images(truth, probability, _mae)


def s_measure(truth: npt.ArrayLike, probability: npt.ArrayLike) -> float:
    """Structure measure, 0.5 * object part + 0.5 * region part, not below 0, of the map as it is given.

    Object part: u O(map in truth) + (1 - u) O(1 - map outside), u the truth's share of the image,
    O = 2 x / (x^2 + 1 + s + eps) with mean x and sample standard deviation s (0 for a single pixel).
    Region part: the image is cut in four at the truth's centroid (1-based, rounded half up; row and column of the
    centroid belong to the upper left block); the blocks' similarities 4 x y sxy / ((x^2 + y^2)(sx2 + sy2) + eps), with
    variances over N - 1 + eps, are added, weighted by area. Similarity where the numerator is 0: 1 if the denominator
    is too, else 0. Empty truth: 1 - mean(map). Full truth: mean(map).

    A block without pixels counts 0, where the published script multiplies its weight 0 with 0/0 and ends in NaN.

    Args:
        truth: (H, W) or (D, H, W) bool, or numbers 0 and 1.
        probability: the same shape, float 0..1 or uint8 0..255.
    Raises: ShapeError, DTypeError, ValueRangeError (NaN or values outside 0..1).
    """
    return _mean_over_images(truth, probability, _s_measure)


def e_measure(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Enhanced-alignment measure of a binary prediction.

    sum((A + 1)^2 / 4) / (N - 1 + eps), A = 2 a b / (a^2 + b^2 + eps), a = prediction - its mean, b = truth - its mean.
    Empty truth: 1 - prediction instead of (A + 1)^2 / 4; full truth: prediction. It can exceed 1 by N / (N - 1); an
    image of one pixel gives 0 or 1 / eps, as published.

    Args:
        truth, prediction: (H, W) or (D, H, W) bool, or numbers 0 and 1.
    Raises: ShapeError, ValueRangeError.
    """

    def of_image(mask: Mask, image: Floats) -> float:
        tp, predicted, positive = (int(np.count_nonzero(pixels)) for pixels in (image[mask], image, mask))
        return float(_e_measure(np.array([tp]), np.array([predicted - tp]), positive, mask.size)[0])

    return _mean_over_images(truth, _mask("prediction", prediction), of_image)


def threshold_curves(truth: npt.ArrayLike, probability: npt.ArrayLike) -> ThresholdCurves:
    """Dice, sensitivity, specificity, precision and E-measure at 256 thresholds, of the map as it is given.

    One histogram of the map inside and one outside the truth give all of them: each figure follows from TP, FP, FN, TN.

    Args:
        truth: (H, W) or (D, H, W) bool, or numbers 0 and 1.
        probability: the same shape, float 0..1 or uint8 0..255.
    Returns: ThresholdCurves; for (D, H, W) the mean over the D images.
    Raises: ShapeError, DTypeError, ValueRangeError (NaN or values outside 0..1).
    """
    return _averaged([_curves(mask, image) for mask, image in _images(truth, probability)])


def stretched(image: Floats) -> Floats:
    """The map from min..max to 0..1: (x - min) / (max - min); a constant map stays as it is, as MATLAB's mapminmax."""
    low, high = image.min(), image.max()
    return image if low == high else (image - low) / (high - low)


def _mean_over_images(truth: npt.ArrayLike, probability: npt.ArrayLike, of_image: Any) -> float:
    return float(np.mean([of_image(mask, image) for mask, image in _images(truth, probability)]))


def _measured(truth: Mask, image: Floats) -> Saliency:
    image = stretched(image)
    # As the first revisions of EvaluationTool/main.m; the published table calls the Dice adpDice.
    own = min(2 * float(image.mean()), 1.0)
    predicted = image >= own
    tp = np.array([np.count_nonzero(predicted & truth)])
    fp = np.count_nonzero(predicted) - tp
    adaptive = _ratios(tp, fp, int(np.count_nonzero(truth)), truth.size)
    return Saliency(
        mae=_mae(truth, image),
        s_measure=_s_measure(truth, image),
        curves=_averaged([_curves(truth, image)]),
        adaptive={name: float(values[0]) for name, values in adaptive.items()},
    )


def _mae(truth: Mask, image: Floats) -> float:
    return float(np.mean(np.abs(truth - image)))


def _averaged(found: list[dict[str, Floats]]) -> ThresholdCurves:
    dice, sensitivity, specificity, precision, e = (np.mean([one[name] for one in found], axis=0) for name in CURVES)
    return ThresholdCurves(dice, sensitivity, specificity, precision, e, len(found))


def _curves(truth: Mask, image: Floats) -> dict[str, Floats]:
    # A pixel's level is how many thresholds it reaches; the pixels above a threshold are those from some level up.
    level = np.searchsorted(THRESHOLDS[::-1], image, side="right")
    inside = np.bincount(level[truth], minlength=257)[:0:-1]
    everywhere = np.bincount(level.ravel(), minlength=257)[:0:-1]
    tp = np.cumsum(inside)
    fp = np.cumsum(everywhere) - tp
    size, positive = truth.size, int(np.count_nonzero(truth))
    return {**_ratios(tp, fp, positive, size), "e_measure": _e_measure(tp, fp, positive, size)}


def _ratios(tp: npt.NDArray[Any], fp: npt.NDArray[Any], positive: int, size: int) -> dict[str, Floats]:
    """Dice, sensitivity, specificity and precision; 0 where TP is 0."""
    negative = size - positive
    quotients = {
        "dice": (2 * tp, positive + tp + fp),
        "sensitivity": (tp, positive),
        "specificity": (negative - fp, negative),
        "precision": (tp, tp + fp),
    }
    result = {}
    for name, (above, below) in quotients.items():
        # A specificity without negatives is 0/0 = NaN in MATLAB, and stays so.
        with np.errstate(invalid="ignore", divide="ignore"):
            result[name] = np.where(tp == 0, 0.0, np.true_divide(above, below))
    return result


def _e_measure(tp: npt.NDArray[Any], fp: npt.NDArray[Any], positive: int, size: int) -> Floats:
    """The measure from counts: (A + 1)^2 / 4 has one value in each of the four classes of pixels."""
    divisor = size - 1 + EPS
    if positive == 0:
        return np.asarray((size - fp) / divisor, np.float64)
    if positive == size:
        return np.asarray(tp / divisor, np.float64)
    share, predicted_share = positive / size, (tp + fp) / size
    total = np.zeros(len(tp))
    classes = ((tp, 1, 1), (fp, 1, 0), (positive - tp, 0, 1), (size - positive - fp, 0, 0))
    for count, is_predicted, is_true in classes:
        a, b = is_predicted - predicted_share, is_true - share
        total += count * (2 * (a * b) / (b * b + a * a + EPS) + 1) ** 2 / 4
    return np.asarray(total / divisor, np.float64)


def _s_measure(truth: Mask, image: Floats) -> float:
    share = np.count_nonzero(truth) / truth.size
    if share == 0:
        return 1.0 - float(image.mean())
    if share == 1:
        return float(image.mean())
    objects = share * _object(image[truth]) + (1 - share) * _object(1 - image[~truth])
    return max(0.0, 0.5 * objects + 0.5 * _region(truth, image))


def _object(values: Floats) -> float:
    x = float(values.mean())
    deviation = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * x / (x * x + 1 + deviation + EPS)


def _region(truth: Mask, image: Floats) -> float:
    total = np.count_nonzero(truth)
    rows, columns = (np.count_nonzero(truth, axis=axis) for axis in (1, 0))
    h, w = (int(np.floor(n @ np.arange(1, len(n) + 1) / total + 0.5)) for n in (rows, columns))
    height, width = truth.shape
    weights = [w * h / truth.size, (width - w) * h / truth.size, w * (height - h) / truth.size]
    weights.append(1 - weights[0] - weights[1] - weights[2])
    upper, lower, left, right = slice(0, h), slice(h, None), slice(0, w), slice(w, None)
    blocks = ((upper, left), (upper, right), (lower, left), (lower, right))
    parts = zip(weights, blocks, strict=True)
    return sum((weight * _similarity(truth[at], image[at]) for weight, at in parts if truth[at].size), start=0.0)


def _similarity(truth: Mask, image: Floats) -> float:
    x, y = float(image.mean()), float(truth.mean())
    if image.min() == image.max():
        x = float(image.flat[0])  # a rounded mean would give a flat block a variance, and its similarity 1 would be 0
    above_x, above_y = image - x, truth - y
    divisor = truth.size - 1 + EPS
    variances = (float(np.sum(above_x**2)) + float(np.sum(above_y**2))) / divisor
    alpha = 4 * x * y * float(np.sum(above_x * above_y)) / divisor
    beta = (x * x + y * y) * variances
    if alpha != 0:
        return alpha / (beta + EPS)
    return 1.0 if beta == 0 else 0.0


def _images(
    truth: npt.ArrayLike, probability: npt.ArrayLike, may_resize: bool = False
) -> Iterator[tuple[Mask, Floats]]:
    """Pairs (H, W) of truth and map in [0, 1], one per image."""
    mask = _mask("truth", truth)
    values = np.asarray(probability)
    same = values.shape[:-2] == mask.shape[:-2] if may_resize else values.shape == mask.shape
    if values.ndim != mask.ndim or not same or values.size == 0:
        expected = f"{mask.shape}" + (", the last two of any size" if may_resize else "")
        raise ShapeError(describe("probability", f"shape {values.shape}", expected))
    if values.dtype != np.uint8 and values.dtype != np.bool_ and values.dtype.kind != "f":
        raise DTypeError(describe("probability", str(values.dtype), "float in 0..1, or uint8 in 0..255"))
    if mask.ndim == 2:
        mask, values = mask[None], values[None]
    for page, image in zip(mask, values, strict=True):
        yield page, _in_unit_range(image, page.shape)


def _in_unit_range(image: npt.NDArray[Any], shape: tuple[int, ...]) -> Floats:
    """The image in [0, 1] as float64, resized to `shape` first; bicubic overshoot of a float image stays."""
    if image.dtype.kind == "f":
        image = image.astype(np.float64)
        if not (image.min() >= 0 and image.max() <= 1):
            nans = int(np.count_nonzero(np.isnan(image)))
            got = f"NaN in {nans} pixels" if nans else f"values in [{image.min():g}, {image.max():g}]"
            raise ValueRangeError(describe("probability", got, "values in [0, 1]", "apply sigmoid or softmax first"))
    if image.shape != shape:
        image = imresize(image, shape)
    return image / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)


def _mask(name: str, mask: npt.ArrayLike) -> Mask:
    array = np.asarray(mask)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ShapeError(describe(name, f"shape {array.shape}", "(H, W) or (D, H, W), not empty"))
    if array.dtype == np.bool_:
        return array
    found = array.astype(np.bool_)
    if not np.array_equal(found, array):
        hint = "threshold an image first, as Inf-Net does with truth > 128, or choose a label with mask == value"
        raise ValueRangeError(describe(name, f"{array.dtype} with other values", "bool, or numbers 0 and 1", hint))
    return found
