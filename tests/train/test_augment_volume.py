"""3-D augmentation: one grid for image and labels, mm instead of voxels, one source of randomness."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from covfast.errors import ShapeError, ValueRangeError  # noqa: E402
from covfast.train.augment_volume import (  # noqa: E402
    VolumeAugmentation,
    augment_volume,
    centre,
    coarsened,
    gamma_changed,
    rotation,
    source_size,
    warp,
)

QUIET = VolumeAugmentation(
    flip_axes=(),
    rotate_chance=0,
    zoom_chance=0,
    noise_chance=0,
    brightness_chance=0,
    contrast_chance=0,
    coarse_chance=0,
    gamma_chance=0,
)
MOVING = dataclasses.replace(QUIET, rotate_chance=1.0, zoom_chance=1.0, flip_axes=(0, 1, 2))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def boxes(shape: tuple[int, int, int] = (20, 28, 24)) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels 1 and 2 in two boxes, and an image that is the labels."""
    labels = torch.zeros(shape, dtype=torch.uint8)
    labels[4:12, 5:14, 6:15] = 1
    labels[9:17, 16:25, 8:20] = 2
    return labels[None].float(), labels


def test_nothing_chosen_is_the_middle_voxel_by_voxel() -> None:
    image, labels = torch.randn(2, 12, 14, 16, generator=seeded()), boxes((12, 14, 16))[1]
    x, y = augment_volume(image, labels, (8, 10, 16), QUIET, seeded())
    assert torch.equal(x, image[:, 2:10, 2:12])
    assert torch.equal(y, labels[2:10, 2:12])


@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_move_together(seed: int) -> None:
    _, labels = boxes()
    one_hot = torch.cat([(labels == k)[None].float() for k in range(3)])
    x, y = augment_volume(one_hot, labels, (16, 16, 16), MOVING, seeded(seed))
    assert y.dtype == torch.uint8
    assert torch.equal(x.argmax(0).to(torch.uint8), y)
    assert not torch.equal(y, centre(labels, (16, 16, 16)))


def test_same_seed_repeats_and_another_does_not() -> None:
    image, labels = boxes()
    settings = VolumeAugmentation(noise_chance=1.0)
    first, again, other = (augment_volume(image, labels, (16, 16, 16), settings, seeded(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_inputs_are_not_changed() -> None:
    image, labels = boxes()
    kept = image.clone(), labels.clone()
    for seed in range(8):
        augment_volume(image, labels, image.shape[1:], VolumeAugmentation(noise_chance=1.0), seeded(seed))
    assert torch.equal(image, kept[0])
    assert torch.equal(labels, kept[1])


def test_flips_are_exact_mirrors() -> None:
    image, labels = boxes()
    settings = dataclasses.replace(QUIET, flip_axes=(2,))
    mirrored = 0
    for seed in range(20):
        x, y = augment_volume(image, labels, labels.shape, settings, seeded(seed))
        is_mirrored = torch.equal(y, labels.flip(2))
        assert torch.equal(x, image.flip(3) if is_mirrored else image)
        mirrored += is_mirrored
    assert 4 <= mirrored <= 16


def test_warp_by_a_quarter_turn_is_rot90() -> None:
    image, labels = torch.randn(1, 6, 9, 9, generator=seeded()), boxes((6, 9, 9))[1]
    x, y = warp(image, labels, (6, 9, 9), rotation((90.0, 0.0, 0.0)))
    assert torch.allclose(x, image.rot90(1, (2, 3)), atol=1e-4) or torch.allclose(x, image.rot90(-1, (2, 3)), atol=1e-4)
    assert torch.equal(y, labels.rot90(1, (1, 2))) or torch.equal(y, labels.rot90(-1, (1, 2)))


def test_zoom_doubles_a_box() -> None:
    labels = torch.zeros(24, 24, 24, dtype=torch.uint8)
    labels[9:15, 9:15, 9:15] = 1
    _, y = warp(labels[None].float(), labels, (24, 24, 24), torch.eye(3) / 2.0)
    assert int(y.sum()) == 12**3 - 8  # the share of a corner voxel is 0.75^3 < 1/2


def test_rotation_turns_mm_where_slices_are_thick() -> None:
    """A ball in mm stays one: in voxels it is flat, and turned about H it must stay as flat."""
    d, h, w = torch.meshgrid(torch.arange(13.0), torch.arange(39.0), torch.arange(39.0), indexing="ij")
    ball = (((d - 6) * 3) ** 2 + (h - 19) ** 2 + (w - 19) ** 2 < 12**2).to(torch.uint8)
    settings = dataclasses.replace(
        QUIET, rotate_chance=1.0, rotate_degrees=(0.0, 60.0, 0.0), spacing_mm=(3.0, 1.0, 1.0)
    )
    wrong = dataclasses.replace(settings, spacing_mm=(1.0, 1.0, 1.0))
    changed = [0, 0]
    for seed in range(4):
        for k, choice in enumerate((settings, wrong)):
            _, y = augment_volume(ball[None].float(), ball, ball.shape, choice, seeded(seed))
            changed[k] += int((y != ball).sum())
    assert changed[0] < 0.1 * 4 * int(ball.sum())
    assert changed[1] > 3 * changed[0]


def test_source_size_holds_everything_a_turned_patch_needs() -> None:
    """With a turn around one axis and zoom, no voxel of the result comes from outside the source."""
    settings = dataclasses.replace(MOVING, rotate_degrees=(40.0, 0.0, 0.0), spacing_mm=(2.0, 1.0, 1.5))
    size = (6, 16, 12)
    big = source_size(size, settings)
    assert all((b - s) % 2 == 0 and b >= s for b, s in zip(big, size, strict=True))
    step = torch.tensor(settings.spacing_mm, dtype=torch.float64)
    for degrees in (-40.0, 25.0, 40.0):
        matrix = rotation((degrees, 0.0, 0.0)) * step[None, :] / step[:, None] / settings.zoom[0]
        reach = matrix.float().abs() @ ((torch.tensor(size) - 1.0) / 2)  # of the outermost voxels' middles
        assert bool((reach <= torch.tensor(big) / 2.0).all())
    assert source_size(size, QUIET) == size


def test_intensity_changes_leave_labels_alone() -> None:
    image, labels = boxes()
    settings = VolumeAugmentation(
        flip_axes=(), rotate_chance=0, zoom_chance=0, noise_chance=1, brightness_chance=1, contrast_chance=1,
        coarse_chance=1, gamma_chance=1,
    )  # fmt: skip
    x, y = augment_volume(image, labels, labels.shape, settings, seeded())
    assert torch.equal(y, labels)
    assert bool(torch.isfinite(x).all())
    assert not torch.equal(x, image)


def test_gamma_keeps_order_mean_and_deviation() -> None:
    image = torch.randn(1, 6, 7, 8, generator=seeded())
    curved = gamma_changed(image, 1.4)
    assert torch.equal(curved.flatten().argsort(), image.flatten().argsort())
    assert torch.allclose(torch.stack([curved.mean(), curved.std()]), torch.stack([image.mean(), image.std()]))
    assert torch.allclose(gamma_changed(image, 1.0), image, atol=1e-5)
    assert torch.equal(gamma_changed(torch.ones(1, 2, 2, 2), 0.8), torch.ones(1, 2, 2, 2))


def test_coarsened_keeps_a_constant_and_loses_detail() -> None:
    assert torch.allclose(coarsened(torch.full((1, 6, 6, 6), 0.3), 0.5), torch.tensor(0.3))
    image = torch.randn(1, 12, 12, 12, generator=seeded())
    assert float(coarsened(image, 0.5).var()) < 0.8 * float(image.var())
    assert torch.allclose(coarsened(image, 1.0), image, atol=1e-6)


def test_one_slice_is_augmented_in_its_plane() -> None:
    _, labels = boxes((1, 40, 40))
    labels[0, 10:20, 10:20] = 1
    settings = dataclasses.replace(MOVING, rotate_degrees=(30.0, 0.0, 0.0), flip_axes=(1, 2), zoom_chance=0.0)
    x, y = augment_volume(labels[None].float(), labels, (1, 32, 32), settings, seeded(1))
    assert torch.equal(x[0] > 0.5, y > 0) or int(((x[0] > 0.5) != (y > 0)).sum()) <= 2
    assert int(y.sum()) > 50


def test_arguments_out_of_range_are_refused() -> None:
    image, labels = boxes()
    with pytest.raises(ShapeError, match="size"):
        augment_volume(image, labels, (99, 8, 8), QUIET, seeded())
    with pytest.raises(ShapeError, match="labels"):
        augment_volume(image, labels[1:], (8, 8, 8), QUIET, seeded())
    for wrong in ({"noise_chance": 1.5}, {"zoom": (0.0, 1.0)}, {"coarse": 0.0}, {"flip_axes": (3,)}):
        with pytest.raises(ValueRangeError):
            VolumeAugmentation(**wrong)
