"""Float64 reference of Inf-Net's figures: the formulas pixel by pixel, one pass over the image per threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

EPS = 2.220446049250313e-16

Array = npt.NDArray[Any]


def thresholds() -> list[float]:
    """1:-1/255:0 as MATLAB's colon fills it: both halves from their own end."""
    step = -1 / 255
    values = [0.0] * 256
    for k in range(128):
        values[k] = 1 + k * step
        values[255 - k] = 0 - k * step
    return values


def scores(truth: Array, image: Array, threshold: float) -> dict[str, float]:
    predicted = image >= threshold
    tp = fp = fn = tn = 0
    for is_true, is_predicted in zip(truth.ravel(), predicted.ravel(), strict=True):
        tp += bool(is_true and is_predicted)
        fp += bool(not is_true and is_predicted)
        fn += bool(is_true and not is_predicted)
        tn += bool(not is_true and not is_predicted)
    if tp == 0:
        return {"dice": 0.0, "sensitivity": 0.0, "specificity": 0.0, "precision": 0.0}
    return {
        "dice": 2 * tp / ((tp + fn) + (tp + fp)),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp) if tn + fp else float("nan"),
        "precision": tp / (tp + fp),
    }


def e_measure(truth: Array, predicted: Array) -> float:
    g, f = truth.astype(np.float64), predicted.astype(np.float64)
    if g.sum() == 0:
        enhanced = 1 - f
    elif (1 - g).sum() == 0:
        enhanced = f
    else:
        a, b = f - f.mean(), g - g.mean()
        align = 2 * (b * a) / (b * b + a * a + EPS)
        enhanced = (align + 1) ** 2 / 4
    return float(enhanced.sum() / (g.size - 1 + EPS))


def mean_absolute_error(truth: Array, image: Array) -> float:
    return float(np.mean(np.abs(truth.astype(np.float64) - image)))


def s_measure(truth: Array, image: Array) -> float:
    share = float(truth.mean())
    if share == 0:
        return float(1 - image.mean())
    if share == 1:
        return float(image.mean())
    quality = 0.5 * object_part(truth, image) + 0.5 * region_part(truth, image)
    return 0.0 if quality < 0 else quality


def object_part(truth: Array, image: Array) -> float:
    def part(values: Array) -> float:
        x = float(np.mean(values))
        deviation = float(np.sqrt(np.sum((values - x) ** 2) / (len(values) - 1))) if len(values) > 1 else 0.0
        return 2 * x / (x**2 + 1 + deviation + EPS)

    share = float(truth.mean())
    return share * part(image[truth]) + (1 - share) * part(1 - image[~truth])


def region_part(truth: Array, image: Array) -> float:
    height, width = truth.shape
    total = sum_y = sum_x = 0
    for y in range(height):
        for x in range(width):
            if truth[y, x]:
                total, sum_y, sum_x = total + 1, sum_y + y + 1, sum_x + x + 1
    # Whole numbers: 2 sum / total rounded half up.
    cut_y, cut_x = (2 * sum_y + total) // (2 * total), (2 * sum_x + total) // (2 * total)
    result = 0.0
    for rows in (slice(0, cut_y), slice(cut_y, height)):
        for columns in (slice(0, cut_x), slice(cut_x, width)):
            block = image[rows, columns]
            if block.size:
                result += block.size / truth.size * similarity(truth[rows, columns].astype(np.float64), block)
    return result


def similarity(g: Array, f: Array) -> float:
    x, y = float(f.mean()), float(g.mean())
    n = f.size - 1 + EPS
    sx2, sy2, sxy = (float(np.sum(v)) / n for v in ((f - x) ** 2, (g - y) ** 2, (f - x) * (g - y)))
    alpha, beta = 4 * x * y * sxy, (x**2 + y**2) * (sx2 + sy2)
    if alpha != 0:
        return alpha / (beta + EPS)
    return 1.0 if beta == 0 else 0.0
