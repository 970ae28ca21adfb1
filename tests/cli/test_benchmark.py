"""`covfast benchmark` as a user meets it: lists, checks, runs, files and exit codes."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from label_files import disk, lungs_with_infection, save_labels, save_picture
from protocol_folders import image_of, save_ctseg, save_image, save_predictions, save_semiseg

import covfast
from covfast.cli import main
from covfast.cli.benchmark import _recipe_objections, _trains_on_split
from covfast.errors import ValueRangeError
from covfast.phantom import Phantom
from covfast.protocols import PROTOCOLS, Predictor, part
from covfast.protocols.splits import ctseg_cases, task1_folds, task2_fold
from covfast.train.recipe import read_recipe
from covfast.volume import Segmentation, Volume

SCHEMA = json.loads(resources.files("covfast").joinpath("schemas/benchmark.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Runs the command: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = main(["benchmark", *map(str, words)])
        return code, *capfd.readouterr()

    return call


def test_without_a_protocol_all_are_listed(run) -> None:
    code, out, _ = run()
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_check_tells_the_tree_without_data(run, name: str) -> None:
    code, out, _ = run(name, "--check")
    assert code == 0
    assert "DIR/" in out
    assert "licence" in out
    assert "http" in out


def test_check_says_what_is_missing_and_0_only_if_nothing_is(run, tmp_path: Path) -> None:
    save_ctseg(tmp_path, masks="Lung_Mask")
    code, out, _ = run("task1-lung", "--check", "--data", tmp_path)
    assert code == 0
    assert "20 usable cases, complete" in out
    (tmp_path / "COVID-19-CT-Seg/Lung_Mask/coronacases_005.nii.gz").unlink()
    code, out, _ = run("task1-lung", "--check", "--data", tmp_path)
    assert code == 3
    assert "coronacases_005: got no mask" in out
    assert str(tmp_path) not in out


def test_check_of_one_set_needs_that_set_alone(run, tmp_path: Path) -> None:
    save_semiseg(tmp_path)
    code, out, _ = run("semiseg", "--check", "--data", tmp_path, "--test", "test")
    assert code == 0
    assert "LungInfection-Train" not in out
    assert run("semiseg", "--check", "--data", tmp_path)[0] == 3


def test_predictions_are_measured_and_the_files_written(run, tmp_path: Path) -> None:
    save_ctseg(tmp_path / "data")
    for fold in task1_folds():
        save_predictions(tmp_path / "p" / f"fold_{fold.number}", fold.test, 1)
    words = ("task1-infection", "--data", tmp_path / "data", "--predictions", tmp_path / "p", "-o", tmp_path / "out")
    code, out, err = run(*words)
    assert code == 0, err
    assert "difference" in out
    assert "3D U-Net (nnU-Net v1)" in out
    result: dict[str, Any] = json.loads((tmp_path / "out/benchmark.json").read_text(encoding="utf-8"))
    jsonschema.validate(result, SCHEMA)
    assert result["is_comparable"]
    assert str(tmp_path) not in json.dumps(result)
    assert sorted(p.name for p in (tmp_path / "out/fold_4").iterdir()) == [
        "published.csv", "report.csv", "report.json", "summary.json"
    ]  # fmt: skip
    code, _, err = run(*words)
    assert code == 10
    assert "--overwrite" in err
    code, out, _ = run(*words, "--overwrite", "--json")
    assert code == 0
    assert json.loads(out)["figures"] == result["figures"]
    command = result["command"]
    assert command == "covfast benchmark task1-infection --data DIR --predictions DIR -o OUT"


def test_missing_cases_give_8_and_not_comparable(run, tmp_path: Path, caplog) -> None:
    save_ctseg(tmp_path / "data", ctseg_cases()[:7])
    save_predictions(tmp_path / "p", ctseg_cases())
    code, out, _ = run("task1-82-infection", "--data", tmp_path / "data", "--predictions", tmp_path / "p")
    assert code == 8
    assert "not comparable: 13 cases missing" in out
    assert "no data for 13" in caplog.text
    assert "radiopaedia_4_85506_1" in caplog.text


def test_a_model_predicts_slices(run, tmp_path: Path, model: str) -> None:
    save_semiseg(tmp_path, range(6))
    out = tmp_path / "out"
    code, text, err = run("semiseg", "--data", tmp_path, "-m", model, "-o", out, "--threads", 1)
    assert code == 0, err
    assert "not comparable: other data: COVID-SemiSeg: got 6 images, expected 48" in text
    assert len(list((out / "predictions").glob("*.png"))) == 6
    result = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    jsonschema.validate(result, SCHEMA)
    assert result["folds"][0]["model"]["name"] == model


def test_a_case_that_the_model_refuses_is_named_and_counts_as_not_measured(
    run, tmp_path: Path, model: str, caplog
) -> None:
    save_ctseg(tmp_path / "data", ("coronacases_008",))  # blocks that are no chest
    words = ("--data", tmp_path / "data", "-m", model, "--threads", 1, "--fold", 0)
    code, out, _ = run("task1-82-infection", *words)
    assert code == 8
    assert "coronacases_008: NoLungsError" in caplog.text
    assert "no case was measured" in out


def test_a_model_predicts_volumes_in_hu_and_windowed_ones(
    run, tmp_path: Path, model: str, small_phantom: Phantom
) -> None:
    root = tmp_path / "data/COVID-19-CT-Seg"
    volume, truth = small_phantom.volume, small_phantom.truth
    share = (np.clip(volume.hu, -1250, 250) + 1250.0) / 1500.0
    windowed = Volume(np.rint(share * 255).astype(np.int16), volume.geometry)
    for case, image in (("coronacases_008", volume), ("radiopaedia_4_85506_1", windowed)):
        for kind, labels in (("Infection_Mask", truth.labels == 3), ("Lung_Mask", small_phantom.lungs.labels)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            covfast.write(root / kind / f"{case}.nii.gz", Segmentation(labels.astype(np.uint8), truth.geometry))
        (root / "COVID-19-CT-Seg_20cases").mkdir(exist_ok=True)
        covfast.write(root / "COVID-19-CT-Seg_20cases" / f"{case}.nii.gz", image)
    for protocol, key, least in (("task1-82-infection", "LesionDSC", 0.4), ("task1-82-lung", "L-lungDSC", 0.9)):
        words = ("--data", tmp_path / "data", "-m", model, "--threads", 1, "--fold", 0, "--json")
        code, out, err = run(protocol, *words)
        assert code == 8, err  # two of four cases
        result = json.loads(out)
        assert result["folds"][0]["cases"] == ["coronacases_008", "radiopaedia_4_85506_1"]
        assert result["figures"][key] > least
        assert not result["is_comparable"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["nothing", "--check"], 2, "one of task1-lung"),
        (["semiseg"], 2, "--data"),
        (["semiseg", "--data", "."], 2, "--model, --predictions, --recipe: got none of them"),
        (["semiseg", "--data", ".", "-m", "a", "--predictions", "b"], 2, "--model and --predictions"),
        (["semiseg", "--data", ".", "--recipe", "r"], 2, "no -o"),
        (["semiseg", "--data", "nowhere", "-m", "a"], 3, "nowhere"),
        (["semiseg", "--check", "--data", "nowhere"], 3, "nowhere"),
        (["semiseg", "--data", ".", "--test", "mosmed", "-m", "a"], 2, "'test' or 'train'"),
        (["task1-lung", "--data", ".", "--fold", "7", "-m", "a"], 2, "fold: got 7"),
        (["task1-lung", "--data", ".", "-m", "a"], 3, "no case"),
    ],
)
def test_wrong_arguments_end_in_typed_errors(run, words: list[str], code: int, text: str) -> None:
    found, _, err = run(*words)
    assert found == code
    assert text in err


def test_a_missing_model_is_6(run, tmp_path: Path) -> None:
    save_semiseg(tmp_path, range(2))
    assert run("semiseg", "--data", tmp_path, "-m", tmp_path / "none.covfast")[0] == 6


def test_a_fold_that_is_no_number_is_a_usage_error(run) -> None:
    with pytest.raises(SystemExit) as stop:
        run("semiseg", "--fold", "two")
    assert stop.value.code == 2


def test_a_class_needs_maps_of_that_class(run, tmp_path: Path, model: str) -> None:
    save_semiseg(tmp_path, range(2), "TestingSet/MultiClassInfection-Test", 38)
    code, _, err = run("semiseg-ggo", "--data", tmp_path, "-m", model)
    assert code == 2
    assert "--predictions" in err


CLASSES = "COVID-SemiSeg/TestingSet/MultiClassInfection-Test"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def as_trained(root: Path, case: str) -> Any:
    """(1, 6, 32, 32) of a slice and its infection map, as a training at 40 pixels sees them: of Pillow's bilinear."""
    import torch
    from PIL import Image

    parts = []
    for path in (root / CLASSES / "Imgs" / f"{case}.jpg", root / CLASSES / "Prior" / f"{case}.png"):
        side = Image.open(path).convert("L").resize((32, 32), Image.Resampling.BILINEAR)
        grey = torch.from_numpy(np.array(side)).float() / 255.0
        parts += [(grey - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
    return torch.stack(parts)[None]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Six slices of the test set with infection maps, and a bare network in small that finds every class in them."""
    torch = pytest.importorskip("torch")
    from covfast.models import InfNetMultiClass

    save_semiseg(tmp_path, range(6), CLASSES.removeprefix("COVID-SemiSeg/"), 38)
    for path in (tmp_path / CLASSES / "GT").iterdir():
        save_picture(tmp_path / CLASSES / "Prior" / path.name, disk(25, 28, 10, (44, 60)).astype(np.uint8) * 200)
    torch.manual_seed(1)
    module = InfNetMultiClass(width=4).eval()
    with torch.no_grad():
        module.outc.conv.bias -= module(as_trained(tmp_path, "0"))[0].flatten(1).median(1).values
    training = {"input": {"size": 40, "mean": list(MEAN), "std": list(STD)}}
    covfast.export(module, tmp_path / "m.covfast", (1, 6, 32, 32), multiple=16, provenance={"training": training})
    torch.save(module, tmp_path / "m.pt")
    return tmp_path


@pytest.mark.parametrize(("name", "channel"), [("ggo", 0), ("consolidation", 1)])
def test_a_bare_network_labels_slices_with_their_infection_maps(run, classes: Path, name: str, channel: int) -> None:
    torch = pytest.importorskip("torch")
    from PIL import Image

    words = ("--data", classes, "-m", classes / "m.covfast", "-o", classes / "out", "--threads", 1, "-d", "cpu")
    code, _, err = run(f"semiseg-{name}", *words)
    assert code == 0, err
    module = torch.load(classes / "m.pt", weights_only=False)
    with torch.inference_mode():
        expected = module(as_trained(classes, "0"))[0].argmax(0).numpy() == channel
    found = np.asarray(Image.open(classes / "out/predictions/0.png"))
    assert found.shape == (32, 32)
    assert set(np.unique(found)) == {0, 255}
    assert ((found == 255) == expected).mean() > 0.97  # Pillow rounds to 8 bits
    result = json.loads((classes / "out/benchmark.json").read_text(encoding="utf-8"))
    jsonschema.validate(result, SCHEMA)
    assert result["folds"][0]["model"]["name"] == "m"


def test_a_slice_without_an_infection_map_is_named(run, classes: Path, caplog) -> None:
    (classes / CLASSES / "Prior" / "3.png").unlink()
    code, _, _ = run("semiseg-ggo", "--data", classes, "-m", classes / "m.covfast", "--threads", 1)
    assert code == 8
    assert "3.jpg: got no infection map, expected Prior/3.png beside Imgs/" in caplog.text
    code, _, err = run("semiseg-ggo", "--data", classes, "-m", classes / "m.covfast", "--memory-limit", "4GiB")
    assert code == 2
    assert "memory_limit" in err


def test_a_recipe_trains_a_model_for_each_fold(run, tmp_path: Path, model: str, monkeypatch) -> None:
    pytest.importorskip("torch")
    import covfast.train
    from covfast.models.store import find

    seen = []

    def train(recipe, data, out, changes, *, fold, progress) -> Path:
        assert changes == {"run.package": False, "run.device": "cpu", "threads": 1}
        seen.append((recipe, Path(out).name, fold))
        return Path(out) / f"fold_{fold}" / "tiny.pt"

    monkeypatch.setattr(covfast.train, "train", train)
    monkeypatch.setattr(covfast.train, "package", lambda run: find(model))
    how = ("--threads", 1, "-d", "cpu")
    save_ctseg(tmp_path / "data", ("coronacases_008", "coronacases_009"))
    words = ("--data", tmp_path / "data", "--recipe", "unet", "-o", tmp_path / "out", *how)
    code, out, _ = run("task1-infection", *words)
    assert code == 8  # no lungs in these blocks, and 18 cases are missing
    assert seen == [("unet", "training", number) for number in range(5)]
    save_semiseg(tmp_path, range(3))
    for recipe, is_split in (("infnet", True), ("semi-infnet", True), ("miniseg-infection", False)):
        words = ("--data", tmp_path, "--recipe", recipe, "-o", tmp_path / recipe, *how)
        code, out, err = run("semiseg", *words)
        assert code == 0, err
        assert seen[-1] == (recipe, "training", None)
        assert ("a recipe that trains on another split" in out) is not is_split


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["-d", "cuda:99"], 7, "cuda:99"),  # neither torch nor the engine has that many
        (["-d", "moon"], 2, "run.device: got 'moon'"),
        (["--threads", "0"], 2, "threads: got 0"),
    ],
)
def test_a_device_or_threads_that_no_training_has_are_refused_before_it(
    run, tmp_path: Path, monkeypatch, words: list[str], code: int, text: str
) -> None:
    pytest.importorskip("torch")
    import covfast.train

    monkeypatch.setattr(covfast.train, "train", lambda *_, **__: pytest.fail("trained"))
    save_ctseg(tmp_path / "data")
    given = ("--data", tmp_path / "data", "--recipe", "unet", "-o", tmp_path / "out")
    found, _, err = run("task1-infection", *given, *words)
    assert found == code
    assert text in err


def test_the_device_of_the_prediction_is_looked_for_before_the_training(run, tmp_path: Path, monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    import covfast.train

    if any(one.device == "cuda" and one.missing is None for one in covfast.backends()):
        pytest.skip("the engine has CUDA")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(covfast.train, "train", lambda *_, **__: pytest.fail("trained"))
    save_ctseg(tmp_path / "data")
    words = ("--data", tmp_path / "data", "--recipe", "unet", "-o", tmp_path / "out", "-d", "cuda")
    code, _, err = run("task1-infection", *words)
    assert code == 7
    assert "device: got 'cuda'" in err


@pytest.mark.parametrize(
    ("recipe", "protocols"),
    [
        ("unet", {"task1-lung", "task1-infection", "task1-union"}),
        ("transfer", {"task1-lung", "task1-infection", "task1-union"}),
        ("relation", {"task1-lung", "task1-infection", "task1-union"}),
        ("miniseg-paper", {"miniseg-ct100"}),
        ("infnet", {"semiseg"}),
        ("semi-infnet", {"semiseg"}),
        ("infnet-multiclass", {"semiseg-ggo", "semiseg-consolidation"}),
        ("miniseg-infection", set()),
    ],
)
def test_each_shipped_recipe_trains_on_the_split_of_its_protocols(recipe: str, protocols: set[str]) -> None:
    table = read_recipe(recipe)
    assert {name for name, protocol in PROTOCOLS.items() if _trains_on_split(table, protocol)} == protocols


@pytest.mark.parametrize(
    ("published", "protocols"),
    [
        ("task2-structseg", {"task2-structseg-lung", "task2-structseg-gtv"}),
        ("task2-nsclc-lung", {"task2-nsclc-lung"}),
        ("task3-nsclc-pe", {"task3-nsclc-pe"}),
        ("task3-msd", {"task3-msd"}),
    ],
)
def test_splits_of_tasks_2_and_3_are_those_of_their_protocols(published: str, protocols: set[str]) -> None:
    table = read_recipe("unet", {"split.published": published})
    assert {name for name, protocol in PROTOCOLS.items() if _trains_on_split(table, protocol)} == protocols


def objections(recipe: str, protocol: str, changes: dict[str, Any] | None = None) -> list[str]:
    """Of a recipe on the first set of a protocol."""
    pytest.importorskip("torch")
    tested = PROTOCOLS[protocol].set_called(None)
    table = read_recipe(recipe, changes)
    return _recipe_objections(table, Predictor(PROTOCOLS[protocol], tested, part(tested.data, tested.part)))


@pytest.mark.parametrize("recipe", ["transfer", "relation"])
def test_a_recipe_of_further_data_is_not_comparable(recipe: str) -> None:
    told = "a recipe that trains on further data: msd, structseg, nsclc"
    assert objections(recipe, "task1-infection") == [told]
    assert objections(recipe, "task3-msd") == ["a recipe that trains on another split", told]
    assert objections("transfer", "task1-infection", {"strategy.name": "scratch"}) == []
    assert objections("unet", "task1-infection") == []


@pytest.mark.parametrize(
    ("recipe", "changes", "protocol", "told"),
    [
        ("unet", {}, "task1-lung", "the labels 'infection', expected 'left lung' and 'right lung'"),
        ("unet", {}, "task1-union", "the labels 'infection'"),
        ("unet", {"data.names": {"1": "left lung", "2": "right lung"}}, "task1-infection", "expected 'infection'"),
        ("miniseg-lung", {}, "task1-lung", "the labels 'lung'"),
        ("miniseg-lung", {}, "semiseg", "one of lung"),
        ("miniseg-ggo", {}, "task1-union", "types of lesions that another model finds"),
        ("infnet", {}, "semiseg-ggo", "expected one of system infnet-multiclass"),
    ],
)
def test_labels_that_are_not_the_protocols_are_refused_before_training(
    recipe: str, changes: dict[str, Any], protocol: str, told: str
) -> None:
    with pytest.raises(ValueRangeError, match=told):
        objections(recipe, protocol, changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"data.names": {"1": "left lung", "2": "right lung"}},
        {"data.names": {"1": "a", "2": "b"}},  # as many, in this order
        {"data.names": {}},  # what the masks hold is not known yet
    ],
)
def test_labels_that_can_be_the_protocols_are_not(changes: dict[str, Any]) -> None:
    assert objections("unet", "task1-lung", changes) == []


def test_slices_of_semiseg_in_folds_are_another_split() -> None:
    assert not _trains_on_split(read_recipe("infnet", {"split.folds": 5}), PROTOCOLS["semiseg"])


RECIPE = """
name = "tiny"
system = "unet"
threads = 1
[data]
images = "COVID-19-CT-Seg/COVID-19-CT-Seg_20cases"
labels = "COVID-19-CT-Seg/Infection_Mask"
names = { 1 = "infection" }
windowed = "radiopaedia"
[split]
published = "task1-82"
[model]
features = [4, 6]
strides = ["1 1 1", "2 2 2"]
[patch]
size = [8, 16, 16]
[optimisation]
epochs = 1
iterations = 2
batch = 1
[augmentation]
enabled = false
"""


def test_a_recipe_of_volumes_is_trained_packed_and_measured(run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    save_ctseg(tmp_path / "data")
    words = ("--data", tmp_path / "data", "--recipe", tmp_path / "tiny.toml", "-o", tmp_path / "out", "--threads", 1)
    code, _, err = run("task1-82-infection", *words, "--fold", 0)
    assert code == 0, err
    result = json.loads((tmp_path / "out/benchmark.json").read_text(encoding="utf-8"))
    assert result["folds"][0]["model"]["name"] == "tiny"
    assert len(result["folds"][0]["cases"]) == 4
    assert result["is_comparable"]


def test_task_2_trains_on_its_source_and_is_measured_on_covid(run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    save_ctseg(tmp_path / "data")
    folder, labels = tmp_path / "data/Task06_Lung", lungs_with_infection()
    fold = task2_fold("msd")
    for case in (*fold.train, *fold.test):
        save_image(folder / "imagesTr" / f"{case}.nii.gz", image_of(case, labels))
        save_labels(folder / "labelsTr" / f"{case}.nii.gz", (labels == 3).astype(np.uint8))
    text = RECIPE.replace("COVID-19-CT-Seg/COVID-19-CT-Seg_20cases", "Task06_Lung/imagesTr")
    text = text.replace("COVID-19-CT-Seg/Infection_Mask", "Task06_Lung/labelsTr").replace("task1-82", "task2-msd")
    (tmp_path / "tiny.toml").write_text(text)
    words = ("--data", tmp_path / "data", "--recipe", tmp_path / "tiny.toml", "-o", tmp_path / "out", "--threads", 1)
    code, _, err = run("task2-msd", *words)
    assert code == 0, err
    result = json.loads((tmp_path / "out/benchmark.json").read_text(encoding="utf-8"))
    assert len(result["folds"][0]["cases"]) == 20
    assert result["is_comparable"]
    splits = json.loads((tmp_path / "out/training/run.json").read_text(encoding="utf-8"))["stages"]["tiny"]["splits"]
    assert (splits["training"], splits["validation"]) == (list(fold.train), list(fold.test))


@pytest.mark.parametrize(("name", "told"), [("infnet-multiclass", "without a recipe"), ("unet", "cases are pictures")])
def test_a_recipe_whose_package_labels_no_pictures_is_refused_before_training(
    run, tmp_path: Path, name: str, told: str
) -> None:
    save_semiseg(tmp_path, range(1))
    code, _, err = run("semiseg", "--data", tmp_path, "--recipe", name, "-o", tmp_path / "out")
    assert code == 2
    assert told in err
    assert run("semiseg", "--data", tmp_path, "--recipe", "nothing", "-o", tmp_path / "out")[0] == 3
