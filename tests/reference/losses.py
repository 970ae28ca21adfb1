"""Float64 NumPy twins of the losses: the formulas sample by sample, class by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def bce(logits: Array, target: Array) -> Array:
    p = sigmoid(logits)
    return -(target * np.log(p) + (1.0 - target) * np.log(1.0 - p))


def soft_cross_entropy(logits: Array, target: Array, weight: float = 1.0) -> float:
    log_p, t = np.log(softmax(logits)), target[:, 0]
    total = mass = 0.0
    for n, y, x in np.ndindex(t.shape):
        shares = (1.0 - t[n, y, x], weight * t[n, y, x])
        total -= sum(share * log_p[n, c, y, x] for c, share in enumerate(shares))
        mass += sum(shares)
    return float(total / mass)


def soft_dice(logits: Array, target: Array, smooth: float = 1.0) -> float:
    p, t = softmax(logits)[:, 1], target[:, 0]
    both = sum(float((p[n] * t[n]).sum()) for n in range(len(t)))
    mass = sum(float(p[n].sum() + t[n].sum()) for n in range(len(t)))
    return 1.0 - (2.0 * both + smooth) / (mass + smooth)


def supervised(
    outputs: Sequence[Array], target: Array, weight: float, auxiliary: float, cross_entropy: float = 1.0
) -> float:
    total = 0.0
    for level, logits in enumerate(outputs):
        share = auxiliary if level else 1.0
        total += share * cross_entropy * soft_cross_entropy(logits, target, weight)
        total += share * soft_dice(logits, target)
    return total


def foreground_dice(logits: Array, target: Array, batch_dice: bool, smooth: float = 1e-5) -> float:
    p = softmax(logits)
    groups = [range(len(logits))] if batch_dice else [[n] for n in range(len(logits))]
    scores = []
    for group in groups:
        for c in range(1, logits.shape[1]):
            both = sum(float((p[n, c] * (target[n] == c)).sum()) for n in group)
            mass = sum(float(p[n, c].sum() + (target[n] == c).sum()) for n in group)
            scores.append((2 * both + smooth) / max(mass + smooth, 1e-8))
    return -float(np.mean(scores))


def weighted_cross_entropy(logits: Array, target: Array, weights: Sequence[float], ignore: int = 255) -> float:
    log_p = np.log(softmax(logits))
    total = mass = 0.0
    for n, *place in np.ndindex(target.shape):
        label = int(target[(n, *place)])
        if label != ignore:
            total -= weights[label] * log_p[(n, label, *place)]
            mass += weights[label]
    return total / mass if mass else 0.0


def dice_cross_entropy(logits: Array, target: Array, batch_dice: bool = False) -> float:
    plain = [1.0] * logits.shape[1]
    return weighted_cross_entropy(logits, target, plain, -1) + foreground_dice(logits, target, batch_dice)


def labels_at(target: Array, size: Sequence[int]) -> Array:
    found = np.zeros((len(target), *size), target.dtype)
    for n, *place in np.ndindex(found.shape):
        steps = zip(place, target.shape[1:], size, strict=True)
        found[(n, *place)] = target[(n, *(int((i + 0.5) * old / new) for i, old, new in steps))]
    return found


def border_weight(mask: Array) -> Array:
    weight = np.ones_like(mask)
    for n, c, y, x in np.ndindex(mask.shape):
        total = mask[n, c, max(y - 15, 0) : y + 16, max(x - 15, 0) : x + 16].sum()
        weight[n, c, y, x] += 5.0 * abs(total / 31**2 - mask[n, c, y, x])
    return weight


def structure_loss(logits: Array, mask: Array, fidelity: str) -> float:
    weight, terms = border_weight(mask), bce(logits, mask)
    losses = []
    for n, c in np.ndindex(mask.shape[:2]):
        w, m, p = weight[n, c], mask[n, c], sigmoid(logits[n, c])
        both, either = float((w * p * m).sum()), float((w * (p + m)).sum())
        iou = 1.0 - (both + 1.0) / (either - both + 1.0)
        mean = terms.mean() if fidelity == "code" else (w * terms[n, c]).sum() / w.sum()
        losses.append(float(mean) + iou)
    return float(np.mean(losses))


def one_hot_shifted(labels: Array, classes: int) -> Array:
    """(N, H, W, classes): every pixel writes one place too low, the first of an image to its end."""
    found = np.zeros((*labels.shape, classes))
    for n, image in enumerate(labels):
        flat = found[n].reshape(-1)
        for pixel, label in enumerate(image.ravel()):
            flat[pixel * classes + int(label) - 1] = 1.0
    return found


def relation_loss(general: Array, target: Array) -> float:
    """Between the rows of two (B, F) arrays."""

    def rows(features: Array) -> Array:
        b = len(features)
        gram = np.array([[float(features[i] @ features[j]) for j in range(b)] for i in range(b)])
        return np.array([row / max(math.sqrt(float(row @ row)), 1e-12) for row in gram])

    return float(((rows(general) - rows(target)) ** 2).sum() / len(general))
