"""Soft Dice and cross entropy: of the infection recipes, and of nnU-Net with deep supervision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from covfast.errors import ShapeError, ValueRangeError, describe
from covfast.train.losses.arguments import at_least_single, check_labels

Loss = Callable[[Tensor, Tensor], Tensor]


def soft_cross_entropy(logits: Tensor, target: Tensor, weight: float = 1.0) -> Tensor:
    """Mean cross entropy of two classes against a soft target.

    loss = sum_v -(w t_v log p_v + (1 - t_v) log(1 - p_v)) / sum_v (w t_v + 1 - t_v), p = softmax of class 1.

    Args:
        logits: (N, 2, H, W) float.
        target: (N, 1, H, W) float in [0, 1].
        weight: w, of class 1 against class 0.
    """
    log_p = F.log_softmax(at_least_single(logits), 1)
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
    p = torch.softmax(at_least_single(logits), 1)[:, 1]
    t = target[:, 0]
    return 1.0 - (2.0 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth)


def supervised(
    outputs: Sequence[Tensor],
    target: Tensor,
    weight: float = 1.0,
    auxiliary: float = 0.4,
    cross_entropy: float = 1.0,
) -> Tensor:
    """(c CE + Dice)(output 1) + auxiliary * sum over the other outputs of (c CE + Dice), c = `cross_entropy`."""
    terms = [
        cross_entropy * soft_cross_entropy(output, target, weight) + soft_dice(output, target) for output in outputs
    ]
    return terms[0] + auxiliary * torch.stack(terms[1:]).sum() if len(terms) > 1 else terms[0]


def foreground_dice(logits: Tensor, target: Tensor, *, batch_dice: bool = False, smooth: float = 1e-5) -> Tensor:
    """Minus the mean soft Dice of the classes above 0, in [-1, 0].

    dice_c = (2 sum_v p_cv t_cv + s) / max(sum_v t_cv + sum_v p_cv + s, 1e-8), p = softmax of the logits, t = one-hot.

    Args:
        logits: (N, C, [D,] H, W) float, C >= 2.
        target: (N, [D,] H, W) whole numbers in [0, C).
        batch_dice: sums run over the batch as well; otherwise each sample has its own Dice.
        smooth: s.
    Returns: scalar, the mean over classes 1..C-1 and (unless `batch_dice`) samples, negated.
    Raises: ShapeError: sizes differ; ValueRangeError: fewer than two classes.
    Source: nnU-Net v2, MemoryEfficientSoftDiceLoss (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z).
    """
    check_labels(logits, target)
    if logits.shape[1] < 2:
        raise ValueRangeError(describe("logits", f"{logits.shape[1]} class", "at least 2, the first is background"))
    p = torch.softmax(at_least_single(logits), 1).flatten(2)[:, 1:]
    t = F.one_hot(target.long(), logits.shape[1]).flatten(1, -2).movedim(-1, 1)[:, 1:].to(p.dtype)
    both, predicted, true = ((a.sum(2)) for a in (p * t, p, t))
    if batch_dice:
        both, predicted, true = both.sum(0), predicted.sum(0), true.sum(0)
    return -((2.0 * both + smooth) / (true + predicted + smooth).clamp_min(1e-8)).mean()


def dice_cross_entropy(logits: Tensor, target: Tensor, *, batch_dice: bool = False) -> Tensor:
    """Mean cross entropy over all voxels plus `foreground_dice`, equal weights.

    Arguments, errors and source as for `foreground_dice`.
    """
    dice = foreground_dice(logits, target, batch_dice=batch_dice)
    return F.cross_entropy(at_least_single(logits), target.long()) + dice


def level_weights(levels: int) -> tuple[float, ...]:
    """Weights of deep supervision, the largest size first: 1, 1/2, 1/4, ..., the last 0, scaled to sum 1.

    One level alone weighs 1.

    Raises: ValueRangeError: fewer than one level.
    Source: nnU-Net v2, nnUNetTrainer.
    """
    if levels < 1:
        raise ValueRangeError(describe("levels", levels, "at least 1"))
    raw = [0.5**level for level in range(levels)]
    if levels > 1:
        raw[-1] = 0.0
    return tuple(weight / sum(raw) for weight in raw)


def labels_at(target: Tensor, size: Sequence[int]) -> Tensor:
    """(N, [D,] H, W) whole numbers at another size: the voxel that holds the middle of each new one.

    Index floor((i + 1/2) n_old / n_new), the nearest neighbour of nnU-Net's half-voxel grid [I: its resize of order 0].
    """
    if tuple(target.shape[1:]) == tuple(size):
        return target
    picture = F.interpolate(target[:, None].float(), tuple(size), mode="nearest-exact")
    return picture[:, 0].to(target.dtype)


def deep_supervision(
    outputs: Sequence[Tensor],
    target: Tensor,
    loss: Loss = dice_cross_entropy,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """sum_i w_i loss(output_i, target at the size of output i).

    Args:
        outputs: logits (N, C, [D,] H, W) float of each level, the largest first.
        target: (N, [D,] H, W) whole numbers, of the first output's size.
        loss: of (logits, target).
        weights: one per output; None for `level_weights`. A level of weight 0 is not computed.
    Returns: scalar.
    Raises: ShapeError: no output, or as many weights as there are not outputs.
    Source: nnU-Net v2, DeepSupervisionWrapper.
    """
    shares = level_weights(len(outputs)) if weights is None and outputs else tuple(weights or ())
    if not outputs or len(shares) != len(outputs):
        raise ShapeError(describe("weights", f"{len(shares)} for {len(outputs)} outputs", "one weight per output"))
    pairs = [(share, output) for share, output in zip(shares, outputs, strict=True) if share]
    terms = [share * loss(output, labels_at(target, output.shape[2:])) for share, output in pairs]
    return torch.stack(terms).sum() if terms else outputs[0].sum() * 0.0
