"""MiniSeg's weight files as checkpoints."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from covfast.errors import ValueRangeError, WeightsError, describe
from covfast.models.checkpoint import PICTURES_HU, Checkpoint, slice_recipe
from covfast.models.miniseg import MiniSeg
from covfast.models.state_dict import load_checked

_AUXILIARY = re.compile(r"pred[234]\.")
_NOTES = (
    "The file does not hold the mean and standard deviation of its training fold: 0 and 1 are assumed; the "
    "published preprocessing is x / 255, minus the fold's mean, divided by its standard deviation, at 512 x 512.",
    "The file does not tell the window of its training pictures: [-1250, 250] HU is assumed.",
)


def build(tensors: Mapping[str, Tensor], name: str) -> MiniSeg:
    """A MiniSeg of the sizes that the tensors have, with them loaded, in evaluation mode.

    Missing auxiliary heads are accepted: evaluation does not use them.

    Raises:
        WeightsError: A tensor is missing, not wanted, of the wrong shape, or not finite.
    """
    try:
        channels = [len(tensors[f"long{stage}.conv0.weight"]) for stage in (1, 2, 3, 4)]
        heads = all(f"pred{k}.1.{part}" in tensors for k in (2, 3, 4) for part in ("weight", "bias"))
        inputs, classes = tensors["long1.conv0.weight"].shape[1], len(tensors["pred1.1.weight"])
        blocks = [len({n.split(".")[1] for n in tensors if n.startswith(f"level{stage}.")}) for stage in (1, 2, 3, 4)]
        branches = len(tensors["down2.attention.weight"])
        module = MiniSeg(classes, inputs, channels, blocks, heads, branches)
    except (KeyError, IndexError, TypeError, RuntimeError, ValueRangeError) as error:
        raise WeightsError(describe(name, f"tensors that make no MiniSeg ({error})", "those of a MiniSeg")) from error
    kept = {key: value for key, value in tensors.items() if heads or not _AUXILIARY.match(key)}
    load_checked(module, kept, name, "a MiniSeg")
    return module


def read(tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """The checkpoint of one of Qiu et al.'s own files.

    Raises:
        WeightsError: As `build`.
    """
    recipe = slice_recipe(PICTURES_HU, 512, 0.0, 1.0, 10.0)
    return Checkpoint(build(tensors, name), recipe, "miniseg", _NOTES, licence="CC-BY-NC-SA-4.0")
