"""The variants of MiniSeg that its paper compares (Qiu et al., arXiv 2004.09750v3), by the names of its configurations.

`ABLATIONS["a6"]()` makes one. Their parameter counts are known; their structure is our reading of their names (of a9,
which has none, of the count alone), kept where it gives that count exactly. Left out, because no reading did: a0 (one
branch, 28,728), a3 (two paths, 75,144), a10 (another fusion, 80,624) and a11 (single path, 250,744).
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from covfast.models.miniseg import AttentiveBlock, ConvBlock, LongPathBlock, MiniSeg, depthwise, resize_like


class ParallelBlock(AttentiveBlock):
    """The branches of an AHSP block side by side: no sums from branch to branch, no average, no attention."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, stride)
        del self.attention, self.pool

    def forward(self, x: Tensor) -> Tensor:
        """(N, i, H, W) -> (N, o, H / stride, W / stride)."""
        x = self.conv1x1_down(x)
        branches = [self.get_submodule(f"conv{branch + 1}")(x) for branch in range(self.branches)]
        return cast(Tensor, self.act(self.bn(self.conv1x1_fuse(torch.cat(branches, 1)))))


class SinglePath(MiniSeg):
    """MiniSeg without the long path."""

    def __init__(self) -> None:
        super().__init__()
        for stage in (1, 2, 3, 4):
            for name in (f"long{stage}", f"level{stage}_long", f"cat{stage}"):
                if hasattr(self, name):
                    delattr(self, name)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The features of the four stages, (N, C_stage, H / 2^stage, W / 2^stage)."""
        outs = []
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"down{stage}")(x)
            for block in self.get_submodule(f"level{stage}").children():
                x = block(x) + x
            outs.append(x)
        return outs


class WithoutDecoder(MiniSeg):
    """MiniSeg's encoder and one head on its deepest stage."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = False
        for name, _ in list(self.named_children()):
            if name.startswith("up") or name in ("pred1", "pred2", "pred3"):
                delattr(self, name)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, 2, H, W)."""
        return resize_like(self.pred4(self.encode(x)[3]), x)


def _replaced(module: MiniSeg, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> MiniSeg:
    """The module with each part of a kind exchanged for what `make` gives for it."""
    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            if type(part) is kind:
                setattr(parent, name, make(part))
    return module


def _parallel(block: AttentiveBlock) -> ParallelBlock:
    return ParallelBlock(block.conv1x1_down.in_channels, block.bn.num_features, block.conv1.stride[0])


def _attentive(block: ConvBlock) -> AttentiveBlock:
    return AttentiveBlock(block.conv.in_channels, block.conv.out_channels, block.conv.stride[0])


def _with_small_kernel(block: LongPathBlock) -> LongPathBlock:
    block.conv1 = depthwise(block.conv1.in_channels, 3, block.conv1.stride[0])
    return block


ABLATIONS: Mapping[str, Callable[[], MiniSeg]] = MappingProxyType(
    {
        "a1": lambda: _replaced(SinglePath(), AttentiveBlock, _parallel),
        "a2": SinglePath,
        "a4": MiniSeg,
        "a5": lambda: _replaced(MiniSeg(), nn.PReLU, lambda _: nn.ReLU()),
        "a6": WithoutDecoder,
        "a7": lambda: MiniSeg(aux=False),
        "a8": lambda: _replaced(MiniSeg(), ConvBlock, _attentive),
        "a9": lambda: _replaced(MiniSeg(), LongPathBlock, _with_small_kernel),
        "p10": lambda: MiniSeg(channels=(16, 48, 64, 192)),
        "p11": lambda: MiniSeg(channels=(8, 16, 32, 64)),
        "p12": lambda: MiniSeg(channels=(8, 12, 24, 48)),
        "K2": lambda: MiniSeg(branches=2),
        "K8": lambda: MiniSeg(branches=8),
    }
)
"""Name -> constructor, two classes and three channels: a1 parallel branches on a single path, a2 AHSP on a single path,
a4 MiniSeg, a5 ReLU for PReLU, a6 no decoder, a7 no deep supervision, a8 AHSP in stage 1 too, a9 3x3 for 5x5 kernels on
the long path, p10 to p12 other widths, K2 and K8 branches."""
