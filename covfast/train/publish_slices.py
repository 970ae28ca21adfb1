"""Packages of networks that were trained on axial slices: infection within the lungs, lungs, or the network alone."""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from covfast.models import infnet_files, infnet_multiclass, miniseg_files
from covfast.models.checkpoint import PICTURES_HU, Checkpoint, slice_recipe, whole_slice_recipe
from covfast.models.infnet import MULTIPLE, TwoClasses
from covfast.train.recipe import Recipe
from covfast.train.systems.infnet import scaled_size
from covfast.volume import CONSOLIDATION, INFECTION, LABELS

MARGIN_MM = 10.0

_NOTES = (
    "The training pictures do not tell their window: [-1250, 250] HU is assumed; slices of 8 bits stay as they are.",
    "The network was trained on whole pictures; of a volume it sees slices cut to the lungs and a margin of 10 mm.",
)


def inference_recipe(table: Mapping[str, Any]) -> dict[str, Any]:
    """Stages of use for a training on slices of the lungs' box: the network gets what it was trained on."""
    given = table["input"]
    return slice_recipe(given["window_hu"], given["size"], given["mean"], given["std"], given["margin_mm"])


def miniseg_infection(table: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """covfast's own MiniSeg. Raises: WeightsError: as `covfast.models.miniseg_files.build`."""
    size = int(table["input"]["size"])
    module, recipe = miniseg_files.build(tensors, name), inference_recipe(table)
    return Checkpoint(module, recipe, "covfast", labels=dict(LABELS), input_shape=(1, 3, size, size))


def miniseg_lung(table: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """covfast's own MiniSeg of lung fields, label 1. Raises: WeightsError: as `covfast.models.miniseg_files.build`."""
    given, size = table["input"], int(table["input"]["size"])
    recipe = whole_slice_recipe(given["window_hu"], size, given["mean"], given["std"])
    module = miniseg_files.build(tensors, name)
    return Checkpoint(module, recipe, "covfast", labels={1: "lung"}, input_shape=(1, 3, size, size))


class ConsolidationOfLesions(nn.Module):
    """Of the classes background, ground glass and consolidation the last two: their softmax is that given a lesion.

    Args:
        network: (N, C, H, W) -> (N, 3, H, W) in evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 2, H, W) logits: ground glass, consolidation."""
        return self.network(x)[:, 1:]


def miniseg_lesions(table: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """covfast's own MiniSeg of lesion types. Raises: WeightsError: as `covfast.models.miniseg_files.build`."""
    size = int(table["input"]["size"])
    module = ConsolidationOfLesions(miniseg_files.build(tensors, name)).eval()
    labels = {value: text for value, text in LABELS.items() if value} | {INFECTION: CONSOLIDATION}
    return Checkpoint(module, inference_recipe(table), "covfast", labels=labels, input_shape=(1, 3, size, size))


def miniseg(table: Recipe, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """MiniSeg as published, with mean and deviation of its fold. Raises: WeightsError: as `miniseg_files.build`."""
    size = int(table["input"]["size"])
    # Pictures are resized without averaging in training, too.
    recipe = slice_recipe(PICTURES_HU, size, facts["mean"], facts["std"], MARGIN_MM, antialias=False)
    module = miniseg_files.build(tensors, name)
    return Checkpoint(module, recipe, "covfast", _NOTES, input_shape=(1, 3, size, size))


def infnet(table: Recipe, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """Inf-Net, its logit as the second of two classes. Raises: WeightsError: as `infnet_files.build`."""
    del facts  # the recipe has them
    given = table["input"]
    size = scaled_size(given["size"], 1.0)
    recipe = slice_recipe(PICTURES_HU, size, given["mean"], given["std"], MARGIN_MM)
    module = TwoClasses(infnet_files.build(tensors, name)).eval()
    shape = (1, 3, size, size)
    return Checkpoint(module, recipe, "covfast", _NOTES, input_shape=shape, multiple=MULTIPLE)


def multiclass(table: Recipe, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """The multi-class network alone. Raises: WeightsError: as `infnet_files.read_multiclass`."""
    del facts
    found = infnet_files.read_multiclass(tensors, name)
    notes = (
        "A bare network, without a recipe: beside the slice, blue first, it takes its infection map as three more "
        "channels, all normalised as input.mean and input.std say.",
        f"The channels of its output are {', '.join(infnet_multiclass.CHANNELS)}, in this order.",
    )
    size = int(table["input"]["size"])
    size -= size % infnet_multiclass.MULTIPLE
    return Checkpoint(
        found.module,
        {},
        "covfast",
        notes,
        labels={},
        input_shape=(1, 6, size, size),
        multiple=infnet_multiclass.MULTIPLE,
    )


OWN: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Tensor], str], Checkpoint]] = {
    "miniseg-infection": miniseg_infection,
    "miniseg-lung": miniseg_lung,
    "miniseg-lesions": miniseg_lesions,
}
"""System of the weights that ship -> (recipe, tensors, name of their file) to a checkpoint. Their data are known."""

SYSTEMS: Mapping[str, Callable[[Recipe, Mapping[str, Any], Mapping[str, Tensor], str], Checkpoint]] = {
    "miniseg": miniseg,
    "infnet": infnet,
    "semi-infnet": infnet,
    "infnet-multiclass": multiclass,
}
"""System -> (recipe, facts of the record, tensors, name of their file) to a checkpoint."""
