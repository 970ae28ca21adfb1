"""Trained models of nnU-Net's first generation: `plans.pkl`, `fold_K/model_final_checkpoint.model` and its `.pkl`.

The plans lie beside the weights of each fold, in `.model.pkl`; those are the ones that nnU-Net goes by. Its
`Generic_UNet` is our `PlainUNet` with two differences that the weights show: transposed convolutions and logits have no
bias, and a level of the decoder has the kernel of the stage below.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: no-warn-return-any

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from covfast.errors import FormatError, ValueRangeError, WeightsError, describe
from covfast.models import nnunet_network, restricted_pickle
from covfast.models.checkpoint import Checkpoint, Choice
from covfast.models.nnunet_network import Architecture
from covfast.models.nnunet_plans import ct_channel
from covfast.models.nnunet_recipe import (
    SEPARATE_Z,
    Resampling,
    Settings,
    largest_components,
    recipe,
    require_windows,
)
from covfast.models.plan_entries import Entries
from covfast.models.restricted_pickle import StoredTensor
from covfast.models.result_files import ResultFiles, join, parent
from covfast.models.torch_archive import TorchArchive

FINAL, BEST = "model_final_checkpoint", "model_best"
_BLOCK = re.compile(r"conv_blocks_(context|localization)\.(\d+)\.(?:([01])\.)?blocks\.(\d+)\.(conv|instnorm)\.(\w+)")
_HEAD = re.compile(r"(tu|seg_outputs)\.(\d+)\.weight")
_PREPROCESSORS = {3: "GenericPreprocessor", 2: "PreprocessorFor2D"}
_CONTRADICTION = "the plans and the weights contradict each other"


def read(files: ResultFiles, choice: Choice) -> Checkpoint:
    """The model in a folder or zip file.

    Raises:
        FormatError: a file is missing or odd, or asks for something that cannot be carried over.
        WeightsError: plans and weights contradict each other; no fold has weights.
        ValueRangeError: a fold, checkpoint or configuration that is not there.
    """
    folder = _choose(files, choice)
    title = PurePosixPath(folder).name or files.path.resolve().name
    folds, notes = _folds(files, folder, title, choice)
    networks: dict[str, nn.Module] = {}
    planned: _Planned | None = None
    for fold, path in folds.items():
        where = f"{title}: {fold}"
        with files.open(f"{path}.pkl") as file:
            held = Entries(restricted_pickle.load(file, where), where)
        planned = planned or _Planned.of(held)
        with files.open(path) as file:
            archive = TorchArchive(file, where)
            networks[fold] = planned.load(Entries(archive.content, where), archive)
    assert planned is not None  # there is a fold, or _folds would have raised
    names = list(networks)
    components = _components(files, folder, title, choice)
    return Checkpoint(
        module=networks[names[0]],
        recipe=recipe(planned.settings, names, None, components, connectivity=6),
        format="nnunet-v1",
        notes=(*notes, *planned.notes, "The folder does not tell the licence of the weights."),
        member=names[0],
        members={name: networks[name] for name in names[1:]},
        labels=_label_names(files, folder, planned.settings.foreground),
        provenance={"model": title, "trainer": planned.trainer, "checkpoint": PurePosixPath(folds[names[0]]).stem},
        input_shape=(1, planned.inputs, *(2 * step for step in planned.multiple)),
        multiple=planned.multiple,
    )


@dataclass(frozen=True)
class _Planned:
    """What the plans of the first fold say.

    Attributes:
        inputs, outputs: channels of the networks.
        pools: strides between the stages.
        kernels: of the stages' convolutions.
        features: channels of the first stage.
    """

    trainer: str
    settings: Settings
    inputs: int
    outputs: int
    pools: list[list[int]]
    kernels: list[list[int]]
    features: int
    notes: tuple[str, ...]

    @property
    def multiple(self) -> tuple[int, ...]:
        """What each size of the networks' input is a multiple of."""
        ones = [[1] * len(self.pools[0])]
        return Architecture("PlainConvUNet", len(ones[0]), self._arguments(ones + self.pools)).multiple

    def _arguments(self, strides: list[list[int]]) -> dict[str, Any]:
        return {"features": [1] * len(strides), "kernels": [[1] * len(strides[0])] * len(strides), "strides": strides}

    @staticmethod
    def of(held: Entries) -> _Planned:
        """From a fold's .model.pkl."""
        trainer, plans = held.text("name"), held.below("plans")
        if "Cascade" in trainer or "Regions" in trainer:
            expected = "one network for labels; cascades and regions of the first generation are not carried over"
            raise FormatError(describe(held.where, f"the trainer {trainer}", expected))
        notes = []
        if trainer not in ("nnUNetTrainer", "nnUNetTrainerV2"):
            notes.append(f"{trainer} is taken for a trainer that changes neither the network nor the preprocessing.")
        stage = _stage(held, plans)
        rank = len(stage.wholes("patch_size"))
        if rank not in (2, 3):
            raise FormatError(describe(f"{stage.where}: patch_size", f"{rank} numbers", "2 or 3"))
        pools, kernels = _pools(stage, rank)
        settings = _settings(plans, stage, rank, "noMirroring" not in trainer)
        planned = _Planned(
            trainer,
            settings,
            plans.whole("num_modalities"),
            plans.whole("num_classes") + 1,
            pools,
            kernels,
            plans.whole("base_num_features"),
            tuple(notes),
        )
        require_windows(settings, planned.multiple, stage.where)
        return planned

    def load(self, held: Entries, archive: TorchArchive) -> nn.Module:
        """The network of one fold, as the weights have it; the plans must agree."""
        stored, shapes = _own_names(held.below("state_dict").held, held.where)
        stages = len(self.pools) + 1
        weights = [shapes.get(f"encoder.stages.{stage}.0.convs.0.conv.weight", ()) for stage in range(stages)]
        above = [shapes.get(f"decoder.stages.{level}.convs.0.conv.weight", ()) for level in range(stages - 1)]
        if not all(weights) or not all(above):
            raise WeightsError(describe(held.where, "fewer stages", f"{stages}, as the plans say", _CONTRADICTION))
        kernels = [list(shape[2:]) for shape in weights]
        if kernels != self.kernels or weights[0][0] != self.features:
            got = f"{weights[0][0]} features and kernels {kernels}"
            raise WeightsError(describe(held.where, got, f"{self.features} and {self.kernels}", _CONTRADICTION))
        if any(n not in (1, 3) for kernel in kernels for n in kernel):
            raise FormatError(describe(held.where, f"kernels {kernels}", "sizes of 1 and 3"))
        arguments = {
            "features": [shape[0] for shape in weights],
            "kernels": kernels,
            "strides": [[1] * len(kernels[0]), *self.pools],
            "convs": [_count(shapes, f"encoder.stages.{stage}.0.convs") for stage in range(stages)],
            "decoder_convs": [_count(shapes, f"decoder.stages.{level}.convs") for level in range(stages - 1)],
            "decoder_kernels": [list(shape[2:]) for shape in above],
        }
        architecture = Architecture("PlainConvUNet", len(kernels[0]), arguments)
        return nnunet_network.load(
            architecture,
            self.inputs,
            self.outputs,
            stored,
            lambda value: value if isinstance(value, Tensor) else archive.read(value),
            held.where,
        )


def _count(shapes: Mapping[str, Any], prefix: str) -> int:
    return len([name for name in shapes if name.startswith(f"{prefix}.") and name.endswith(".conv.weight")])


def _own_names(held: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Generic_UNet's weights under the names of `PlainUNet`, with zeros for the biases that it has not, and shapes."""
    names = {str(name).removeprefix("module."): value for name, value in held.items()}
    first: dict[tuple[str, str], int] = {}  # convolutions in the first of a stage's two parts
    for name in names:
        match = _BLOCK.fullmatch(name)
        if match and match[3] == "0":
            key = (match[1], match[2])
            first[key] = max(first.get(key, 0), int(match[4]) + 1)
    made: dict[str, Any] = {}
    for name, value in names.items():
        if not isinstance(value, StoredTensor):
            raise WeightsError(describe(where, f"the entry {name!r}", "tensors"))
        block, head = _BLOCK.fullmatch(name), _HEAD.fullmatch(name)
        if block:
            part, stage, half, index, kind, what = block.groups()
            at = int(index) + (first.get((part, stage), 0) if half == "1" else 0)
            home = f"encoder.stages.{stage}.0" if part == "context" else f"decoder.stages.{stage}"
            made[f"{home}.convs.{at}.{'conv' if kind == 'conv' else 'norm'}.{what}"] = value
        elif head:
            home = "transpconvs" if head[1] == "tu" else "seg_layers"
            channels = value.shape[:2][1 if head[1] == "tu" else 0] if len(value.shape) > 2 else 0
            made[f"decoder.{home}.{head[2]}.weight"] = value
            made[f"decoder.{home}.{head[2]}.bias"] = torch.zeros(channels)
        else:
            raise WeightsError(describe(where, f"an unknown tensor {name!r}", "those of a Generic_UNet"))
    return made, {name: tuple(value.shape) for name, value in made.items()}


def _choose(files: ResultFiles, choice: Choice) -> str:
    """The folder of the model that is asked for, or of the only one."""
    folders = files.folders("plans.pkl")
    trained = {parent(parent(name)) for name in files.names if name.endswith(".model")}
    folders = [folder for folder in folders if folder in trained] or folders
    wanted = choice.configuration
    found = [folder for folder in folders if wanted is None or wanted in PurePosixPath(folder).parts]
    if len(found) == 1:
        return found[0]
    known = ", ".join(folders)
    if not found:
        raise ValueRangeError(describe("configuration", repr(wanted), f"a part of one of {known}"))
    hint = "say which with configuration= (--configuration), or give the model's own folder"
    raise ValueRangeError(describe(files.title, f"{len(found)} models ({known})", "one", hint))


def _folds(files: ResultFiles, folder: str, title: str, choice: Choice) -> tuple[dict[str, str], list[str]]:
    """Name of each fold that is asked for -> its weight file; notes on the choice."""
    inside = [name.removeprefix(f"{folder}/") if folder else name for name in files.names]
    there = [name.split("/") for name in inside if name.count("/") == 1 and name.endswith(".model")]
    wanted = (choice.checkpoint or FINAL).removesuffix(".model") + ".model"
    notes = []
    if choice.checkpoint is None and all(file != wanted for _, file in there):
        wanted = f"{BEST}.model"
        notes.append(f"There is no {FINAL}.model: {wanted} is taken.")
    found = {f"fold_{name.removeprefix('fold_')}": name for name, file in there if file == wanted}
    if not found:
        known = ", ".join(sorted({file for _, file in there})) or "none"
        raise WeightsError(describe(title, f"no fold with {wanted}", f"weights of a fold; there are {known}"))
    asked = sorted(found) if choice.folds is None else [f"fold_{fold}" for fold in dict.fromkeys(choice.folds)]
    if choice.folds is None and len(found) > 1:
        asked = [fold for fold in asked if fold != "fold_all"]  # trained on all cases, no part of an ensemble
    missing = [fold for fold in asked if fold not in found]
    if missing or not asked:
        got = f"{missing[0]} in {title}" if missing else "none"
        raise ValueRangeError(describe("folds", got, f"some of {', '.join(sorted(found))}"))
    return {fold: join(folder, f"{found[fold]}/{wanted}") for fold in asked}, notes


def _stage(held: Entries, plans: Entries) -> Entries:
    """The plans of the resolution that the fold was trained at."""
    stages, init = plans.below("plans_per_stage"), held.get("init")
    wanted = init[5] if isinstance(init, tuple) and len(init) > 5 else None
    if wanted is None and len(stages.held) == 1:
        wanted = next(iter(stages.held))
    if wanted not in stages.held:
        known = ", ".join(map(str, stages.held))
        raise FormatError(describe(f"{held.where}: stage", wanted, f"one of those of the plans: {known}"))
    return stages.below(wanted)


def _pools(stage: Entries, rank: int) -> tuple[list[list[int]], list[list[int]]]:
    """Strides between the stages and the stages' kernels."""
    if stage.has("pool_op_kernel_sizes") and stage.has("conv_kernel_sizes"):
        pools, kernels = stage.rows("pool_op_kernel_sizes"), stage.rows("conv_kernel_sizes")
    else:  # plans of the earliest versions
        counts = stage.wholes("num_pool_per_axis")
        levels = range(max(counts, default=0))
        pools = [[2 if max(counts) - count <= level else 1 for count in counts] for level in levels]
        kernels = [[3] * rank for _ in range(len(pools) + 1)]
    fits = 0 < len(pools) < 16 and len(kernels) == len(pools) + 1
    if not fits or any(len(row) != rank or min(row) < 1 for row in (*pools, *kernels)):
        got = f"{len(pools)} strides and {len(kernels)} kernels"
        raise FormatError(describe(stage.where, got, f"one kernel more than strides, {rank} numbers each"))
    return pools, kernels


def _settings(plans: Entries, stage: Entries, rank: int, is_mirrored: bool) -> Settings:
    """Everything of a recipe but the networks' names."""
    name = plans.text("preprocessor_name") if plans.has("preprocessor_name") else _PREPROCESSORS[rank]
    if name != _PREPROCESSORS[rank]:
        raise FormatError(describe(f"{plans.where}: preprocessor_name", name, _PREPROCESSORS[rank]))
    transpose = plans.wholes("transpose_forward") if plans.has("transpose_forward") else [0, 1, 2]
    spacing, patch = stage.numbers("current_spacing"), stage.wholes("patch_size")
    if sorted(transpose) != [0, 1, 2] or len(spacing) != 3 or min(spacing) <= 0 or min(patch) < 1:
        got = f"transpose_forward {transpose}, current_spacing {spacing} and patch_size {patch}"
        raise FormatError(describe(plans.where, got, "an order of three axes, spacings and sizes above 0"))
    classes = plans.whole("num_classes")
    labels = plans.wholes("all_classes") if plans.has("all_classes") else list(range(1, classes + 1))
    if not 1 <= classes <= 255 or [label for label in labels if label != 0] != list(range(1, classes + 1)):
        expected = f"1 to {classes} without a gap"
        raise FormatError(describe(f"{plans.where}: all_classes", f"{labels[:10]}, num_classes {classes}", expected))
    lead = 3 - rank  # a 2-D network sees slices of the first axis, whose spacing stays
    return Settings(
        generation=1,
        orientation="file",
        transpose=tuple(transpose),
        channels=_channels(plans),
        spacing_mm=(*[0.0] * lead, *spacing[lead:]),
        data=Resampling(3),
        logits=_logits(plans),
        patch=(*[1] * lead, *patch),
        mirror_axes=tuple(range(lead, 3)) if is_mirrored else (),
        values=tuple(range(classes + 1)),
        is_regions=False,
        foreground=tuple(range(1, classes + 1)),
    )


def _channels(plans: Entries) -> tuple[dict[str, Any], ...]:
    """How each channel is normalised."""
    count = plans.whole("num_modalities")
    schemes, masked = plans.below("normalization_schemes"), plans.below("use_mask_for_norm")
    if not 1 <= count <= 64 or set(schemes.held) != set(range(count)) or set(masked.held) != set(range(count)):
        got = f"{len(schemes.held)} and {len(masked.held)} entries"
        raise FormatError(describe(schemes.where, got, f"one scheme and one mask for each of {count} channels"))
    made = []
    for channel in range(count):
        scheme, is_masked = schemes.text(channel), masked.flag(channel)
        if scheme == "CT" and not is_masked:
            properties = plans.below("dataset_properties").below("intensityproperties")
            made.append(ct_channel(properties.below(channel), "sd", 0.0))
        elif scheme == "nonCT":
            made.append({"scheme": "zscore", "masked": is_masked})
        else:
            got = f"{scheme} {'within' if is_masked else 'without'} a mask"
            raise FormatError(describe(schemes.where, got, "CT without a mask, or nonCT"))
    return tuple(made)


def _logits(plans: Entries) -> Resampling:
    """How the probabilities are resampled."""
    if not plans.has("segmentation_export_params"):
        return Resampling(1)
    given = plans.below("segmentation_export_params")
    separate = given.get("force_separate_z")
    order, order_z = given.whole("interpolation_order", 1), given.whole("interpolation_order_z", 0)
    if order != 1 or order_z not in (0, 1) or separate not in (None, True, False):
        got = f"order {order}, order_z {order_z}, force_separate_z {separate}"
        raise FormatError(describe(given.where, got, "order 1, order_z 0 or 1, force_separate_z none, true or false"))
    return Resampling(order, order_z, SEPARATE_Z[separate])


def _components(files: ResultFiles, folder: str, title: str, choice: Choice) -> tuple[tuple[int, ...], ...]:
    """The groups of labels of which only the largest component is kept; nnUNet_predict does so by itself."""
    name = join(folder, "postprocessing.json")
    if choice.postprocessing is False or not files.has(name):
        if choice.postprocessing:
            raise FormatError(describe(title, "no postprocessing.json", "one beside the plans"))
        return ()
    return largest_components(files.json(name), f"{title}: postprocessing.json")


def _label_names(files: ResultFiles, folder: str, labels: tuple[int, ...]) -> dict[int, str]:
    """From dataset.json, where somebody put one beside the plans; else numbered."""
    name = join(folder, "dataset.json")
    held = files.json(name).get("labels") if files.has(name) else None
    known = held if isinstance(held, dict) else {}
    return {label: str(known.get(str(label), f"label {label}")) for label in labels}
