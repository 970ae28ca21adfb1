"""3-D training data: what is kept, what is drawn, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from covfast import io  # noqa: E402
from covfast.errors import FormatError, GeometryError, ShapeError, ValueRangeError  # noqa: E402
from covfast.train.augment_volume import VolumeAugmentation, source_size  # noqa: E402
from covfast.train.patches import Patches, cut, generator_at  # noqa: E402
from covfast.train.volumes import Case, CtNormalisation, Preparation, Volumes, prepare, resampled  # noqa: E402
from covfast.volume import Geometry, Segmentation, Volume  # noqa: E402

SHAPES = ((12, 20, 18), (9, 24, 16), (10, 16, 16))


def scan(number: int) -> tuple[np.ndarray, np.ndarray]:
    """HU and labels; voxel values differ everywhere, the last case has no foreground."""
    rng = np.random.default_rng(number)
    shape = SHAPES[number]
    hu = rng.integers(-1000, 200, shape).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    if number < 2:
        labels[2:5, 3:6, 10:14] = 1
        labels[6:8, 12:15, 2:5] = 2
    return hu, labels


def made(count: int = 3) -> list[Case]:
    return [Case(f"case_{k}", *scan(k), spacing_mm=(2.0, 1.0, 1.0)) for k in range(count)]


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return prepare(made(), tmp_path)


def test_normalisation_equals_its_formula_over_the_foreground(volumes: Volumes) -> None:
    foreground = np.concatenate([hu[labels > 0] for hu, labels in map(scan, range(3))]).astype(np.float64)
    low, high = np.percentile(foreground, (0.5, 99.5))
    for k in range(3):
        hu, labels = scan(k)
        expected = (np.clip(hu.astype(np.float64), low, high) - foreground.mean()) / foreground.std()
        np.testing.assert_allclose(volumes.image(k), expected, atol=1e-5)
        np.testing.assert_array_equal(volumes.labels(k), labels)
        assert volumes.image(k).dtype == np.float32
        assert volumes.spacing_mm(k) == (2.0, 1.0, 1.0)
    assert volumes.classes == 3


def test_places_are_all_foreground_voxels(volumes: Volumes) -> None:
    _, labels = scan(0)
    places = volumes.places(0)
    assert len(places) == int((labels > 0).sum())
    assert (labels[tuple(places[:, 1:].T)] == places[:, 0]).all()
    assert len(volumes.places(2)) == 0


def test_prepared_once_and_made_anew_when_anything_changes(tmp_path: Path) -> None:
    prepare(made(), tmp_path)
    path = tmp_path / "case_0.image.npy"
    stamp = 1_000_000_000
    os.utime(path, (stamp, stamp))
    prepare(made(), tmp_path)
    assert path.stat().st_mtime == stamp
    changed = made()
    changed[0].labels[0, 0, 0] = 1
    prepare(changed, tmp_path)
    assert path.stat().st_mtime != stamp
    os.utime(path, (stamp, stamp))
    prepare(changed, tmp_path, Preparation(window_hu=(-500, 100)))
    assert path.stat().st_mtime != stamp


def test_a_preparation_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    whole = prepare(made(), tmp_path).image(0).copy()
    (tmp_path / "index.json").write_text("{")
    (tmp_path / "case_0.image.npy").write_bytes(b"half")
    np.testing.assert_array_equal(prepare(made(), tmp_path).image(0), whole)


def test_files_in_any_orientation_equal_arrays(tmp_path: Path) -> None:
    hu, labels = scan(0)
    canonical = Geometry.from_spacing(hu.shape, (2.0, 1.0, 1.5))
    cases = []
    for orientation in ("SPL", "IAR", "LPS"):
        axes, _ = canonical.view_axes(orientation)
        turned, mask = (np.ascontiguousarray(canonical.view(array, orientation)) for array in (hu, labels))
        grid = Geometry.from_spacing(turned.shape, [canonical.spacing_mm[axis] for axis in axes], orientation)
        files = tmp_path / f"{orientation}.nii.gz", tmp_path / f"{orientation}_mask.nii.gz"
        io.write(files[0], Volume(turned, grid))
        io.write(files[1], Segmentation(mask, grid))
        cases.append(Case(orientation, *files))
    volumes = prepare(cases, tmp_path / "made")
    for k in range(3):
        np.testing.assert_array_equal(volumes.labels(k), labels)
        np.testing.assert_array_equal(volumes.image(k), volumes.image(0))
        assert volumes.spacing_mm(k) == pytest.approx((2.0, 1.0, 1.5), abs=1e-5)


def test_windowed_images_come_back_to_hu(tmp_path: Path) -> None:
    hu, labels = scan(0)
    stored = np.clip((hu.astype(np.float32) + 1250) / 1500, 0, 1) * 255
    how = Preparation(window_hu=(-1250, 250), normalisation=CtNormalisation(-1250, 250, 0, 1))
    both = [Case("hu", hu, labels), Case("windowed", stored.astype(np.float32), labels, input_window=(-1250, 250))]
    volumes = prepare(both, tmp_path, how)
    np.testing.assert_allclose(volumes.image(0), volumes.image(1), atol=0.01)


def test_classes_are_mapped_and_values_outside_are_refused(tmp_path: Path) -> None:
    volumes = prepare(made(), tmp_path, Preparation(classes={0: 0, 1: 0, 2: 1}))
    np.testing.assert_array_equal(volumes.labels(0), scan(0)[1] == 2)
    assert volumes.classes == 2
    with pytest.raises(ValueRangeError, match=r"labels of case_0: got the labels \[2\], expected only \[0, 1\]"):
        prepare(made(), tmp_path, Preparation(classes={0: 0, 1: 1}))


def test_resampling_keeps_a_constant_size_ratio_and_the_place_of_labels() -> None:
    labels = np.zeros((8, 12, 12), np.uint8)
    labels[2:6, 3:9, 3:9] = 2
    image = labels.astype(np.float32) * 100
    x, y = resampled(image, labels, (2.0, 1.0, 1.0), (1.0, 0.5, 1.0))
    assert x.shape == y.shape == (16, 24, 12)
    np.testing.assert_array_equal(y[4:12, 6:18, 3:9], 2)
    assert int((y == 2).sum()) == 8 * 12 * 6
    assert float(np.abs(resampled(np.full_like(image, 7), labels, (2, 1, 1), (1, 1, 1))[0] - 7).max()) < 1e-4
    same = resampled(image, labels, (2.0, 1.0, 1.0), (2.0, 1.0, 1.0))
    assert same[0] is image
    assert same[1] is labels


def test_thick_slices_are_not_interpolated_between() -> None:
    image = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 8, 8), np.float32)
    x, _ = resampled(image, np.zeros((4, 8, 8), np.uint8), (5.0, 1.0, 1.0), (2.5, 1.0, 1.0))
    assert x.shape == (8, 8, 8)
    np.testing.assert_allclose(x[:, 0, 0], [0, 0, 1, 1, 2, 2, 3, 3], atol=1e-5)


def test_patches_are_boxes_of_their_volume(volumes: Volumes) -> None:
    patches = Patches(volumes, (8, 16, 12), 4)
    seen = set()
    for turn in range(6):
        batch = patches.draw(turn, generator_at(0, turn))
        assert batch["image"].shape == (4, 1, 8, 16, 12)
        assert batch["image"].dtype == torch.float32
        assert batch["labels"].shape == (4, 8, 16, 12)
        assert batch["labels"].dtype == torch.uint8
        for image, labels in zip(batch["image"][:, 0].numpy(), batch["labels"].numpy(), strict=True):
            seen.add(_find(volumes, image, labels))
    assert seen == {0, 1, 2}


def _find(volumes: Volumes, image: np.ndarray, labels: np.ndarray) -> int:
    """The volume that holds the box."""
    for k in range(len(volumes)):
        for d, h, w in np.argwhere(volumes.image(k) == image[0, 0, 0]):
            box = np.s_[d : d + image.shape[0], h : h + image.shape[1], w : w + image.shape[2]]
            if np.array_equal(volumes.image(k)[box], image) and np.array_equal(volumes.labels(k)[box], labels):
                return k
    raise AssertionError("the patch is of no volume")


def test_a_third_of_the_patches_is_centred_on_foreground(volumes: Volumes) -> None:
    # A patch of one voxel is foreground exactly when it was centred on it, or by the rare chance.
    patches = Patches(volumes, (1, 1, 1), 1, foreground=0.33)
    found = sum(int(patches.draw(turn, generator_at(1, turn))["labels"].any()) for turn in range(300))
    rare = np.mean([(scan(k)[1] > 0).mean() for k in range(3)]) * 201
    assert 99 <= found <= 99 + 4 * rare + 3
    every = Patches(volumes, (1, 1, 1), 5, foreground=1.0).draw(0, generator_at(2, 0))["labels"]
    assert bool((every > 0).all())
    kinds = Patches(volumes, (1, 1, 1), 200, foreground=1.0).draw(0, generator_at(3, 0))["labels"]
    assert 70 <= int((kinds == 2).sum()) <= 130  # classes alike, though 1 has twice as many voxels


def test_augmentation_has_the_voxel_size_of_the_drawn_case(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [("thin", (1.0, 1.0, 1.0)), ("thick", (5.0, 0.7, 0.7))]
    cases = []
    for name, spacing_mm in pairs:
        labels = np.zeros((12, 16, 16), np.uint8)
        labels[4:8, 4:8, 4:8] = 1
        cases.append(Case(name, rng.integers(-900, 0, labels.shape).astype(np.int16), labels, spacing_mm))
    volumes = prepare(cases, tmp_path)
    patches = Patches(volumes, (4, 8, 8), 1, augmentation=VolumeAugmentation())
    found = [(view[0].spacing_mm, view[1]) for view in patches._views]
    settings = [VolumeAugmentation(spacing_mm=spacing_mm) for _, spacing_mm in pairs]
    assert found == [(one.spacing_mm, source_size((4, 8, 8), one)) for one in settings]
    assert found[0][1] != found[1][1]


@pytest.mark.parametrize("augmentation", [None, VolumeAugmentation(spacing_mm=(2.0, 1.0, 1.0))])
def test_a_turn_depends_on_seed_and_turn_alone(volumes: Volumes, augmentation: VolumeAugmentation | None) -> None:
    patches = Patches(volumes, (6, 8, 8), 3, augmentation=augmentation)
    straight = [patches.draw(turn, generator_at(7, turn)) for turn in range(5)]
    later = patches.draw(4, generator_at(7, 4))
    assert all(torch.equal(later[key], straight[4][key]) for key in later)
    assert not torch.equal(straight[3]["image"], straight[4]["image"])
    assert not torch.equal(patches.draw(4, generator_at(8, 4))["image"], later["image"])


def test_a_generator_that_goes_on_from_its_state_repeats(volumes: Volumes) -> None:
    patches = Patches(volumes, (6, 8, 8), 2, augmentation=VolumeAugmentation())
    generator = torch.Generator().manual_seed(3)
    patches.draw(0, generator)
    state = generator.get_state()
    expected = patches.draw(1, generator)
    generator = torch.Generator()
    generator.set_state(state)
    assert torch.equal(patches.draw(1, generator)["image"], expected["image"])


def test_shares_of_processes_make_the_whole_batch(volumes: Volumes) -> None:
    from covfast.train.distributed import Share

    patches = Patches(volumes, (6, 8, 8), 4, augmentation=VolumeAugmentation())
    whole = patches.draw(2, generator_at(0, 2))
    parts = [patches.draw(2, generator_at(0, 2), Share(rank, 2)) for rank in range(2)]
    for key in whole:
        assert torch.equal(torch.cat([part[key] for part in parts]), whole[key])


def test_a_volume_smaller_than_the_patch_is_filled_up_with_zero(volumes: Volumes) -> None:
    batch = Patches(volumes.take(["case_1"]), (12, 24, 16), 1).draw(0, generator_at(0, 0))
    np.testing.assert_array_equal(batch["image"][0, 0, 1:10].numpy(), volumes.image(1))
    assert not batch["image"][0, 0, 0].any()
    assert not batch["image"][0, 0, 10:].any()


def test_slices_are_patches_of_two_axes(volumes: Volumes) -> None:
    flat = VolumeAugmentation(flip_axes=(1, 2), rotate_degrees=(30.0, 0.0, 0.0))
    for augmentation in (None, flat):
        batch = Patches(volumes, (16, 12), 3, augmentation=augmentation).draw(0, generator_at(0, 0))
        assert batch["image"].shape == (3, 1, 16, 12)
        assert batch["labels"].shape == (3, 16, 12)


def test_cut_reads_past_every_side() -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(cut(array, (-1, -2, -3), (4, 7, 10)), np.pad(array, ((1, 1), (2, 2), (3, 3))))
    assert not cut(array, (5, 0, 0), (2, 3, 4)).any()


WRONG: dict[str, tuple[Callable[[], Case], type[Exception], str]] = {
    "grid": (lambda: Case("a", scan(0)[0], scan(1)[1]), GeometryError, r"a: got labels of \(9, 24, 16\)"),
    "name": (lambda: Case("a/b", *scan(0)), ValueRangeError, "a/b"),
    "axes": (lambda: Case("a", scan(0)[0][0], scan(0)[1][0]), ShapeError, "a: got shape"),
    "labels": (lambda: Case("a", scan(0)[0], scan(0)[1] * 0.5), ValueRangeError, "labels of a: got float64"),
    "empty": (lambda: Case("a", *scan(2)), ValueRangeError, "no foreground"),
    "windowed": (lambda: Case("a", np.abs(scan(0)[0]) % 255, scan(0)[1]), FormatError, "input-window"),
    "file": (lambda: Case("a", Path("missing.nii.gz"), scan(0)[1]), FormatError, "missing.nii.gz"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_bad_cases_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    make, error, text = WRONG[kind]
    with pytest.raises(error, match=text):
        prepare([make()], tmp_path)
    assert not (tmp_path / "index.json").exists()


def test_names_must_differ_and_exist(tmp_path: Path, volumes: Volumes) -> None:
    with pytest.raises(ValueRangeError, match="each name once"):
        prepare([*made(1), *made(1)], tmp_path)
    with pytest.raises(ValueRangeError, match="case_0, case_1"):
        volumes.take(["case_9"])
    with pytest.raises(ValueRangeError, match="foreground"):
        Patches(volumes, (4, 4, 4), 1, foreground=1.5)
    with pytest.raises(ShapeError, match="size"):
        Patches(volumes, (4,), 1)
