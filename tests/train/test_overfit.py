"""The recipe `unet` on one synthetic CT, from its files to the package that segments it: it must overfit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import covfast
from covfast import io
from covfast.phantom import chest_phantom
from covfast.train import train
from covfast.volume import INFECTION, Segmentation

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "threads": 1, "run.device": "cpu", "data.images": "images", "data.labels": "labels", "data.windowed": "",
    "split.published": "", "split.folds": 1, "patch.size": [16, 32, 32], "model.features": [8, 16, 32],
    "model.strides": ["1 1 1", "2 2 2", "2 2 2"], "optimisation.iterations": 10, "optimisation.batch": 2,
    "optimisation.rate": 0.05, "optimisation.momentum": 0.9, "augmentation.enabled": False,
}  # fmt: skip
"""One chest, and what a few hundred steps need: a small network, a shorter memory of gradients, patches as they are."""


def dice_after(folder: Path, epochs: int) -> float:
    """Dice of the infection in the scan that a package was trained on."""
    chest = chest_phantom((16, 48, 48), (8.0, 6.0, 6.0))
    truth = chest.truth.labels == INFECTION
    mask = Segmentation(truth.astype(np.uint8), chest.volume.geometry, {0: "background", 1: "infection"})
    for kind, image in (("images", chest.volume), ("labels", mask)):
        (folder / kind).mkdir()
        io.write(folder / kind / "chest.nii.gz", image)
    train("unet", folder, folder / "run", {**SMALL, "optimisation.epochs": epochs})
    segment = covfast.Segmenter(folder / "run" / "unet.covfast", device="cpu", threads=1)
    found = segment(folder / "images" / "chest.nii.gz").labels == 1
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_training_on_one_chest_overfits(tmp_path: Path) -> None:
    assert dice_after(tmp_path, 30) > 0.9


def test_few_steps_do_not_overfit(tmp_path: Path) -> None:
    assert dice_after(tmp_path, 1) < 0.5
