"""Trained models of nnU-Net's second generation: a folder of plans, data set and folds becomes networks and a recipe.

A model lies in `.../DatasetXXX_Name/<trainer>__<plans>__<configuration>/` with `plans.json`, `dataset.json` and
`fold_K/checkpoint_final.pth`; nnU-Net's own zip files hold the same tree. Checkpoints are read by the restricted
unpickler (`covfast.models.restricted_pickle`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from torch import nn

from covfast.errors import FormatError, ValueRangeError, WeightsError, describe
from covfast.models import nnunet_network
from covfast.models.checkpoint import Checkpoint, Choice
from covfast.models.nnunet_network import Architecture
from covfast.models.nnunet_plans import (
    Labels,
    Plans,
    channel_count,
    read_labels,
    read_settings,
    require_usual_labels_resampling,
)
from covfast.models.nnunet_recipe import Settings, largest_components, recipe, require_windows
from covfast.models.plan_entries import Entries
from covfast.models.result_files import ResultFiles, join, parent
from covfast.models.torch_archive import TorchArchive

FINAL, BEST = "checkpoint_final.pth", "checkpoint_best.pth"


@dataclass(frozen=True)
class _Place:
    """A model's folder among the files that it is one of."""

    files: ResultFiles
    folder: str

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file of the model."""
        return self.files.json(join(self.folder, name))

    @property
    def title(self) -> str:
        """The folder's name."""
        return PurePosixPath(self.folder).name or self.files.path.resolve().name

    def neighbour(self, configuration: str) -> _Place:
        """The model of the same data, trainer and plans with another configuration.

        Raises: FormatError: it is not there.
        """
        name = "__".join([*self.title.split("__")[:-1], configuration])
        if self.folder:
            folder = join(parent(self.folder), name)
            if self.files.has(join(folder, "plans.json")):
                return _Place(self.files, folder)
        else:
            path = self.files.path.resolve().parent / name
            if (path / "plans.json").is_file():
                return _Place(ResultFiles(path), "")
        expected = f"the model {name} beside it, whose labels are its input"
        raise FormatError(describe(self.title, "a cascade's second network alone", expected))


@dataclass(frozen=True)
class _Planned:
    """One configuration, without its weights.

    Attributes:
        name: of the configuration.
        previous: that of the network whose labels it gets as channels; None outside a cascade.
        trainer: class that trained it.
        inputs, outputs: channels of the networks.
    """

    name: str
    previous: str | None
    trainer: str
    settings: Settings
    architecture: Architecture
    inputs: int
    outputs: int

    @staticmethod
    def of(held: Entries, plans: Plans, dataset: Entries, labels: Labels) -> _Planned:
        """The configuration that a checkpoint names."""
        name = held.below("init_args").text("configuration")
        given = plans.configuration(name)
        architecture = nnunet_network.read_architecture(given)
        previous = given.text("previous_stage") if given.has("previous_stage") else None
        if previous is not None:
            require_usual_labels_resampling(given)
        mirroring = "inference_allowed_mirroring_axes"
        axes = held.wholes(mirroring) if held.has(mirroring) else []
        settings = read_settings(plans, given, dataset, labels, axes, architecture.rank)
        require_windows(settings, architecture.multiple, given.where)
        inputs = channel_count(dataset) + (len(labels.foreground) if previous is not None else 0)
        trainer = held.text("trainer_name", "nnUNetTrainer")
        return _Planned(name, previous, trainer, settings, architecture, inputs, len(labels.values))

    def load(self, held: Entries, archive: TorchArchive) -> nn.Module:
        """The network of one checkpoint."""
        name = held.below("init_args").text("configuration")
        if name != self.name:
            raise FormatError(describe(held.where, f"the configuration {name}", f"{self.name}, as in the first fold"))
        stored = nnunet_network.own_names(held.below("network_weights").held)
        return nnunet_network.load(self.architecture, self.inputs, self.outputs, stored, archive.read, held.where)


@dataclass(frozen=True)
class _Model:
    """One configuration with the networks of its folds, by name, and what a package tells about them."""

    planned: _Planned
    labels: Labels
    networks: Mapping[str, nn.Module]
    notes: tuple[str, ...]
    about: Mapping[str, Any]

    @property
    def multiple(self) -> tuple[int, ...]:
        """What each size of the networks' input is a multiple of."""
        return self.planned.architecture.multiple

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Two steps of the network along each axis: enough to trace it, and quick."""
        return (1, self.planned.inputs, *(2 * step for step in self.multiple))


def read(files: ResultFiles, choice: Choice) -> Checkpoint:
    """The model in a folder or zip file, with that of the stage before in the case of a cascade.

    Raises:
        FormatError: a file is missing or odd, or asks for something that cannot be carried over.
        WeightsError: plans and weights contradict each other; no fold has weights.
        ValueRangeError: a fold, checkpoint or configuration that is not there.
    """
    place = _choose(files, choice)
    model = _read_model(place, choice, "")
    names, notes = list(model.networks), list(model.notes)
    members: dict[str, Any] = {name: model.networks[name] for name in names[1:]}
    first = None
    previous = model.planned.previous
    if previous is not None:
        before = _read_model(place.neighbour(previous), choice, f"{previous}_")
        if before.planned.previous is not None:
            raise FormatError(describe(place.title, "a cascade of three networks", "two at most"))
        first = (recipe(before.planned.settings, list(before.networks)), list(before.networks))
        members |= _with_inputs(before)
        notes += [note for note in before.notes if note not in notes]
    components = _components(place, choice, notes)
    return Checkpoint(
        module=model.networks[names[0]],
        recipe=recipe(model.planned.settings, names, first, components),
        format="nnunet-v2",
        notes=(*notes, "The folder does not tell the licence of the weights."),
        member=names[0],
        members=members,
        labels=model.labels.names,
        provenance={"model": place.title, "configuration": model.planned.name, **model.about},
        input_shape=model.input_shape,
        multiple=model.multiple,
    )


def _with_inputs(model: _Model) -> dict[str, Any]:
    """The networks with the inputs that they take, which are not those of the cascade's second network."""
    from covfast.export import Member

    return {name: Member(network, model.input_shape, model.multiple) for name, network in model.networks.items()}


def _choose(files: ResultFiles, choice: Choice) -> _Place:
    """The model that is asked for, or the only one."""
    folders = files.folders("plans.json")
    trained = {parent(parent(name)) for name in files.names if name.endswith(".pth")}
    folders = [folder for folder in folders if folder in trained] or folders  # predictions hold their plans too
    if "" in folders:
        return _Place(files, "")
    named = {folder: folder.rsplit("__", 1)[-1] for folder in folders}
    wanted = choice.configuration
    found = [folder for folder, name in named.items() if wanted in (None, name, PurePosixPath(folder).name)]
    if len(found) == 1:
        return _Place(files, found[0])
    known = ", ".join(sorted(set(named.values())))
    if not found:
        raise ValueRangeError(describe("configuration", repr(wanted), f"one of {known}"))
    hint = "say which with configuration= (--configuration), or give the model's own folder"
    raise ValueRangeError(describe(files.title, f"{len(found)} models ({known})", "one", hint))


def _read_model(place: _Place, choice: Choice, prefix: str) -> _Model:
    """One configuration: plans, labels and the networks of its folds, named with a prefix."""
    plans = Plans(place.json("plans.json"), f"{place.title}: plans.json")
    dataset = Entries(place.json("dataset.json"), f"{place.title}: dataset.json")
    labels = read_labels(dataset, plans.entries)
    folds, notes = _folds(place, choice)
    networks: dict[str, nn.Module] = {}
    planned: _Planned | None = None
    for fold, path in folds.items():
        title = f"{place.title}: {fold}"
        with place.files.open(path) as file:
            archive = TorchArchive(file, title)
            held = Entries(archive.content, title)
            planned = planned or _Planned.of(held, plans, dataset, labels)  # the first fold's, as nnU-Net has it
            networks[prefix + fold] = planned.load(held, archive)
    assert planned is not None  # there is a fold, or _folds would have raised
    if planned.trainer != "nnUNetTrainer":
        assumed = "is taken for a trainer that changes neither the network nor the preprocessing."
        notes.append(f"{planned.trainer} {assumed}")
    channels = dataset.below("modality" if "modality" in dataset.held else "channel_names")
    about = {
        "trainer": planned.trainer,
        "checkpoint": PurePosixPath(next(iter(folds.values()))).stem,
        "reader": plans.entries.text("image_reader_writer", "SimpleITKIO"),
        "channels": [str(channels.get(key)) for key in channels.held],
    }
    return _Model(planned, labels, networks, tuple(notes), about)


def _folds(place: _Place, choice: Choice) -> tuple[dict[str, str], list[str]]:
    """Name of each fold that is asked for -> its weight file; notes on the choice."""
    inside = [name.removeprefix(f"{place.folder}/") if place.folder else name for name in place.files.names]
    there = [name.split("/") for name in inside if name.startswith("fold_") and name.count("/") == 1]
    wanted = choice.checkpoint
    notes = []
    if wanted is None:
        wanted = FINAL
        if not any(file == FINAL for _, file in there) and any(file == BEST for _, file in there):
            wanted = BEST
            notes.append(f"There is no {FINAL}: {BEST} is taken.")
    wanted = wanted if wanted.endswith(".pth") else f"{wanted}.pth"
    folds = sorted(folder for folder, file in there if file == wanted)
    if not folds:
        known = sorted({file for _, file in there if file.endswith(".pth")})
        got = f"no fold with {wanted}"
        raise WeightsError(describe(place.title, got, f"weights of a fold; there are {', '.join(known) or 'none'}"))
    if choice.folds is not None:
        asked = [f"fold_{fold}" for fold in dict.fromkeys(choice.folds)]
        missing = [fold for fold in asked if fold not in folds]
        if missing or not asked:
            got = f"{missing[0]} in {place.title}" if missing else "none"
            raise ValueRangeError(describe("folds", got, f"some of {', '.join(folds)}"))
        folds = asked
    elif len(folds) > 1:
        folds = [fold for fold in folds if fold != "fold_all"]  # trained on all cases, no part of an ensemble
    return {fold: join(place.folder, f"{fold}/{wanted}") for fold in folds}, notes


def _components(place: _Place, choice: Choice, notes: list[str]) -> tuple[tuple[int, ...], ...]:
    """The groups of labels of which only the largest component is kept, if that is asked for."""
    found = [
        name
        for name in place.files.names
        if name.startswith(join(place.folder, "crossval_results_folds_")) and name.endswith("/postprocessing.json")
    ]
    if not found:
        if choice.postprocessing:
            raise FormatError(describe(place.title, "no postprocessing.json", "one in crossval_results_folds_*"))
        return ()
    held = place.files.json(found[0])
    groups = largest_components(held, f"{place.title}: postprocessing.json")
    if choice.postprocessing:
        return groups
    if groups:
        chosen = ", ".join(str(list(group)) for group in groups)
        notes.append(
            f"The postprocessing that nnU-Net chose, the largest component of the labels {chosen}, is left out, as "
            "nnUNetv2_predict leaves it out; postprocessing=True (--postprocessing) makes it part of the recipe."
        )
    return ()
