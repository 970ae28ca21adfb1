"""lungmask's U-Net (Hofmanninger et al., Eur Radiol Exp 4:50, 2020): lungs (R231) or lobes (LTRCLobes) of each slice.

Written from the facts of the published files, not from their code. The names of the modules are those of the weight
files; the entries of the files that the network never uses (`residual_*`) are left out.

lungmask's labels run the other way round than covfast's own: **1 is the right lung and 2 the left one**; lobes are 1
left upper, 2 left lower, 3 right upper, 4 right middle, 5 right lower. They are kept, with names.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.errors import ValueRangeError, WeightsError, describe
from covfast.models.state_dict import load_checked

if TYPE_CHECKING:
    from covfast.models.checkpoint import Checkpoint

SIZE = 256
"""Side of the square that lungmask brings the body's box to."""
WINDOW_HU = (-1024.0, 600.0)

LUNGS = {1: "right lung", 2: "left lung"}
LOBES = {
    1: "left upper lobe",
    2: "left lower lobe",
    3: "right upper lobe",
    4: "right middle lobe",
    5: "right lower lobe",
}

_UNUSED = "residual_"
_NOTE = "Labels in lungmask's order, the reverse of covfast's own: 1 is the right lung, 2 the left one."
_LICENCE_NOTE = "The weight files state no licence; that of the repository that publishes them is given."


def _conv_block(inputs: int, outputs: int) -> nn.Sequential:
    """Twice: 3x3 convolution, ReLU, batch norm; in this order."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
    )


class Block(nn.Module):
    """(N, i, H, W) -> (N, o, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = _conv_block(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.block(x))


class UpBlock(nn.Module):
    """(N, i, H, W) and a skip (N, o, 2H, 2W) -> (N, o, 2H, 2W): bilinear x2, 1x1 convolution, cat(up, skip), block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Conv2d(inputs, outputs, 1)
        )
        self.conv_block = Block(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return cast(Tensor, self.conv_block(torch.cat([self.up(x), skip], 1)))


class LungUNet(nn.Module):
    """U-Net of convolution, ReLU, batch norm, in this order; average pooling between. 28,953,539 parameters.

    Args:
        classes: background included.
        channels: of the stages, from the finest.
        inputs: channels of the input.

    Raises:
        ValueRangeError: `channels` does not double from stage to stage, or there are fewer than two classes or stages.
    """

    def __init__(self, classes: int = 3, channels: Sequence[int] = (64, 128, 256, 512, 1024), inputs: int = 1) -> None:
        super().__init__()
        doubles = all(b == 2 * a for a, b in itertools.pairwise(channels))
        if len(channels) < 2 or not doubles:
            raise ValueRangeError(
                describe("channels", tuple(channels), "two stages or more, each twice the one before")
            )
        if classes < 2:
            raise ValueRangeError(describe("classes", classes, "2 or more, background included"))
        ends = [inputs, *channels]
        self.down_path = nn.ModuleList(Block(a, b) for a, b in zip(ends, channels, strict=False))
        self.up_path = nn.ModuleList(UpBlock(2 * c, c) for c in reversed(channels[:-1]))
        self.last = nn.Conv2d(channels[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, classes, H, W), logarithms of probabilities; H and W multiples of 2^(stages - 1)."""
        skips = []
        for stage, down in enumerate(self.down_path):
            x = down(F.avg_pool2d(x, 2) if stage else x)
            skips.append(x)
        for up, skip in zip(self.up_path, reversed(skips[:-1]), strict=True):
            x = up(x, skip)
        return F.log_softmax(self.last(x), dim=1)


def build(tensors: Mapping[str, Tensor], name: str) -> LungUNet:
    """A LungUNet of the sizes that the tensors have, with them loaded, in evaluation mode.

    Raises:
        WeightsError: A tensor is missing, not wanted, of the wrong shape, or not finite.
    """
    kept = {key: value for key, value in tensors.items() if _UNUSED not in key}
    try:
        stages = len({key.split(".")[1] for key in kept if key.startswith("down_path.")})
        channels = [len(kept[f"down_path.{stage}.block.0.weight"]) for stage in range(stages)]
        module = LungUNet(len(kept["last.bias"]), channels, kept["down_path.0.block.0.weight"].shape[1])
    except (KeyError, IndexError, TypeError, RuntimeError, ValueRangeError) as error:
        raise WeightsError(describe(name, f"tensors that make no such U-Net ({error})", "lungmask's")) from error
    load_checked(module, kept, name, "lungmask's")
    return module


def stages(classes: int, postprocessing: bool = True) -> list[dict[str, Any]]:
    """Stages of one network, behind "orient": slices, network, argmax, and lungmask's postprocessing of the volume."""
    low, high = WINDOW_HU
    cleaning: list[dict[str, Any]] = [{"stage": "lung_components"}] if postprocessing else []
    return [
        {"stage": "slices", "crop": "body", "size": [SIZE, SIZE], "low_hu": low, "high_hu": high},
        {"stage": "network"},
        {"stage": "argmax", "values": list(range(classes))},
        *cleaning,
    ]


def _recipe(stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"version": 1, "stages": [{"stage": "orient", "to": "SPL"}, *stages]}


def read(tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """The checkpoint of one of lungmask's files, as `LMInferer(modelpath=...)` runs it.

    Raises:
        WeightsError: as `build`.
    """
    from covfast.models.checkpoint import Checkpoint

    module = build(tensors, name)
    classes = module.last.out_channels
    named = {3: LUNGS, 6: LOBES}.get(classes, {label: f"label {label}" for label in range(1, classes)})
    return Checkpoint(
        module,
        _recipe(stages(classes)),
        "lungmask",
        (_NOTE, _LICENCE_NOTE),
        labels=named,
        licence="Apache-2.0",
        input_shape=(1, module.down_path[0].block[0].in_channels, SIZE, SIZE),
        multiple=2 ** (len(module.down_path) - 1),
    )


def without_postprocessing(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with the network's labels as they are, as `volume_postprocessing=False` gives them.

    Filling from another network (`fuse`) cleans its result all the same, as lungmask's does.
    """
    kept = [stage for stage in checkpoint.recipe["stages"] if stage["stage"] != "lung_components"]
    return replace(checkpoint, recipe={**checkpoint.recipe, "stages": kept})


def fuse(lobes: Checkpoint, lungs: Checkpoint, name: str = "fill") -> Checkpoint:
    """One checkpoint of two: lobes within the lungs that the other finds, as `LMInferer(fillmodel=...)` fuses them.

    What only `lungs` labels joins the neighbouring lobes; what `lungs` does not label is background.

    Args:
        lobes, lungs: checkpoints of this format, such as LTRCLobes and R231.
        name: of the second network in the package.

    Raises:
        ValueRangeError: A checkpoint is of another format or fused already.
    """
    for argument, checkpoint in (("lobes", lobes), ("lungs", lungs)):
        if checkpoint.format != "lungmask" or checkpoint.members:
            got = "a fused one" if checkpoint.members else checkpoint.format
            raise ValueRangeError(describe(argument, got, "a checkpoint of one lungmask file"))
    filling = {"stage": "fill_from", "member": name, "stages": lungs.recipe["stages"][1:]}
    recipe = {**lobes.recipe, "stages": [*lobes.recipe["stages"], filling]}
    return replace(lobes, recipe=recipe, members={name: lungs.module}, member="main")
