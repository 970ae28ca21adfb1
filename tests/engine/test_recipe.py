"""Recipes: the closed list of stages, what is refused, and what a run of one gives on a small 3-D network."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, write_package

from covfast import FormatError, _core
from covfast.volume import Geometry

STAGES: list[dict[str, Any]] = [
    {"stage": "orient", "to": "SPL"},
    {"stage": "tile", "size": [4, 0, 0]},
    {"stage": "window", "low_hu": -1000, "high_hu": 1000},
    {"stage": "resample", "size": [0, 20, 24], "antialias": True},
    {"stage": "normalise", "mean": [0.5], "std": [0.25]},
    {"stage": "network"},
    {"stage": "softmax"},
    {"stage": "channel", "index": 1},
    {"stage": "resample_back"},
    {"stage": "threshold", "above": 0.5, "label": 3, "within": "volume"},
]


def make(path: Path, stages: Any, weight: Any = None) -> Path:
    """A package of one 3x3x3 convolution, 1 -> 2 channels, with this recipe."""
    window = {"stride": [1, 1, 1], "padding": [1, 1, 1], "dilation": [1, 1, 1], "groups": 1}
    graph = {
        "inputs": [{"name": "x", "channels": 1, "rank": 3}],
        "outputs": ["y"],
        "nodes": [{"op": "conv", "inputs": ["x"], "output": "y", "weight": "w", **window}],
    }
    tensors = {"w": normal(2, 1, 3, 3, 3, seed=1) if weight is None else weight}
    return write_package(path, graph, tensors, recipe={"version": 1, "stages": stages})


def run(path: Path, hu: Any, threads: int = 2) -> tuple[Any, Any]:
    labels, lungs, probability = (
        np.zeros(hu.shape, np.uint8),
        np.zeros(hu.shape, np.uint8),
        np.zeros(hu.shape, np.float32),
    )
    segmenter = _core.Segmenter(os.fsencode(path), "cpu", threads)
    segmenter.run(hu, (2.0, 1.0, 1.0), labels, lungs, probability, None, None)
    return labels, probability


def volume(depth: int = 10) -> Any:
    return (400 * normal(depth, 17, 23, seed=2)).astype(np.int16)


def test_recipe_labels_are_the_probability_above_the_threshold_in_every_slice(tmp_path: Path) -> None:
    labels, probability = run(make(tmp_path / "m.covfast", STAGES), volume())  # tiles 0-4, 4-8, and 6-10
    assert 0 < (labels == 3).mean() < 1
    np.testing.assert_array_equal(labels == 3, probability > 0.5)


def test_recipe_without_lungs_has_a_label_of_its_own(tmp_path: Path) -> None:
    hu, given = volume(), np.zeros((10, 17, 23), np.uint8)
    probability = np.zeros((1, 10, 17, 23), np.float32)
    segmenter = _core.Segmenter(os.fsencode(make(tmp_path / "m.covfast", changed("threshold", label=9))), "cpu", 2)
    assert not segmenter.finds_infection
    segmenter.run_volume([hu], (2.0, 1.0, 1.0), given, probability, None, None)
    labels, expected = run(make(tmp_path / "n.covfast", STAGES), hu)
    np.testing.assert_array_equal(given == 9, labels == 3)
    np.testing.assert_array_equal(probability[0], expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_recipe_any_number_of_threads_same_bits(tmp_path: Path, threads: int) -> None:
    path = make(tmp_path / "m.covfast", STAGES)
    np.testing.assert_array_equal(run(path, volume(), threads)[1], run(path, volume())[1])


@pytest.mark.parametrize("to", ["SPL", "IAR", "LPS", "ASR", "PLI"])
def test_recipe_orient_equals_turning_the_volume(tmp_path: Path, to: str) -> None:
    stages = [stage for stage in STAGES if stage["stage"] not in ("resample", "resample_back")]
    whole = [{**stage, "size": [0, 0, 0]} if stage["stage"] == "tile" else stage for stage in stages]
    turned = [{**stage, "to": to} if stage["stage"] == "orient" else stage for stage in whole]
    hu = volume()
    turn = Geometry.from_spacing((1, 1, 1), (1, 1, 1), to)  # array axes as `to`, seen from canonical
    expected = run(make(tmp_path / "a.covfast", whole), np.ascontiguousarray(turn.from_canonical(hu)))[1]
    got = run(make(tmp_path / "b.covfast", turned), hu)[1]
    np.testing.assert_allclose(got, turn.to_canonical(expected), atol=1e-6)


def test_recipe_network_that_gives_nan_raises_and_is_not_taken_for_healthy(tmp_path: Path) -> None:
    weight = np.full((2, 1, 3, 3, 3), np.nan, np.float32)
    with pytest.raises(FormatError, match="network: got NaN near slice 0"):
        run(make(tmp_path / "m.covfast", STAGES, weight), volume())


def changed(name: str, **parameters: Any) -> list[dict[str, Any]]:
    stages = copy.deepcopy(STAGES)
    next(stage for stage in stages if stage["stage"] == name).update(parameters)
    return stages


def without(name: str) -> list[dict[str, Any]]:
    return [stage for stage in STAGES if stage["stage"] != name]


BAD: dict[str, Any] = {
    "no list": 5,
    "numbers": [1, 2],
    "empty": [],
    "unknown stage": [*STAGES[:1], {"stage": "sharpen"}, *STAGES[1:]],
    "unknown parameter": changed("window", gamma=2),
    "order": [STAGES[1], STAGES[0], *STAGES[2:]],
    "two thresholds": [*STAGES, STAGES[-1]],
    "no tile": without("tile"),
    "no window": without("window"),
    "no threshold": STAGES[:-1],
    "tile in plane": changed("tile", size=[1, 64, 64]),
    "window upside down": changed("window", low_hu=10, high_hu=-10),
    "std of zero": changed("normalise", std=[0]),
    "means without stds": changed("normalise", mean=[0, 0]),
    "orientation": changed("orient", to="SSL"),
    "orientation too long": changed("orient", to="SPLS"),
    "size": changed("resample", size=[-1, 2, 2]),
    "no label": changed("threshold", label=0),
    "label of more than a byte": changed("threshold", label=256),
    "another label beside lungs": [STAGES[0], {"stage": "lungs"}, *STAGES[1:-1], {**STAGES[-1], "label": 1}],
    "threshold": changed("threshold", above=2),
    "lungs that nobody found": changed("threshold", within="lungs"),
    "crop without lungs": [STAGES[0], {"stage": "crop", "to": "lungs", "margin_mm": [0, 0, 0]}, *STAGES[1:]],
}


@pytest.mark.parametrize("name", BAD)
def test_recipe_that_is_wrong_raises_and_names_the_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=r"^m\.covfast: "):
        run(make(tmp_path / "m.covfast", BAD[name]), volume())


@pytest.mark.parametrize(
    "stages",
    [
        without("resample_back"),
        without("channel"),
        changed("normalise", mean=[0, 0], std=[1, 1]),
        changed("channel", index=2),
    ],
)
def test_recipe_whose_tiles_do_not_fit_raises(tmp_path: Path, stages: Any) -> None:
    with pytest.raises(FormatError, match="recipe"):
        run(make(tmp_path / "m.covfast", stages), volume())


def test_recipe_absent_says_that_the_network_runs_alone(tmp_path: Path) -> None:
    window = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    node = {"op": "conv", "inputs": ["x"], "output": "y", "weight": "w", **window}
    graph = {"inputs": [{"name": "x", "channels": 1, "rank": 2}], "outputs": ["y"], "nodes": [node]}
    path = write_package(tmp_path / "bare.covfast", graph, {"w": normal(2, 1, 1, 1)})
    with pytest.raises(FormatError, match=r"bare\.covfast: got a network without a recipe"):
        _core.Segmenter(os.fsencode(path), "cpu", 1)
