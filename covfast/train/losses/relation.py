"""Relation consistency of two encoders: how alike the samples of a batch look to one, they should look to the other.

[I] Zhang et al. (IEEE JBHI 2021, doi 10.1109/jbhi.2021.3106341, arXiv 2012.15564) state the idea; its formula is our
reading. It is the sample relation of SRC-MT (Liu et al. 2020, liuquande/SRC-MT, relation_mse_loss), the nearest public
definition, between the general and the target encoder instead of student and teacher. Deviations, numbered:

1. Rows are divided by max(norm, 1e-12); the source has no guard.
2. Several levels of the encoders are averaged.
3. Relations among channels, for batches of one sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from covfast.errors import ShapeError, ValueRangeError, describe
from covfast.train.losses.arguments import at_least_single, check_same

BETWEEN = ("samples", "channels")


def relation_matrix(features: Tensor, between: str = "samples") -> Tensor:
    """Gram matrices with rows of length 1: R_i = G_i / max(||G_i||_2, 1e-12), G = A A^T.

    Args:
        features: (B, C, ...) float. Half precision is widened first: G sums over a whole feature map.
        between: "samples": A is (B, C * positions), one matrix for the batch. "channels": A is (C, positions), one
            matrix for each sample.
    Returns: (1, B, B) or (B, C, C) float32, float64 for float64.
    Raises: ShapeError: fewer than two axes; ValueRangeError: between.
    """
    if between not in BETWEEN:
        raise ValueRangeError(describe("between", repr(between), '"samples" or "channels"'))
    if features.ndim < 2:
        raise ShapeError(describe("features", f"shape {tuple(features.shape)}", "(B, C, ...)"))
    with torch.autocast(features.device.type, enabled=False):
        wide = at_least_single(features)
        a = wide.flatten(1)[None] if between == "samples" else wide.reshape(*wide.shape[:2], -1)
        return F.normalize(a @ a.transpose(1, 2), dim=2, eps=1e-12)


def relation_loss(
    general: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor], between: str = "samples"
) -> Tensor:
    """L = (1/n) sum_ij (R^g_ij - R^t_ij)^2, R = `relation_matrix`, n its rows; averaged over levels, see below.

    Between samples n is B, and a batch of one has loss 0: there R = [1] for every encoder. Between channels n is C and
    the samples are averaged. The loss does not change if one encoder's features are scaled or rotated.

    Args:
        general, target: (B, C, ...) float of the same batch from each encoder, or one such tensor per level. Shapes
            agree; gradients reach both (detach one to hold it).
        between: as for `relation_matrix`.
    Returns: scalar.
    Raises: ShapeError: shapes or numbers of levels differ, or no level; ValueRangeError: between.
    """
    left = [general] if isinstance(general, Tensor) else list(general)
    right = [target] if isinstance(target, Tensor) else list(target)
    if not left or len(left) != len(right):
        raise ShapeError(describe("target", f"{len(right)} levels", f"{max(len(left), 1)}, as many as general"))
    terms = []
    for g, t in zip(left, right, strict=True):
        check_same("target", t, g)
        gap = relation_matrix(g, between) - relation_matrix(t, between)
        terms.append(gap.square().sum((1, 2)).mean() / gap.shape[1])
    return torch.stack(terms).mean()


def ramp_up(step: float, length: float, weight: float = 1.0) -> float:
    """lambda(t) = w exp(-5 (1 - min(t, T) / T)^2): from 0.0067 w at 0 to w at T.

    Args:
        step: t >= 0, in the unit of `length` (SRC-MT: epochs).
        length: T; 0 gives w at once.
        weight: w.
    Raises: ValueRangeError: a negative step or length.
    Source: liuquande/SRC-MT, sigmoid_rampup, T = 30 epochs and w = 1; from Laine and Aila 2017, arXiv 1610.02242.
    """
    if step < 0 or length < 0:
        raise ValueRangeError(describe("step, length", (step, length), "numbers >= 0"))
    part = 1.0 if length == 0 else min(step, length) / length
    return weight * math.exp(-5.0 * (1.0 - part) ** 2)
