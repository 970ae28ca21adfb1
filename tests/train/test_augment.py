"""Augmentation: image and mask stay on one grid, the generator decides everything."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from covfast.train.augment import Augmentation, augment, blurred, equalised, recontrast, warp  # noqa: E402


def squares(n: int = 6, side: int = 64) -> torch.Tensor:
    """Slices with one bright square each, at different places."""
    slices = torch.zeros(n, side, side, dtype=torch.uint8)
    for k in range(n):
        slices[k, 10 + 3 * k : 30 + 3 * k, 20:44] = 255
    return slices


@pytest.mark.parametrize("seed", range(5))
def test_warp_moves_image_and_mask_together(seed: int) -> None:
    # The image is its own mask; only the grey that fills the outside may differ.
    x = squares()[:, None].float() / 255.0
    image, mask = warp(x, x, Augmentation(size=48), torch.Generator().manual_seed(seed))
    inside = mask > 0
    assert inside.any()
    assert torch.allclose(image[inside], mask[inside], atol=1e-5)


def test_augment_keeps_range_size_and_type() -> None:
    image, mask = augment(squares(), squares(), Augmentation(size=48), torch.Generator().manual_seed(0))
    assert image.shape == mask.shape == (6, 1, 48, 48)
    for x in (image, mask):
        assert x.dtype == torch.float32
        assert float(x.min()) >= 0.0
        assert float(x.max()) <= 1.0


def test_augment_with_the_same_seed_repeats_and_with_another_does_not() -> None:
    views = [augment(squares(), squares(), Augmentation(), torch.Generator().manual_seed(s))[0] for s in (1, 1, 2)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_augment_of_an_empty_mask_stays_empty() -> None:
    mask = augment(squares(), torch.zeros_like(squares()), Augmentation(), torch.Generator().manual_seed(3))[1]
    assert not mask.any()


def test_recontrast_keeps_the_order_of_grey_values_without_local_contrast() -> None:
    ramp = torch.linspace(0.0, 1.0, 64).expand(1, 1, 64, 64)
    ordered = 0
    for seed in range(10):
        row = recontrast(ramp, Augmentation(), torch.Generator().manual_seed(seed))[0, 0, 32]
        ordered += bool((row.diff() >= -1e-6).all())
    assert ordered >= 6


def test_equalised_keeps_the_order_of_grey_values() -> None:
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    y = equalised(x, torch.Generator().manual_seed(0))
    for a, b in zip(x.flatten(1), y.flatten(1), strict=True):
        assert bool((b[a.argsort()].diff() >= 0).all())


def test_blurred_of_a_constant_is_that_constant() -> None:
    assert torch.allclose(blurred(torch.full((1, 1, 40, 40), 0.3), 31), torch.tensor(0.3), atol=1e-6)
