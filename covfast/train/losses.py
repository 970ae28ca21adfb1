"""Losses of the infection recipes: weighted cross entropy and soft Dice, with deep supervision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(logits: Tensor, target: Tensor, weight: float = 1.0) -> Tensor:
    """Mean cross entropy of two classes against a soft target.

    loss = sum_v -(w t_v log p_v + (1 - t_v) log(1 - p_v)) / sum_v (w t_v + 1 - t_v), p = softmax of class 1.

    Args:
        logits: (N, 2, H, W) float.
        target: (N, 1, H, W) float in [0, 1].
        weight: w, of class 1 against class 0.
    """
    log_p = F.log_softmax(logits, 1)
    t = target[:, 0]
    loss = -(weight * t * log_p[:, 1] + (1.0 - t) * log_p[:, 0])
    return loss.sum() / (weight * t + 1.0 - t).sum()


def soft_dice(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - (2 sum p t + s) / (sum p + sum t + s).

    The sums run over the whole batch, so that empty slices only punish false positives.

    Args:
        logits: (N, 2, H, W) float.
        target: (N, 1, H, W) float in [0, 1].
        smooth: s.
    """
    p = torch.softmax(logits, 1)[:, 1]
    t = target[:, 0]
    return 1.0 - (2.0 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth)


def supervised(outputs: Sequence[Tensor], target: Tensor, weight: float = 1.0, auxiliary: float = 0.4) -> Tensor:
    """(CE + Dice)(output 1) + auxiliary * sum over the other outputs of (CE + Dice)."""
    terms = [soft_cross_entropy(output, target, weight) + soft_dice(output, target) for output in outputs]
    return terms[0] + auxiliary * torch.stack(terms[1:]).sum() if len(terms) > 1 else terms[0]
