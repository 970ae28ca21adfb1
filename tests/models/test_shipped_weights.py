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


GGO_SIZES = [
    "269x212",
    "290x235",
    "326x249",
    "333x307",
    "343x361",
    "383x231",
    "395x372",
    "417x419",
    "419x403",
    "430x435",
    "433x385",
    "439x437",
    "443x375",
    "447x425",
    "449x427",
    "453x397",
    "459x375",
]
"""Sizes of the pictures that the first fold of miniseg-ggo holds out."""


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


def test_miniseg_ggo_names_lesions_as_its_card_says(data_dir: Path) -> None:
    labels = data_dir / "covid_semiseg/TrainingSet/MultiClassInfection-Train/GT"
    segmenter, types, found = covfast.Segmenter(lesion_types="miniseg-ggo", device="cpu").lesion_types, [], []
    assert segmenter is not None
    for path in sorted((data_dir / DOCTOR / "Imgs").glob("*.jpg")):
        image, grey = read(path), read(labels / f"{path.stem}.png")
        if f"{image.shape[0]}x{image.shape[1]}" not in GGO_SIZES:
            continue
        lesion = grey > 0
        types.append(grey[lesion] > 38)
        found.append((covfast.segment_slice(image, segmenter) > 0.5)[lesion])
    truth, called = np.concatenate(types), np.concatenate(found)
    assert len(types) == 18
    assert (truth == called).mean() == pytest.approx(0.898, abs=0.005)
    assert dice([(truth, called)]) == pytest.approx(0.818, abs=0.01)
