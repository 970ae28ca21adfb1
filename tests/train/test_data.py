"""Reading, aligning and splitting of the training slices."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
from training import save, semiseg_folder

from covfast.errors import FormatError, ValueRangeError
from covfast.train import read_recipe
from covfast.train.align import CASES, Match, correlation, locate, smooth_offsets
from covfast.train.data import (
    DOCTOR,
    PNG,
    PNG_KINDS,
    PSEUDO,
    Slices,
    aligned_slices,
    cached_slices,
    case_of,
    content_key,
    doctor_slices,
    expert_mask,
    lung_box,
    png_numbers,
    png_slices,
    pseudo_files,
    read_grey,
    read_slices,
    shared_volumes,
    split_cases,
    to_window,
    write_slices,
)
from covfast.train.systems.miniseg_infection import expert_sides


def texture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_correlation_equals_the_definition() -> None:
    template, stack = texture(0, 5, 7), texture(1, 3, 16, 12)
    found = correlation(template, stack)
    t = template.astype(np.float64) - template.mean(dtype=np.float64)
    for d, i, j in ((0, 0, 0), (1, 4, 3), (2, 11, 5)):
        w = stack[d, i : i + 5, j : j + 7].astype(np.float64)
        expected = (t * (w - w.mean())).sum() / np.sqrt((t**2).sum() * ((w - w.mean()) ** 2).sum())
        assert found[d, i, j] == pytest.approx(expected, abs=1e-5)


def test_locate_finds_slice_and_place_of_a_cutout() -> None:
    stack = texture(2, 4, 32, 32) * 50
    match = locate(stack[2, 6:20, 9:25] * 0.5 + 3, stack, [10, 12, 14, 16], 2)
    assert (match.number, match.row, match.column) == (14, 12, 18)
    assert match.score == pytest.approx(1.0, abs=1e-4)


def test_smooth_offsets_ignore_outliers_and_bad_matches() -> None:
    matches = [Match(0.9, k + 100, 0, 0) for k in range(9)]
    matches[4] = Match(0.95, 3, 0, 0)
    matches[8] = Match(0.2, 0, 0, 0)
    assert smooth_offsets("a", range(9), matches) == [100] * 9


def test_smooth_offsets_without_a_good_match_name_the_volume() -> None:
    with pytest.raises(FormatError, match=r"coronacases_001: .* at least one"):
        smooth_offsets("coronacases_001", [0], [Match(0.1, 0, 0, 0)])


def test_expert_mask_beyond_the_infected_slices_is_empty() -> None:
    blank = np.zeros((256, 256), np.uint8)
    image = np.full((40, 60), 90, np.uint8)
    found = expert_mask(image, 30, Match(0.1, 20, 0, 0), {20: (blank, blank, blank)}, 512, 512)
    assert found is not None
    assert not found[0].any()
    assert found[0].shape == image.shape


def test_expert_mask_lies_on_the_anatomy_that_was_matched() -> None:
    whole = np.clip(120 + 60 * texture(3, 64, 64), 0, 200).astype(np.uint8)
    grid = np.asarray(Image.fromarray(whole).resize((256, 256), Image.Resampling.BICUBIC))
    mask = np.where(grid > 150, 255, 0).astype(np.uint8)
    full = np.asarray(Image.fromarray(grid).resize((512, 512), Image.Resampling.BILINEAR))
    image = full[100:300, 60:360]
    found = expert_mask(image, 8, Match(0.9, 8, 48, 32), {8: (grid, mask, mask)}, 512, 512)
    assert found is not None
    agree = ((found[0] >= 128) == (image > 150)).mean()
    assert agree > 0.95


def test_cases_have_numbers_that_do_not_overlap() -> None:
    spans = sorted((case.first, case.last) for case in CASES.values())
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    assert case_of(400) == "coronacases_004"
    assert case_of(200) is None


def test_window_of_coronacases_places_air_and_soft_tissue() -> None:
    grey = to_window(np.array([[0, 100]], np.uint8), "coronacases_001", 100.0)
    assert [round(g / 255 * 1500 - 1250) for g in grey[0]] == pytest.approx([-1020, 45], abs=4)


def test_lung_box_grows_inside_the_picture() -> None:
    lungs = np.zeros((20, 30), np.uint8)
    lungs[2:10, 15:25] = 255
    assert lung_box(lungs, 4) == (slice(0, 14), slice(11, 29))


def test_read_grey_of_a_broken_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    save(np.full((40, 40), 7, np.uint8), path)
    for content in (b"no picture", path.read_bytes()[:50], b""):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"broken\.png"):
            read_grey(path)


def empty_volumes(root: Path) -> Path:
    """The names of both sets' volumes, two slices each; no file holds a picture."""
    for case in CASES.values():
        names = [f"{number:04d}.png" for number in (case.first, case.last)]
        paths = [root / PNG / kind / name for kind in PNG_KINDS for name in names]
        paths += [root / PSEUDO / "Imgs" / f"{case.pattern}{k}_{k}.jpg" for k in range(2)]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def test_every_volume_has_slices_of_both_sets(tmp_path: Path) -> None:
    found = shared_volumes(empty_volumes(tmp_path))
    assert list(found) == list(CASES)
    files, numbers = found["coronacases_004"]
    assert [index for index, _ in files] == [0, 1]
    assert numbers == [397, 509]


def test_volume_without_slices_in_one_of_the_sets_is_named(tmp_path: Path) -> None:
    empty_volumes(tmp_path)
    for kind in PNG_KINDS:
        for number in (397, 509):
            (tmp_path / PNG / kind / f"{number:04d}.png").unlink()
    with pytest.raises(FormatError, match=r"coronacases_004: got no slice in coronacases_png, expected .*0397\.png"):
        next(aligned_slices(tmp_path))
    for path in (tmp_path / PSEUDO / "Imgs").iterdir():
        path.unlink()
    with pytest.raises(FormatError, match=r"coronacases_001: got no slice in .*Pseudo-label/Imgs"):
        next(aligned_slices(tmp_path))


@pytest.mark.parametrize("kind", PNG_KINDS)
def test_number_that_is_not_in_every_folder_is_named(tmp_path: Path, kind: str) -> None:
    (empty_volumes(tmp_path) / PNG / kind / "0158.png").unlink()
    with pytest.raises(FormatError, match=rf"0158.* {kind}"):
        png_numbers(tmp_path)


def test_volume_without_lungs_is_named(tmp_path: Path) -> None:
    for kind in PNG_KINDS:
        save(np.zeros((256, 256), np.uint8), tmp_path / PNG / kind / "0400.png")
    with pytest.raises(FormatError, match="coronacases_004: got no lungs"):
        next(png_slices(tmp_path))


@pytest.mark.parametrize(("kind", "told"), [("Imgs", r"3\.png: got a file in GT"), ("GT", "3: got no picture in GT")])
def test_expert_slice_without_its_fellow_is_named(tmp_path: Path, kind: str, told: str) -> None:
    folder = semiseg_folder(tmp_path) / DOCTOR
    next((folder / kind).glob("3.*")).unlink()
    with pytest.raises(FormatError, match=told):
        next(doctor_slices(tmp_path))


def test_folder_of_expert_slices_without_a_picture_is_named(tmp_path: Path) -> None:
    folder = semiseg_folder(tmp_path, 1) / DOCTOR
    (folder / "Imgs" / "0.jpg").unlink()
    with pytest.raises(FormatError, match="no picture in Imgs"):
        next(doctor_slices(tmp_path))


def make_slices(cases: list[str], kinds: list[str]) -> Slices:
    blank = np.zeros((len(cases), 4, 4), np.uint8)
    return Slices(blank, blank, blank, tuple(cases), tuple(kinds), tuple(map(str, range(len(cases)))))


def test_cache_is_used_for_the_same_pictures_only(tmp_path: Path) -> None:
    picture = tmp_path / PNG / "ct" / "0001.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"1")
    cache, slices = tmp_path / "slices.npz", make_slices(["a", "b"], ["png", "doctor"])
    write_slices(slices, cache, content_key(tmp_path))
    held = read_slices(tmp_path, cache)
    assert held.cases == slices.cases
    assert np.array_equal(held.images, slices.images)
    picture.write_bytes(b"2")
    assert cached_slices(cache, content_key(tmp_path)) is None
    with pytest.raises(FormatError, match="no folder"):  # not from the cache: it looks at the data again
        read_slices(tmp_path, cache)
    for content in (b"", b"PK\x03\x04 torn", cache.read_bytes()[:300]):
        cache.write_bytes(content)
        assert cached_slices(cache, "any") is None


def test_split_leaves_no_case_on_both_sides_and_loses_none() -> None:
    cases = ["doctor_1", "doctor_1", "doctor_2", "doctor_3", "a", "a", "b", "b"]
    inside, outside = split_cases(cases, ["b", "doctor_1"])
    assert sorted([*inside, *outside]) == list(range(8))
    assert set(outside) == {0, 1, 6, 7}
    with pytest.raises(ValueRangeError, match=r"split\.held_out: got 'c'"):
        split_cases(cases, ["c"])


def test_folds_of_expert_slices_share_out_whole_groups() -> None:
    cases = ["doctor_1", "doctor_1", "doctor_2", "doctor_3", "a", "a", "b", "b"]
    slices = make_slices(cases, ["doctor"] * 4 + ["aligned", "png"] * 2)
    held = []
    for fold in range(3):
        inside, outside = expert_sides(slices, {"held_out": ["b"], "folds": 3, "fold": fold, "seed": 5})
        assert not {cases[i] for i in inside} & {cases[i] for i in outside}
        assert {6, 7} <= set(outside)
        held += [i for i in outside if i < 6]
    assert sorted(held) == [0, 1, 2, 3]
    inside, outside = expert_sides(slices, {"held_out": ["b"], "folds": 1, "fold": 0, "seed": 5})
    assert list(outside) == [6, 7]


def test_recipe_changes_reach_their_place_and_unknown_keys_raise() -> None:
    assert read_recipe("miniseg-infection", {"optimisation.steps": 3})["optimisation"]["steps"] == 3
    for key in ("optimisation.stepz", "steps", "input.size.x"):
        with pytest.raises(ValueRangeError, match="set"):
            read_recipe("miniseg-infection", {key: 1})


def test_recipe_that_is_missing_or_no_toml_raises(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="miniseg-infection"):
        read_recipe("absent")
    path = tmp_path / "bad.toml"
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(FormatError, match="TOML"):
        read_recipe(path)


def test_held_out_pseudo_slices_of_the_recipe_stay_out(data_dir: Path) -> None:
    rows = list(doctor_slices(data_dir))
    cases, kinds = [row[3] for row in rows], ["doctor"] * len(rows)
    for name, case in CASES.items():
        files = pseudo_files(data_dir, case.pattern)
        cases += [name] * len(files)
        kinds += ["aligned"] * len(files)
    table = read_recipe("miniseg-infection")
    split = table["split"]
    inside, outside = expert_sides(make_slices(cases, kinds), {**split, "folds": 5})
    assert not {cases[i] for i in inside} & {cases[i] for i in outside}
    assert set(split["held_out"]) <= {cases[i] for i in outside}
    assert 5 <= sum(kinds[i] == "doctor" for i in outside) <= 15
