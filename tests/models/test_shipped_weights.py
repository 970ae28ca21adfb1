"""The weights that ship give the scores that their cards state, on slices that their trainings never saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import covfast
from covfast.train.data import Bytes, case_of, lung_box, png_numbers, png_triple

pytest.importorskip("covfast_weights", reason="covfast-weights is not installed: pip install ./weights")

DOCTOR = "covid_semiseg/TrainingSet/LungInfection-Train/Doctor-label"

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


def triples(data: Path, volume: str) -> Iterator[tuple[Bytes, Bytes, Bytes]]:
    """(slice, infection, lungs) of the 56 slices of a volume."""
    numbers = [number for number in png_numbers(data) if case_of(number) == volume]
    assert len(numbers) == 56
    for number in numbers:
        yield png_triple(data, number)


@pytest.mark.parametrize(("volume", "stated"), [("coronacases_004", 0.560), ("coronacases_009", 0.523)])
def test_miniseg_infection_has_the_dice_of_its_card(data_dir: Path, volume: str, stated: float) -> None:
    segmenter, slices, scores = covfast.Segmenter("miniseg-infection", device="cpu"), [*triples(data_dir, volume)], []
    box = lung_box(np.stack([lungs for _, _, lungs in slices]), 12)
    for image, infection, lungs in slices:
        inside = lungs[box] > 0
        truth = (infection[box] > 0) & inside
        scores.append(dice([(truth, (covfast.segment_slice(image[box], segmenter) > 0.5) & inside)]))
    assert np.mean(scores) == pytest.approx(stated, abs=0.005)


@pytest.mark.parametrize(("volume", "stated"), [("coronacases_004", 0.985), ("coronacases_009", 0.980)])
def test_miniseg_lung_has_the_dice_of_its_card(data_dir: Path, volume: str, stated: float) -> None:
    segmenter = covfast.Segmenter("miniseg-lung", device="cpu")
    pairs = [
        (lungs > 0, covfast.segment_slice(image, segmenter) > 0.5) for image, _, lungs in triples(data_dir, volume)
    ]
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
