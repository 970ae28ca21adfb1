"""Publishing: the package holds the recipe of its training, the index tells the truth about the files."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import covfast  # noqa: E402
from covfast import package  # noqa: E402
from covfast.models import MiniSeg  # noqa: E402
from covfast.train import package as package_run  # noqa: E402
from covfast.train import read_recipe  # noqa: E402
from covfast.train.publish import LICENCE, publish, recipe_digest  # noqa: E402
from covfast.train.record import Record  # noqa: E402

WEIGHTS = Path(__file__).parents[2] / "weights" / "covfast_weights"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    weights, table = folder / "miniseg-infection.pt", read_recipe("miniseg-infection")
    torch.save(MiniSeg().state_dict(), weights)
    record = Record(folder, table)
    splits = {"training": ["a", "b"], "validation": ["c"]}
    record.stage("base", splits, [], folder)
    record.end("base", steps=table["optimisation"]["steps"], facts={})
    record.stage("refinement", splits, [], folder)
    record.end("refinement", steps=table["refinement"]["steps"], facts={})
    record.finish(weights)
    return publish(table, weights, folder)


def test_package_holds_the_recipe_that_the_network_was_trained_with(published: Path) -> None:
    given = read_recipe("miniseg-infection")["input"]
    stages = {stage["stage"]: stage for stage in package.read_metadata(published)["recipe"]["stages"]}
    assert [stages["window"]["low_hu"], stages["window"]["high_hu"]] == given["window_hu"]
    assert stages["resample"]["size"] == [0, given["size"], given["size"]]
    assert stages["normalise"]["mean"] == [given["mean"]] * 3
    assert stages["crop"]["margin_mm"] == [0.0, given["margin_mm"], given["margin_mm"]]


def test_package_states_licence_data_and_split(published: Path) -> None:
    metadata = package.read_metadata(published)
    assert metadata["licence"] == LICENCE
    about, table = metadata["provenance"], read_recipe("miniseg-infection")
    assert about["training"]["split"]["held_out"] == ["coronacases_004", "coronacases_009"]
    assert [about["training"][stage]["steps"] for stage in ("optimisation", "refinement")] == [2200, 500]
    assert about["recipe_sha256"] == recipe_digest(table)
    assert (
        about["weights_sha256"] == hashlib.sha256((published.parent / "miniseg-infection.pt").read_bytes()).hexdigest()
    )
    assert about["cases"] == {"training": 2, "validation": 1}
    assert about["data"] == ["COVID-SemiSeg Doctor-label", "COVID-SemiSeg Pseudo-label slices", "COVID-19-CT-Seg masks"]
    assert "not a medical device" in about["use"]


def test_package_on_the_native_engine_equals_torch(published: Path) -> None:
    torch.manual_seed(0)
    module = MiniSeg().eval()
    x = np.random.default_rng(0).normal(size=(2, 3, 96, 72)).astype(np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(x)).numpy()
    found = covfast.load(published, engine="native", device="cpu")(x)
    assert np.abs(found - expected).max() <= 1e-4 * np.ptp(expected)


@pytest.mark.slow
def test_run_of_a_training_gives_the_package_that_publish_gives(published: Path, tmp_path: Path) -> None:
    for name in ("miniseg-infection.pt", "run.json"):
        shutil.copy(published.parent / name, tmp_path)
    assert package_run(tmp_path).read_bytes() == published.read_bytes()
    assert not (tmp_path / "models.json").exists()


def check_index(folder: Path) -> None:
    index = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    assert index["schema_version"] == 1
    for name, entry in index["models"].items():
        content = (folder / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest(), name
        assert entry["size_bytes"] == len(content) < 500_000, name


def test_index_of_a_published_package_is_true(published: Path) -> None:
    check_index(published.parent)


def test_index_of_the_weights_distribution_is_true() -> None:
    check_index(WEIGHTS)


def test_weights_distribution_has_a_card_for_every_model() -> None:
    for entry in json.loads((WEIGHTS / "models.json").read_text(encoding="utf-8"))["models"].values():
        card = (WEIGHTS / entry["card"]).read_text(encoding="utf-8")
        assert "not a medical device" in card
        assert entry["licence"] == LICENCE


@pytest.mark.parametrize("name", ["miniseg-infection", "miniseg-lung", "miniseg-ggo"])
def test_shipped_package_is_of_the_shipped_recipe(name: str) -> None:
    table = read_recipe(name)
    about = package.read_metadata(WEIGHTS / f"{name}.covfast")["provenance"]
    assert about["recipe_sha256"] == recipe_digest(table)
    assert about["training"] == {key: table[key] for key in about["training"]}
