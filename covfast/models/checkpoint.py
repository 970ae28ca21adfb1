"""Published weights as torch modules: the format is found out from names, of the tensors in a file or of the files.

A format is one row of `_STATE_DICTS` (a file that is one state dict) or of `_FOLDERS` (a folder of several files, or a
zip file of one); it reads into a `Checkpoint`, which knows how to become a model package.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: no-warn-return-any

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from covfast.errors import FormatError, ValueRangeError, describe, file_name
from covfast.volume import INFECTION, LABELS

if TYPE_CHECKING:
    from covfast.models.result_files import ResultFiles

PICTURES_HU = (-1250.0, 250.0)
"""Window of the pictures that slice networks were trained on: assumed, published files do not tell it."""


@dataclass(frozen=True)
class Checkpoint:
    """A network, or several that work together, read from published weights.

    Attributes:
        module: In evaluation mode, float32, on the CPU.
        recipe: Stages from a CT volume to labels, as `covfast.export` takes them; empty for a bare network.
        format: One of `FORMATS`.
        notes: What the file does not tell, and what was assumed instead.
        member: Name of `module` in the recipe, where there are several; else None.
        members: The other networks by name, such as the further folds of an ensemble.
        labels: value -> name.
        licence: Under which the weights were published.
        provenance: What goes into the package beside the format and the notes.
        input_shape: A typical input, as `covfast.export` takes it; the package takes any size that fits.
        multiple: What each size must be a multiple of; one number, or one per axis.
    """

    module: nn.Module
    recipe: Mapping[str, Any]
    format: str
    notes: tuple[str, ...] = ()
    member: str | None = None
    members: Mapping[str, nn.Module] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=lambda: {v: name for v, name in LABELS.items() if v})
    licence: str = "unspecified"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    input_shape: tuple[int, ...] = (1, 3, 512, 512)
    multiple: int | tuple[int, ...] = 1

    def export(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write a model package.

        Args:
            path: Of the package.
            options: As of `covfast.export`: labels, licence, provenance; `recipe` replaces the checkpoint's.
        """
        from covfast.export import export

        options.setdefault("recipe", dict(self.recipe) or None)
        options.setdefault("labels", dict(self.labels))
        options.setdefault("licence", self.licence)
        options.setdefault("provenance", {"format": self.format, **self.provenance, "notes": list(self.notes)})
        options.setdefault("multiple", self.multiple)
        options.setdefault("member", self.member)
        options.setdefault("members", dict(self.members))
        export(self.module, path, options.pop("input_shape", self.input_shape), **options)


@dataclass(frozen=True)
class Choice:
    """Which of several networks in a folder to read; None leaves it to the format.

    Attributes:
        folds: Of the cross-validation, such as (0, 1) or ("all",).
        checkpoint: Name of the weight files, such as "checkpoint_best".
        configuration: Such as "3d_fullres", where a folder holds several.
        postprocessing: Whether the postprocessing that the folder holds becomes part of the recipe.
    """

    folds: tuple[int | str, ...] | None = None
    checkpoint: str | None = None
    configuration: str | None = None
    postprocessing: bool | None = None


def slice_recipe(
    window_hu: Sequence[float],
    size: int,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    margin_mm: float,
    threshold: float = 0.5,
    antialias: bool = True,
) -> dict[str, Any]:
    """Recipe of a two-class 2-D network: each axial slice of the lungs' box, three channels, class 1 = infection.

    Args:
        window_hu: (low, high), brought to [0, 1].
        size: Side of the square that the box is resampled to.
        mean, std: x -> (x - mean) / std, the same for the three channels or one number for each.
        margin_mm: In the plane, around the lungs of the whole volume.
        threshold: Of the probability.
        antialias: Whether pixels are averaged where the box is larger than the square.
    """
    stages: list[dict[str, Any]] = [
        {"stage": "orient", "to": "SPL"},
        {"stage": "lungs"},
        {"stage": "crop", "to": "lungs", "margin_mm": [0.0, margin_mm, margin_mm]},
        *_second_class(window_hu, size, mean, std, antialias),
        {"stage": "threshold", "above": threshold, "label": INFECTION, "within": "lungs"},
    ]
    return {"version": 1, "stages": stages}


def whole_slice_recipe(
    window_hu: Sequence[float], size: int, mean: float | Sequence[float], std: float | Sequence[float]
) -> dict[str, Any]:
    """Recipe of a two-class 2-D network of whole axial slices: class 1 is label 1; arguments as of `slice_recipe`."""
    stages: list[dict[str, Any]] = [
        {"stage": "orient", "to": "SPL"},
        *_second_class(window_hu, size, mean, std, True),
        {"stage": "threshold", "above": 0.5, "label": 1, "within": "volume"},
    ]
    return {"version": 1, "stages": stages}


def _second_class(
    window_hu: Sequence[float],
    size: int,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    antialias: bool,
) -> list[dict[str, Any]]:
    """Stages from a crop of a volume to the probability of the second of two classes, slice by slice."""
    means, stds = ([given] * 3 if isinstance(given, (int, float)) else list(given) for given in (mean, std))
    return [
        {"stage": "tile", "size": [1, 0, 0]},
        {"stage": "window", "low_hu": window_hu[0], "high_hu": window_hu[1]},
        {"stage": "resample", "size": [0, size, size], "antialias": antialias},
        {"stage": "normalise", "mean": means, "std": stds},
        {"stage": "network"},
        {"stage": "softmax"},
        {"stage": "channel", "index": 1},
        {"stage": "resample_back"},
    ]


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
        raise FormatError(describe(file_name(path), _reason(path, error), expected, _hint(path))) from error
    if isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    if not isinstance(held, Mapping) or not held:
        raise FormatError(describe(file_name(path), type(held).__name__, expected, _hint(path)))
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in held.items()):
        raise FormatError(describe(file_name(path), "entries that are no tensors", expected, _hint(path)))
    # DataParallel puts a prefix before every name.
    return {name.removeprefix("module."): value for name, value in held.items()}


def _reason(path: str | os.PathLike[str], error: Exception) -> str:
    """What is wrong with a file that torch does not load. Raises: FormatError: a name in its pickle was refused."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    with open(path, "rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if is_zip and not zipfile.is_zipfile(path):
            return "a damaged zip file, such as one that is cut short"
        if isinstance(error, pickle.UnpicklingError):
            from covfast.models.torch_archive import TorchArchive

            TorchArchive(file, file_name(path))
            return "more than tensors"
    return type(error).__name__


def _hint(path: str | os.PathLike[str]) -> str:
    """Of a weight file out of a folder of trained models, what to give instead."""
    file = Path(path)
    is_fold = file.resolve().parent.name.startswith("fold_")
    if is_fold or file.name.startswith("checkpoint_") or file.suffix == ".model":
        return "give the model's folder, the one with the plans above the folds"
    return ""


def _miniseg(tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    from covfast.models.miniseg_files import read

    return read(tensors, name)


def _infnet(tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    from covfast.models.infnet_files import read

    return read(tensors, name)


def _infnet_multiclass(tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    from covfast.models.infnet_files import read_multiclass

    return read_multiclass(tensors, name)


def _lungmask(tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    from covfast.models.lungmask import read

    return read(tensors, name)


def _nnunet_v2(files: ResultFiles, choice: Choice) -> Checkpoint:
    from covfast.models.nnunet import read

    return read(files, choice)


def _nnunet_v1(files: ResultFiles, choice: Choice) -> Checkpoint:
    from covfast.models.nnunet_v1 import read

    return read(files, choice)


@dataclass(frozen=True)
class _StateDictFormat:
    marks: tuple[str, ...]  # names of tensors that all files of the format have, and those of no other
    read: Callable[[Mapping[str, Tensor], str], Checkpoint]  # (tensors, name of the file)


@dataclass(frozen=True)
class _FolderFormat:
    marks: tuple[str, ...]  # names of files, one of which lies in the folder of each model
    read: Callable[[ResultFiles, Choice], Checkpoint]


_STATE_DICTS = {
    "miniseg": _StateDictFormat(("long1.conv0.weight", "down2.conv1x1_down.weight", "pred1.1.weight"), _miniseg),
    "lungmask": _StateDictFormat(("down_path.0.block.0.weight", "up_path.0.up.1.weight", "last.weight"), _lungmask),
    "infnet": _StateDictFormat(("resnet.conv1.0.weight", "ParDec.conv5.weight", "ra2_conv4.conv.weight"), _infnet),
    "infnet-multiclass": _StateDictFormat(
        ("inc.double_conv.0.weight", "down4.maxpool_conv.1.double_conv.0.weight", "outc.conv.weight"),
        _infnet_multiclass,
    ),
}
_FOLDERS = {
    "nnunet-v2": _FolderFormat(("plans.json",), _nnunet_v2),
    "nnunet-v1": _FolderFormat(("plans.pkl",), _nnunet_v1),
}

FORMATS = (*_STATE_DICTS, *_FOLDERS)
"""Formats that `import_checkpoint` reads."""


def import_checkpoint(
    path: str | os.PathLike[str],
    format: str | None = None,
    folds: Sequence[int | str] | None = None,
    *,
    checkpoint: str | None = None,
    configuration: str | None = None,
    postprocessing: bool | None = None,
    fill: str | os.PathLike[str] | None = None,
) -> Checkpoint:
    """Read published weights: a weight file, or a folder or zip file of trained models.

    Args:
        path: Of the file or folder.
        format: One of `FORMATS`; None finds it out from the names of the tensors or files.
        folds: Of a folder; all that are there by default.
        checkpoint: Which of a fold's weight files; the final one by default.
        configuration: Such as "3d_fullres", where a folder holds several.
        postprocessing: Whether the postprocessing that the folder holds becomes part of the recipe. None does what the
            training framework's own predict command would do. Of a lungmask file: False leaves its postprocessing out.
        fill: Of a lungmask file of lobes: the file of lungs within which they are found.

    Raises:
        FormatError: The file is missing, is no state dict, or of no known format; a folder of a kind that cannot be
            carried over, with the reason.
        WeightsError: The tensors do not fit the network.
        ValueRangeError: `format`, a fold or a name is unknown.
    """
    if format is not None and format not in FORMATS:
        raise ValueRangeError(describe("format", repr(format), f"one of {FORMATS} or None"))
    if not Path(path).exists():
        raise FormatError(describe(file_name(path), "no such file or folder", "published weights"))
    choice = Choice(None if folds is None else tuple(folds), checkpoint, configuration, postprocessing)
    found = _import_folder(path, format, choice) if fill is None else None
    return _import_files(path, format, choice, fill) if found is None else found


def _import_files(
    path: str | os.PathLike[str], format: str | None, choice: Choice, fill: str | os.PathLike[str] | None
) -> Checkpoint:
    """What a weight file holds, of lobes with the lungs of the file `fill`; arguments as for `import_checkpoint`."""
    if choice != Choice(postprocessing=choice.postprocessing):
        raise ValueRangeError(
            describe("folds, checkpoint, configuration", file_name(path), "a folder of trained models")
        )
    one = _import_file(path, format, choice.postprocessing)
    if fill is None:
        return one
    from covfast.models.lungmask import fuse

    return fuse(one, _import_file(fill, format, choice.postprocessing))


def _import_file(path: str | os.PathLike[str], format: str | None, postprocessing: bool | None) -> Checkpoint:
    """What a weight file holds; `postprocessing` as for `import_checkpoint`."""
    tensors = read_tensors(path)
    names = [name for name, row in _STATE_DICTS.items() if format in (None, name) and _has(tensors, row.marks, format)]
    if not names:
        got = f"{len(tensors)} tensors such as {min(tensors)!r}"
        raise FormatError(describe(file_name(path), got, f"one of the formats {FORMATS}", _hint(path)))
    found = _STATE_DICTS[names[0]].read(tensors, file_name(path))
    if postprocessing is None:
        return found
    if found.format != "lungmask":
        raise ValueRangeError(describe("postprocessing", postprocessing, f"None for a file of {found.format}"))
    from covfast.models.lungmask import without_postprocessing

    return found if postprocessing else without_postprocessing(found)


def _has(tensors: Mapping[str, Tensor], marks: Sequence[str], format: str | None) -> bool:
    return format is not None or all(mark in tensors for mark in marks)


def _import_folder(path: str | os.PathLike[str], format: str | None, choice: Choice) -> Checkpoint | None:
    """What a folder or a zip file of one holds; None for a single weight file, which may be a zip file too."""
    from covfast.models.result_files import ResultFiles

    if not Path(path).is_dir() and (format in _STATE_DICTS or not zipfile.is_zipfile(path)):
        return None
    files = ResultFiles(path)
    for name, row in _FOLDERS.items():
        if format in (None, name) and files.folders(*row.marks):
            return row.read(files, choice)
    if not Path(path).is_dir() and (choice != Choice() or files.folders("data.pkl")):
        return None
    hint = "give the folder that holds the plans" if files.folders("checkpoint_final.pth") else ""
    marks = " or ".join(mark for row in _FOLDERS.values() for mark in row.marks)
    raise FormatError(describe(files.title, f"{len(files.names)} files", f"some with {marks}", hint))
