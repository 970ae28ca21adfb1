"""Loss of Inf-Net's multi-class follow-up: BCE on one-hot labels, with the shift of the released code or without.

Released code DengPingFan/Inf-Net, MyTrain_MulClsLungInf_UNet.py and onehot.py. It writes pixel p of class y to the flat
index 3 p + y - 1, one too low: classes 1 and 2 land in channels 0 and 1, and background in channel 2 of the pixel
before. Its published weights have learned that order, so `fidelity="code"` keeps it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from covfast.errors import ShapeError, ValueRangeError, describe
from covfast.train.losses.arguments import at_least_single, check_fidelity, check_labels


def one_hot_channels(labels: Tensor, classes: int = 3, fidelity: str = "code") -> Tensor:
    """(N, classes, H, W) float32 one-hot labels.

    Channel c - 1 is y == c for c >= 1. The last channel is background: with "paper" of the pixel itself, with "code" of
    the next pixel in raster order; the first pixel of an image stands in the last [I: NumPy's index -1].

    Args:
        labels: y, (N, H, W) whole numbers in [0, classes).
        fidelity: see above.
    Raises: ShapeError: not three axes; ValueRangeError: fidelity, or a label outside the classes.
    """
    check_fidelity(fidelity)
    if labels.ndim != 3:
        raise ShapeError(describe("labels", f"shape {tuple(labels.shape)}", "(N, H, W)"))
    if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        got = f"values from {int(labels.min())} to {int(labels.max())}"
        raise ValueRangeError(describe("labels", got, f"0 to {classes - 1}"))
    plain = F.one_hot(labels.long(), classes).movedim(-1, 1).float()
    background = plain[:, 0]
    if fidelity == "code":
        background = background.flatten(1).roll(-1, 1).reshape(labels.shape)
    return torch.cat([plain[:, 1:], background[:, None]], 1)


def multiclass_bce(logits: Tensor, labels: Tensor, fidelity: str = "code") -> Tensor:
    """Mean BCE of sigmoid(logits) and `one_hot_channels`, over all pixels and channels.

    Args:
        logits: (N, C, H, W) float.
        labels: (N, H, W) whole numbers in [0, C).
        fidelity: as for `one_hot_channels`.
    Returns: scalar.
    Raises: ShapeError: sizes differ; ValueRangeError: as for `one_hot_channels`.
    """
    check_labels(logits, labels)
    x = at_least_single(logits)
    return F.binary_cross_entropy_with_logits(x, one_hot_channels(labels, x.shape[1], fidelity).to(x.dtype))
