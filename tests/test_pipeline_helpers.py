"""Segmenter with models beside its own: lungs that join the native ones, and the types of lesions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import covfast
from covfast import DTypeError, ValueRangeError, WeightsError
from covfast.cli import main
from covfast.lung_fields import joined_lungs
from covfast.phantom import Phantom
from covfast.pipeline import Segmenter
from covfast.volume import CONSOLIDATION, Geometry, Volume

torch = pytest.importorskip("torch")

SCHEMAS = Path(covfast.__file__).parent / "schemas"


def brighter_than(hu: float, low: float, high: float) -> Any:
    """A network whose second class is more probable where its input, [low, high] HU as 0 to 1, is above `hu`."""
    module = torch.nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        module.weight.zero_()
        module.weight[1] = 20.0
        module.bias.copy_(torch.tensor([0.0, -60.0 * (hu - low) / (high - low)]))
    return module.eval()


@pytest.fixture(scope="module")
def lungs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of "lungs": what is denser than 200 HU."""
    from covfast.models.checkpoint import Checkpoint, whole_slice_recipe

    path = tmp_path_factory.mktemp("lungs") / "dense.covfast"
    recipe = whole_slice_recipe((-1000.0, 1000.0), 128, 0.0, 1.0)
    shape = (1, 3, 128, 128)
    Checkpoint(brighter_than(200, -1000, 1000), recipe, "test", labels={1: "lung"}, input_shape=shape).export(path)
    return path


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of lesion types: consolidation is denser than -300 HU."""
    from covfast.models.checkpoint import Checkpoint, slice_recipe

    path = tmp_path_factory.mktemp("types") / "types.covfast"
    labels = {1: "left lung", 2: "right lung", 3: CONSOLIDATION}
    recipe, shape = slice_recipe((-1000.0, 1000.0), 128, 0.0, 1.0, 0.0), (1, 3, 128, 128)
    Checkpoint(brighter_than(-300, -1000, 1000), recipe, "test", labels=labels, input_shape=shape).export(path)
    return path


@pytest.fixture(scope="module")
def ill(small_phantom: Phantom) -> Volume:
    """The chest with a base of one lung as dense as bone, in an orientation of its own."""
    geometry = small_phantom.volume.geometry
    hu, truth = (np.array(geometry.to_canonical(a)) for a in (small_phantom.volume.hu, small_phantom.lungs.labels))
    base = np.flatnonzero((truth == 2).any(axis=(1, 2)))[:12]
    hu[base] = np.where(truth[base] == 2, 300, hu[base])
    target = Geometry.from_spacing((1, 1, 1), (1, 1, 1), "IRP")
    spacing = np.asarray(geometry.canonical().spacing_mm)[np.argsort(target.axes)]
    moved = np.ascontiguousarray(target.from_canonical(hu))
    return Volume(moved, Geometry.from_spacing(moved.shape, spacing, "IRP"))


def test_lungs_of_a_model_join_the_native_ones(model: str, lungs: Path, ill: Volume) -> None:
    alone, plain = Segmenter(lungs)(ill), Segmenter(model)(ill)
    assert alone.lungs is None
    assert set(np.unique(alone.labels)) == {0, 1}
    result = Segmenter(model, lungs=lungs)(ill)
    to_canonical, spacing = ill.geometry.to_canonical, ill.geometry.canonical().spacing_mm
    expected = joined_lungs(to_canonical(ill.hu), spacing, to_canonical(alone.labels) == 1)
    assert result.lungs is not None
    assert plain.lungs is not None
    np.testing.assert_array_equal(to_canonical(result.lungs), expected)
    assert np.count_nonzero(result.lungs == 2) > 1.1 * np.count_nonzero(plain.lungs == 2)
    assert (result.lungs[result.labels == 3] > 0).all()
    np.testing.assert_array_equal(result.labels[result.labels != 3], result.lungs[result.labels != 3])
    assert result.run["lungs_model"]["name"] == "dense"
    assert result.run["stages_ms"]["lungs"] > 0


def test_lesion_types_share_out_the_infection(model: str, types: Path, small_phantom: Phantom) -> None:
    volume = small_phantom.volume
    result, plain = Segmenter(model, lesion_types=types)(volume), Segmenter(model)(volume)
    np.testing.assert_array_equal(result.labels, plain.labels)
    assert result.lesion_types is not None
    np.testing.assert_array_equal(result.lesion_types > 0, plain.labels == 3)
    near = np.abs(volume.hu[plain.labels == 3].astype(int) + 300) > 300  # resampling blurs what lies between
    is_dense = volume.hu[plain.labels == 3] > -300
    assert ((result.lesion_types[plain.labels == 3] == 2) == is_dense)[near].mean() > 0.9
    assert {1, 2} < set(np.unique(result.lesion_types))
    found, region = result.statistics()["lesion_types"], result.statistics()["lungs"]["all"]["visible"]
    total = found["ground_glass_ml"] + found["consolidation_ml"]
    assert total == pytest.approx(region["infection_ml"])
    assert found["consolidation_percent"] == pytest.approx(100 * found["consolidation_ml"] / total)
    assert "lesion_types" not in plain.statistics()
    with pytest.raises(ValueRangeError, match="lesion_types: got none"):
        _ = plain.lesion_type_segmentation


def test_command_line_writes_lesion_types_and_takes_them_away_again(
    model: str, lungs: Path, types: Path, small_phantom: Phantom, tmp_path: Path
) -> None:
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    covfast.write(scan, small_phantom.volume)
    words = ["segment", str(scan), "-o", str(out), "--progress", "none", "-m", model]
    assert main([*words, "--lungs", str(lungs), "--lesion-types", str(types)]) == 0
    assert (out / "lesion_types.nii.gz").is_file()
    for name in ("run", "statistics"):
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
        jsonschema.validate(json.loads((out / f"{name}.json").read_text(encoding="utf-8")), schema)
    facts = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert facts["command"].endswith("--lungs dense.covfast --lesion-types types.covfast")
    assert main([*words, "--overwrite"]) == 0
    assert not (out / "lesion_types.nii.gz").exists()


def test_batch_manifest_knows_the_models_beside(
    model: str, types: Path, small_phantom: Phantom, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    covfast.write(tmp_path / "in" / "a.nii.gz", small_phantom.volume)
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--progress", "none"]
    assert main([*words, "--lesion-types", str(types)]) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    schema = json.loads((SCHEMAS / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(manifest, schema)
    assert "a/lesion_types.nii.gz" in manifest["cases"]["a"]["outputs"]
    assert manifest["runs"][0]["lesion_types_model"]["name"] == "types"


def test_models_that_cannot_play_the_part_are_refused(model: str, lungs: Path, types: Path) -> None:
    with pytest.raises(ValueRangeError, match="lungs: got a model of left lung, right lung, infection"):
        Segmenter(model, lungs=model)
    with pytest.raises(ValueRangeError, match="lesion_types: got a model of lung, expected one of consolidation"):
        Segmenter(model, lesion_types=lungs)
    for wrong in (True, 3, []):
        with pytest.raises(DTypeError, match=r"lungs: got .*expected the name or path of a model"):
            Segmenter(model, lungs=wrong)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="lesion_types: model: got 'nosuch'"):
        Segmenter(model, lesion_types="nosuch")
    with pytest.raises(ValueRangeError, match=r"one of consolidation of lesions.*--lesion-types"):
        Segmenter(types)
    with pytest.raises(ValueRangeError, match=r"lungs: got .*expected None for a model with labels of its own"):
        Segmenter(lungs, lungs=lungs)


def test_model_of_lungs_alone_takes_hounsfield_units_and_windowed_images(lungs: Path, ill: Volume) -> None:
    alone, canonical = Segmenter(lungs), ill.geometry.to_canonical(ill.hu)
    spacing, expected = ill.geometry.canonical().spacing_mm, ill.geometry.to_canonical(Segmenter(lungs)(ill).labels)
    windowed = np.clip((canonical.astype(np.float32) + 1250) / 1500 * 255, 0, 255)
    found = alone((windowed, spacing), input_window=(-1250.0, 250.0)).labels
    assert (found == expected).mean() > 0.999
    assert found.any()


def test_memory_estimate_counts_the_models_beside(model: str, lungs: Path, types: Path, ill: Volume) -> None:
    plain, both = Segmenter(model), Segmenter(model, lungs=lungs, lesion_types=types)
    assert both.estimate_bytes(ill) >= plain.estimate_bytes(ill) + 8 * ill.hu.size
