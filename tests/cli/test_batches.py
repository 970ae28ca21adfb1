"""Folders through `segment` and `predict` as a user meets them: broken files, Ctrl-C, two at once, a full disk."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import covfast
from covfast.phantom import Phantom

BROKEN = {"case_03": b"", "case_08": b"nothing", "case_15": None}  # None: the file is cut


def run(*words: str | Path, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "covfast.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=before)


def cases_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["cases"]
    return found


def statuses(out: Path) -> dict[str, str]:
    return {name: case["status"] for name, case in cases_of(out).items()}


@pytest.fixture(scope="module")
def folder(small_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 small cases, three of them broken."""
    path = tmp_path_factory.mktemp("imagesTs")
    hu = small_phantom.volume.hu[::2, ::2, ::2].copy()
    coarse = covfast.Geometry.from_spacing(hu.shape, [2 * mm for mm in small_phantom.volume.geometry.spacing_mm])
    covfast.write(path / "case_00.nii.gz", covfast.Volume(hu, coarse))
    whole = (path / "case_00.nii.gz").read_bytes()
    for index in range(1, 20):
        name = f"case_{index:02d}"
        broken = BROKEN.get(name, whole)
        (path / f"{name}.nii.gz").write_bytes(whole[: len(whole) // 2] if broken is None else broken)
    return path


@pytest.fixture(scope="module")
def few(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 cases, one of them broken."""
    path = tmp_path_factory.mktemp("few")
    for name in ("case_02", "case_03", "case_04"):
        shutil.copy(folder / f"{name}.nii.gz", path)
    return path


def test_a_batch_with_three_broken_files_is_interrupted_and_continued(model: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "covfast.cli", "predict", "-m", model, "-i", str(folder), "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]
    assert [line.split(":")[0] for line in lines] == [f"case_{index:02d}" for index in (0, 1, 2, 4, 5)]
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130, stderr
    assert time.monotonic() - start < 2  # 200 ms and a tile; the rest is Python going down
    assert "Traceback" not in stderr
    done = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert not [name for name in done if name.startswith(".")]
    assert set(statuses(out).values()) == {"ok", "failed"}
    assert {f"{name}.nii.gz" for name, status in statuses(out).items() if status == "ok"} == {*done} - {"manifest.json"}

    again = run("predict", "-m", model, "-i", folder, "-o", out, "--continue")
    assert again.returncode == 8, again.stderr
    assert len(again.stdout.splitlines()) == 17 - (len(done) - 1)
    assert {name: status for name, status in statuses(out).items() if status != "ok"} == dict.fromkeys(BROKEN, "failed")
    assert len(statuses(out)) == 20
    for name, changed in done.items():
        assert name == "manifest.json" or (out / name).stat().st_mtime_ns == changed
    assert len({(out / f"case_{index:02d}.nii.gz").read_bytes() for index in (0, 1, 9, 19)}) == 1

    assert run("predict", "-m", model, "-i", folder, "-o", out, "--continue").stdout == ""


def test_a_batch_needs_a_flag_for_results_that_are_there(model: str, few: Path, tmp_path: Path) -> None:
    words = ["segment", "-m", model, str(few), "-o", str(tmp_path / "out")]
    first = run(*words)
    assert first.returncode == 8
    assert "case_03: FormatError" in first.stderr
    assert "1 of 3 cases failed" in first.stderr
    refused = run(*words)
    assert refused.returncode == 10
    assert "--continue" in refused.stderr
    assert refused.stdout == ""
    assert run(*words, "--continue", "--precision", "bf16").returncode == 2
    assert run(*words, "--continue", "--overwrite").returncode == 2
    assert run(*words, "--continue", "--threads", "1").stdout == ""
    assert len(run(*words, "--overwrite").stdout.splitlines()) == 2


def test_segment_continues_a_case_whose_file_is_gone(model: str, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("segment", few, "-o", out, "-m", model).returncode == 8
    (out / "case_04" / "preview.png").unlink()
    done = run("segment", few, "-o", out, "-m", model, "--continue")
    assert done.stdout.startswith("case_04: lungs ")
    assert done.stdout.count("\n") == 1
    assert len(list((out / "case_04").iterdir())) == 5
    assert run("segment", few / "case_02.nii.gz", "-o", tmp_path / "one", "--continue").returncode == 2


def test_two_batches_into_one_folder_at_once_never_do_a_case_twice(model: str, few: Path, tmp_path: Path) -> None:
    words = ["predict", "-m", model, "-i", str(few), "-o", str(tmp_path / "out")]
    command = [sys.executable, "-m", "covfast.cli", *words]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate(timeout=60) for process in runs]
    assert sorted(process.returncode for process in runs) == [8, 10]
    assert sum(len(stdout.splitlines()) for stdout, _ in texts) == 2
    refused = next(stderr for process, (_, stderr) in zip(runs, texts, strict=True) if process.returncode == 10)
    assert "another run is at" in refused or "--continue" in refused
    assert statuses(tmp_path / "out") == {"case_02": "ok", "case_03": "failed", "case_04": "ok"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"case_02.nii.gz", "case_04.nii.gz", "manifest.json"}


def limit_files(bytes_: int) -> Callable[[], None]:
    """A file that grows beyond the limit fails as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))


def test_a_case_that_cannot_be_written_fails_alone_and_leaves_nothing(
    model: str, folder: Path, small_phantom: Phantom, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    covfast.write(tmp_path / "in" / "large.nii.gz", small_phantom.volume)
    for name in ("a_small", "z_small"):
        shutil.copy(folder / "case_00.nii.gz", tmp_path / "in" / f"{name}.nii.gz")
    done = run("predict", "-m", model, "-i", tmp_path / "in", "-o", tmp_path / "out", before=limit_files(16 << 10))
    assert done.returncode == 8, done.stderr
    assert "large: OutputError" in done.stderr
    assert statuses(tmp_path / "out") == {"a_small": "ok", "large": "failed", "z_small": "ok"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_small.nii.gz", "z_small.nii.gz", "manifest.json"}


@pytest.mark.parametrize("command", ["segment", "predict"])
def test_a_disk_that_stays_full_stops_the_batch(model: str, folder: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "in").mkdir()
    for name in ("case_00", "case_01", "case_02", "case_04", "case_05"):
        shutil.copy(folder / f"{name}.nii.gz", tmp_path / "in")
    source = ["-i", str(tmp_path / "in")] if command == "predict" else [str(tmp_path / "in")]
    words = [command, "-m", model, *source, "-o", str(tmp_path / "out")]
    done = run(*words, before=limit_files(4 << 10))
    assert done.returncode == 10, done.stderr
    assert "3 cases in a row" in done.stderr
    assert "2 not tried" in done.stderr
    assert statuses(tmp_path / "out") == {f"case_0{index}": "failed" for index in range(3)}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]
    assert run(*words, "--continue").returncode == 0
    assert list(statuses(tmp_path / "out").values()) == ["ok"] * 5


def test_a_disk_without_room_for_the_manifest_gives_10(model: str, few: Path, tmp_path: Path) -> None:
    done = run("predict", "-m", model, "-i", few, "-o", tmp_path / "out", before=limit_files(100))
    assert done.returncode == 10, done.stderr
    assert "manifest.json" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_sigterm_leaves_what_is_done_and_no_more(model: str, folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "covfast.cli",
        "predict",
        "-m",
        model,
        "-i",
        str(folder),
        "-o",
        str(tmp_path / "o"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 143, stderr
    assert "Traceback" not in stderr
    assert not [path for path in (tmp_path / "o").iterdir() if path.name.startswith(".")]


def test_progress_json_counts_the_cases(model: str, few: Path, tmp_path: Path) -> None:
    done = run("predict", "-m", model, "-i", few, "-o", tmp_path / "out", "--progress", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [line["done"] for line in lines if line["stage"] == "cases"] == [1, 2, 3]
    assert lines[-1] == {"stage": "cases", "done": 3, "total": 3}


def test_outputs_hold_no_path(model: str, few: Path, tmp_path: Path) -> None:
    secret = tmp_path / "Jane Doe 12345"
    shutil.copytree(few, secret)
    done = run("predict", "-m", model, "-i", secret, "-o", tmp_path / "out", "-v")
    text = (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8") + done.stdout + done.stderr
    assert not any(word in text for word in ("Jane", "12345", os.fspath(tmp_path)))
