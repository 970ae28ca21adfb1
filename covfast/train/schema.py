"""What the recipe of each system may say: keys, types, ranges, defaults. Without torch, so that recipes read fast."""

from __future__ import annotations

from covfast.train.keys import (
    Key,
    Schema,
    choice,
    multiple_of,
    numbers,
    part,
    place,
    positive,
    real,
    run_name,
    texts,
    whole,
    wholes,
)

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

COMMON: Schema = {
    "name": run_name(),
    "system": Key(str),
    "seed": whole(2020, high=2**31 - 1),
    "threads": whole(2, 1, 1024),
}
"""Keys of every recipe: of the result, the system, all random draws, and the CPU threads of torch."""

RUN: Schema = {
    "run.device": Key(str, "auto"),
    "run.precision": choice("fp32", "mixed", default="fp32"),
    "run.interval": whole(50, 1),
    "run.validate_every": whole(0),
    "run.patience": whole(0),
    "run.keep": choice("last", "best", default="last"),
    "run.prefetch": whole(2, 0, 64),
    "run.tensorboard": Key(bool, False),
    "run.package": Key(bool, True),
}
"""How a run is carried out: device, precision, steps between log rows and checkpoints, steps between validations (0:
never), validations without a better score before it stops (0: never), which weights are kept, batches made ahead by a
thread (0: none), whether TensorBoard's files are written, and whether the weights become a model package at the end."""

LICENCE: Schema = {"data.licence": Key(str, "")}
"""Licence of the training data, which the model package bears; empty: not stated."""

FIDELITY: Schema = {"fidelity": choice("code", "paper", default="code")}
"""Where released code and paper differ: which of the two."""

FOLDS: Schema = {
    "split.folds": whole(1, 1, 100),
    "split.fold": whole(0),
    "split.seed": whole(0, high=2**31 - 1),
}
"""Cross-validation over cases in an order drawn with `split.seed`; one fold: all cases train, none validates."""

_SLICES: Schema = {
    **COMMON,
    "model": choice("MiniSeg"),
    "input.size": whole(256, 32, 2048),
    "input.window_hu": numbers(length=2, ascending=True),
    "input.mean": real(),
    "input.std": positive(),
    "split.held_out": texts(),
    "optimisation.steps": whole(low=1),
    "optimisation.batch": whole(low=1),
    "optimisation.rate": positive(),
    "optimisation.warmup": whole(),
    "optimisation.decay": real(),
    "optimisation.average": part(),
    "optimisation.positive_weight": positive(),
    "optimisation.auxiliary": real(),
    "optimisation.shares": Key(float, low=0.0, named=True),
    "augmentation.zoom": real(low=1.0),
    "augmentation.rotate_degrees": real(high=180.0),
    "augmentation.shift": part(),
    "augmentation.window": part(),
    "augmentation.gamma": real(low=1.0),
    "augmentation.noise": part(),
    **RUN,
}
"""Keys of all trainings of our own slices."""

MINISEG_INFECTION: Schema = {
    **_SLICES,
    **FOLDS,
    "input.margin_mm": real(10.0),
    "optimisation.cross_entropy": real(1.0),
    "refinement.steps": whole(0),
    "refinement.rate": positive(1e-3),
    "refinement.warmup": whole(0),
    "refinement.shares": Key(float, {}, low=0.0, named=True),
}
"""`refinement`: a second training that begins with the weights of the first and takes these values in place of
`optimisation`'s; no steps: there is none."""

MINISEG_LUNG: Schema = {
    **_SLICES,
    "data.phantoms": whole(6, 0, 100),
    "augmentation.tone": part(),
    "augmentation.quarter_turns": Key(bool, False),
}

MINISEG_LESIONS: Schema = {
    **_SLICES,
    **FOLDS,
    "input.margin_mm": real(10.0),
    "optimisation.type_weight": real(1.0),
}

MINISEG: Schema = {
    **COMMON,
    **FIDELITY,
    "data.images": place(),
    "data.masks": place(),
    **LICENCE,
    "data.values": wholes([0, 255], low=0),
    "input.size": whole(512, 32, 4096),
    "split.published": choice("", "ct100", "p9", "p20", "p1110", default=""),
    **FOLDS,
    "optimisation.epochs": whole(80, 1),
    "optimisation.batch": whole(5, 1),
    "optimisation.rate": positive(1e-3),
    "optimisation.decay": real(1e-4),
    "optimisation.power": real(0.9),
    "optimisation.auxiliary": real(0.4),
    "optimisation.scales": numbers([1.5, 1.25, 0.75, 1.0], low=0.1, least=1),
    "augmentation.crop": part(0.5),
    "augmentation.flip": part(0.5),
    **RUN,
    "run.validate_every": whole(-1, -1),
    "run.keep": choice("fidelity", "last", "best", default="fidelity"),
}
"""Of `run.validate_every` -1 is once an epoch; "fidelity" leaves the kept weights to code or paper."""

_INFNET_INPUT: Schema = {
    "input.size": multiple_of(32, 352, 32, 2048),
    "input.scales": numbers([0.75, 1.0, 1.25], low=0.1, least=1),
    "input.mean": numbers(IMAGENET_MEAN, 3),
    "input.std": numbers(IMAGENET_STD, 3, 1e-6),
}

INFNET: Schema = {
    **COMMON,
    **FIDELITY,
    "data.folder": place("covid_semiseg/TrainingSet/LungInfection-Train/Doctor-label"),
    **LICENCE,
    "model.channel": whole(32, 4, 256),
    "model.planes": whole(64, 4, 256),
    "model.backbone": place(""),
    **_INFNET_INPUT,
    **FOLDS,
    "optimisation.epochs": whole(100, 1),
    "optimisation.batch": whole(24, 1),
    "optimisation.rate": positive(1e-4),
    "optimisation.clip": positive(0.5),
    "optimisation.decay_epoch": whole(50, 1),
    **RUN,
}

SEMI_INFNET: Schema = {
    **INFNET,
    "data.unlabelled": place("covid_semiseg/TrainingSet/LungInfection-Train/Pseudo-label/Imgs"),
    "data.unlabelled_count": whole(0),
    "propagation.group": whole(5, 1),
    "propagation.rounds": whole(0),
    "propagation.epochs": whole(10, 1),
    "propagation.rate": positive(3e-4),
    "propagation.batch": whole(16, 1),
}

INFNET_MULTICLASS: Schema = {
    **COMMON,
    **FIDELITY,
    "data.folder": place("covid_semiseg/TrainingSet/MultiClassInfection-Train"),
    **LICENCE,
    "model.width": whole(64, 4, 256),
    "input.size": multiple_of(16, 352, 16, 2048),
    "input.mean": numbers(IMAGENET_MEAN, 3),
    "input.std": numbers(IMAGENET_STD, 3, 1e-6),
    **FOLDS,
    "optimisation.epochs": whole(200, 1),
    "optimisation.batch": whole(16, 1),
    "optimisation.rate": positive(1e-2),
    "optimisation.momentum": part(0.7),
    **RUN,
}

_SOURCES = ("structseg", "nsclc-lung", "msd", "nsclc-pe")
"""Data sets of other diseases with a published split, as `covfast.protocols.splits` calls them."""

UNET: Schema = {
    **COMMON,
    "data.images": place(),
    "data.labels": place(),
    **LICENCE,
    "data.names": Key(str, {}, named=True),
    "data.windowed": Key(str, ""),
    "data.classes": Key(int, {}, 0, 254, named=True),
    "data.window_hu": numbers([], ascending=True),
    "data.spacing_mm": numbers([], low=0.01),
    "data.normalisation_hu": numbers([], ascending=True),
    "split.published": choice(
        "", "task1", "task1-82", *(f"task{task}-{source}" for task in (2, 3) for source in _SOURCES), default=""
    ),
    **FOLDS,
    "model.kind": choice("plain", "residual", default="plain"),
    "model.rank": whole(3, 2, 3),
    "model.features": wholes([]),
    "model.kernels": texts([]),
    "model.strides": texts([]),
    "model.budget_gib": positive(8.0),
    "patch.size": wholes([]),
    "patch.foreground": part(0.33),
    "optimisation.epochs": whole(1000, 1),
    "optimisation.iterations": whole(250, 1),
    "optimisation.batch": whole(0),
    "optimisation.rate": positive(1e-2),
    "optimisation.momentum": part(0.99),
    "optimisation.decay": real(3e-5),
    "optimisation.power": real(0.9),
    "optimisation.clip": positive(12.0),
    "augmentation.enabled": Key(bool, True),
    "augmentation.rotate_degrees": numbers([30.0, 30.0, 30.0], 3, 0.0),
    "augmentation.flip_axes": wholes([0, 1, 2], low=0),
    **RUN,
}
"""Empty lists leave the choice to the cases: voxel size as it is, network, patch and batch from nnU-Net's planning.
`data.classes`, or else `data.names`, lists the values that masks may hold beside 0; without both values are classes."""

_DUAL: Schema = {
    **{key: rule for key, rule in UNET.items() if key not in ("model.kind", "model.rank", "model.budget_gib")},
    "model.features": wholes(),
    "model.strides": texts(),
    "patch.size": wholes(),
    "optimisation.batch": whole(2, 1),
    "sources.images": place(named=True),
    "sources.labels": place(named=True),
    "sources.classes": Key(int, {}, 1, 254, named=True),
    "sources.published": Key(str, {}, choices=_SOURCES, named=True),
    "pretraining.epochs": whole(1000, 1),
    "pretraining.rate": positive(1e-2),
    "run.interval": whole(250, 1),
}
"""Masks of a source hold lesions of one kind, value 1, or the kinds 1 to its number in `sources.classes`. Of
one named in `sources.published` the training cases of that split of Task 2 train, of others all."""

TRANSFER: Schema = {
    **_DUAL,
    "strategy.name": choice("continual", "body_finetune", "lesion_representations", "hybrid", "scratch"),
    "strategy.body_rate": Key(float, 1.0, 0.0, 1.0, True),
}

RELATION: Schema = {
    **_DUAL,
    "relation.weight": real(1.0),
    "relation.ramp_epochs": real(30.0),
    "relation.between": choice("samples", "channels", default="samples"),
    "relation.every_stage": Key(bool, False),
    "relation.also_target": Key(bool, False),
}

SCHEMAS: dict[str, Schema] = {
    "miniseg-infection": MINISEG_INFECTION,
    "miniseg-lung": MINISEG_LUNG,
    "miniseg-lesions": MINISEG_LESIONS,
    "miniseg": MINISEG,
    "infnet": INFNET,
    "semi-infnet": SEMI_INFNET,
    "infnet-multiclass": INFNET_MULTICLASS,
    "unet": UNET,
    "transfer": TRANSFER,
    "relation": RELATION,
}
"""The schema of every system."""
