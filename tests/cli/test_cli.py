"""The command line as a user meets it: outputs, exit codes, stdout and stderr, interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import covfast
from covfast.errors import ValueRangeError
from covfast.models import store
from covfast.phantom import Phantom, head_phantom, water_phantom

SCHEMAS = Path(covfast.__file__).parent / "schemas"


def run(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "covfast.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False)


@pytest.fixture(scope="module")
def scan(small_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("Jane Doe 12345") / "scan.nii.gz"
    covfast.write(path, small_phantom.volume)
    return path


@pytest.fixture(scope="module")
def segmented(
    model: str, scan: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("out") / "case"
    return out, run("segment", scan, "-o", out, "--progress", "json")


def test_segment_writes_everything_and_says_it_in_one_line(
    segmented: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = segmented
    assert done.returncode == 0, done.stderr
    assert {item.name for item in out.iterdir()} == {
        "labels.nii.gz", "lungs.nii.gz", "statistics.json", "preview.png", "run.json",
    }  # fmt: skip
    assert done.stdout.count("\n") == 1
    assert "mL" in done.stdout


def test_segment_progress_json_is_one_object_a_line(segmented: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    lines = [json.loads(line) for line in segmented[1].stderr.splitlines() if line.startswith("{")]
    assert lines[-1]["stage"] == "segment"
    assert lines[-1]["done"] == lines[-1]["total"]


@pytest.mark.parametrize("name", ["statistics", "run"])
def test_segment_json_follows_its_schema(segmented: tuple[Path, subprocess.CompletedProcess[str]], name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads((segmented[0] / f"{name}.json").read_text(encoding="utf-8")), schema)


def test_segment_labels_lie_on_the_scans_grid(
    segmented: tuple[Path, subprocess.CompletedProcess[str]], scan: Path
) -> None:
    from covfast.io import read_labels

    labels = read_labels(segmented[0] / "labels.nii.gz")
    assert labels.geometry.is_close(covfast.read(scan).geometry)
    assert set(np.unique(labels.labels)) == {0, 1, 2, 3}


def test_segment_outputs_hold_no_path_and_no_name(segmented: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, done = segmented
    texts = [
        done.stdout,
        done.stderr,
        *((out / f"{name}.json").read_text(encoding="utf-8") for name in ("statistics", "run")),
    ]
    assert not any("Jane" in text or "12345" in text or str(out.parent) in text for text in texts)


def test_segment_again_needs_overwrite(segmented: tuple[Path, subprocess.CompletedProcess[str]], scan: Path) -> None:
    before = {item.name: item.stat().st_mtime_ns for item in segmented[0].iterdir()}
    done = run("segment", scan, "-o", segmented[0])
    assert done.returncode == 10
    assert "--overwrite" in done.stderr
    assert before == {item.name: item.stat().st_mtime_ns for item in segmented[0].iterdir()}
    assert run("segment", scan, "-o", segmented[0], "--overwrite").returncode == 0


def test_segment_to_a_file_writes_labels_only(model: str, scan: Path, tmp_path: Path) -> None:
    assert run("segment", scan, "-o", tmp_path / "x.nii.gz").returncode == 0
    assert [item.name for item in tmp_path.iterdir()] == ["x.nii.gz"]


def test_segment_command_of_run_json_repeats_the_run(
    segmented: tuple[Path, subprocess.CompletedProcess[str]], scan: Path, tmp_path: Path
) -> None:
    facts = json.loads((segmented[0] / "run.json").read_text(encoding="utf-8"))
    places = {"IN": str(scan), "OUT": str(tmp_path / "again")}
    words = [places.get(word, word) for word in facts["command"].split()]
    assert words[0] == "covfast"
    assert run(*words[1:]).returncode == 0
    assert (tmp_path / "again" / "labels.nii.gz").read_bytes() == (segmented[0] / "labels.nii.gz").read_bytes()


def test_segment_folder_of_images_is_a_batch_and_one_failure_gives_8(model: str, scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(scan, folder / "good.nii.gz")
    (folder / "bad.nii.gz").write_bytes(b"nothing")
    done = run("segment", folder, "-o", tmp_path / "out")
    assert done.returncode == 8
    assert {item.name for item in (tmp_path / "out").iterdir()} == {"good", "manifest.json"}
    assert "bad: FormatError" in done.stderr


@pytest.mark.parametrize("phantom", [water_phantom, head_phantom])
def test_segment_without_lungs_gives_9_and_null_infection(model: str, tmp_path: Path, phantom: object) -> None:
    made = phantom()  # type: ignore[operator]
    covfast.write(tmp_path / "x.nii.gz", getattr(made, "volume", made))
    done = run("segment", tmp_path / "x.nii.gz", "-o", tmp_path / "out")
    assert done.returncode == 9, done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["status"] == "no_lungs"
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text(encoding="utf-8"))
    assert statistics["lungs"]["all"]["infection_ml"] is None
    assert not (tmp_path / "out" / "labels.nii.gz").exists()


def bad_inputs(folder: Path) -> dict[str, tuple[Path, int]]:
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "empty_folder").mkdir()
    (folder / "text").mkdir()
    (folder / "text" / "notes.txt").write_text("no images here")
    return {
        "absent": (folder / "absent.nii.gz", 3),
        "empty": (folder / "empty.nii.gz", 3),
        "empty folder": (folder / "empty_folder", 3),
        "folder of text": (folder / "text", 3),
    }


@pytest.mark.parametrize("name", ["absent", "empty", "empty folder", "folder of text"])
def test_segment_unreadable_input_gives_3_and_leaves_nothing(model: str, tmp_path: Path, name: str) -> None:
    path, code = bad_inputs(tmp_path)[name]
    done = run("segment", path, "-o", tmp_path / "out")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".out")]


def test_segment_output_that_cannot_be_written_gives_10(model: str, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run("segment", scan, "-o", tmp_path / "file" / "out")
    assert done.returncode == 10, done.stderr


def test_segment_onto_its_own_input_is_refused_even_with_overwrite(model: str, scan: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(scan, tmp_path / "ct.nii.gz"))
    assert run("segment", copy, "-o", copy, "--overwrite").returncode == 10
    assert copy.read_bytes() == scan.read_bytes()


def test_segment_batch_into_its_own_input_gives_2(model: str, scan: Path, tmp_path: Path) -> None:
    shutil.copy(scan, tmp_path / "ct.nii.gz")
    assert run("segment", tmp_path, "-o", tmp_path / "out").returncode == 2
    assert [item.name for item in tmp_path.iterdir()] == ["ct.nii.gz"]


def test_segment_into_a_folder_that_is_there_keeps_what_else_is_in_it(model: str, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run("segment", scan, "-o", tmp_path).returncode == 0
    assert len(list(tmp_path.iterdir())) == 6
    (tmp_path / "preview.png").unlink()
    (tmp_path / "preview.png").mkdir()
    before = (tmp_path / "labels.nii.gz").stat().st_mtime_ns
    assert run("segment", scan, "-o", tmp_path, "--overwrite").returncode == 10
    assert (tmp_path / "labels.nii.gz").stat().st_mtime_ns == before


def test_segment_on_a_terminal_still_prints_its_result_to_stdout(model: str, scan: Path, tmp_path: Path) -> None:
    master, terminal = os.openpty()
    command = [sys.executable, "-m", "covfast.cli", "segment", str(scan), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, text=True)
    os.close(terminal)
    with suppress(OSError):  # EIO at the end; a terminal that nobody reads would stop the bar when it is full
        while os.read(master, 4096):
            pass
    os.close(master)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert stdout.startswith("lungs ")


def test_segment_warns_on_stderr_of_what_the_scan_cuts_off(model: str, small_phantom: Phantom, tmp_path: Path) -> None:
    volume = small_phantom.volume
    cut = covfast.Geometry.from_spacing((40, *volume.hu.shape[1:]), volume.geometry.spacing_mm)
    covfast.write(tmp_path / "cut.nii.gz", covfast.Volume(volume.hu[:40].copy(), cut))
    done = run("segment", tmp_path / "cut.nii.gz", "-o", tmp_path / "out")
    assert "TRUNCATED" in done.stderr
    assert "in the part of the lungs that was found" in done.stdout


def test_segment_unknown_model_gives_6(scan: Path, tmp_path: Path) -> None:
    done = run("segment", scan, "-o", tmp_path / "out", "-m", "nope")
    assert done.returncode == 6
    assert "covfast-weights" in done.stderr


def test_segment_unknown_device_gives_7(model: str, scan: Path, tmp_path: Path) -> None:
    assert run("segment", scan, "-o", tmp_path / "out", "-d", "tpu").returncode == 7


def test_segment_memory_limit_gives_5(model: str, scan: Path, tmp_path: Path) -> None:
    assert run("segment", scan, "-o", tmp_path / "out", "--memory-limit", "1MiB").returncode == 5


@pytest.mark.parametrize(
    "words", [[], ["segment"], ["segment", "x"], ["nope"], ["segment", "x", "-o", "y", "--threads", "a"]]
)
def test_wrong_usage_gives_2(words: list[str]) -> None:
    assert run(*words).returncode == 2


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_at_once_and_leaves_nothing(model: str, tmp_path: Path, sent: signal.Signals, code: int) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "covfast.cli", "demo", "-o", str(out), "--progress", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if '"segment"' in line:
            break
    start = time.monotonic()
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code, stderr
    assert time.monotonic() - start < 2  # the call stops in 200 ms; the rest is Python going down
    assert list(tmp_path.iterdir()) == []


def test_two_runs_into_one_folder_at_once_leave_one_whole_result(model: str, scan: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "covfast.cli", "segment", str(scan), "-o", str(tmp_path / "out")]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    codes = sorted(process.wait(timeout=60) for process in runs)
    assert codes in ([0, 10], [0, 0])
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


def test_demo_scores_itself_against_the_known_truth(model: str, tmp_path: Path) -> None:
    done = run("demo", "-o", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    dice = json.loads(done.stdout.splitlines()[-1])["dice_against_known_truth"]
    assert min(dice["left lung"], dice["right lung"]) > 0.95
    assert dice["infection"] > 0.3


def test_info_names_backends_and_versions() -> None:
    done = run("info", "--json")
    facts = json.loads(done.stdout)
    assert facts["versions"]["covfast"] == covfast.__version__
    assert [entry["name"] for entry in facts["backends"]] == [entry.name for entry in covfast.backends()]
    assert run("info").returncode == 0


def test_inspect_explains_an_image(scan: Path) -> None:
    done = run("inspect", scan)
    assert done.returncode == 0
    assert "64" in done.stdout
    assert json.loads(run("inspect", scan, "--json").stdout)


def test_inspect_tells_the_memory_of_all_models_together(scan: Path) -> None:
    pytest.importorskip("covfast_weights", reason="covfast-weights is not installed: pip install ./weights")
    flags = ("--lungs", "--lesion-types")
    alone, both = (
        json.loads(run("inspect", scan, "-m", "miniseg-infection", *more, "--json").stdout)["memory_bytes"]
        for more in ((), flags)
    )
    assert both > alone
    assert "with miniseg-infection, miniseg-lung" in run("inspect", scan, "-m", "miniseg-infection", "--lungs").stdout
    refused = run("inspect", scan, "--lungs")
    assert refused.returncode == ValueRangeError.exit_code
    assert "--model: got none" in refused.stderr


def test_models_list_show_verify_add(model: str, tmp_path: Path) -> None:
    env = {"XDG_DATA_HOME": str(tmp_path)}
    assert "miniseg-infection" in run("models", "list", env=env).stdout
    assert "ok" in run("models", "verify", env=env).stdout
    assert run("models", "show", model, env=env).returncode == 0
    package = store.find(model)
    broken = tmp_path / "broken.covfast"
    data = bytearray(package.read_bytes())
    data[-5] ^= 1
    broken.write_bytes(bytes(data))
    assert run("models", "verify", broken, env=env).returncode == 6
    assert run("models", "add", broken, env=env).returncode == 6
    assert run("models", "add", package, "--name", "mine", env=env).returncode == 0
    assert run("models", "add", package, "--name", "mine", env=env).returncode == 10
    assert "mine" in run("models", "list", env=env).stdout
