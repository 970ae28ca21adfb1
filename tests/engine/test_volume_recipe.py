"""Recipes of windows over a whole volume: against a float64 reference, and what must hold whatever the model."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, write_package
from reference import sliding, volume

import covfast
from covfast import FormatError, MemoryLimitError, Segmenter, ShapeError, ValueRangeError
from covfast.component_ops import largest_component
from covfast.io import Channels
from covfast.volume import Geometry

SHAPE, SPACING = (19, 33, 38), (2.5, 1.0, 1.1)
NORM = {"scheme": "ct", "low": -900.0, "high": 900.0, "mean": 20.0, "std": 300.0}
WINDOWS = {"size": [8, 16, 20], "step": 0.5, "importance": "gaussian", "single": "weighted", "mirror_axes": []}
GRID = {"separate_z": "auto", "anisotropy": 3.0}


def stages(channels: int = 1, **changes: Any) -> list[dict[str, Any]]:
    """nnU-Net's stages with linear resampling; a change replaces parameters of the stage of its name."""
    made = [
        {"stage": "orient", "to": "file"},
        {"stage": "transpose", "axes": [0, 1, 2]},
        {"stage": "crop", "to": "nonzero"},
        {"stage": "normalise_channels", "channels": [NORM] * channels},
        {"stage": "resample_volume", "spacing_mm": [2.0, 1.3, 1.3], "order": 1, "order_z": 0, **GRID},
        {"stage": "windows", **WINDOWS},
        {"stage": "network"},
        {"stage": "stitch"},
        {"stage": "resample_logits", "order": 1, "order_z": 0, **GRID},
        {"stage": "argmax", "values": [0, 5, 9]},
    ]
    for stage in made:
        stage |= changes.get(str(stage["stage"]), {})
    return made


def make(path: Path, recipe: Any, channels: int = 1, members: Mapping[str, Any] | None = None, rank: int = 3) -> Path:
    """A package of one 3x3x3 convolution to three channels; each member has weights of its own."""
    ones, kernel = [1] * rank, [3] * rank
    window = {"stride": ones, "padding": ones, "dilation": ones, "groups": 1}

    def graph(weight: str) -> dict[str, Any]:
        node = {"op": "conv", "inputs": ["x"], "output": "y", "weight": weight, **window}
        return {"inputs": [{"name": "x", "channels": channels, "rank": rank}], "outputs": ["y"], "nodes": [node]}

    tensors = {"w": normal(3, channels, *kernel, seed=1)}
    contract = {"channels": channels, "rank": rank, "multiple": ones}
    others = []
    for name, seed in (members or {}).items():
        tensors[f"{name}/w"] = normal(3, channels, *kernel, seed=seed)
        others.append({"name": name, "graph": graph(f"{name}/w"), "input": contract})
    if not others:
        return write_package(path, graph("w"), tensors, recipe={"version": 1, "stages": recipe})
    return covfast.package.write(
        path, tensors, graph("w"), recipe={"version": 1, "stages": recipe}, labels={5: "a", 9: "b"},
        input_contract=contract, licence="Apache-2.0", provenance={}, name="many", member="fold_0", members=others,
    )  # fmt: skip


def image(channels: int = 1, shape: tuple[int, ...] = SHAPE) -> Channels:
    """Noise with a border of zeros that the crop takes away."""
    arrays = []
    for c in range(channels):
        array = np.zeros(shape, np.int16)
        inner = tuple(slice(1, -2) if n > 8 else slice(None) for n in shape)
        array[inner] = (400 * normal(*array[inner].shape, seed=7 + c)).astype(np.int16) | 1
        arrays.append(array)
    return Channels(tuple(arrays), Geometry.from_spacing(shape, SPACING))


def starts(size: int, window: int, step: float = 0.5) -> list[int]:
    steps = int(np.ceil((size - window) / (window * step)))
    return [int(np.round(i * (size - window) / steps)) for i in range(steps + 1)] if steps > 0 else [0]


def logits(channels: Channels, nets: list[Any], flips: Any = ((False, False, False),)) -> Any:
    """Logits on the grid of the crop box, and that box, in float64 but for the network."""
    raw = np.stack(channels.arrays).astype(np.float64)
    box = volume.nonzero_box(raw)
    values = (np.clip(raw[(slice(None), *box)], -900, 900) - 20) / 300
    spacing = np.array(SPACING)
    target = np.array([2.0, 1.3, 1.3])
    size = [round(s / t * n) for s, t, n in zip(spacing, target, values.shape[1:], strict=True)]
    prepared = volume.resampled(values, size, [1, 1, 1])
    window = WINDOWS["size"]
    weights = [np.exp(-0.5 * ((np.arange(n) - n // 2) / (n / 8)) ** 2) for n in window]  # type: ignore[attr-defined]
    where = [starts(n, w) for n, w in zip(size, window, strict=True)]  # type: ignore[call-overload]
    found: Any = 0
    for net in nets:
        found = found + sliding.sliding_window(
            prepared, lambda x, net=net: net(x.astype(np.float32)[None])[0], where, weights, flips
        )
    return volume.resampled(found / len(nets), values.shape[1:], [1, 1, 1]), box


def assert_equal_but_for_ties(labels: Any, found: Any, box: Any, values: Any = (0, 5, 9)) -> None:
    """Labels are those of the logits wherever the two best differ by more than rounding; 0 outside the box."""
    best = np.sort(found, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    expected = np.array(values)[found.argmax(axis=0)]
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[box][clear], expected[clear])
    outside = np.ones(labels.shape, bool)
    outside[box] = False
    assert not labels[outside].any()


@pytest.mark.op("conv3d")
def test_windows_give_the_labels_of_the_reference(backend: str, tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages(2), 2)
    given = image(2)
    result = Segmenter(path)(given)
    assert_equal_but_for_ties(result.labels, *logits(given, [covfast.load(path)]))
    assert result.names == {0: "background", 1: "lesion"}
    assert result.lungs is None


def test_windows_mirrored_average_all_readings(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages(windows={"mirror_axes": [0, 2]}))
    flips = [(a, False, b) for a, b in itertools.product((False, True), repeat=2)]
    given = image()
    assert_equal_but_for_ties(Segmenter(path)(given).labels, *logits(given, [covfast.load(path)], flips))
    assert_equal_but_for_ties(Segmenter(path, mirror=False)(given).labels, *logits(given, [covfast.load(path)]))


def test_windows_of_an_ensemble_average_its_members(tmp_path: Path) -> None:
    recipe = stages(network={"members": ["fold_0", "fold_1"]})
    path = make(tmp_path / "m.covfast", recipe, members={"fold_1": 11})
    alone = [make(tmp_path / "a.covfast", stages()), tmp_path / "b.covfast"]
    write_package(alone[1], *_graph_of(11))
    given, nets = image(), [covfast.load(p) for p in alone]
    assert_equal_but_for_ties(Segmenter(path)(given).labels, *logits(given, nets))
    assert_equal_but_for_ties(Segmenter(path, folds=[1])(given).labels, *logits(given, nets[1:]))
    with pytest.raises(ValueRangeError, match="folds: got 'fold_7', expected some of the model's own: fold_0, fold_1"):
        Segmenter(path, folds=[7])
    with pytest.raises(ValueRangeError, match="folds: got fold_0 twice"):
        Segmenter(path, folds=[0, "fold_0"])


def _graph_of(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    window = {"stride": [1] * 3, "padding": [1] * 3, "dilation": [1] * 3, "groups": 1}
    node = {"op": "conv", "inputs": ["x"], "output": "y", "weight": "w", **window}
    graph = {"inputs": [{"name": "x", "channels": 1, "rank": 3}], "outputs": ["y"], "nodes": [node]}
    return graph, {"w": normal(3, 1, 3, 3, 3, seed=seed)}


def test_windows_nnunet_accumulation_is_within_half_precision(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages(windows={"mirror_axes": [1]}))
    given = image()
    exact, half = (Segmenter(path, accumulate=how)(given, probabilities=True) for how in ("float32", "nnunet"))
    assert exact.probabilities is not None
    assert half.probabilities is not None
    error = np.abs(exact.probabilities - half.probabilities)
    assert error.any()
    assert np.quantile(error, 0.99) < 0.01  # in the corners of the volume a float16 weight has two or three bits
    assert (exact.labels != half.labels).mean() < 0.01


def test_windows_probabilities_are_the_softmax_of_the_logits(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages())
    given = image()
    result = Segmenter(path)(given, probabilities=True)
    found, box = logits(given, [covfast.load(path)])
    grown = np.exp(found - found.max(axis=0))
    probabilities = result.probabilities
    assert probabilities is not None
    assert probabilities.shape == (3, *SHAPE)
    np.testing.assert_allclose(probabilities[(slice(None), *box)], grown / grown.sum(axis=0), atol=1e-4)
    outside = probabilities[:, 0, 0, 0]
    assert outside.tolist() == [1, 0, 0]  # background for certain
    np.testing.assert_array_equal(result.labels, Segmenter(path)(given).labels)


def test_windows_regions_overlap_in_their_order(tmp_path: Path) -> None:
    recipe = [*stages()[:-1], {"stage": "regions", "values": [1, 2, 3]}]
    path = make(tmp_path / "m.covfast", recipe)
    given = image()
    result = Segmenter(path)(given, probabilities=True)
    found, box = logits(given, [covfast.load(path)])
    expected = sliding.argmax(found, np.array([1, 2, 3]), True)
    clear = (np.abs(found) > 1e-4).all(axis=0)
    np.testing.assert_array_equal(result.labels[box][clear], expected[clear])
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities[(slice(None), *box)], 1 / (1 + np.exp(-found)), atol=1e-4)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_windows_of_a_transposed_volume_are_those_of_the_volume_turned(tmp_path: Path, axes: tuple[int, ...]) -> None:
    turned = make(tmp_path / "m.covfast", stages(transpose={"axes": list(axes)}))
    plain = make(tmp_path / "p.covfast", stages())
    given = image()
    back = np.argsort(axes)
    spacing = tuple(SPACING[axis] for axis in axes)
    array = np.ascontiguousarray(given.arrays[0].transpose(axes))
    other = Channels((array,), Geometry.from_spacing(array.shape, spacing))
    expected = Segmenter(plain)(other).labels.transpose(back)
    np.testing.assert_array_equal(Segmenter(turned)(given).labels, expected)


@pytest.mark.parametrize("letters", ["SPL", "SAR", "IPR", "LPS", "RSA"])
def test_windows_answer_on_the_grid_of_the_input_whatever_its_orientation(tmp_path: Path, letters: str) -> None:
    path = make(tmp_path / "m.covfast", stages(orient={"to": "SAR"}))
    given = image()
    geometry = Geometry.from_spacing(SHAPE, SPACING, "SAR")
    expected = Segmenter(path)(Channels(given.arrays, geometry)).labels
    axes, _flips = geometry.view_axes(letters)
    assert geometry.orientation == "SAR"
    array = geometry.view(given.arrays[0], letters)
    turned = Geometry.from_spacing(array.shape, [SPACING[axis] for axis in axes], letters)
    labels = Segmenter(path)(Channels((np.ascontiguousarray(array),), turned)).labels
    np.testing.assert_array_equal(labels, geometry.view(expected, letters))


def test_windows_on_a_volume_smaller_than_the_window_pad_it(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages(windows={"size": [32, 48, 64]}))
    labels = Segmenter(path)(image()).labels
    assert set(np.unique(labels)) == {0, 5, 9}


def test_windows_of_depth_1_are_a_two_dimensional_network_on_every_slice(tmp_path: Path) -> None:
    recipe = stages(windows={"size": [1, 16, 20]}, resample_volume={"spacing_mm": [0, 1.3, 1.3]})
    path = make(tmp_path / "m.covfast", recipe, rank=2)
    given = image()
    labels = Segmenter(path)(given).labels
    box = volume.nonzero_box(given.arrays[0][None].astype(np.float64))
    box_slice = Channels((given.arrays[0][4:5],), Geometry.from_spacing((1, *SHAPE[1:]), SPACING))
    np.testing.assert_array_equal(Segmenter(path)(box_slice).labels[0], labels[4])
    assert labels[box].any()


def test_windows_of_a_cascade_see_the_labels_of_the_stage_before(tmp_path: Path) -> None:
    before = stages(network={"members": ["low"]})
    previous = {"stage": "previous", "member": "low", "labels": [5, 9], "stages": before}
    recipe = stages()
    recipe.insert(5, previous)
    window = {"stride": [1] * 3, "padding": [0] * 3, "dilation": [1] * 3, "groups": 1}
    # The second network answers with the channels that it is given: 0, and the two one-hot labels.
    weight = np.zeros((3, 3, 1, 1, 1), np.float32)
    weight[1, 1] = weight[2, 2] = 1
    node = {"op": "conv", "inputs": ["x"], "output": "y", "weight": "w", **window}
    graph = {"inputs": [{"name": "x", "channels": 3, "rank": 3}], "outputs": ["y"], "nodes": [node]}
    low, low_tensors = _graph_of(1)
    low["nodes"][0]["weight"] = "low/w"
    contract = {"channels": 1, "rank": 3, "multiple": [1, 1, 1]}
    path = covfast.package.write(
        tmp_path / "c.covfast", {"w": weight, "low/w": low_tensors["w"]}, graph,
        recipe={"version": 1, "stages": recipe}, labels={5: "a", 9: "b"}, input_contract={**contract, "channels": 3},
        licence="Apache-2.0", provenance={}, name="cascade", member="full",
        members=[{"name": "low", "graph": low, "input": contract}],
    )  # fmt: skip
    given = image()
    first = Segmenter(make(tmp_path / "m.covfast", stages()))(given).labels
    labels = Segmenter(path)(given).labels
    assert (labels == first).mean() > 0.7  # the one-hot channels were resampled there and back
    assert {5, 9} <= set(np.unique(labels))


def test_windows_components_keep_the_largest_of_each_group(tmp_path: Path) -> None:
    keep = {"stage": "components", "keep": "largest", "labels": [[5], [9]], "connectivity": 26, "min_voxels": 0}
    given = image()
    labels = Segmenter(make(tmp_path / "m.covfast", stages()))(given).labels
    kept = Segmenter(make(tmp_path / "k.covfast", [*stages(), keep]))(given).labels
    for value in (5, 9):
        expected = largest_component(np.where(labels == value, labels, 0).astype(np.uint8))
        np.testing.assert_array_equal(kept == value, expected == value)


@pytest.mark.parametrize("threads", [1, 3, 7])
def test_windows_any_number_of_threads_same_bits(tmp_path: Path, threads: int) -> None:
    path = make(tmp_path / "m.covfast", stages(windows={"mirror_axes": [0, 1, 2]}))
    one, many = (Segmenter(path, threads=n)(image(), probabilities=True) for n in (2, threads))
    np.testing.assert_array_equal(one.labels, many.labels)
    np.testing.assert_array_equal(one.probabilities, many.probabilities)


def test_windows_step_changes_how_far_they_overlap(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages())
    assert (Segmenter(path, step=1.0)(image()).labels != Segmenter(path)(image()).labels).any()
    for step in (0, 1.5, "half", float("nan")):
        with pytest.raises(ValueRangeError, match="step"):
            Segmenter(path, step=step)  # type: ignore[arg-type]


def test_windows_memory_limit_refuses_before_the_start(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages())
    need = Segmenter(path).estimate_bytes(image())
    assert Segmenter(path, memory_limit=need)(image()).labels.any()
    with pytest.raises(MemoryLimitError, match=r"memory_limit: got .* expected at least"):
        Segmenter(path, memory_limit=need - 1)(image())


def test_windows_memory_stays_below_the_estimate(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages(windows={"mirror_axes": [0, 1, 2]}))
    script = """
import sys
import numpy as np
from covfast import Segmenter
from covfast.io import Channels
from covfast.volume import Geometry
shape = (60, 300, 300)
array = np.random.default_rng(0).integers(-900, 900, shape, np.int16)
given = Channels((array,), Geometry.from_spacing(shape, (2.5, 1.0, 1.1)))
segmenter = Segmenter(sys.argv[1])
need = segmenter.estimate_bytes(given, True)
segmenter(given, probabilities=True)
lines = open("/proc/self/status").read().splitlines()  # getrusage would count the process before exec
print(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024, need)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True)
    peak, need = map(int, done.stdout.split())
    assert need / 2 < peak <= need, (peak, need)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_windows_on_values_that_are_not_finite_raise(tmp_path: Path, value: float) -> None:
    array = image().arrays[0].astype(np.float32)
    recipe = stages(normalise_channels={"channels": [{"scheme": "none"}]})
    array[8, 12, 13] = value
    with pytest.raises(FormatError, match="got NaN or infinity"):
        Segmenter(make(tmp_path / "m.covfast", recipe))(Channels((array,), Geometry.from_spacing(SHAPE, SPACING)))


def test_windows_of_another_number_of_channels_raise(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages(2), 2)
    with pytest.raises(ShapeError, match="image: got 1 channels, expected 2"):
        Segmenter(path)(image())


def test_windows_of_an_image_of_zeros_give_labels(tmp_path: Path) -> None:
    path = make(tmp_path / "m.covfast", stages())
    zeros = Channels((np.zeros(SHAPE, np.int16),), Geometry.from_spacing(SHAPE, SPACING))
    assert Segmenter(path)(zeros).labels.shape == SHAPE


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"transpose": {"axes": [0, 0, 1]}}, "transpose"),
        ({"normalise_channels": {"channels": []}}, "normalise_channels"),
        ({"normalise_channels": {"channels": [{"scheme": "best"}]}}, "scheme: got 'best'"),
        ({"normalise_channels": {"channels": [{**NORM, "low": 1000.0}]}}, "low <= high"),
        ({"resample_volume": {"order": 2}}, "order: got 2"),
        ({"resample_volume": {"spacing_mm": [-1, 1, 1]}}, "spacing_mm"),
        ({"resample_logits": {"order": 3}}, "order"),
        ({"windows": {"size": [0, 16, 16]}}, "size"),
        ({"windows": {"step": 0}}, "step"),
        ({"windows": {"importance": "round"}}, "importance: got 'round'"),
        ({"windows": {"mirror_axes": [3]}}, "mirror_axes"),
        ({"network": {"members": ["nobody"]}}, "nobody"),
        ({"argmax": {"values": [0, 1]}}, "values: got 2, expected 3"),
        ({"argmax": {"values": [0, 1, 256]}}, "values"),
        ({"crop": {"to": "lungs"}}, "crop"),
    ],
)
def test_windows_recipe_broken_raises_naming_the_place(tmp_path: Path, change: Any, match: str) -> None:
    path = make(tmp_path / "m.covfast", stages(**change))
    with pytest.raises((FormatError, ShapeError), match=match):
        Segmenter(path)(image())


@pytest.mark.parametrize("missing", ["normalise_channels", "resample_volume", "windows", "argmax"])
def test_windows_recipe_without_a_stage_raises(tmp_path: Path, missing: str) -> None:
    recipe = [stage for stage in stages() if stage["stage"] != missing]
    with pytest.raises(FormatError, match="recipe"):
        Segmenter(make(tmp_path / "m.covfast", recipe))
