"""Inf-Net's weight files, and those of the multi-class network behind it, as checkpoints."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from covfast.errors import WeightsError, describe
from covfast.models import infnet_multiclass
from covfast.models.checkpoint import PICTURES_HU, Checkpoint, slice_recipe
from covfast.models.infnet import MULTIPLE, InfNet, TwoClasses
from covfast.models.infnet_multiclass import InfNetMultiClass
from covfast.models.res2net import EXPANSION
from covfast.models.state_dict import load_checked

SIZE = 352
"""Side of the square that Inf-Net's pictures are brought to."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, in 0 to 1: Inf-Net's input is normalised with them."""

_LICENCE_NOTE = (
    "The weight files state no licence: their repository is under the MIT licence, the pictures they were trained on "
    "are for non-commercial use."
)
_NOTES = (
    "The file does not tell the window of its training pictures: [-1250, 250] HU is assumed, in the box of the lungs.",
    "A probability above 0.5 is infection; the published tool stretches the map of each slice to 0 to 1 instead, which "
    "paints something in every slice.",
    _LICENCE_NOTE,
)
_MULTICLASS_NOTES = (
    "A bare network, without a recipe: beside the slice it takes Inf-Net's map of it, as three more channels.",
    f"The channels of its output are {', '.join(infnet_multiclass.CHANNELS)}, in this order.",
    _LICENCE_NOTE,
)


def build(tensors: Mapping[str, Tensor], name: str) -> InfNet:
    """An InfNet of the sizes that the tensors have, with them loaded, in evaluation mode.

    Raises:
        WeightsError: A tensor is missing, not wanted, of the wrong shape, or not finite.
    """
    try:
        inputs = tensors["resnet.conv1.0.weight"].shape[1]
        planes = len(tensors["resnet.layer1.0.conv3.weight"]) // EXPANSION
        module = InfNet(inputs, 1, len(tensors["rfb2_1.branch0.conv.weight"]), planes)
    except (KeyError, IndexError, TypeError, RuntimeError) as error:
        raise WeightsError(describe(name, f"tensors that make no Inf-Net ({error})", "those of an Inf-Net")) from error
    load_checked(module, tensors, name, "an Inf-Net")
    return module


def read(tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """The checkpoint of one of Inf-Net's files; its module is `TwoClasses` of an `InfNet`.

    Raises:
        WeightsError: As `build`.
    """
    module = build(tensors, name)
    shape = (1, module.resnet.conv1[0].in_channels, SIZE, SIZE)
    recipe = slice_recipe(PICTURES_HU, SIZE, IMAGENET_MEAN, IMAGENET_STD, 10.0)
    return Checkpoint(TwoClasses(module).eval(), recipe, "infnet", _NOTES, input_shape=shape, multiple=MULTIPLE)


def read_multiclass(tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """The checkpoint of a file of the multi-class network, as a bare network.

    Raises:
        WeightsError: A tensor is missing, not wanted, of the wrong shape, or not finite.
    """
    try:
        width, inputs = tensors["inc.double_conv.0.weight"].shape[:2]
        module = InfNetMultiClass(inputs, len(tensors["outc.conv.weight"]), width)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            describe(name, f"tensors that make no such U-Net ({error})", "those of Inf-Net's multi-class network")
        ) from error
    load_checked(module, tensors, name, "Inf-Net's multi-class network")
    return Checkpoint(
        module,
        {},
        "infnet-multiclass",
        _MULTICLASS_NOTES,
        labels={},
        input_shape=(1, inputs, SIZE, SIZE),
        multiple=infnet_multiclass.MULTIPLE,
    )
