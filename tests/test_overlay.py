"""The overlay: what is drawn where, which slices, on what; the file appears whole or not at all."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from label_files import disk

from covfast.errors import OutputError, ShapeError
from covfast.overlay import AGREED_COLOR, EXCESS_COLOR, FOOTER_PX, HEADER_PX, MISSED_COLOR, TILES, overlay
from covfast.volume import Geometry

Mask = npt.NDArray[np.bool_]
GRID = Geometry.from_spacing((30, 48, 56), (5.0, 2.0, 2.0))


def share(picture: npt.NDArray[np.uint8], color: tuple[int, int, int]) -> float:
    """Share of the tiles' pixels of about this colour, at full strength or mixed with black."""
    tiles = picture[HEADER_PX:-FOOTER_PX].astype(np.float64)
    full = (np.abs(tiles - color) < 12).all(axis=2)
    mixed = (np.abs(tiles - 0.45 * np.array(color)) < 12).all(axis=2)
    return float((full | mixed).mean())


def ball(shift: int = 0) -> Mask:
    mask = np.zeros(GRID.shape, np.bool_)
    for d in range(8, 22):
        mask[d] = disk(24, 28 + shift, 12 - abs(d - 15))
    return mask


def captions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    drawn: list[str] = []
    monkeypatch.setattr("covfast.overlay.draw_label", lambda draw, at, text, *more: drawn.append(text))
    return drawn


def test_overlay_shows_what_agrees_what_is_missed_and_what_is_in_excess() -> None:
    same = np.asarray(overlay(ball(), ball(), "x", geometry=GRID))
    missed = np.asarray(overlay(ball(), np.zeros_like(ball()), "x", geometry=GRID))
    excess = np.asarray(overlay(np.zeros_like(ball()), ball(), "x", geometry=GRID))
    shares = [[share(p, c) for c in (AGREED_COLOR, MISSED_COLOR, EXCESS_COLOR)] for p in (same, missed, excess)]
    for row in range(3):
        assert shares[row][row] > 0.05
        assert all(shares[row][other] < 0.01 for other in range(3) if other != row)


def test_overlay_swapping_the_sides_swaps_the_colours() -> None:
    there, back = (np.asarray(overlay(*pair, "x", geometry=GRID)) for pair in ((ball(), ball(4)), (ball(4), ball())))
    assert share(there, MISSED_COLOR) == pytest.approx(share(back, EXCESS_COLOR), abs=0.01)
    assert share(there, MISSED_COLOR) > 0.01


def test_overlay_takes_the_slices_with_most_disagreement_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = captions(monkeypatch)
    truth, prediction = ball(), ball()
    prediction[10], prediction[18] = False, False
    overlay(truth, prediction, "x", geometry=GRID)
    assert [text for text in drawn if text.startswith("axial")] == ["axial 19/30", "axial 11/30"]
    drawn.clear()
    overlay(truth, ball(3), "x", geometry=GRID)
    numbers = [int(text.split()[1].split("/")[0]) for text in drawn if text.startswith("axial")]
    assert len(numbers) == TILES
    assert all(a - b >= 2 for a, b in itertools.pairwise(numbers))


def test_overlay_marks_the_sides_of_a_scan_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = captions(monkeypatch)
    overlay(ball()[15:16], ball()[15:16], "x", geometry=Geometry.from_spacing((1, 48, 56), (5.0, 2.0, 2.0)))
    assert drawn == ["R", "L", "2 cm"]
    drawn.clear()
    overlay(disk(20, 24, 9), disk(22, 24, 9), "x")
    assert drawn == []


def test_overlay_any_orientation_same_picture() -> None:
    expected = np.asarray(overlay(ball(), ball(4), "x", geometry=GRID))
    turned = Geometry.from_spacing((56, 30, 48), (2.0, 5.0, 2.0), "RSA")
    arrays = [np.ascontiguousarray(turned.from_canonical(mask)) for mask in (ball(), ball(4))]
    np.testing.assert_array_equal(np.asarray(overlay(*arrays, "x", geometry=turned)), expected)


def test_overlay_empty_masks_show_the_middle_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = captions(monkeypatch)
    nothing = np.zeros(GRID.shape, np.bool_)
    overlay(nothing, nothing, "x", geometry=GRID)
    assert drawn[0] == "axial 16/30"


def test_overlay_on_the_ct_is_brighter_than_on_black() -> None:
    hu = np.full(GRID.shape, 40, np.int16)
    on_ct = np.asarray(overlay(ball(), ball(4), "x", geometry=GRID, image=hu))
    on_black = np.asarray(overlay(ball(), ball(4), "x", geometry=GRID))
    assert on_ct.mean() > on_black.mean() + 40


def test_overlay_of_a_picture() -> None:
    picture = overlay(disk(20, 24, 9), disk(22, 24, 9), "x", image=np.full((48, 56), 90, np.uint8))
    assert picture.mode == "RGB"
    assert share(np.asarray(overlay(disk(20, 24, 9), disk(20, 24, 9), "x")), AGREED_COLOR) > 0.03


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 2), (3, 2, 300), (40, 1, 1)])
def test_overlay_draws_odd_shapes(shape: tuple[int, int, int]) -> None:
    mask = np.ones(shape, np.bool_)
    grid = Geometry.from_spacing(shape, (5.0, 0.7, 0.7))
    picture = overlay(mask, ~mask, "a title that is much too long for its place " * 9, geometry=grid)
    assert picture.width < 2000
    assert picture.height < 2000


def test_overlay_refuses_shapes_that_differ() -> None:
    with pytest.raises(ShapeError, match="prediction"):
        overlay(ball(), ball()[1:], "x")
    with pytest.raises(ShapeError, match="image"):
        overlay(ball(), ball(), "x", image=np.zeros((1, 2, 3), np.int16))


def test_overlay_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    overlay(ball(), ball(4), "x", tmp_path / "x.png", geometry=GRID)
    assert [item.name for item in tmp_path.iterdir()] == ["x.png"]
    with pytest.raises(OutputError):
        overlay(ball(), ball(4), "x", tmp_path / "absent" / "x.png", geometry=GRID)
