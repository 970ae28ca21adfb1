"""Synthetic lesions: deterministic, at the site and with the density of their kind."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from covfast.errors import ShapeError, ValueRangeError
from covfast.train.lesions import KINDS, LesionCase, lesion_case

SHAPE = (32, 64, 64)


@pytest.fixture(scope="module")
def cases() -> dict[str, list[LesionCase]]:
    return {kind: [lesion_case(kind, seed, SHAPE) for seed in range(3)] for kind in KINDS}


def parts(mask: np.ndarray, least: int = 1) -> int:
    """Number of 26-connected components of at least so many voxels."""
    left, count = {tuple(v) for v in np.argwhere(mask)}, 0
    steps = [tuple(int(n) for n in v) for v in np.ndindex(3, 3, 3)]
    while left:
        size, front = 0, [left.pop()]
        while front:
            d, h, w = front.pop()
            size += 1
            for a, b, c in steps:
                near = (d + a - 1, h + b - 1, w + c - 1)
                if near in left:
                    left.remove(near)
                    front.append(near)
        count += size >= least
    return count


def ml(case: LesionCase) -> float:
    return float(case.mask.sum() * np.prod(case.spacing_mm) / 1000)


@pytest.mark.parametrize("kind", KINDS)
def test_case_has_the_promised_types_and_a_lesion(kind: str, cases: dict[str, list[LesionCase]]) -> None:
    for case in cases[kind]:
        assert case.hu.shape == case.mask.shape == SHAPE
        assert case.hu.dtype == np.int16
        assert case.mask.dtype == np.uint8
        assert set(np.unique(case.mask)) == {0, 1}
        extent = np.multiply(case.spacing_mm, SHAPE)
        assert np.all(np.abs(extent / (320, 360, 360) - 1) < 0.081)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_repeats_and_others_differ(kind: str, cases: dict[str, list[LesionCase]]) -> None:
    again = lesion_case(kind, 0, SHAPE)
    np.testing.assert_array_equal(again.hu, cases[kind][0].hu)
    np.testing.assert_array_equal(again.mask, cases[kind][0].mask)
    assert again.spacing_mm == cases[kind][0].spacing_mm
    assert (cases[kind][1].mask != again.mask).any()


def test_kinds_differ_in_density(cases: dict[str, list[LesionCase]]) -> None:
    middle = {kind: [float(np.median(c.hu[c.mask > 0])) for c in made] for kind, made in cases.items()}
    assert all(-30 < hu < 40 for hu in middle["effusion"])
    assert all(-200 < hu < 60 for hu in middle["mass"])
    assert all(-680 < hu < -450 for hu in middle["ground glass"])
    assert min(middle["nodule"]) > max(middle["ground glass"]) + 100


def test_kinds_differ_in_size(cases: dict[str, list[LesionCase]]) -> None:
    assert max(map(ml, cases["nodule"])) < 60
    assert min(map(ml, cases["mass"])) > 15
    assert min(map(ml, cases["effusion"])) > 80
    assert min(map(ml, cases["ground glass"])) > 30


def test_effusion_lies_at_the_back_and_falls_off_upwards(cases: dict[str, list[LesionCase]]) -> None:
    for case in cases["effusion"]:
        lung = (case.hu < -600) & (np.indices(SHAPE)[1] > 12) & (np.indices(SHAPE)[1] < 46)
        _, h, _ = np.nonzero(case.mask)
        assert h.mean() > np.nonzero(lung)[1].mean() + 5  # dependent: patients lie on their back
        levels = np.flatnonzero(case.mask.any(axis=(1, 2)))
        areas = case.mask.sum(axis=(1, 2))
        third = len(levels) // 3
        assert areas[levels[-third:]].mean() < 0.6 * areas[levels[third:-third]].mean()
        assert 1 <= parts(case.mask, 10) <= 2


def test_nodules_are_a_few_round_parts(cases: dict[str, list[LesionCase]]) -> None:
    for case in cases["nodule"]:
        assert 1 <= parts(case.mask) <= 5


def test_mass_is_one_part(cases: dict[str, list[LesionCase]]) -> None:
    for case in cases["mass"]:
        assert parts(case.mask, 10) == 1


def test_lesions_lie_inside_the_body_and_not_in_its_margin(cases: dict[str, list[LesionCase]]) -> None:
    for made in cases.values():
        for case in made:
            assert not case.mask[:, :5].any()
            assert not case.mask[:, -10:].any()
            assert not case.mask[:, :, :3].any()


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueRangeError, match="nodule, effusion"):
        lesion_case("fracture", 0)
    with pytest.raises(ValueRangeError, match="seed"):
        lesion_case("mass", -1)
    with pytest.raises(ShapeError, match="shape"):
        lesion_case("mass", 0, (8, 8))
