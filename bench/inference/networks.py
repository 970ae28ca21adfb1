"""The networks that are timed: published architectures, random weights of a fixed seed, statistics that fit them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SEED = 2020


@dataclass(frozen=True)
class Network:
    """A network and the input that it is timed with.

    Attributes:
        build: makes the torch module with random weights; torch and the network's package are imported there.
        shape: of the input.
        small: of an input for quick checks, and for the export, whose package takes any size.
        multiple: of the sizes that it takes.
        gflop: of one run, convolutions only, 2 a multiply-add, as the network is published.
        samples: that a quantiser sees.
    """

    build: Callable[[], Any]
    shape: tuple[int, ...]
    small: tuple[int, ...]
    multiple: int | tuple[int, ...]
    gflop: float
    samples: int

    def input(self, is_small: bool, seed: int = 0) -> npt.NDArray[np.float32]:
        """A batch of normally distributed numbers."""
        return np.random.default_rng(seed).standard_normal(self.small if is_small else self.shape, dtype=np.float32)

    def calibration(self, is_small: bool) -> list[npt.NDArray[np.float32]]:
        """What a quantiser sees, each of the input's shape."""
        return [self.input(is_small, 1 + seed) for seed in range(self.samples)]

    def module(self) -> Any:
        """The module in evaluation mode, the same numbers every time."""
        import torch

        torch.manual_seed(SEED)
        module = self.build()
        if _randomise(module):
            with torch.no_grad():
                module.train()(torch.from_numpy(self.input(is_small=False, seed=SEED)))
        return module.eval()


def _randomise(module: Any) -> bool:
    """Random norms and slopes; whether there are running statistics, which a run in training mode sets."""
    import torch
    from torch import nn

    has_statistics = False
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.InstanceNorm3d)):
            part.weight.data.mul_(torch.empty_like(part.weight).uniform_(0.7, 1.3))
            part.bias.data.normal_(0, 0.1)
            part.momentum = None
            has_statistics |= part.running_var is not None
        if isinstance(part, nn.PReLU):
            part.weight.data.uniform_(0.1, 0.4)
    return has_statistics


def _miniseg() -> Any:
    import covfast

    return covfast.models.MiniSeg(aux=False)


def _plain_unet(rank: int, features: Sequence[int], strides: Sequence[Any], classes: int) -> Any:
    """nnU-Net's PlainConvUNet as its plans configure it. From dynamic_network_architectures."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if rank == 2 else (nn.Conv3d, nn.InstanceNorm3d)
    stages = len(features)
    return PlainConvUNet(
        input_channels=1,
        n_stages=stages,
        features_per_stage=list(features),
        conv_op=conv,
        kernel_sizes=[[3] * rank] * stages,
        strides=list(strides),
        n_conv_per_stage=[2] * stages,
        num_classes=classes,
        n_conv_per_stage_decoder=[2] * (stages - 1),
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )


def _unet3d() -> Any:
    strides = [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)]
    return _plain_unet(3, (32, 64, 128, 256, 320, 320), strides, 4)


def _unet2d() -> Any:
    return _plain_unet(2, (32, 64, 128, 256, 512, 512, 512, 512), [(1, 1), *[(2, 2)] * 7], 4)


def _lungmask() -> Any:
    """R231 as lungmask builds it. From lungmask."""
    from lungmask.resunet import UNet

    return UNet(1, 3, depth=5, wf=6, padding=True, batch_norm=True, up_mode="upsample", residual=False)


def _infnet() -> Any:
    from torch import nn

    import covfast

    module = covfast.models.InfNet()
    for part in module.resnet.modules():
        if hasattr(part, "bn3"):
            nn.init.constant_(part.bn3.weight, 0.2)  # random blocks as strong as their shortcuts amplify rounding
    return module


NETWORKS = {
    "miniseg": Network(_miniseg, (1, 3, 512, 512), (1, 3, 96, 128), 1, 0.953, 20),
    "unet3d": Network(_unet3d, (1, 1, 56, 192, 160), (1, 1, 16, 64, 64), (8, 32, 32), 1176.6, 4),
    "unet2d": Network(_unet2d, (1, 1, 512, 512), (1, 1, 256, 256), 128, 119.2, 10),
    "lungmask": Network(_lungmask, (1, 1, 256, 256), (1, 1, 64, 96), 16, 96.2, 10),
    "infnet": Network(_infnet, (1, 3, 352, 352), (1, 3, 96, 128), 32, 27.7, 10),
}
"""MiniSeg; nnU-Net's PlainConvUNet with 4 classes, of 6 stages 32..320 in 3-D and 8 stages 32..512 in 2-D; lungmask's
R231; Inf-Net with Res2Net-50."""
