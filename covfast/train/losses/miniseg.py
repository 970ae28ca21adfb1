"""Loss of MiniSeg: class-weighted cross entropy on the output and three auxiliary ones.

Qiu et al., MiniSeg (AAAI 2021, arXiv 2004.09750v3); released code yun-liu/MiniSeg, train.py. The class weights are
those of ENet (Paszke et al. 2016, arXiv 1606.02147).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from covfast.errors import ShapeError, ValueRangeError, describe
from covfast.train.losses.arguments import at_least_single, check_labels

IGNORE = 255
"""Label of pixels that nobody judged."""


def class_weights(counts: Tensor | Sequence[float], offset: float = 1.10) -> Tensor:
    """(C,) float32 weights 1 / ln(offset + f_c), f_c = counts_c / sum of counts.

    Args:
        counts: (C,) pixels of each class over the training masks, ignored ones left out; or their shares.
        offset: above 1; 1.10 bounds the weights by 10.5.
    Raises: ValueRangeError: a negative count, none above 0, or an offset of at most 1.
    """
    numbers = torch.as_tensor(counts, dtype=torch.float64)
    if not bool(numbers.sum() > 0) or bool((numbers < 0).any()):
        raise ValueRangeError(describe("counts", numbers.tolist(), "numbers >= 0, one of them > 0"))
    if offset <= 1:
        raise ValueRangeError(describe("offset", offset, "> 1"))
    return (1.0 / torch.log(offset + numbers / numbers.sum())).float()


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor, ignore: int = IGNORE) -> Tensor:
    """-sum_v w_t log p_t / sum_v w_t over the pixels whose label t is not `ignore`; 0 if there is none.

    Args:
        logits: (N, C, H, W) float; p = softmax.
        target: t, (N, H, W) whole numbers in [0, C) or `ignore`.
        weights: w, (C,) float > 0.
        ignore: label that counts nowhere.
    Returns: scalar.
    Raises: ShapeError: sizes differ, or not one weight per class.
    """
    check_labels(logits, target)
    if len(weights) != logits.shape[1]:
        raise ShapeError(describe("weights", f"{len(weights)} numbers", f"{logits.shape[1]}, one per class"))
    x = at_least_single(logits)
    w = weights.to(x)
    labels = target.long()
    summed = F.cross_entropy(x, labels, weight=w, ignore_index=ignore, reduction="sum")
    judged = labels != ignore
    mass = (w[labels.masked_fill(~judged, 0)] * judged).sum()
    return summed / mass.clamp_min(torch.finfo(x.dtype).tiny)


def miniseg_loss(
    outputs: Sequence[Tensor], target: Tensor, weights: Tensor, auxiliary: float = 0.4, ignore: int = IGNORE
) -> Tensor:
    """1.0 L(output 1) + auxiliary (L(output 2) + L(output 3) + ...), L = `weighted_cross_entropy`.

    Args:
        outputs: logits (N, C, H, W) float, the network's own output first, all at the target's size.
        target, weights, ignore: as for `weighted_cross_entropy`.
    Returns: scalar.
    Raises: ShapeError: no output, or sizes differ.
    """
    if not outputs:
        raise ShapeError(describe("outputs", "none", "at least one"))
    first, *others = (weighted_cross_entropy(output, target, weights, ignore) for output in outputs)
    return first + auxiliary * torch.stack(others).sum() if others else first
