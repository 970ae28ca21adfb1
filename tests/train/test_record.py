"""`run.json` tells recipe, splits, hashes and versions and no path; another recipe does not go on in its folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from training import semiseg_folder  # noqa: E402

import covfast  # noqa: E402
from covfast.cli import main  # noqa: E402
from covfast.errors import FormatError, OutputError, ValueRangeError  # noqa: E402
from covfast.outputs import make_folder  # noqa: E402
from covfast.train import train  # noqa: E402
from covfast.train.lock import LOCK, locked  # noqa: E402
from covfast.train.record import Record, commit  # noqa: E402

CHANGES = {
    "threads": 1, "run.device": "cpu", "model.width": 4, "input.size": 32, "split.folds": 2, "optimisation.epochs": 1,
    "optimisation.batch": 3, "run.package": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return semiseg_folder(tmp_path_factory.mktemp("secret_name"), 4)


def test_record_holds_what_repeats_the_run_and_no_path(data: Path, tmp_path: Path) -> None:
    weights = train("infnet-multiclass", data, tmp_path / "out", CHANGES)
    text = (tmp_path / "out" / "run.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["recipe"]["model"]["width"] == 4
    assert record["recipe"]["run"]["prefetch"] == 2
    stage = record["stages"]["infnet-multiclass"]
    assert sorted([*stage["splits"]["training"], *stage["splits"]["validation"]]) == ["0", "1", "2", "3"]
    name = "covid_semiseg/TrainingSet/MultiClassInfection-Train/GT/0.png"
    assert stage["files"][name] == hashlib.sha256((data / name).read_bytes()).hexdigest()
    assert len(stage["files"]) == 12
    assert stage["steps"] > 0
    assert 0.0 <= stage["waiting_percent"] <= 100.0
    assert record["versions"]["covfast"] == covfast.__version__
    assert record["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert "secret_name" not in text
    assert str(tmp_path) not in text
    assert record["commit"] == commit()


def test_another_recipe_in_the_folder_is_refused_but_another_way_to_run_it_is_not(data: Path, tmp_path: Path) -> None:
    first = train("infnet-multiclass", data, tmp_path, CHANGES).read_bytes()
    with pytest.raises(ValueRangeError, match=r"optimisation\.epochs: got 2, expected 1"):
        train("infnet-multiclass", data, tmp_path, {**CHANGES, "optimisation.epochs": 2})
    again = train("infnet-multiclass", data, tmp_path, {**CHANGES, "run.interval": 3})
    assert again.read_bytes() == first


@pytest.mark.parametrize("key", ["keep", "patience", "validate_every", "precision"])
def test_way_to_run_that_changes_weights_is_refused(key: str, tmp_path: Path) -> None:
    table = {"run": {"interval": 1, "device": "cpu", key: 1}}
    Record(tmp_path, table).save()
    Record(tmp_path, {"run": {**table["run"], "interval": 2, "device": "auto"}})
    with pytest.raises(ValueRangeError, match=rf"run\.{key}: got 2, expected 1"):
        Record(tmp_path, {"run": {**table["run"], key: 2}})


def test_data_that_changed_since_the_run_began_are_named(tmp_path: Path) -> None:
    files = [tmp_path / "data" / name for name in ("a.png", "b.png")]
    files[0].parent.mkdir()
    for path in files:
        path.write_bytes(b"1")

    def enter(which: list[Path]) -> None:
        Record(tmp_path, {}).stage("first", {}, which, tmp_path / "data")

    enter(files)
    enter(files)
    with pytest.raises(ValueRangeError, match=r"b\.png: got no longer a file"):
        enter(files[:1])
    files[1].write_bytes(b"2")
    with pytest.raises(ValueRangeError, match=r"b\.png: got another content"):
        enter(files)


def test_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content in (b"{", b"[]", b"\xff"):
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(FormatError, match=r"run\.json"):
            Record(tmp_path, {})


HOLDER = """
import sys, time
from pathlib import Path
from covfast.train.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_folder_where_a_training_is_at_work_is_refused_until_its_process_is_dead(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match="another training is at work"), locked(tmp_path):
            pass
    finally:
        child.kill()
        child.communicate()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path), pytest.raises(OutputError, match="another training"), locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="out"):
        make_folder(tmp_path / "file" / "out")


def test_command_trains_all_folds_and_one_of_them_is_the_same(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [text for key, value in CHANGES.items() for text in ("--set", f"{key}={str(value).lower()}")]
    common = ["train", "infnet-multiclass", "--data", str(data), *options, "--progress", "none"]
    assert main([*common, "-o", str(tmp_path / "all"), "--fold", "all"]) == 0
    assert main([*common, "-o", str(tmp_path / "one"), "--fold", "1", "-d", "cpu"]) == 0
    name = "infnet-multiclass.pt"
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "all"), str(tmp_path / "one" / "fold_1" / name)]
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["fold_0", "fold_1"]
    both = [(tmp_path / k / "fold_1" / name).read_bytes() for k in ("all", "one")]
    assert both[0] == both[1]
    splits = [json.loads((tmp_path / "all" / f"fold_{k}" / "run.json").read_text())["stages"] for k in (0, 1)]
    held = [next(iter(stage.values()))["splits"]["validation"] for stage in splits]
    assert sorted([*held[0], *held[1]]) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--set", "optimisation.epoch=1"], 2, "optimisation.epochs"),
        (["--set", "optimisation.epochs=no"], 2, "whole number"),
        (["--set", "epochs"], 2, "KEY=VALUE"),
        (["--fold", "9"], 2, "fold"),
        (["--fold", "some"], 2, "fold"),
        (["-d", "cuda:99"], 7, "run.device"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], code: int, told: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "infnet", "--data", str(data), "-o", str(tmp_path / "out"), *arguments]) == code
    assert told in capsys.readouterr().err
