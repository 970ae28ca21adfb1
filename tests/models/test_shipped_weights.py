"""The weights that ship give the scores that their cards state, on slices that their trainings never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import covfast

pytest.importorskip("covfast_weights", reason="covfast-weights is not installed: pip install ./weights")

DOCTOR = "covid_semiseg/TrainingSet/LungInfection-Train/Doctor-label"
HELD_OUT = (12, 15, 25, 31, 32, 47, 53, 57, 58, 67)
"""COVID-SemiSeg's slices that the split of miniseg-infection holds out."""

LUNG_VOLUMES = {"coronacases_004": (397, 509, 0.985), "coronacases_009": (970, 1080, 0.980)}
"""First and last file of a volume in coronacases_png, and its Dice."""


def read(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def dice(pairs: list[tuple[Any, Any]]) -> float:
    both = sum(int((a & b).sum()) for a, b in pairs)
    return 2.0 * both / sum(int(a.sum()) + int(b.sum()) for a, b in pairs)


def test_miniseg_infection_has_the_dice_of_its_card(data_dir: Path) -> None:
    segmenter, scores = covfast.Segmenter("miniseg-infection", device="cpu"), []
    for number in HELD_OUT:
        truth = read(data_dir / DOCTOR / "GT" / f"{number}.png") > 128
        found = covfast.segment_slice(read(data_dir / DOCTOR / "Imgs" / f"{number}.jpg"), segmenter) > 0.5
        scores.append(dice([(truth, found)]))
    assert np.mean(scores) == pytest.approx(0.769, abs=0.01)


@pytest.mark.parametrize("volume", LUNG_VOLUMES)
def test_miniseg_lung_has_the_dice_of_its_card(data_dir: Path, volume: str) -> None:
    first, last, stated = LUNG_VOLUMES[volume]
    segmenter, folder, pairs = covfast.Segmenter("miniseg-lung", device="cpu"), data_dir / "coronacases_png", []
    for path in sorted((folder / "ct").glob("*.png")):
        if first <= int(path.stem) <= last:
            found = covfast.segment_slice(read(path), segmenter) > 0.5
            pairs.append((read(folder / "lungs" / path.name) > 0, found))
    assert len(pairs) == 56
    assert dice(pairs) == pytest.approx(stated, abs=0.002)
