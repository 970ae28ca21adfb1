"""Losses of Inf-Net: weighted IoU and BCE of the segmentation maps, BCE of the edge map.

Fan et al., Inf-Net (IEEE TMI 39(8), 2020, arXiv 2004.14133), sections III-B and III-C; released code
DengPingFan/Inf-Net, MyTrain_LungInf.py. The two differ, and `fidelity` chooses:

1. The paper weighs each pixel's BCE. The code asks for this with an argument of old torch (`reduce="none"`) that means
   "mean" today, so that its BCE is the plain mean over the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from covfast.errors import ShapeError, describe
from covfast.train.losses.arguments import at_least_single, check_fidelity, check_same

WINDOW = 31
"""Side in pixels of the square whose mean a pixel is compared with."""


def border_weight(mask: Tensor) -> Tensor:
    """w = 1 + 5 |mean of the 31 x 31 pixels around - m|, of m's shape: 1 inside and outside, up to 6 at borders.

    Pixels outside the image count as 0 in the mean.

    Args:
        mask: m, (N, C, H, W) float in [0, 1].
    """
    half = WINDOW // 2  # column means of row means: on a CPU the square at once took half of Inf-Net's step
    rows = F.avg_pool2d(mask, (1, WINDOW), stride=1, padding=(0, half))
    around = F.avg_pool2d(rows, (WINDOW, 1), stride=1, padding=(half, 0))
    return 1.0 + 5.0 * (around - mask).abs()


def weighted_iou(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """(N, C): 1 - (sum w p m + 1) / (sum w (p + m) - sum w p m + 1), sums over H and W, p = sigmoid of the logits.

    Args:
        logits, mask, weight: (N, C, H, W) float; mask in [0, 1], weight > 0.
    """
    p = torch.sigmoid(logits)
    both = (weight * p * mask).sum((2, 3))
    either = (weight * (p + mask)).sum((2, 3)) - both
    return 1.0 - (both + 1.0) / (either + 1.0)


def weighted_bce(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """(N, C): sum w bce / sum w over H and W. Arguments as for `weighted_iou`."""
    each = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    return (weight * each).sum((2, 3)) / weight.sum((2, 3))


def structure_loss(logits: Tensor, mask: Tensor, fidelity: str = "code") -> Tensor:
    """Weighted IoU + BCE, averaged over the batch; w = `border_weight`.

    "code": mean over all pixels of bce + mean of weighted_iou. "paper": mean of (weighted_bce + weighted_iou).

    Args:
        logits: (N, C, H, W) float.
        mask: (N, C, H, W) float in [0, 1]; soft borders are allowed (the code does not threshold resized masks).
        fidelity: see above.
    Returns: scalar.
    Raises: ShapeError: sizes differ; ValueRangeError: fidelity.
    """
    check_fidelity(fidelity)
    check_same("mask", mask, logits)
    x = at_least_single(logits)
    m = mask.to(x.dtype)
    weight = border_weight(m)
    bce = F.binary_cross_entropy_with_logits(x, m) if fidelity == "code" else weighted_bce(x, m, weight)
    return (bce + weighted_iou(x, m, weight)).mean()


def edge_loss(logits: Tensor, edge: Tensor) -> Tensor:
    """Mean BCE of the edge map.

    Args:
        logits: (N, 1, H, W) float.
        edge: (N, 1, H, W) float in [0, 1].
    Raises: ShapeError: sizes differ.
    """
    check_same("edge", edge, logits)
    x = at_least_single(logits)
    return F.binary_cross_entropy_with_logits(x, edge.to(x.dtype))


def infnet_loss(outputs: Sequence[Tensor], mask: Tensor, edge: Tensor, fidelity: str = "code") -> Tensor:
    """edge_loss(edge map) + structure_loss of maps 5, 4, 3 and 2, equal weights.

    Args:
        outputs: (map5, map4, map3, map2, edge), logits (N, 1, H, W) float, as `InfNet` gives them in training.
        mask, edge: (N, 1, H, W) float in [0, 1].
        fidelity: as for `structure_loss`.
    Returns: scalar.
    Raises: ShapeError: not five outputs, or sizes differ; ValueRangeError: fidelity.
    """
    if len(outputs) != 5:
        raise ShapeError(describe("outputs", f"{len(outputs)} maps", "map5, map4, map3, map2 and edge"))
    maps = [structure_loss(output, mask, fidelity) for output in outputs[:4]]
    return edge_loss(outputs[4], edge) + torch.stack(maps).sum()
