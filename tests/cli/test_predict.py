"""`covfast predict`: nnU-Net's folders and flags. A model that adds its channels stands in for the networks."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from covfast.cli import main, segment
from covfast.errors import FormatError, ValueRangeError
from covfast.io import Channels, channel_cases, read_channels, write
from covfast.pipeline import Result
from covfast.volume import Geometry, Volume

Array = npt.NDArray[Any]

NAMES = {0: "background", 1: "low", 2: "high"}
SHAPE = (4, 5, 6)


class FakeSegmenter:
    """Labels 1 where the channels' sum is above 0, 2 where it is above 100."""

    channels = 1
    orientation = "file"
    opened: Iterator[dict[str, Any]]
    arguments: dict[str, Any]
    finds_infection = False
    assumptions: tuple[str, ...] = ()
    backend = "fake"
    memory_limit = None

    def __init__(self, **arguments: Any) -> None:
        FakeSegmenter.arguments = arguments
        stages = [
            {"stage": "orient", "to": self.orientation},
            {"stage": "normalise_channels", "channels": [{"scheme": "none"}] * self.channels},
        ]
        self.metadata = {"name": "fake", "recipe": {"stages": stages}, "provenance": {"checkpoint": "checkpoint_best"}}

    def facts(self, stages: object = ()) -> dict[str, Any]:
        return {"model": {"name": "fake", "sha256": "0" * 64}}

    def read(self, image: Any, *, on_geometry: str, input_window: object) -> Channels:
        return read_channels(image, on_geometry)

    def __call__(
        self, image: Channels, *, probabilities: bool = False, progress: object = None, cancel: object = None
    ) -> Result:
        total = sum(array.astype(np.float32) for array in image.arrays)
        labels = (total > 0).astype(np.uint8) + (total > 100)
        found = np.stack([labels == value for value in NAMES]).astype(np.float32) if probabilities else None
        run = {**self.facts(), "stages_ms": {"read": 0.0}}
        return Result(image, labels, None, None, run, NAMES, found)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeSegmenter]:
    monkeypatch.setattr(segment, "Segmenter", FakeSegmenter)
    monkeypatch.setattr(FakeSegmenter, "channels", 1)
    monkeypatch.setattr(FakeSegmenter, "orientation", "file")
    return FakeSegmenter


def image(path: Path, seed: int = 0, orientation: str = "SPL", shape: tuple[int, int, int] = SHAPE) -> Array:
    values = np.random.default_rng(seed).integers(-300, 300, shape).astype(np.int16)
    write(path, Volume(values, Geometry.from_spacing(shape, (2.5, 0.7, 0.8), orientation, (1.5, -20.0, 7.0))))
    return values


def labels_of(*arrays: Array) -> Array:
    total = sum(array.astype(np.int64) for array in arrays)
    return np.asarray(total > 0, np.uint8) + np.asarray(total > 100, np.uint8)


def predict(*words: str | Path) -> int:
    return main(["predict", "-m", "fake", *map(str, words)])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "imagesTs"
    path.mkdir()
    return path


def test_every_case_becomes_a_label_map_of_its_name_and_ending(folder: Path, tmp_path: Path) -> None:
    expected = {
        suffix: image(folder / f"case{index}_0000{suffix}", index)
        for index, suffix in enumerate((".nii.gz", ".nii", ".nrrd", ".mha"))
    }
    (folder / "dataset.json").write_text("{}")
    (folder / "._case0_0000.nii.gz").write_bytes(b"what macOS leaves")
    assert predict("-i", folder, "-o", tmp_path / "out") == 0
    assert names(tmp_path / "out") == {*(f"case{i}{suffix}" for i, suffix in enumerate(expected)), "manifest.json"}
    for index, (suffix, values) in enumerate(expected.items()):
        found = read_channels(tmp_path / "out" / f"case{index}{suffix}")
        np.testing.assert_array_equal(found.arrays[0], labels_of(values))
        assert found.geometry.is_close(read_channels(folder / f"case{index}_0000{suffix}").geometry, 1e-4)


def test_channels_are_added_in_their_order_and_a_case_without_one_fails_alone(
    folder: Path, tmp_path: Path, fake: type[FakeSegmenter], caplog: pytest.LogCaptureFixture
) -> None:
    fake.channels = 2
    values = [[image(folder / f"{case}_000{channel}.nii.gz", 7 * channel + len(case)) for channel in range(2)]
              for case in ("a", "bb")]  # fmt: skip
    image(folder / "lacks_0001.nii.gz")
    for channel in range(3):
        image(folder / f"more_000{channel}.nii.gz")
    assert predict("-i", folder, "-o", tmp_path / "out") == 8
    assert names(tmp_path / "out") == {"a.nii.gz", "bb.nii.gz", "manifest.json"}
    for case, (one, two) in zip(("a", "bb"), values, strict=True):
        found = read_channels(tmp_path / "out" / f"{case}.nii.gz")
        np.testing.assert_array_equal(found.arrays[0], labels_of(one, two))
    assert "lacks: FormatError: lacks: got channels _0001, expected _0000 to _0001" in caplog.text
    assert "more: FormatError" in caplog.text
    assert "2 of 4 cases failed" in caplog.text
    cases = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["cases"]
    assert {name: case["status"] for name, case in cases.items()} == {
        "a": "ok", "bb": "ok", "lacks": "failed", "more": "failed",
    }  # fmt: skip


def test_stdout_has_a_line_for_each_case_with_its_labels(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = image(folder / "a_0000.nii.gz")
    assert predict("-i", folder, "-o", tmp_path / "out") == 0
    millilitres = [(labels_of(values) == value).sum() * 2.5 * 0.7 * 0.8 / 1000 for value in (1, 2)]
    assert capsys.readouterr().out == f"a: low {millilitres[0]:.1f} mL, high {millilitres[1]:.1f} mL\n"


def test_off_a_terminal_a_line_says_which_case_begins(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case in "ab":
        image(folder / f"{case}_0000.nii.gz")
    assert predict("-i", folder, "-o", tmp_path / "out") == 0
    assert capsys.readouterr().err == "covfast: case 1 of 2: a\ncovfast: case 2 of 2: b\n"
    assert predict("-i", folder / "a_0000.nii.gz", "-o", tmp_path / "a.mha") == 0
    assert capsys.readouterr().err == "covfast: case 1 of 1: a\n"
    for silent in (["-q"], ["--progress", "none"]):
        assert predict("-i", folder, "-o", tmp_path / "out", "--overwrite", *silent) == 0
        assert capsys.readouterr().err == ""


def test_what_the_model_assumes_is_said_with_v(
    folder: Path, tmp_path: Path, fake: type[FakeSegmenter], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(fake, "assumptions", ("The folder does not tell the licence.",))
    image(folder / "a_0000.nii.gz")
    with caplog.at_level("INFO"):
        assert predict("-i", folder, "-o", tmp_path / "out") == 0
    assert {r.levelname for r in caplog.records if "licence" in r.message} == {"INFO"}


def test_fold_all_that_is_not_there_is_explained(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**arguments: Any) -> None:
        raise ValueRangeError(f"folds: got {arguments['folds'][0]!r}, expected some of the model's own: fold_0")

    monkeypatch.setattr(segment, "Segmenter", refuse)
    image(folder / "a_0000.nii.gz")
    assert predict("-i", folder, "-o", tmp_path / "out", "-f", "all") == 2
    assert "own: fold_0; leave -f out for all folds" in capsys.readouterr().err


def test_probabilities_are_nnunets_npz_and_pkl(folder: Path, tmp_path: Path) -> None:
    values = image(folder / "a_0000.nii.gz", orientation="IAR")
    assert predict("-i", folder, "-o", tmp_path / "out", "--save_probabilities") == 0
    assert names(tmp_path / "out") == {"a.nii.gz", "a.npz", "a.pkl", "manifest.json"}
    found = np.load(tmp_path / "out" / "a.npz")["probabilities"]
    assert (found.dtype, found.shape) == (np.float32, (3, *SHAPE))
    np.testing.assert_array_equal(found.argmax(0), labels_of(values))
    properties = pickle.loads((tmp_path / "out" / "a.pkl").read_bytes())
    sitk = pytest.importorskip("SimpleITK").ReadImage(str(folder / "a_0000.nii.gz"))
    np.testing.assert_allclose(properties["sitk_stuff"]["spacing"], sitk.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(properties["sitk_stuff"]["origin"], sitk.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(properties["sitk_stuff"]["direction"], sitk.GetDirection(), atol=1e-6)
    assert properties["spacing"] == list(sitk.GetSpacing()[::-1])


@pytest.mark.parametrize("orientation", ["SPL", "IAR", "LPS", "ARI"])
def test_probabilities_of_a_reorienting_reader_are_as_nibabel_turns_them(
    folder: Path, tmp_path: Path, fake: type[FakeSegmenter], orientation: str
) -> None:
    nibabel = pytest.importorskip("nibabel")
    fake.orientation = "SAR"
    image(folder / "a_0000.nii.gz", orientation=orientation)
    assert predict("-i", folder, "-o", tmp_path / "out", "--save-probabilities") == 0
    stored = nibabel.load(tmp_path / "out" / "a.nii.gz")
    turned = stored.as_reoriented(nibabel.io_orientation(stored.affine))
    found = np.load(tmp_path / "out" / "a.npz")["probabilities"].argmax(0)
    np.testing.assert_array_equal(found, np.asarray(turned.dataobj).T)
    held = pickle.loads((tmp_path / "out" / "a.pkl").read_bytes())
    np.testing.assert_allclose(held["nibabel_stuff"]["original_affine"], stored.affine, atol=1e-4)
    np.testing.assert_allclose(held["nibabel_stuff"]["reoriented_affine"], turned.affine, atol=1e-4)
    np.testing.assert_allclose(held["spacing"], turned.header.get_zooms()[::-1], rtol=1e-6)


def test_a_file_of_two_axes_gets_labels_of_two_axes(folder: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    values = np.random.default_rng(0).integers(-300, 300, (5, 6)).astype(np.int16)
    for suffix in ("nii.gz", "nrrd", "mha"):
        sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / f"{suffix[:2]}_0000.{suffix}"))
    assert predict("-i", folder, "-o", tmp_path / "out", "--save-probabilities") == 0
    for suffix in ("nii.gz", "nrrd", "mha"):
        found = sitk.ReadImage(str(tmp_path / "out" / f"{suffix[:2]}.{suffix}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(found), labels_of(values))
        held = pickle.loads((tmp_path / "out" / f"{suffix[:2]}.pkl").read_bytes())
        assert held["sitk_stuff"]["direction"] == (1.0, 0.0, 0.0, 1.0)
        assert held["spacing"] == [999.0, 1.0, 1.0]


def test_parts_share_a_folder_and_together_are_the_whole(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    for case in "abcde":
        image(folder / f"{case}_0000.nii.gz")
    for part, expected in enumerate(("ad", "be", "c")):
        before = names(tmp_path / "out") if part else set()
        assert predict("-i", folder, "-o", tmp_path / "out", "-num_parts", 3, "-part_id", part) == 0
        assert names(tmp_path / "out") - before - {"manifest.json"} == {f"{case}.nii.gz" for case in expected}
    cases = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["cases"]
    assert sorted(cases) == list("abcde")
    assert not caplog.text
    assert predict("-i", folder, "-o", tmp_path / "out2", "--num-parts", 9, "--part-id", 8) == 0
    assert "part 8 of 9 has no case: there are 5" in caplog.text
    assert predict("-i", folder, "-o", tmp_path / "out2", "--num-parts", 0) == 2
    assert "--num-parts: got 0" in capsys.readouterr().err


def test_nnunets_spellings_reach_the_segmenter(folder: Path, tmp_path: Path, fake: type[FakeSegmenter]) -> None:
    image(folder / "a_0000.nii.gz")
    words = "-f 0 2 all --disable_tta -step_size 0.75 -chk checkpoint_best.pth -npp 3 -nps 3 -device cpu"
    options = ["--disable_progress_bar", "--verbose", "--continue_prediction", "--accumulate", "nnunet"]
    assert predict("-i", folder, "-o", tmp_path / "out", *words.split(), *options) == 0
    expected = {"folds": [0, 2, "fold_all"], "mirror": False, "step": 0.75, "accumulate": "nnunet", "device": "cpu"}
    assert expected.items() <= fake.arguments.items()
    words = "--folds 1 --disable-tta --step-size 0.3 --overwrite --threads 2 --memory-limit 4GiB --precision bf16"
    assert predict("-i", folder, "-o", tmp_path / "out", *words.split()) == 0
    expected = {"folds": [1], "mirror": False, "step": 0.3, "accumulate": "float32", "memory_limit": "4GiB"}
    assert expected.items() <= fake.arguments.items()


def test_continue_does_what_is_missing_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    for case in "abcd":
        image(folder / f"{case}_0000.nii.gz")
    out = tmp_path / "out"
    assert predict("-i", folder, "-o", out) == 0
    assert predict("-i", folder, "-o", out) == 10
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "a.nii.gz").unlink()
    (out / "b.nii.gz").write_bytes(b"cut")
    image(folder / "c_0000.nii.gz", shape=(4, 5, 9))
    image(folder / "e_0000.nii.gz")
    assert predict("-i", folder, "-o", out, "--continue") == 0
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"a.nii.gz", "b.nii.gz", "c.nii.gz", "e.nii.gz", "manifest.json"}
    assert predict("-i", folder, "-o", out, "--continue", "--save-probabilities") == 0  # all lack theirs
    assert {f"{case}.npz" for case in "abcde"} <= names(out)


@pytest.mark.parametrize("words", [["--disable-tta"], ["--step-size", "0.9"], ["-f", "0"], ["--precision", "bf16"]])
def test_continue_with_other_options_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    image(folder / "a_0000.nii.gz")
    assert predict("-i", folder, "-o", tmp_path / "out") == 0
    assert predict("-i", folder, "-o", tmp_path / "out", "--continue", *words) == 2
    assert "a done with" in capsys.readouterr().err
    assert predict("-i", folder, "-o", tmp_path / "out", "--continue", *words, "--save-probabilities") == 2
    assert predict("-i", folder, "-o", tmp_path / "out", "--overwrite", *words) == 0
    assert predict("-i", folder, "-o", tmp_path / "out", "--continue", *words, "--threads", "1") == 0


def test_continue_without_a_manifest_touches_nothing(folder: Path, tmp_path: Path) -> None:
    image(folder / "a_0000.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.nii.gz").write_bytes(b"of another program")
    assert predict("-i", folder, "-o", tmp_path / "out", "--continue") == 10
    assert (tmp_path / "out" / "a.nii.gz").read_bytes() == b"of another program"
    assert names(tmp_path / "out") == {"a.nii.gz"}
    assert predict("-i", folder, "-o", tmp_path / "out", "--overwrite") == 0


def test_files_and_single_images_are_taken_too(folder: Path, tmp_path: Path, fake: type[FakeSegmenter]) -> None:
    values = image(folder / "a_0000.nii.gz")
    image(folder / "b.nii.gz")
    assert predict("-i", folder / "a_0000.nii.gz", "-o", tmp_path / "one") == 0
    assert predict("-i", folder / "b.nii.gz", "-o", tmp_path / "one") == 0
    assert names(tmp_path / "one") == {"a.nii.gz", "b.nii.gz", "manifest.json"}
    assert predict("-i", folder / "a_0000.nii.gz", "-o", tmp_path / "x.mha") == 0
    np.testing.assert_array_equal(read_channels(tmp_path / "x.mha").arrays[0], labels_of(values))
    assert predict("-i", folder / "a_0000.nii.gz", "-o", tmp_path / "x.mha") == 10
    assert predict("-i", folder / "a_0000.nii.gz", "-o", folder / "a_0000.nii.gz", "--overwrite") == 10
    fake.channels = 2
    image(folder / "a_0001.nii.gz")
    assert predict("-i", folder / "a_0001.nii.gz", folder / "a_0000.nii.gz", "-o", tmp_path / "two") == 0
    assert names(tmp_path / "two") == {"a.nii.gz", "manifest.json"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-o", "{out}"], 2),
        (["-i", "{in}"], 2),
        (["-i", "", "-o", "{out}"], 2),
        (["-i", "{in}", "-o", "{out}", "--part-id", "1"], 2),
        (["-i", "{in}", "-o", "{out}", "--num-parts", "0"], 2),
        (["-i", "{in}", "-o", "{out}", "--part-id", "-1", "--num-parts", "2"], 2),
        (["-i", "{in}", "-o", "{out}", "--continue", "--overwrite"], 2),
        (["-i", "{in}", "-o", "{out}", "-chk", "checkpoint_final.pth"], 2),
        (["-i", "{in}", "-o", "{out}", "-c", "3d_fullres"], 2),
        (["-i", "{in}", "-o", "{out}", "-m", "{in}"], 2),
        (["-i", "{in}", "-o", "{in}"], 2),
        (["-i", "{in}", "-o", "{in}/out"], 2),
        (["-i", "{in}", "-o", "{out}.nii.gz"], 2),
        (["-i", "{in}/absent", "-o", "{out}"], 3),
        (["-i", "{in}/notes.txt", "-o", "{out}"], 8),
        (["-i", "{empty}", "-o", "{out}"], 3),
        (["-i", "{in}", "-o", "{in}/notes.txt"], 2),
        (["-i", "{in}", "-o", "{file}"], 10),
        (["-i", "{in}", "-o", "{file}/out"], 10),
    ],
)
def test_wrong_paths_and_values_end_in_their_exit_code(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    image(folder / "a_0000.nii.gz")
    image(folder / "b_0000.nii.gz")
    (folder / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("in the way")
    places = {"in": folder, "out": tmp_path / "out", "empty": tmp_path / "empty", "file": tmp_path / "file"}
    before = names(folder)
    try:
        found = predict(*(word.format(**places) for word in words))
    except SystemExit as error:  # argparse
        found = int(str(error.code))
    assert found == code
    assert names(folder) == before
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert "bug" not in text


def test_wrong_types_fail_alone(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image(folder / "good_0000.nii.gz")
    vector = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(vector, str(folder / "rgb_0000.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 4, 5, 6), np.int16)), str(folder / "time_0000.nii.gz"))
    (folder / "picture_0000.nii.gz").write_bytes(b"\x89PNG\r\n")
    (folder / "folder_0000").mkdir()
    assert predict("-i", folder, "-o", tmp_path / "out") == 8
    assert names(tmp_path / "out") == {"good.nii.gz", "manifest.json"}
    assert all(f"{case}: FormatError" in caplog.text for case in ("rgb", "time", "picture", "folder"))


def test_cases_of_one_channel_need_no_number(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "scan_2020.mha", "c.nii"):
        image(tmp_path / name)
    assert [case.name for case in channel_cases([tmp_path])] == ["a", "c", "scan_2020"]
    with pytest.raises(ValueRangeError, match="number of its channel"):
        channel_cases([tmp_path], 2)
    image(tmp_path / "b_0000.nii.gz")
    with pytest.raises(ValueRangeError, match=r"a.nii.gz without the number"):
        channel_cases([tmp_path])


def test_two_files_of_one_channel_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "a_0000.nii.gz")
    image(tmp_path / "a_0000.mha")
    with pytest.raises(FormatError, match=r"a_0000.mha and a_0000.nii.gz"):
        channel_cases([tmp_path])


def test_dicom_folders_are_channels_and_cases(tmp_path: Path) -> None:
    from dicom_files import write_slices
    from dicom_series import plain

    write_slices(tmp_path / "in" / "p_0000", plain())
    (case,) = channel_cases([tmp_path / "in"])
    assert (case.name, case.suffix) == ("p", "")
    (case,) = channel_cases([tmp_path / "in" / "p_0000"])
    assert case.name == "p_0000"
    assert predict("-i", tmp_path / "in", "-o", tmp_path / "out") == 0
    assert names(tmp_path / "out") == {"p.nii.gz", "manifest.json"}


def test_segment_takes_a_folder_for_a_model_with_labels_of_its_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = image(folder / "a.nii.gz")
    out = tmp_path / "out"
    assert main(["segment", str(folder), "-o", str(out), "-m", "fake"]) == 0
    assert names(out / "a") == {"labels.nii.gz", "run.json"}
    np.testing.assert_array_equal(read_channels(out / "a" / "labels.nii.gz").arrays[0], labels_of(values))
    assert capsys.readouterr().out.startswith("a: low ")
    assert main(["segment", str(folder), "-o", str(out), "-m", "fake", "--continue"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_pictures_grey_and_coloured_get_pictures_of_labels(
    folder: Path, tmp_path: Path, fake: type[FakeSegmenter], suffix: str
) -> None:
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 60, (5, 6, 3), np.uint8)
    fake.channels = 3
    Image.fromarray(values).save(folder / f"colours_0000{suffix}")
    for channel in range(3):
        Image.fromarray(values[..., channel]).save(folder / f"grey_{channel:04d}{suffix}")
    assert predict("-i", folder, "-o", tmp_path / "out", "--save-probabilities") == 0
    for case in ("colours", "grey"):
        found = np.array(Image.open(tmp_path / "out" / f"{case}{suffix}"))
        np.testing.assert_array_equal(found, labels_of(*np.moveaxis(values, 2, 0)))
        assert pickle.loads((tmp_path / "out" / f"{case}.pkl").read_bytes())["spacing"] == [999.0, 1.0, 1.0]
    Image.fromarray(values).save(folder / f"lacks_0001{suffix}")
    assert predict("-i", folder, "-o", tmp_path / "out", "--continue", "--save-probabilities") == 8


def test_pictures_of_other_kinds_are_named(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from PIL import Image

    grey = Image.fromarray(np.zeros((5, 6), np.uint8))
    grey.save(folder / "pages_0000.tif", save_all=True, append_images=[grey])
    grey.convert("LA").save(folder / "alpha_0000.png")
    (folder / "broken_0000.png").write_bytes(b"\x89PNG")
    Image.fromarray(np.full((5, 6), 40000, np.uint16)).save(folder / "deep_0000.png")
    assert predict("-i", folder, "-o", tmp_path / "out") == 8
    assert names(tmp_path / "out") == {"deep.png", "manifest.json"}
    assert all(f"{name}_0000" in caplog.text for name in ("pages", "alpha", "broken"))
    assert read_channels(folder / "deep_0000.png").arrays[0].max() == 40000.0
