"""Training of miniseg-lung: its slices, their tones, its split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import bright_squares, same, save  # noqa: E402

from covfast.errors import FormatError, ValueRangeError  # noqa: E402
from covfast.train import read_recipe, train  # noqa: E402
from covfast.train.align import CASES  # noqa: E402
from covfast.train.augment import Augmentation, augment, toned  # noqa: E402
from covfast.train.data import PNG, STORED, Slices, content_key, write_slices  # noqa: E402
from covfast.train.distributed import Share  # noqa: E402
from covfast.train.lung_slices import (  # noqa: E402
    aligned_with_lungs,
    canonical,
    lung_slices,
    phantom_slices,
    tone_curve,
    tone_curves,
    whole_slices,
)
from covfast.train.systems.miniseg_lung import MiniSegLung  # noqa: E402

SMALL = {
    "input.size": 32, "optimisation.steps": 4, "optimisation.batch": 4, "optimisation.warmup": 1, "run.interval": 2,
    "run.validate_every": 4, "run.device": "cpu", "data.phantoms": 0, "threads": 1,
    "split.held_out": ["coronacases_003"],
}  # fmt: skip
NUMBERS = (10, 12, 280, 282, 1474, 1476)  # of coronacases_001, _003, a radiopaedia volume, and of none


def test_tone_curve_finds_the_curve_that_was_applied() -> None:
    natural = np.random.default_rng(0).integers(0, 256, (40, 64, 64)).astype(np.uint8)
    applied = (255.0 * np.sqrt(np.arange(256) / 255.0)).astype(np.uint8)
    curve = tone_curve(applied[natural], natural)
    assert np.abs(curve[applied[natural]].astype(int) - natural).max() <= 8  # dark greys share a value
    assert np.abs(curve[applied[natural]].astype(int) - natural).mean() < 1.0
    assert (np.diff(curve.astype(int)) >= 0).all()


def test_tone_curve_of_a_picture_to_itself_changes_nothing() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (16, 64, 64)).astype(np.uint8)
    assert np.abs(tone_curve(pixels, pixels).astype(int) - np.arange(256)).max() <= 1


def test_canonical_turns_radiopaedia_only() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(3, 2)
    assert np.array_equal(canonical(pixels, "radiopaedia_x"), pixels[::-1])
    assert np.array_equal(canonical(pixels, "coronacases_001"), pixels)


def crops(kinds: tuple[str, ...], cases: tuple[str, ...], side: int = STORED) -> Slices:
    """Crops whose lungs are the upper half, brighter from kind to kind."""
    lungs = np.zeros((len(kinds), side, side), np.uint8)
    lungs[:, : side // 2] = 255
    images = np.where(lungs > 0, 40, 120).astype(np.uint8)
    images[[kind == "aligned" for kind in kinds]] += 100
    return Slices(images, np.zeros_like(lungs), lungs, cases, kinds, tuple(map(str, range(len(kinds)))))


def test_aligned_slices_without_known_lungs_are_left_out_and_the_given_ones_stay() -> None:
    given = crops(("aligned", "aligned", "png"), ("radiopaedia_a", "coronacases_001", "coronacases_001"), 32)
    given.lungs[1] = 255
    before = given.lungs.copy()
    found = aligned_with_lungs(given)
    assert found.cases == ("radiopaedia_a",)
    assert np.array_equal(found.masks[0], before[0, ::-1])
    assert np.array_equal(given.lungs, before)


def test_tone_curves_need_both_kinds_of_a_case() -> None:
    curves = tone_curves(crops(("png", "aligned", "png"), ("a", "a", "b"), 32))
    assert list(curves) == ["a"]
    assert [int(curves["a"][grey]) for grey in (40, 120)] == [140, 220]


def png_folder(root: Path) -> Path:
    """coronacases_png with one bright lung a slice, at the top."""
    for number in NUMBERS:
        lungs = np.zeros((256, 256), np.uint8)
        lungs[20:120, 40:200] = 255
        image = np.where(lungs > 0, 40, 120).astype(np.uint8)
        for kind, pixels in (("ct", image), ("lungs", lungs), ("covid", lungs // 2)):
            save(pixels, root / PNG / kind / f"{number:04d}.png")
    return root


def test_whole_slices_are_upright_and_of_a_known_volume(tmp_path: Path) -> None:
    rows = {row[5]: row for row in whole_slices(png_folder(tmp_path))}
    assert sorted(rows) == ["0010", "0012", "0280", "0282", "1474"]
    image, lungs = rows["0010"][0], rows["0010"][2]
    assert image.shape == (256, 256)
    assert np.array_equal(image < 100, lungs > 0)
    assert lungs[30, 100]
    assert not rows["1474"][2][30, 100]  # stored upside down


def test_lung_slices_have_every_kind_with_lungs_as_masks(tmp_path: Path) -> None:
    given = crops(("png", "aligned"), ("coronacases_001", "coronacases_001"))
    slices = lung_slices(given, png_folder(tmp_path), 0)
    assert {kind: slices.kinds.count(kind) for kind in set(slices.kinds)} == {"whole": 5, "toned": 2, "aligned": 1}
    assert slices.masks is slices.lungs
    whole, bright = (slices.images[slices.kinds.index(kind)] for kind in ("whole", "toned"))
    assert int(whole[STORED // 5, STORED // 2]) == 40
    assert int(bright[STORED // 5, STORED // 2]) == 140


def test_phantom_slices_are_in_the_window_and_some_have_no_lungs() -> None:
    rows = list(phantom_slices(1))
    with_lungs = [row for row in rows if row[2].any()]
    assert 10 < len(with_lungs) < len(rows)
    image, _, lungs = with_lungs[len(with_lungs) // 2][:3]
    assert 55 < np.median(image[lungs > 0]) < 100  # about -850 HU of [-1250, 250]
    assert abs(int(image[0, 0]) - 43) <= 8  # air


def test_toned_keeps_order_and_range() -> None:
    ramp = torch.linspace(0.0, 1.0, 4096).reshape(1, 1, 64, 64).repeat(8, 1, 1, 1)
    rows = toned(ramp, Augmentation(tone=1.0), torch.Generator().manual_seed(0)).flatten(1)
    assert bool((rows.diff(dim=1) >= -1e-6).all())
    assert rows[:, 0].tolist() == pytest.approx([0.0] * 8, abs=1e-6)
    assert rows[:, -1].tolist() == pytest.approx([1.0] * 8, abs=1e-6)
    assert float((rows - ramp.flatten(1)).abs().max()) > 0.1


def test_augmentation_without_quarter_turns_keeps_the_top_at_the_top() -> None:
    images = torch.zeros(40, 64, 64, dtype=torch.uint8)
    images[:, 8:20, 20:44] = 255
    settings = Augmentation(size=64, quarter_turns=False, shift=0.0, zoom=1.0, rotate_degrees=10.0)
    masks = augment(images, images, settings, torch.Generator().manual_seed(0))[1]
    assert bool((masks[:, :, :32].sum((1, 2, 3)) > 5.0 * masks[:, :, 32:].sum((1, 2, 3))).all())


def test_recipe_holds_out_volumes_that_exist() -> None:
    assert set(read_recipe("miniseg-lung")["split"]["held_out"]) <= set(CASES)


def test_training_from_pictures_holds_the_volume_out_and_resumes(tmp_path: Path) -> None:
    data = png_folder(tmp_path / "data")
    given = crops(("png", "aligned", "aligned"), ("coronacases_001", "coronacases_001", "coronacases_003"))
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        write_slices(given, tmp_path / run / "slices.npz", content_key(data))
    one = torch.load(train("miniseg-lung", data, tmp_path / "a", SMALL), weights_only=True)

    def kill(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("miniseg-lung", data, tmp_path / "b", SMALL, progress=kill)
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    splits = next(iter(record["stages"].values()))["splits"]
    assert splits["validation"] == ["coronacases_003"]
    assert "coronacases_003" not in splits["training"]
    assert same(one, torch.load(train("miniseg-lung", data, tmp_path / "b", SMALL), weights_only=True))


def test_held_out_volume_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    given = crops(("png", "aligned"), ("coronacases_001", "coronacases_001"))
    data = png_folder(tmp_path)
    write_slices(given, tmp_path / "slices.npz", content_key(data))
    table = read_recipe("miniseg-lung", {**SMALL, "split.held_out": ["coronacases_002"]})
    with pytest.raises(ValueRangeError, match=r"split\.held_out: got 'coronacases_002'"):
        MiniSegLung.open(table, data, tmp_path)


def test_pictures_that_are_absent_are_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no folder covid_semiseg"):
        train("miniseg-lung", tmp_path, tmp_path / "out", SMALL)


def test_loss_of_lungs_falls_on_squares() -> None:
    slices = replace(bright_squares(8), kinds=("whole",) * 8)
    table = read_recipe("miniseg-lung", {**SMALL, "optimisation.rate": 1e-2, "optimisation.steps": 30})
    system = MiniSegLung(table, slices, slices)
    torch.manual_seed(0)
    module = system.build().train()
    optimiser, generator, losses = system.optimiser(module), torch.Generator().manual_seed(0), []
    for step in range(30):
        loss = system.loss(module, system.draw(step, generator, Share())[0], step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
