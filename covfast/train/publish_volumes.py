"""Packages of networks that were trained on patches of volumes: the recipe of use that belongs to the training."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from covfast.models.checkpoint import Checkpoint
from covfast.models.hybrid import HybridEncoderUNet
from covfast.models.nnunet_recipe import Resampling, Settings, recipe
from covfast.models.relation import RelationUNet
from covfast.models.state_dict import load_checked
from covfast.models.transfer import Strategy
from covfast.models.unet import PlainUNet, ResidualEncoderUNet, UNet
from covfast.train.recipe import Recipe, value_classes
from covfast.train.systems.unet import topology
from covfast.train.volumes import SEPARATE
from covfast.volume import CANONICAL

_LEAST_STD = 1e-8  # as of CtNormalisation
_CLIPPED = (
    "Volumes are clipped before they are resampled, to the tighter of data.window_hu and the normalisation's limits; "
    "in training to the first before and to the second behind."
)


def volumes(table: Recipe, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """The network of a recipe with planned parts filled in, and what nnU-Net v2 does around it.

    Args:
        table: Of the stage whose network is kept.
        facts: "classes" and "normalisation_hu" of its training volumes.
        tensors: State dict.
        name: Of its file, for errors.

    Raises:
        WeightsError: The tensors do not fit the network.
    """
    module = network(table, int(facts["classes"]))
    load_checked(module, tensors, name, f"a {type(module).__name__}")
    values = label_values(value_classes(table["data"]), int(facts["classes"]))
    settings = settings_of(table, facts["normalisation_hu"], values)
    return Checkpoint(
        module,
        recipe(settings, ()),
        "covfast",
        (_CLIPPED,) if settings.normalises_first and any(settings.spacing_mm) else (),
        labels=label_names(table["data"], values),
        input_shape=(1, 1, *table["patch"]["size"]),  # smaller ones leave its norms a voxel or two at the bottom
        multiple=module.multiple,
    )


def network(table: Recipe, classes: int) -> UNet:
    """The network that a recipe trains, with new weights. Raises: ValueRangeError: as `topology`."""
    shape = topology(table)
    if table["system"] == "relation":
        return RelationUNet(1, classes, shape)
    if table["system"] == "transfer" and table["strategy"]["name"] == Strategy.HYBRID.value:
        return HybridEncoderUNet(1, classes, shape)
    if table["model"].get("kind") == "residual":
        return ResidualEncoderUNet(1, classes, shape.features, shape.kernels, shape.strides)
    return PlainUNet.of(1, classes, shape)


def settings_of(table: Recipe, normalisation_hu: Sequence[float], values: Sequence[int]) -> Settings:
    """What a training did to its volumes, as settings of an nnU-Net v2.

    The order of its preparation is kept: resampled, then normalised; but where `window_hu` clips before the resampling,
    as nnU-Net has it. Nothing is cut off around the body.
    """
    data, patch = table["data"], table["patch"]["size"]
    low, high, mean, std = map(float, normalisation_hu)
    window = data["window_hu"] or [low, high]
    lead = 3 - len(patch)  # a 2-D network sees slices of the first axis
    turned = table["augmentation"]["flip_axes"] if table["augmentation"]["enabled"] else []
    return Settings(
        generation=2,
        orientation=CANONICAL,
        transpose=(0, 1, 2),
        channels=(
            {
                "scheme": "ct",
                "low": min(max(low, window[0]), high),
                "high": max(min(high, window[1]), low),
                "mean": mean,
                "std": max(std, _LEAST_STD),
            },
        ),
        spacing_mm=tuple(data["spacing_mm"]) or (0.0, 0.0, 0.0),
        data=Resampling(3, anisotropy=SEPARATE),
        logits=Resampling(1, anisotropy=SEPARATE),
        patch=(*[1] * lead, *patch),
        mirror_axes=tuple(axis for axis in sorted(set(turned)) if lead <= axis < 3),
        values=tuple(values),
        is_regions=False,
        foreground=tuple(value for value in values if value),
        crops=False,
        normalises_first=bool(data["window_hu"]),
    )


def label_names(data: Mapping[str, Any], values: Sequence[int]) -> dict[int, str]:
    """Names of the values of a package's labels, as a recipe's `data` table gives them."""
    return {value: data["names"].get(str(value), f"label {value}") for value in sorted(set(values) - {0})}


def label_values(classes: Mapping[int, int], count: int) -> tuple[int, ...]:
    """The value in the training masks of each class 0 .. count - 1, the lowest of several; 0 of one that has none.

    Args:
        classes: value -> class; empty: values are classes.
        count: of the classes.
    """
    if not classes:
        return tuple(range(count))
    found = {kind: [value for value, own in classes.items() if own == kind] for kind in range(1, count)}
    return (0, *(min(found[kind], default=0) for kind in range(1, count)))
