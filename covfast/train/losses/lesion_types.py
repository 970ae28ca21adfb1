"""Ground glass and consolidation from slices of which only some tell the two apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from covfast.train.losses.arguments import at_least_single, check_same


def any_lesion(logits: Tensor) -> Tensor:
    """(N, 2, H, W) logits of background and lesion of any type, from (N, 3, H, W): l_0 and log(exp l_1 + exp l_2).

    Their softmax is (p_0, p_1 + p_2), so that a loss of two classes teaches the sum of both types.
    """
    return torch.cat([logits[:, :1], logits[:, 1:].logsumexp(1, keepdim=True)], 1)


def lesion_type_loss(
    logits: Tensor, lesion: Tensor, consolidation: Tensor, known: Tensor, smooth: float = 1.0
) -> Tensor:
    """Cross entropy of the type inside lesions, and soft Dice of each type, over the slices whose types are known.

    With t_1 = lesion - consolidation, t_2 = consolidation, q the softmax of logits 1 and 2 alone, p that of all three,
    and all sums over the known slices:
    loss = -sum_v (t_1 log q_1 + t_2 log q_2) / max(sum_v lesion, 1)
    + mean over c = 1, 2 of 1 - (2 sum p_c t_c + s) / (sum p_c + sum t_c + s). Without a known slice it is 0.

    Args:
        logits: (N, 3, H, W) float: background, ground glass, consolidation.
        lesion, consolidation: (N, 1, H, W) float in [0, 1], consolidation <= lesion.
        known: (N, 1, 1, 1) float, 1 where the slice tells the types apart, else 0.
        smooth: s.
    Raises: ShapeError: the masks are not of one shape.
    """
    check_same("consolidation", consolidation, lesion)
    x = at_least_single(logits)
    target = torch.cat([(lesion - consolidation).clamp_min(0.0), consolidation], 1) * known
    cross_entropy = -(target * F.log_softmax(x[:, 1:], 1)).sum() / target.sum().clamp_min(1.0)
    p = torch.softmax(x, 1)[:, 1:] * known
    both, predicted, true = ((a.sum((0, 2, 3))) for a in (p * target, p, target))
    return cross_entropy + (1.0 - (2.0 * both + smooth) / (predicted + true + smooth)).mean()
