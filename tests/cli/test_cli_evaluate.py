"""`covfast evaluate` as a user meets it: files and folders, outputs, exit codes, interruption."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from label_files import (
    SPACING_MM,
    disk,
    geometry,
    lungs_with_infection,
    save_folders,
    save_labels,
    save_picture,
)
from PIL import Image

import covfast
from covfast.cli.evaluate import parse_labels, parse_tolerances
from covfast.errors import ValueRangeError
from covfast.metrics import evaluate
from covfast.volume import Geometry, Volume

SCHEMA = Path(covfast.__file__).parent / "schemas" / "evaluation.schema.json"
FILES = {"report.csv", "report.json", "summary.json"}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "covfast.cli", "evaluate", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return save_folders(tmp_path / "Jane Doe 12345")


def written(out: Path) -> set[str]:
    return {item.name for item in out.iterdir()}


def test_folders_give_a_table_and_every_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("-r", folders[0], "-p", folders[1], "-o", out, "--worst", "2", "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 cases\n")
    assert "worst: c  infection  Dice" in done.stdout
    assert done.stderr == ""
    assert written(out) == FILES | {"worst_1.png", "worst_2.png"}
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [item["case"] for item in report["worst"]] == ["c", "b"]
    assert report["is_complete"]
    with (out / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = {"left lung": 1, "right lung": 2, "infection": 3}
    alone = evaluate(lungs_with_infection(), lungs_with_infection(2), SPACING_MM, labels)
    assert float(rows[-1]["dice"]) == alone["infection"].dice
    assert float(rows[-1]["nsd"]) == alone["infection"].nsd
    nnunet = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert nnunet["metric_per_case"][2]["metrics"]["3"]["TP"] == alone["infection"].true_positives
    assert nnunet["metric_per_case"][2]["reference_file"] == "c.nii.gz"


def test_outputs_and_logs_hold_no_input_path(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[1] / "b.nii.gz").write_bytes(b"nothing")
    (folders[1] / "c.nii.gz").unlink()
    done = run("-r", folders[0], "-p", folders[1], "-o", tmp_path / "out", "--images", folders[0].parent)
    assert done.returncode == 8
    texts = [done.stdout, done.stderr]
    texts += [path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir() if path.suffix != ".png"]
    assert len(texts) == 5
    assert not any("Jane" in text or "12345" in text or str(tmp_path) in text for text in texts)


def test_two_files_print_one_report(folders: tuple[Path, Path]) -> None:
    done = run("-r", folders[0] / "a.nii.gz", "-p", folders[1] / "b.nii.gz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a\n") or done.stdout.startswith("a,")
    assert "infection" in done.stdout


def test_json_to_stdout_follows_the_schema(folders: tuple[Path, Path]) -> None:
    done = run("-r", folders[0], "-p", folders[1], "--json", "--worst", "0")
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert report["worst"] == []
    assert report["command"] == "covfast evaluate -r REF -p PRED --worst 0"


def test_command_of_the_report_repeats_the_run(folders: tuple[Path, Path], tmp_path: Path) -> None:
    flags = ["--labels", "left lung=1", "sick=3:3", "--nsd-tol", "sick=2", "--worst", "1"]
    assert run("-r", folders[0], "-p", folders[1], *flags, "-o", tmp_path / "one").returncode == 0
    command = json.loads((tmp_path / "one" / "report.json").read_text(encoding="utf-8"))["command"]
    import shlex

    places = {"REF": str(folders[0]), "PRED": str(folders[1]), "OUT": str(tmp_path / "two")}
    words = [places.get(word, word) for word in shlex.split(command)]
    assert words[:2] == ["covfast", "evaluate"]
    assert run(*words[2:]).returncode == 0
    for name in written(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_unreadable_file_and_missing_partners_give_8_and_the_rest_is_measured(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (folders[1] / "b.nii.gz").write_bytes(b"nothing")
    shutil.copy(folders[0] / "a.nii.gz", folders[0] / "lonely.nii.gz")
    shutil.copy(folders[0] / "a.nii.gz", folders[1] / "extra.nii.gz")
    done = run("-r", folders[0], "-p", folders[1], "-o", tmp_path / "out")
    assert done.returncode == 8
    assert "b: FormatError: b.nii.gz" in done.stderr
    assert "no prediction for 1: lonely" in done.stderr
    assert "no reference for 1: extra" in done.stderr
    assert "2 of 5 cases were measured" in done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["without_prediction"], report["without_reference"]) == (["lonely"], ["extra"])
    assert [item["case"] for item in report["failed"]] == ["b"]
    assert not report["is_complete"]


def test_nothing_measured_gives_8_and_the_report_that_says_why(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[1] / "a.nii.gz").write_bytes(b"nothing")
    for case in "bc":
        (folders[1] / f"{case}.nii.gz").rename(folders[1] / f"other_{case}.nii.gz")
    done = run("-r", folders[0], "-p", folders[1], "-o", tmp_path / "out")
    assert done.returncode == 8
    assert done.stdout == ""
    assert written(tmp_path / "out") == {"report.json"}
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [item["case"] for item in report["failed"]] == ["a"]
    assert report["without_prediction"] == ["b", "c"]


def test_other_grid_of_a_single_pair_gives_4_and_resample_helps(folders: tuple[Path, Path], tmp_path: Path) -> None:
    moved = Geometry.from_spacing(geometry().shape, SPACING_MM, origin_mm=(0.0, 0.0, 0.5))
    path = save_labels(tmp_path / "moved.nii.gz", lungs_with_infection(), moved)
    done = run("-r", folders[0] / "a.nii.gz", "-p", path)
    assert done.returncode == 4, done.stderr
    assert "origin" in done.stderr
    assert "GeometryError: -p: got" in done.stderr
    assert "; --resample puts" in done.stderr
    done = run("-r", folders[0] / "a.nii.gz", "-p", path, "--resample")
    assert done.returncode == 0, done.stderr
    assert "resampled onto the reference's grid" in done.stderr
    far = Geometry.from_spacing(geometry().shape, SPACING_MM, origin_mm=(0.0, 0.0, 500.0))
    save_labels(path, lungs_with_infection(), far)
    done = run("-r", folders[0] / "a.nii.gz", "-p", path, "--resample")
    assert done.returncode == 4
    assert "-p: got a grid that lies beside the other" in done.stderr


def test_other_grid_in_a_folder_gives_8(folders: tuple[Path, Path]) -> None:
    save_labels(folders[1] / "b.nii.gz", lungs_with_infection()[1:])
    done = run("-r", folders[0], "-p", folders[1])
    assert done.returncode == 8
    assert "b: GeometryError" in done.stderr


def test_values_that_occur_nowhere_are_pointed_out(folders: tuple[Path, Path]) -> None:
    done = run("-r", folders[0], "-p", folders[1], "--labels", "infection=3", "heart=7")
    assert done.returncode == 0
    assert "reference: heart (value 7) occurs in no case" in done.stderr
    assert "prediction: heart (value 7) occurs in no case" in done.stderr
    assert "infection" not in done.stderr


def test_a_value_that_one_side_lacks_is_pointed_out_for_that_side(folders: tuple[Path, Path]) -> None:
    done = run("-r", folders[0], "-p", folders[1], "--labels", "infection=3:7")
    assert "prediction: infection (value 7) occurs in no case" in done.stderr
    assert "reference:" not in done.stderr


def test_lungs_include_infection_measures_one_label(folders: tuple[Path, Path]) -> None:
    done = run("-r", folders[0], "-p", folders[1], "--lungs-include-infection", "--nsd-tol", "1", "3")
    assert done.returncode == 0, done.stderr
    assert "lungs, Dice" in done.stdout
    assert "left lung" not in done.stdout


@pytest.mark.parametrize("convention", ["infnet", "miniseg", "ctseg"])
def test_pictures_follow_a_convention(tmp_path: Path, convention: str) -> None:
    for number in range(3):
        save_picture(tmp_path / "r" / f"{number}.png", disk(20, 24, 9).astype(np.uint8) * 255)
        save_picture(tmp_path / "p" / f"{number}.png", disk(20 + number, 24, 9).astype(np.uint8) * 255)
    out = tmp_path / "out"
    done = run("-r", tmp_path / "r", "-p", tmp_path / "p", "--convention", convention, "-o", out, "--worst", "1")
    assert done.returncode == 0, done.stderr
    assert f"convention {convention}, all cases" in done.stdout
    assert written(out) == FILES | {"published.csv", "worst_1.png"}
    with (out / "published.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if convention == "ctseg":  # its script lists files, and its NSD is in mm
        assert [(row["Name"], row["LesionNSD-3mm"]) for row in rows] == [(f"{n}.png", "nan") for n in range(3)]
    else:
        assert [row["Name"] for row in rows] == ["0", "1", "2"]


def test_pictures_are_measured_in_pixels_and_say_so(tmp_path: Path) -> None:
    for side, column in (("r", 24), ("p", 27)):
        save_picture(tmp_path / side / "0.png", disk(20, column, 9).astype(np.uint8) * 255)
    for more in ("", "0.png"):
        done = run("-r", tmp_path / "r" / more, "-p", tmp_path / "p" / more, "--labels", "infection=255")
        assert done.stderr.count("px") == 1
        assert "infection, HD95 px" in done.stdout
        assert " mm" not in done.stdout
    report = json.loads(run("-r", tmp_path / "r", "-p", tmp_path / "p", "--labels", "x=255", "--json").stdout)
    assert report["unit"] == "px"


def test_volumes_of_one_slice_are_measured(tmp_path: Path) -> None:
    import SimpleITK

    labels = disk(20, 24, 9).astype(np.uint8)
    save_labels(tmp_path / "slice.nii.gz", labels[np.newaxis])
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), tmp_path / "flat.nii.gz")
    for name in ("slice", "flat"):
        path = tmp_path / f"{name}.nii.gz"
        out = tmp_path / f"{name}_out"
        done = run("-r", path, "-p", path, "--labels", "infection=1", "-o", out, "--images", path)
        assert done.returncode == 0, done.stderr
        assert "Dice         " in done.stdout
        assert (out / "worst_1.png").exists()


def test_probability_figures_are_printed_and_in_the_csv_and_label_maps_are_doubted(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    chance = np.where(lungs_with_infection(1) == 3, 0.75, 0.25).astype(np.float32)
    (tmp_path / "maps").mkdir()
    for case in "ab":
        covfast.write(tmp_path / "maps" / f"{case}.nii.gz", Volume(chance, geometry()))
    save_labels(tmp_path / "maps" / "c.nii.gz", lungs_with_infection())
    words = ["-r", folders[0], "-p", folders[1], "--probability", tmp_path / "maps", "-o", tmp_path / "out"]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert "label maps rather than maps: c\n" in done.stderr
    for title in ("MAE", "S-measure", "mean Dice", "max Dice", "mean E-measure", "max E-measure"):
        assert f"infection, {title} " in done.stdout
        assert f"left lung, {title} " not in done.stdout
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["mae"] == "nan"
    alone = evaluate(lungs_with_infection(), lungs_with_infection(1), SPACING_MM, {"infection": 3}, probability=chance)[
        "infection"
    ].probability
    assert alone is not None
    assert float(rows[2]["mae"]) == alone["mae"]
    assert float(rows[2]["max_e_measure"]) == alone["max"]["e_measure"]
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert report["like_labels"] == ["c"]
    assert report["summary"]["infection"]["s_measure"]["n"] == 3


def test_segment_outputs_are_named_by_their_folder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for case in "abc":
        (tmp_path / "found" / case).mkdir(parents=True)
        shutil.copy(folders[1] / f"{case}.nii.gz", tmp_path / "found" / case / "labels.nii.gz")
    run("-r", folders[0], "-p", tmp_path / "found", "-o", tmp_path / "out", "--worst", "0")
    nnunet = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert [case["prediction_file"] for case in nnunet["metric_per_case"]] == [f"{c}/labels.nii.gz" for c in "abc"]
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--nsd-tol", "-1"], "--nsd-tol: got -1"),
        (["--nsd-tol", "infection=-1"], "--nsd-tol['infection']: got -1"),
        (["--lungs-include-infection", "--convention", "ctseg"], "--lungs-include-infection: got"),
        (["--labels", "x=300"], "--labels['x']: got 300"),
        (["--images", "."], "--images: got no -o"),
        (["-o", "x.json"], "-o: got the file name x.json"),
    ],
)
def test_errors_name_the_flag(folders: tuple[Path, Path], words: list[str], named: str) -> None:
    done = run("-r", folders[0], "-p", folders[1], *words)
    assert done.returncode == 2
    assert f"ValueRangeError: {named}" in done.stderr


def test_images_folder_that_is_not_there_gives_3_before_any_work(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("-r", folders[0], "-p", folders[1], "-o", out, "--images", tmp_path / "absent", "--progress", "json")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "--images: got no such file or folder, absent" in done.stderr
    assert not out.exists()


def test_pictures_are_drawn_on_jpeg_and_volumes_on_what_is_no_hu(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for name in "rp":
        save_picture(tmp_path / name / "0.png", disk(20, 24, 9).astype(np.uint8) * 255)
    save_picture(tmp_path / "i" / "0.jpeg", np.full((48, 56), 200, np.uint8))
    done = run("-r", tmp_path / "r", "-p", tmp_path / "p", "--convention", "miniseg", "-o", tmp_path / "o1",
               "--images", tmp_path / "i")  # fmt: skip
    assert "drawn without" not in done.stderr
    save_labels(tmp_path / "i" / "c.nii.gz", np.indices(geometry().shape).sum(axis=0).astype(np.uint8))
    done = run("-r", folders[0], "-p", folders[1], "-o", tmp_path / "o2", "--images", tmp_path / "i", "--worst", "1")
    assert done.returncode == 0
    assert done.stderr == ""
    for out in ("o1", "o2"):
        assert np.asarray(Image.open(tmp_path / out / "worst_1.png")).mean() > 50


def test_images_are_drawn_under_the_masks_or_missed_with_a_warning(folders: tuple[Path, Path], tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-900, 100, geometry().shape).astype(np.int16)
    (tmp_path / "images").mkdir()
    covfast.write(tmp_path / "images" / "c_0000.nii.gz", Volume(hu, geometry()))
    words = ["-r", folders[0], "-p", folders[1], "--worst", "2"]
    done = run(*words, "-o", tmp_path / "with", "--images", tmp_path / "images")
    assert done.returncode == 0
    assert "b: drawn without its image" in done.stderr
    run(*words, "-o", tmp_path / "without")
    brightness = [np.asarray(Image.open(tmp_path / name / "worst_1.png")).mean() for name in ("with", "without")]
    assert brightness[0] > brightness[1] + 20
    assert (tmp_path / "with" / "worst_2.png").read_bytes() == (tmp_path / "without" / "worst_2.png").read_bytes()


def test_again_needs_overwrite_which_leaves_nothing_stale(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("-r", folders[0], "-p", folders[1], "-o", out).returncode == 0
    assert "worst_3.png" in written(out)
    before = {item.name: item.stat().st_mtime_ns for item in out.iterdir()}
    done = run("-r", folders[0], "-p", folders[1], "-o", out)
    assert done.returncode == 10
    assert "--overwrite" in done.stderr
    assert {item.name: item.stat().st_mtime_ns for item in out.iterdir()} == before
    (out / "notes.txt").write_text("mine")
    assert run("-r", folders[0], "-p", folders[1], "-o", out, "--overwrite", "--worst", "1").returncode == 0
    assert written(out) == FILES | {"worst_1.png", "notes.txt"}


@pytest.mark.parametrize("given", ["reference", "prediction"])
def test_output_into_an_input_folder_is_refused(folders: tuple[Path, Path], given: str) -> None:
    folder = dict(zip(("reference", "prediction"), folders, strict=True))[given]
    assert run("-r", folders[0], "-p", folders[1], "-o", folder, "--overwrite").returncode == 10
    assert len(written(folder)) == 3


def test_output_that_cannot_be_written_gives_10(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken" / "report.csv").mkdir(parents=True)
    for out in (tmp_path / "file" / "out", tmp_path / "file", tmp_path / "x.nii.gz", tmp_path / "taken"):
        done = run("-r", folders[0], "-p", folders[1], "-o", out, "--overwrite")
        assert done.returncode == 10, done.stderr
    assert written(tmp_path) == {"Jane Doe 12345", "file", "taken"}


def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    folders = save_folders(tmp_path, ("a",))
    for folder in folders:
        (folder / "a.nii.gz").rename(os.fsdecode(os.fsencode(folder) + b"/n\xff\x1b[1m\n.nii.gz"))
        shutil.copy(next(folder.iterdir()), folder / "b.nii.gz")
    os.truncate(folders[1] / "b.nii.gz", 100)
    (folders[1] / "b.nii.gz").rename(os.fsdecode(os.fsencode(folders[1]) + b"/b\xff.nii.gz"))
    (folders[0] / "b.nii.gz").rename(os.fsdecode(os.fsencode(folders[0]) + b"/b\xff.nii.gz"))
    done = run("-r", folders[0], "-p", folders[1], "-o", tmp_path / "out")
    assert done.returncode == 8, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["cases"][0]["case"] == r"n\xff\x1b[1m\n"
    assert report["failed"][0]["case"] == r"b\xff"


@pytest.mark.parametrize("path", ["absent", "text", "empty"])
def test_nothing_to_read_gives_3(folders: tuple[Path, Path], tmp_path: Path, path: str) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no label maps here")
    (tmp_path / "empty").mkdir()
    for pair in ((folders[0], tmp_path / path), (tmp_path / path, folders[1])):
        done = run("-r", pair[0], "-p", pair[1], "-o", tmp_path / "out")
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_ct_is_no_label_map(folders: tuple[Path, Path], tmp_path: Path) -> None:
    covfast.write(tmp_path / "ct.nii.gz", Volume(np.full(geometry().shape, -800, np.int16), geometry()))
    assert run("-r", folders[0] / "a.nii.gz", "-p", tmp_path / "ct.nii.gz").returncode == 3


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-r", "x"],
        ["-r", "", "-p", "x"],
        ["REF", "PRED", "--labels", "infection"],
        ["REF", "PRED", "--labels", "infection=a"],
        ["REF", "PRED", "--labels", "infection=1:2:3"],
        ["REF", "PRED", "--labels", "infection=999"],
        ["REF", "PRED", "--labels", "a=1", "a=2"],
        ["REF", "PRED", "--nsd-tol", "1", "2"],
        ["REF", "PRED", "--nsd-tol", "-1"],
        ["REF", "PRED", "--nsd-tol", "nan"],
        ["REF", "PRED", "--nsd-tol", "liver=1"],
        ["REF", "PRED", "--nsd-tol", "x"],
        ["REF", "PRED", "--convention", "nope"],
        ["REF", "PRED", "--worst", "-1"],
        ["REF", "PRED", "--worst", "101"],
        ["REF", "PRED", "--threads", "0"],
        ["REF", "PRED", "--lungs-include-infection", "--labels", "infection=3"],
        ["REF/a.nii.gz", "PRED"],
    ],
)
def test_wrong_usage_gives_2(folders: tuple[Path, Path], words: list[str]) -> None:
    if words[:1] and words[0].startswith("REF"):
        words = ["-r", words[0].replace("REF", str(folders[0])), "-p", str(folders[1]), *words[2:]]
    done = run(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_progress_json_is_one_object_a_line(folders: tuple[Path, Path]) -> None:
    done = run("-r", folders[0], "-p", folders[1], "--progress", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1] == {"stage": "evaluate", "done": 3, "total": 3}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_soon_and_leaves_nothing(
    folders: tuple[Path, Path], tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    for folder in folders:
        for number in range(400):
            os.link(folder / "c.nii.gz", folder / f"more{number}.nii.gz")
    command = [sys.executable, "-m", "covfast.cli", "evaluate", "-r", str(folders[0]), "-p", str(folders[1])]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out"), "--threads", "1", "--progress", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()
    start = time.monotonic()
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == code, stderr
    assert stdout == ""
    assert time.monotonic() - start < 2
    assert written(tmp_path) == {"Jane Doe 12345"}


def test_two_runs_into_one_folder_at_once_leave_one_whole_result(folders: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "covfast.cli", "evaluate", "-r", str(folders[0]), "-p", str(folders[1])]
    command += ["-o", str(tmp_path / "out"), "--worst", "1"]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    codes = sorted(process.wait(timeout=60) for process in runs)
    assert codes in ([0, 10], [0, 0])
    assert written(tmp_path / "out") == FILES | {"worst_1.png"}
    assert written(tmp_path) == {"out", "Jane Doe 12345"}


def test_parse_labels_takes_values_sums_and_sides() -> None:
    assert parse_labels(["left lung=1", "infection=1:3", "lungs=1+2:4+5"]) == {
        "left lung": {"truth": (1,), "prediction": (1,)},
        "infection": {"truth": (1,), "prediction": (3,)},
        "lungs": {"truth": (1, 2), "prediction": (4, 5)},
    }


def test_parse_tolerances_takes_one_all_or_names() -> None:
    labels = {"a": 1, "b": 2}
    assert parse_tolerances(None, labels) is None
    assert parse_tolerances(["2"], labels) == 2.0
    assert parse_tolerances(["1", "3.5"], labels) == {"a": 1.0, "b": 3.5}
    assert parse_tolerances(["b=3"], labels) == {"b": 3.0}
    for wrong in (["1", "2", "3"], ["a=1", "2"], ["a=1", "a=2"], ["a="], ["mm"]):
        with pytest.raises(ValueRangeError, match="--nsd-tol: got"):
            parse_tolerances(wrong, labels)
