"""Inf-Net (Fan et al., IEEE TMI 39(8):2626-2637, 2020) on COVID-SemiSeg's slices, as its released code trains it.

Where code and paper differ, `fidelity` chooses; docs/infnet.md lists the points.
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covfast.errors import FormatError, ValueRangeError, WeightsError, describe
from covfast.models import InfNet
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.loop import WEIGHT, read_checkpoint
from covfast.train.losses import infnet_loss
from covfast.train.recipe import Recipe
from covfast.train.schedules import infnet_rate
from covfast.train.systems.base import Epochs, System, dice, fold_sides, mean
from covfast.train.systems.pictures import Part, Pictures, group_by_size, normalised
from covfast.train.systems.stage import Context, run_stage

STRIDE = 32
"""Sides of the network's input are multiples of it."""

_VALIDATION_BATCH = 8


def scaled_size(size: int, scale: float) -> int:
    """The side of a scale: round(size * scale / 32) * 32, so 352 becomes 256, 352, 448 for 0.75, 1, 1.25."""
    return max(round(size * scale / STRIDE), 1) * STRIDE


def labelled_parts(folder: Path) -> dict[str, Part]:
    """The pictures of a labelled slice: image, mask, edge of the mask."""
    return {"image": Part(folder / "Imgs", 3), "mask": Part(folder / "GT"), "edge": Part(folder / "Edge")}


class Source:
    """Slices with masks and edges from one or several folders: the labelled ones, and pseudo-labelled ones behind them.

    Args:
        sets: Pictures with the parts "image", "mask", "edge", and the names that are used of each.
    """

    def __init__(self, sets: Sequence[tuple[Pictures, Sequence[str]]]) -> None:
        self.rows = [(pictures, name) for pictures, names in sets for name in names]
        self.sets = list(sets)

    def __len__(self) -> int:
        return len(self.rows)

    def stack(self, key: str, which: Sequence[int]) -> Tensor:
        """(N, C, size, size) float32 in [0, 1] of one part."""
        return torch.cat([self.rows[i][0].stack(key, [self.rows[i][1]]) for i in which])

    def files(self) -> list[Path]:
        """All files."""
        return [path for pictures, names in self.sets for path in pictures.files(names)]


class InfNetSystem(System):
    """Adam, gradients cut off at +-0.5, each batch at three sizes, one optimiser step a size.

    Args:
        table: Recipe; its `optimisation` table rules.
        train: Training slices.
        held: Held-out slices; validation is the mean Dice at 0.5 of the final map over them.
        read: Other files that the run depends on, for the record.
    """

    def __init__(self, table: Recipe, train: Source, held: Source | None = None, read: Sequence[Path] = ()) -> None:
        super().__init__(table)
        self.read = list(read)
        settings = table["optimisation"]
        self.train, self.held = train, held
        self.is_code = table["fidelity"] == "code"
        self.sizes = [scaled_size(table["input"]["size"], scale) for scale in table["input"]["scales"]]
        self.steps_a_turn = len(self.sizes)
        # The released loop runs from epoch 1 up to, and without, the number of its argument.
        self.first_epoch = 1 if self.is_code else 0
        epochs = settings["epochs"] - self.first_epoch
        if epochs < 1:
            expected = "2 or more: the code's loop leaves the first one out"
            raise ValueRangeError(describe("optimisation.epochs", str(settings["epochs"]), expected))
        self.order = Epochs(len(train), settings["batch"], table["seed"], drops_last=False)
        self.turns = epochs * self.order.length

    def build(self) -> nn.Module:
        """Inf-Net with new weights; `beginning` puts those of a file into its backbone."""
        given = self.table["model"]
        return cast(nn.Module, InfNet(channel=given["channel"], planes=given["planes"]))

    def optimiser(self, module: nn.Module) -> Any:
        """Adam on everything."""
        return torch.optim.Adam(module.parameters(), lr=self.table["optimisation"]["rate"])

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[Batch]:
        """The same slices at every size."""
        indices = self.order.indices(turn)
        which, weight = share.dealt(indices).tolist(), share.weight(len(indices))
        given = self.table["input"]
        image = normalised(self.train.stack("image", which), given["mean"], given["std"])
        parts = {"image": image, "mask": self.train.stack("mask", which), "edge": self.train.stack("edge", which)}
        return [{**{key: resized(x, size) for key, x in parts.items()}, WEIGHT: weight} for size in self.sizes]

    def rate(self, step: int) -> float:
        """Adam's rate with the code's decay, or with the paper's."""
        settings = self.table["optimisation"]
        epoch = step // (self.steps_a_turn * self.order.length) + self.first_epoch
        return infnet_rate(epoch, settings["rate"], settings["decay_epoch"], self.table["fidelity"])

    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Edge BCE, and weighted IoU and BCE of the four maps."""
        return infnet_loss(network(batch["image"]), batch["mask"], batch["edge"], self.table["fidelity"])

    def clip(self, module: nn.Module) -> None:
        """Every gradient within +-clip."""
        nn.utils.clip_grad_value_(module.parameters(), self.table["optimisation"]["clip"])

    def validate(self, module: nn.Module, device: torch.device) -> float | None:
        """Mean Dice at 0.5 over the held-out slices, at the input size, masks cut at 0.5."""
        if not self.held:
            return None
        scores = []
        for which in torch.arange(len(self.held)).split(_VALIDATION_BATCH):
            probability = predict(module, self.held.stack("image", which.tolist()), self.table, device)
            truth = self.held.stack("mask", which.tolist()) > 0.5
            scores += [dice(truth[k], probability[k] > 0.5) for k in range(len(truth))]
        return mean(scores)

    def splits(self) -> dict[str, list[str]]:
        """Names of the slices."""
        sides = {"training": self.train, "validation": self.held}
        return {key: [name for _, name in side.rows] if side else [] for key, side in sides.items()}

    def files(self) -> Sequence[Path]:
        """Every picture of both sides, and the backbone's weights."""
        return [*self.train.files(), *(self.held.files() if self.held else []), *self.read]


def resized(x: Tensor, size: int) -> Tensor:
    """(N, C, H, W) at another side: bilinear, the corners aligned, as the released code does."""
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=True)


def predict(module: nn.Module, image: Tensor, table: Recipe, device: torch.device) -> Tensor:
    """Probabilities (N, 1, H, W) on the CPU of slices (N, 3, H, W) in [0, 1]; the module is in evaluation mode."""
    given = table["input"]
    x = normalised(image, given["mean"], given["std"]).to(device)
    return torch.sigmoid(module(x).float()).cpu()


def labelled(table: Recipe, data: Path) -> tuple[Source, Source | None]:
    """(training, held-out) slices of the recipe's labelled folder; groups of equal picture size stay together.

    Raises:
        FormatError: A picture is missing, extra, unreadable, or of another size than its fellows.
    """
    pictures = Pictures(labelled_parts(data / table["data"]["folder"]), table["input"]["size"])
    groups = group_by_size(pictures.names, pictures.sizes(pictures.names))
    inside, outside = fold_sides(list(groups), table["split"])
    sides = [[name for group in side for name in groups[group]] for side in (inside, outside)]
    return Source([(pictures, sides[0])]), Source([(pictures, sides[1])]) if sides[1] else None


def backbone(context: Context) -> list[Path]:
    """The file of the backbone's weights; none where the recipe names none. Raises: FormatError: it is not there."""
    name = context.table["model"]["backbone"]
    if not name:
        return []
    path = context.data / name
    if not path.is_file():
        raise FormatError(describe("model.backbone", f"no file {path.name}", "a file in the data folder"))
    return [path]


def beginning(context: Context, system: System) -> dict[str, Tensor] | None:
    """Fresh weights with the backbone of the recipe's file in them; None where the recipe names none.

    Raises:
        FormatError: The file is not there or cannot be read.
        WeightsError: It is not of this backbone.
    """
    paths = backbone(context)
    if not paths:
        return None
    name = paths[0].name
    torch.manual_seed(context.table["seed"])
    module = system.build()
    held, state = read_checkpoint(paths[0], "model.backbone names it"), dict(module.state_dict())
    if not isinstance(held, dict):
        raise WeightsError(describe(name, type(held).__name__, "names and tensors of a Res2Net"))
    for key in (key for key in state if key.startswith("resnet.") and not key.startswith("resnet.fc.")):
        value = held.get(key, held.get(key.removeprefix("resnet.")))
        if not isinstance(value, Tensor) or value.shape != state[key].shape:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else "no tensor"
            raise WeightsError(describe(f"{name}: {key}", got, f"shape {tuple(state[key].shape)}"))
        state[key] = value
    return state


def run(context: Context) -> nn.Module:
    """Train in one stage."""
    train, held = labelled(context.table, context.data)
    system = InfNetSystem(context.table, train, held, backbone(context))
    return run_stage(context, system, initial=beginning(context, system))
