"""Small trainings for tests: a toy system that is quick to train, and recipes cut short."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from covfast.train.data import Slices, content_key, doctor_slices, gather, write_slices
from covfast.train.distributed import Share
from covfast.train.loop import Trainer, run
from covfast.train.recipe import read_recipe
from covfast.train.systems.base import System

RUN = {
    "device": "cpu", "precision": "fp32", "interval": 2, "validate_every": 0, "patience": 0, "keep": "last",
    "prefetch": 2, "tensorboard": False,
}  # fmt: skip

SEMISEG = "covid_semiseg/TrainingSet"
SMALL: dict[str, Any] = {"threads": 1, "run.interval": 1, "run.device": "cpu", "run.package": False}
"""Of a run on one thread that ends with the weights."""
INFNET = {
    **SMALL, "model.channel": 4, "model.planes": 4, "input.size": 64, "input.scales": [1.0, 1.5], "split.folds": 2,
    "optimisation.epochs": 3, "optimisation.batch": 3, "run.validate_every": 4, "run.interval": 2,
}  # fmt: skip
PATCHES = {
    **SMALL, "data.images": "covid/images", "data.labels": "covid/labels", "split.published": "", "split.folds": 3,
    "patch.size": [4, 8, 8], "model.features": [4, 6], "model.strides": ["1 1 1", "2 2 2"], "optimisation.epochs": 1,
    "optimisation.iterations": 3, "optimisation.batch": 2, "run.validate_every": 3, "data.windowed": "",
}  # fmt: skip
DUAL = {
    **PATCHES, "data.spacing_mm": [], "pretraining.epochs": 1,
    "sources.images": {"first": "first/images", "second": "second/images"},
    "sources.labels": {"first": "first/labels", "second": "second/labels"}, "sources.published": {},
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "infnet": INFNET,
    "semi-infnet": {
        **INFNET, "input.scales": [1.0], "split.folds": 1, "run.validate_every": 0, "optimisation.epochs": 2,
        "optimisation.batch": 6, "run.interval": 50,
        "propagation.group": 2, "propagation.epochs": 2, "propagation.batch": 4,
    },
    "infnet-multiclass": {
        **SMALL, "model.width": 4, "input.size": 32, "optimisation.epochs": 2, "optimisation.batch": 3,
        "split.folds": 2, "run.validate_every": 2,
    },
    "miniseg-paper": {
        **SMALL, "data.images": f"{SEMISEG}/LungInfection-Train/Doctor-label/Imgs", "input.size": 32,
        "data.masks": f"{SEMISEG}/LungInfection-Train/Doctor-label/GT", "split.published": "", "split.folds": 3,
        "optimisation.epochs": 1, "optimisation.batch": 2, "run.validate_every": 4,
    },
    "unet": PATCHES,
    "transfer": {**DUAL, "strategy.name": "lesion_representations"},
    "relation": DUAL,
}  # fmt: skip
"""Recipe -> changes that make it small enough for a test, on the folders of `semiseg_folder` and `lesion_folders`."""


def toy_table(**run: Any) -> dict[str, Any]:
    """The part of a recipe that the loop itself reads."""
    return {"name": "toy", "system": "toy", "seed": 3, "threads": 1, "run": {**RUN, **run}}


class Toy(System):
    """Two convolutions with dropout that learn to copy the sign of noise; scores can be prescribed."""

    def __init__(self, table: dict[str, Any], turns: int = 8, scores: tuple[float, ...] = (), steps_a_turn: int = 1):
        super().__init__(table)
        self.turns, self.steps_a_turn, self.scores = turns, steps_a_turn, list(scores)
        self.average = None

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(4, 1, 1))

    def optimiser(self, module: nn.Module) -> Any:
        return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[dict[str, torch.Tensor]]:
        x = [torch.randn(4, 1, 8, 8, generator=generator) for _ in range(self.steps_a_turn)]
        return [{"x": share.of(one), "y": share.of((one > 0).float())} for one in x]

    def rate(self, step: int) -> float:
        return 0.1 / (1 + step)

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor], step: int) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(network(batch["x"]), batch["y"])

    def validate(self, module: nn.Module, device: torch.device) -> float | None:
        return self.scores.pop(0) if self.scores else None


class Kill(Exception):
    """What ends a run in the middle."""


def run_until(trainer: Trainer, out: Path, turn: int) -> None:
    """Train up to a turn, then end as by a kill: nothing more is written."""
    draw: Any = trainer.system.draw

    def cut(number: int, *rest: Any) -> Any:
        if number == turn:
            raise Kill
        return draw(number, *rest)

    trainer.system.draw = cut  # type: ignore[method-assign]
    with contextlib.suppress(Kill):
        run(trainer, out)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts hold the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def bright_squares(n: int = 8, side: int = 32) -> Slices:
    """Slices whose infection is a bright square."""
    rng = np.random.default_rng(0)
    images, masks = np.full((n, side, side), 60, np.uint8), np.zeros((n, side, side), np.uint8)
    for k in range(n):
        i, j = rng.integers(2, side - 14, 2)
        masks[k, i : i + 12, j : j + 12] = 255
    images[masks > 0] = 200
    kinds = ("doctor", "aligned") * (n // 2)
    names = tuple(str(k) for k in range(n))
    return Slices(images, masks, np.full_like(masks, 255), names, kinds, names)


def infection_table(**optimisation: Any) -> dict[str, Any]:
    """The recipe miniseg-infection, cut short."""
    short = {"steps": 8, "batch": 2, "warmup": 2, "average": 0.9, **optimisation}
    changes = {f"optimisation.{key}": value for key, value in short.items()}
    return read_recipe("miniseg-infection", {**changes, "input.size": 32, "run.interval": 2})


def semiseg_folder(root: Path, labelled: int = 6, unlabelled: int = 0, side: int = 64) -> Path:
    """COVID-SemiSeg's folders with squares: labelled slices of two sizes, classes and priors, unlabelled ones."""
    rng, base = np.random.default_rng(1), root / "covid_semiseg" / "TrainingSet"
    for k in range(labelled):
        image, mask = square(rng, side, side + 8 * (k % 2))
        grey = np.where(mask > 0, np.where(np.arange(mask.shape[1]) % 8 < 4, 38, 75), 0).astype(np.uint8)
        folder = base / "LungInfection-Train" / "Doctor-label"
        pictures = {folder / "Imgs": image, folder / "GT": mask, folder / "Edge": mask - mask // 2}
        multi = base / "MultiClassInfection-Train"
        pictures |= {multi / "Imgs": image, multi / "GT": grey, multi / "Prior": mask}
        for place, pixels in pictures.items():
            save(pixels, place / f"{k}.{'jpg' if place.name == 'Imgs' else 'png'}")
    for k in range(unlabelled):
        save(square(rng, side, side)[0], base / "LungInfection-Train" / "Pseudo-label" / "Imgs" / f"scan_{k}.jpg")
    return root


def square(rng: np.random.Generator, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey slice with a bright square, and the square."""
    mask = np.zeros((rows, columns), np.uint8)
    i, j = rng.integers(4, rows - 28, 2)
    mask[i : i + 24, j : j + 24] = 255
    noise = rng.integers(0, 30, mask.shape)
    return (60 + noise + (mask > 0) * 120).astype(np.uint8), mask


def save(pixels: np.ndarray, path: Path) -> None:
    """A picture, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def lesion_folders(root: Path, names: tuple[str, ...] = ("covid", "first", "second"), cases: int = 3) -> Path:
    """Folders NAME/images and NAME/labels of small scans in which a lesion is a bright block."""
    for number, name in enumerate(names):
        for k in range(cases):
            rng = np.random.default_rng(100 * number + k)
            hu = rng.integers(-950, -750, (8, 20, 24)).astype(np.int16)
            mask = np.zeros(hu.shape, np.uint8)
            z, y, x = rng.integers(1, (4, 10, 12))
            mask[z : z + 4, y : y + 8, x : x + 8] = 1
            hu[mask > 0] += 600
            for kind, array in (("images", hu), ("labels", mask)):
                image = SimpleITK.GetImageFromArray(array)
                image.SetSpacing((1.0, 1.0, 2.0))
                path = root / name / kind / f"{name}_{k}{'_0000' if kind == 'images' else ''}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                SimpleITK.WriteImage(image, str(path))
    return root


def slices_of(data: Path) -> Slices:
    """The expert slices of a folder and two volumes without classes."""
    rows = list(doctor_slices(data))
    image, mask, lungs = rows[0][:3]
    return gather([*rows, (image, mask, lungs, "a", "aligned", "0"), (image, mask, lungs, "b", "png", "1")])


def cached(folder: Path, data: Path) -> Path:
    """A run folder with prepared slices."""
    folder.mkdir(parents=True)
    write_slices(slices_of(data), folder / "slices.npz", content_key(data))
    return folder
