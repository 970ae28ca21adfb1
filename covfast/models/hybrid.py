"""Hybrid-encoder learning: a general and a dedicated encoder, fused by selective kernels, before one decoder.

Wang et al., Does Non-COVID-19 Lung Lesion Help? (Computer Methods and Programs in Biomedicine 2021, doi
10.1016/j.cmpb.2021.106004, arXiv 2006.13877). What the paper's abstract says: a dedicated encoder for the infection
and an adapted one for lung lesions in general, fused by an attention-based unit of dynamic selection. No code was
published. Our reading, not the paper's word: both encoders have the same topology; a unit stands at every skip and at
the bottleneck; it is the selective kernel of Li et al. (CVPR 2019, arXiv 1903.06586); the decoder is a plain U-Net's.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.models.topology import Topology
from covfast.models.unet import CONV, Decoder, UNet, plain_encoder

_REDUCTION = 16  # channels to numbers of the descriptor, and the fewest of them
_FEWEST = 8


class SelectiveFusion(nn.Module):
    """Weighs two maps of C channels against each other, channel by channel, from the means of both.

    u = f_d + f_a;  s = mean of u over all voxels, in R^C;  z = leaky_relu(norm(W s)), in R^r, r = max(C // 16, 8);
    (a, b) = softmax over the two encoders of (A z, B z), per channel;  v = a f_d + b f_a.

    As the softmax is over two, a = sigmoid(A z - B z), b = 1 - a and v = f_a + a (f_d - f_a). The norm is a layer norm
    over the r numbers: one that looks at the batch would not work with batches of one or two. A and B begin at 0, the
    unit as the mean of both maps. Norm and start are our choice.

    Args:
        channels: C.
        rank: spatial axes, 2 or 3.
        eps, slope: of norm and leaky ReLU.
    """

    def __init__(self, channels: int, rank: int, eps: float = 1e-5, slope: float = 0.01) -> None:
        super().__init__()
        short = max(channels // _REDUCTION, _FEWEST)
        self.squeeze = CONV[rank](channels, short, 1, bias=False)
        self.norm = nn.GroupNorm(1, short, eps=eps)
        self.dedicated = CONV[rank](short, channels, 1, bias=False)
        self.adapted = CONV[rank](short, channels, 1, bias=False)
        self.axes = tuple(range(2, 2 + rank))
        self.slope = slope
        self.begin_as_mean()

    def begin_as_mean(self) -> None:
        """Set A and B to 0."""
        nn.init.zeros_(self.dedicated.weight)
        nn.init.zeros_(self.adapted.weight)

    def share(self, dedicated: Tensor, adapted: Tensor) -> Tensor:
        """a, the dedicated map's part: (N, C, X), (N, C, X) -> (N, C, 1...) in (0, 1)."""
        s = dedicated.mean(self.axes, keepdim=True) + adapted.mean(self.axes, keepdim=True)
        z = F.leaky_relu(self.norm(self.squeeze(s)), self.slope)
        return torch.sigmoid(self.dedicated(z) - self.adapted(z))

    def forward(self, dedicated: Tensor, adapted: Tensor) -> Tensor:
        """(N, C, X), (N, C, X) -> (N, C, X)."""
        return adapted + self.share(dedicated, adapted) * (dedicated - adapted)


class HybridEncoderUNet(UNet):
    """Adapted and dedicated encoder, a selective fusion at every stage, the decoder of a `PlainUNet`.

    State dict: `adapted.stages.*`, `dedicated.stages.*` (both as `encoder.stages.*` of a `PlainUNet`), `fusion.{s}.*`
    of stage s, the largest first, and `decoder.*`. `covfast.models.transfer` fills the adapted encoder.

    Args:
        in_channels: of the image.
        classes: channels of the logits.
        topology: of each encoder and of the decoder.
        deep_supervision: whether training gives the logits of every level.
    """

    def __init__(self, in_channels: int, classes: int, topology: Topology, deep_supervision: bool = False) -> None:
        super().__init__(topology, deep_supervision)
        self.adapted = plain_encoder(in_channels, topology)
        self.dedicated = plain_encoder(in_channels, topology)
        self.fusion = nn.ModuleList(
            SelectiveFusion(channels, topology.rank, topology.eps, topology.slope) for channels in topology.features
        )
        self.decoder = Decoder(classes, topology)
        self._initialise()
        for unit in self.fusion:
            unit.begin_as_mean()

    def encode(self, x: Tensor) -> list[Tensor]:
        """The fused outputs of all stages, the largest first."""
        stages = zip(self.fusion, self.dedicated(x), self.adapted(x), strict=True)
        return [fuse(dedicated, adapted) for fuse, dedicated, adapted in stages]
