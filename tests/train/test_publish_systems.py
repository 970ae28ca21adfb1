"""Packages of trained systems: `train` writes them, and they run as torch does on what the training prepared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import RUNS, lesion_folders, same, semiseg_folder  # noqa: E402

import covfast  # noqa: E402
from covfast import SlidingWindow  # noqa: E402
from covfast import package as packages  # noqa: E402
from covfast.errors import FormatError, WeightsError  # noqa: E402
from covfast.models import HybridEncoderUNet, InfNet, InfNetMultiClass, MiniSeg, PlainUNet, RelationUNet  # noqa: E402
from covfast.models.topology import Topology  # noqa: E402
from covfast.phantom import chest_phantom  # noqa: E402
from covfast.resample_ops import resize_spline  # noqa: E402
from covfast.train import package, read_recipe, train  # noqa: E402
from covfast.train.publish import checkpoint, kept_stage, publish, recipe_digest  # noqa: E402
from covfast.train.publish_volumes import label_values, settings_of  # noqa: E402
from covfast.train.volumes import CtNormalisation, resampled  # noqa: E402
from covfast.volume import Geometry, Volume  # noqa: E402

TOLERANCE = 1e-4
"""Largest difference to torch, of the output's range: as `covfast.export` has it."""

SHORT = {"optimisation.epochs": 2, "split.folds": 1, "run.validate_every": 0}
SLICES: dict[str, Any] = {
    "infnet": lambda: InfNet(channel=4, planes=4),
    "semi-infnet": lambda: InfNet(channel=4, planes=4),
    "infnet-multiclass": lambda: InfNetMultiClass(width=4),
    "miniseg-paper": MiniSeg,
}
"""Recipe -> the module that its weights belong to."""
TRACED = ("infnet", "semi-infnet", "miniseg-paper")
"""Recipes of networks whose export takes ten seconds."""

SIZE = (16, 32, 32)
SHAPE = Topology([4, 6], [[3, 3, 3]] * 2, [[1, 1, 1], [2, 2, 2]])
FLAT = Topology([4, 6], [[3, 3]] * 2, [[1, 1], [2, 2]])
PATCHES = {"optimisation.iterations": 2, "optimisation.epochs": 1, "patch.size": SIZE, "data.names": {"1": "infection"}}
VOLUMES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "unet": ("unet", {"data.window_hu": [-1000, 200]}, lambda: PlainUNet.of(1, 2, SHAPE)),
    "resampled": (
        "unet",
        {"data.spacing_mm": [6.0, 5.0, 5.0], "data.window_hu": [], "augmentation.enabled": False},
        lambda: PlainUNet.of(1, 2, SHAPE),
    ),
    "clipped": (
        "unet",
        {
            "data.spacing_mm": [6.0, 5.0, 5.0],
            "data.window_hu": [-1000, 200],
            "data.normalisation_hu": [-1000, 200, -500, 300],
            "augmentation.enabled": False,
        },
        lambda: PlainUNet.of(1, 2, SHAPE),
    ),
    "flat": (
        "unet",
        {"patch.size": SIZE[1:], "model.strides": ["1 1", "2 2"], "augmentation.flip_axes": [0, 2]},
        lambda: PlainUNet.of(1, 2, FLAT),
    ),
    "hybrid": (
        "transfer",
        {"strategy.name": "hybrid", "augmentation.flip_axes": []},
        lambda: HybridEncoderUNet(1, 2, SHAPE),
    ),
    "scratch": (
        "transfer",
        {"strategy.name": "scratch", "augmentation.flip_axes": []},
        lambda: PlainUNet.of(1, 2, SHAPE),
    ),
    "relation": ("relation", {"augmentation.flip_axes": [1]}, lambda: RelationUNet(1, 2, SHAPE)),
}
"""Case -> recipe, changes, the module that its weights belong to."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lesion_folders(semiseg_folder(tmp_path_factory.mktemp("patients"), 4, 2), cases=2)


@pytest.fixture(scope="module")
def phantom() -> Volume:
    return chest_phantom(shape=(32, 64, 64), seed=0).volume


class Runs:
    """Folders of short trainings, each trained when it is first asked for."""

    def __init__(self, data: Path, root: Path) -> None:
        self.data, self.root = data, root

    def __getitem__(self, case: str) -> Path:
        recipe, changes = (VOLUMES[case][0], {**PATCHES, **VOLUMES[case][1]}) if case in VOLUMES else (case, {})
        out = self.root / case
        if not out.exists():
            train(recipe, self.data, out, {**RUNS[recipe], **SHORT, "run.package": recipe not in TRACED, **changes})
        return out

    def package(self, case: str) -> Path:
        """The package that the training wrote; of `TRACED`, made when it is first asked for."""
        if case in TRACED and not list(self[case].glob("*.covfast")):
            return package(self[case])
        (found,) = self[case].glob("*.covfast")
        return found

    def weights(self, case: str) -> Path:
        """The weights that the training wrote."""
        (found,) = (path for path in self[case].glob("*.pt") if path.stem in RUNS)
        return found

    def module(self, case: str) -> Any:
        """The weights in a module that the test built."""
        module = SLICES[case]() if case in SLICES else VOLUMES[case][2]()
        module.load_state_dict(torch.load(self.weights(case), weights_only=True))
        return module.eval()

    def checkpoint(self, case: str) -> Any:
        """What its package is made of; nothing is exported."""
        return checkpoint(json.loads((self[case] / "run.json").read_text())["recipe"], self.weights(case))


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(data, tmp_path_factory.mktemp("runs"))


def close(found: Any, expected: Any) -> bool:
    """Whether arrays are equal within the tolerance."""
    return found.shape == expected.shape and np.abs(found - expected).max() <= TOLERANCE * np.ptp(expected)


def torch_output(module: Any, x: Any) -> Any:
    with torch.inference_mode():
        return module(torch.from_numpy(x)).numpy()


def image_of(case: str) -> Any:
    channels = 6 if case == "infnet-multiclass" else 3
    return np.random.default_rng(0).normal(size=(2, channels, 64, 96)).astype(np.float32)


def logit(case: str, output: Any) -> Any:
    """What the network itself gives: of Inf-Net the second of two classes, the first of which is 0."""
    if case not in ("infnet", "semi-infnet"):
        return output
    assert not output[:, 0].any()
    return output[:, 1:]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case in TRACED else []) for case in SLICES]
)
def test_package_of_slices_equals_torch(case: str, runs: Runs) -> None:
    found = covfast.load(runs.package(case), device="cpu")(image_of(case))
    assert close(logit(case, found), torch_output(runs.module(case), image_of(case)))


@pytest.mark.parametrize("case", TRACED)
def test_what_a_package_of_slices_is_made_of_is_the_network_and_its_input(case: str, runs: Runs) -> None:
    found = runs.checkpoint(case)
    assert np.array_equal(
        logit(case, torch_output(found.module, image_of(case))), torch_output(runs.module(case), image_of(case))
    )
    stages = {stage["stage"]: stage for stage in found.recipe["stages"]}
    record = json.loads((runs[case] / "run.json").read_text())
    given = record["stages"][case]["facts"] if case == "miniseg-paper" else record["recipe"]["input"]
    assert (stages["normalise"]["mean"], stages["normalise"]["std"]) == (given["mean"], given["std"])
    size = record["recipe"]["input"]["size"]
    assert (stages["resample"]["size"], found.input_shape) == ([0, size, size], (1, 3, size, size))
    assert stages["threshold"] == {"stage": "threshold", "above": 0.5, "label": 3, "within": "lungs"}


def test_the_network_of_semi_infnet_is_that_of_its_last_stage(runs: Runs) -> None:
    record = json.loads((runs["semi-infnet"] / "run.json").read_text())
    assert kept_stage(record, record["recipe"]) == record["stages"]["tuned"]
    rounds = record["stages"]["propagation"]
    assert rounds["steps"] >= rounds["rounds"] >= 1
    assert rounds["seconds"] > 0.0
    last = torch.load(runs["semi-infnet"] / "tuned" / "checkpoint.pt", weights_only=True)["model"]
    assert same(last, torch.load(runs.weights("semi-infnet"), weights_only=True))


@pytest.mark.parametrize("case", ["unet", "flat", "hybrid", "relation"])
def test_package_of_patches_equals_torch(case: str, runs: Runs) -> None:
    x = np.random.default_rng(0).normal(size=(2, 1, *SIZE[-2 if case == "flat" else 0 :])).astype(np.float32)
    assert close(covfast.load(runs.package(case), device="cpu")(x), torch_output(runs.module(case), x))


def reference(runs: Runs, case: str, volume: Volume) -> Any:
    """Probabilities (2, D, H, W) as training prepares a canonical volume and torch sees it, window by window."""
    record = json.loads((runs[case] / "run.json").read_text())
    stage = list(record["stages"].values())[-1]
    table = record["recipe"]
    hu = volume.hu.astype(np.float32)
    if table["data"]["window_hu"]:
        hu = np.clip(hu, *map(np.float32, table["data"]["window_hu"]))
    if table["data"]["spacing_mm"]:
        empty = np.zeros(hu.shape, np.uint8)
        hu, _ = resampled(hu, empty, volume.geometry.spacing_mm, table["data"]["spacing_mm"])
    size, given = table["patch"]["size"], table["augmentation"]
    lead = 3 - len(size)
    axes = [axis - lead for axis in given["flip_axes"] if axis >= lead] if given["enabled"] else []
    window = SlidingWindow(size, mirror_axes=axes)
    x = CtNormalisation(*stage["facts"]["normalisation_hu"])(hu)
    logits = window.averages(x[None], runs.module(case))
    logits = resize_spline(logits, (2, *volume.hu.shape), order=1, device="cpu")
    return torch.softmax(torch.from_numpy(logits), 0).numpy()


@pytest.mark.parametrize("case", list(VOLUMES))
def test_segmenter_of_a_package_equals_torch_on_the_phantom(case: str, runs: Runs, phantom: Volume) -> None:
    assert phantom.geometry.orientation == "SPL"
    expected = reference(runs, case, phantom)
    segmenter = covfast.Segmenter(runs.package(case), device="cpu", threads=1)
    result = segmenter(phantom, probabilities=True)
    assert result.names == {0: "background", 1: "infection"}
    assert np.ptp(expected) > 1e-3
    assert close(result.probabilities, expected)
    sure = np.abs(expected[1] - 0.5) > 1e-3
    assert np.array_equal(result.labels[sure], expected.argmax(0)[sure])


def test_package_sees_a_volume_in_the_orientation_of_the_training(runs: Runs, phantom: Volume) -> None:
    canonical = phantom.geometry
    turned = Geometry.from_spacing((64, 32, 64), np.array(canonical.spacing_mm)[[2, 0, 1]], "RIA")
    other = Volume(np.ascontiguousarray(turned.from_canonical(phantom.hu)), turned)
    segmenter = covfast.Segmenter(runs.package("hybrid"), device="cpu", threads=1)
    assert np.array_equal(turned.to_canonical(segmenter(other).labels), segmenter(phantom).labels)


@pytest.mark.slow
def test_package_of_miniseg_normalises_by_the_fold(runs: Runs, data: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    record = json.loads((runs["miniseg-paper"] / "run.json").read_text())
    given = record["stages"]["miniseg-paper"]["facts"]
    x = np.stack([(pixels / 255.0 - m) / s for m, s in zip(given["mean"], given["std"], strict=True)])[None]
    logits = torch_output(runs.module("miniseg-paper"), x.astype(np.float32))
    expected = torch.softmax(torch.from_numpy(logits), 1).numpy()[0, 1]
    found = covfast.segment_slice(pixels, runs.package("miniseg-paper"), device="cpu")
    assert close(found, expected)


@pytest.mark.slow
def test_package_of_infnet_labels_infection_within_the_lungs(runs: Runs, small_phantom: Any) -> None:
    result = covfast.Segmenter(runs.package("infnet"), device="cpu", threads=1)(small_phantom.volume)
    assert result.lungs is not None
    assert (result.lungs > 0).any()
    assert set(np.unique(result.labels)) <= {0, 1, 2, 3}
    assert not (result.labels[result.lungs == 0] > 0).any()


def test_bare_network_tells_its_inputs_and_outputs(runs: Runs) -> None:
    found = runs.package("infnet-multiclass")
    notes = " ".join(packages.read_metadata(found)["provenance"]["notes"])
    assert "ground-glass opacity, consolidation, background, in this order" in notes
    with pytest.raises(FormatError, match="without a recipe"):
        covfast.Segmenter(found, device="cpu")


def test_package_tells_licence_recipe_and_split_and_no_place(runs: Runs, data: Path) -> None:
    record = json.loads((runs["unet"] / "run.json").read_text())
    metadata = packages.read_metadata(runs.package("unet"))
    about = metadata["provenance"]
    assert metadata["licence"] == "unspecified"
    assert any("data.licence" in note for note in about["notes"])
    assert about["recipe_sha256"] == recipe_digest(record["recipe"])
    assert (about["training"]["seed"], about["training"]["split"]["folds"]) == (2020, 1)
    assert about["cases"] == {"training": 2, "validation": 0}
    assert about["weights_sha256"] == record["weights"]["sha256"]
    text = json.dumps(metadata)
    assert "patients" not in text
    assert "covid_0" not in text


def test_digest_of_a_recipe_is_of_what_is_trained() -> None:
    table = read_recipe("unet")
    other = read_recipe("unet", {"run.device": "cpu", "threads": 7})
    assert recipe_digest(other) == recipe_digest(table)
    assert recipe_digest(read_recipe("unet", {"seed": 1})) != recipe_digest(table)


def test_stated_licence_goes_into_the_package(data: Path, tmp_path: Path) -> None:
    changes = {**RUNS["unet"], **SHORT, **PATCHES, "data.licence": "CC-BY-4.0", "run.package": False}
    train("unet", data, tmp_path, changes)
    assert not (tmp_path / "unet.covfast").exists()
    made = package(tmp_path)
    assert made == tmp_path / "unet.covfast"
    metadata = packages.read_metadata(made)
    assert metadata["licence"] == "CC-BY-4.0"
    assert not any("licence" in note for note in metadata["provenance"]["notes"])
    index = json.loads(
        (publish(read_recipe("unet", changes), tmp_path / "unet.pt", tmp_path).parent / "models.json").read_text()
    )
    assert index["models"]["unet"]["licence"] == "CC-BY-4.0"
    assert index["models"]["unet"]["task"] == "infection"


def spoilt(folder: Path, runs: Runs, **changes: Any) -> Path:
    """A copy of the U-Net's record and weights with changes of the record."""
    record = json.loads((runs["unet"] / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, **changes}))
    (folder / "unet.pt").write_bytes((runs["unet"] / "unet.pt").read_bytes())
    return folder


def test_runs_that_cannot_be_packed_are_refused(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"run\.json"):
        package(tmp_path)
    with pytest.raises(FormatError, match="a training that is done"):
        package(spoilt(tmp_path, runs, status="running"))
    with pytest.raises(FormatError, match="run covfast train on the folder again"):
        package(spoilt(tmp_path, runs, stages={"unet": {}}))
    with pytest.raises(WeightsError, match="another content"):
        package(spoilt(tmp_path, runs, weights={"file": "unet.pt", "sha256": "0" * 64}))
    with pytest.raises(WeightsError, match=r"no file absent\.pt"):
        package(spoilt(tmp_path, runs, weights={"file": "absent.pt", "sha256": ""}))
    stage: Mapping[str, Any] = {"facts": {"classes": 3, "normalisation_hu": [-1000, 200, -500, 300]}}
    with pytest.raises(WeightsError, match=r"unet\.pt"):
        package(spoilt(tmp_path, runs, stages={"unet": stage}))
    with pytest.raises(FormatError, match="another recipe"):
        publish(read_recipe("unet"), spoilt(tmp_path, runs) / "unet.pt", tmp_path)


@pytest.mark.parametrize(
    ("classes", "count", "values"),
    [
        ({}, 3, (0, 1, 2)),
        ({0: 0, 2: 1}, 2, (0, 2)),
        ({0: 0, 7: 1, 4: 1, 5: 2}, 3, (0, 4, 5)),
        ({0: 0, 3: 2}, 3, (0, 0, 3)),
    ],
)
def test_labels_are_the_values_of_the_training_masks(classes: Any, count: int, values: Any) -> None:
    assert label_values(classes, count) == values


@pytest.mark.parametrize(
    ("window", "limits"),
    [([], (-900, 100)), ([-1250, 50], (-900, 50)), ([-2000, -1000], (-900, -900)), ([500, 600], (100, 100))],
)
def test_two_clips_are_one(window: Any, limits: Any) -> None:
    table = read_recipe("unet", {"data.window_hu": window, "patch.size": [8, 8, 8]})
    settings = settings_of(table, [-900, 100, -400, 250], (0, 1))
    x = np.linspace(-3000, 3000, 41)
    twice = np.clip(np.clip(x, *window) if window else x, -900, 100)
    channel = settings.channels[0]
    assert (channel["low"], channel["high"]) == limits
    assert np.array_equal(np.clip(x, channel["low"], channel["high"]), twice)
