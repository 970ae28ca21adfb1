"""Published weight files as torch modules: the format is found out from the names of the tensors."""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: no-warn-return-any

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from covfast.errors import FormatError, ValueRangeError, WeightsError, describe, file_name
from covfast.models.miniseg import MiniSeg
from covfast.volume import LABELS

FORMATS = ("miniseg",)
"""Formats that `import_checkpoint` reads."""

LICENCES = {"miniseg": "CC-BY-NC-SA-4.0"}
"""Licence under which the weight files of a format were published; non-commercial."""

_MARKS = {"miniseg": ("long1.conv0.weight", "down2.conv1x1_down.weight", "pred1.1.weight")}
_AUXILIARY = re.compile(r"pred[234]\.")


@dataclass(frozen=True)
class Checkpoint:
    """A network read from a weight file.

    Attributes:
        module: In evaluation mode, float32, on the CPU.
        recipe: Stages from a CT volume to labels, as `covfast.export` takes them.
        format: One of `FORMATS`.
        notes: What the file does not tell, and what was assumed instead.
    """

    module: nn.Module
    recipe: Mapping[str, Any]
    format: str
    notes: tuple[str, ...] = ()

    def export(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write a model package.

        Args:
            path: Of the package.
            options: As of `covfast.export`: labels, licence, provenance; `recipe` replaces the checkpoint's.
        """
        from covfast.export import export

        options.setdefault("recipe", dict(self.recipe))
        options.setdefault("labels", {value: name for value, name in LABELS.items() if value})
        options.setdefault("licence", LICENCES[self.format])
        options.setdefault("provenance", {"format": self.format, "notes": list(self.notes)})
        export(self.module, path, options.pop("input_shape", (1, 3, 512, 512)), **options)


def slice_recipe(
    window_hu: Sequence[float], size: int, mean: float, std: float, margin_mm: float, threshold: float = 0.5
) -> dict[str, Any]:
    """Recipe of a two-class 2-D network: each axial slice of the lungs' box, three equal channels, class 1 = infection.

    Args:
        window_hu: (low, high), brought to [0, 1].
        size: Side of the square that the box is resampled to.
        mean, std: x -> (x - mean) / std, the same for the three channels.
        margin_mm: In the plane, around the lungs of the whole volume.
        threshold: Of the probability.
    """
    stages: list[dict[str, Any]] = [
        {"stage": "orient", "to": "SPL"},
        {"stage": "lungs"},
        {"stage": "crop", "to": "lungs", "margin_mm": [0.0, margin_mm, margin_mm]},
        {"stage": "tile", "size": [1, 0, 0]},
        {"stage": "window", "low_hu": window_hu[0], "high_hu": window_hu[1]},
        {"stage": "resample", "size": [0, size, size], "antialias": True},
        {"stage": "normalise", "mean": [mean] * 3, "std": [std] * 3},
        {"stage": "network"},
        {"stage": "softmax"},
        {"stage": "channel", "index": 1},
        {"stage": "resample_back"},
        {"stage": "threshold", "above": threshold, "label": 3, "within": "lungs"},
    ]
    return {"version": 1, "stages": stages}


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a torch weight file; nothing but tensors and plain containers is unpickled.

    Raises:
        FormatError: Missing, unreadable, or more than a state dict.
    """
    expected = "a torch state dict that loads with weights_only"
    try:
        with warnings.catch_warnings():
            # torch warns of pickles that it did not write; they are refused below.
            warnings.simplefilter("ignore", UserWarning)
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise FormatError(describe(file_name(path), type(error).__name__, expected)) from error
    if isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    if not isinstance(held, Mapping) or not held:
        raise FormatError(describe(file_name(path), type(held).__name__, expected))
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in held.items()):
        raise FormatError(describe(file_name(path), "entries that are no tensors", expected))
    # DataParallel puts a prefix before every name.
    return {name.removeprefix("module."): value for name, value in held.items()}


def recognise(tensors: Mapping[str, Tensor]) -> str | None:
    """The format whose marks are all among the names; None if there is none."""
    return next((name for name, marks in _MARKS.items() if all(mark in tensors for mark in marks)), None)


def build_miniseg(tensors: Mapping[str, Tensor], name: str) -> MiniSeg:
    """A MiniSeg of the sizes that the tensors have, with them loaded.

    Missing auxiliary heads are accepted: evaluation does not use them.

    Raises:
        WeightsError: A tensor is missing, not wanted, of the wrong shape, or not finite.
    """
    try:
        channels = [len(tensors[f"long{stage}.conv0.weight"]) for stage in (1, 2, 3, 4)]
        heads = all(f"pred{k}.1.{part}" in tensors for k in (2, 3, 4) for part in ("weight", "bias"))
        inputs, classes = tensors["long1.conv0.weight"].shape[1], len(tensors["pred1.1.weight"])
        blocks = [len({n.split(".")[1] for n in tensors if n.startswith(f"level{stage}.")}) for stage in (1, 2, 3, 4)]
        module = MiniSeg(classes, inputs, channels, blocks, aux=heads)
    except (KeyError, IndexError, TypeError, RuntimeError, ValueRangeError) as error:
        raise WeightsError(describe(name, f"tensors that make no MiniSeg ({error})", "those of a MiniSeg")) from error
    wanted = module.state_dict()
    kept = {key: value for key, value in tensors.items() if heads or not _AUXILIARY.match(key)}
    for what, keys in (("no", wanted.keys() - kept.keys()), ("an unknown", kept.keys() - wanted.keys())):
        if keys:
            raise WeightsError(describe(name, f"{what} tensor {min(keys)!r}", f"{len(wanted)} tensors of a MiniSeg"))
    for key, value in kept.items():
        if value.shape != wanted[key].shape:
            raise WeightsError(describe(f"{name}: {key}", tuple(value.shape), f"shape {tuple(wanted[key].shape)}"))
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(describe(f"{name}: {key}", "a value that is not finite", "finite weights"))
    module.load_state_dict(kept)
    return module.eval()


def import_checkpoint(path: str | os.PathLike[str], format: str | None = None) -> Checkpoint:
    """Read a published weight file.

    Args:
        path: Of the file.
        format: One of `FORMATS`; None finds it out from the names of the tensors.

    Raises:
        FormatError: The file is missing, is no state dict, or of no known format.
        WeightsError: The tensors do not fit the network.
        ValueRangeError: `format` is unknown.
    """
    if format is not None and format not in FORMATS:
        raise ValueRangeError(describe("format", repr(format), f"one of {FORMATS} or None"))
    tensors = read_tensors(path)
    found = format or recognise(tensors)
    if found is None:
        got = f"{len(tensors)} tensors such as {min(tensors)!r}"
        raise FormatError(describe(file_name(path), got, f"one of the formats {FORMATS}"))
    module = build_miniseg(tensors, file_name(path))
    notes = (
        "The file does not hold the mean and standard deviation of its training fold: 0 and 1 are assumed; the "
        "published preprocessing is x / 255, minus the fold's mean, divided by its standard deviation, at 512 x 512.",
        "The file does not tell the window of its training pictures: [-1250, 250] HU is assumed.",
    )
    return Checkpoint(module, slice_recipe((-1250.0, 250.0), 512, 0.0, 1.0, 10.0), found, notes)
