"""The preview: what is drawn where, at true scale, in any orientation; the file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from covfast import preview as module
from covfast.errors import OutputError
from covfast.phantom import Phantom, chest_phantom
from covfast.preview import INFECTION_COLOR, LEFT_COLOR, RIGHT_COLOR, TILE_PX, preview
from covfast.statistics import no_lungs, statistics
from covfast.volume import Geometry, Segmentation, Volume


@pytest.fixture(scope="module")
def chest() -> Phantom:
    return chest_phantom((64, 128, 128))


@pytest.fixture(scope="module")
def numbers(chest: Phantom) -> dict[str, Any]:
    return statistics(chest.volume, chest.truth, chest.lungs)


@pytest.fixture(scope="module")
def picture(chest: Phantom, numbers: dict[str, Any]) -> npt.NDArray[np.uint8]:
    return np.asarray(preview(chest.volume, chest.truth, chest.lungs, numbers))


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn, in order."""
    from PIL import ImageDraw

    drawn: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self: Any, xy: Any, text: str, *args: Any, **more: Any) -> None:
        drawn.append(text)
        original(self, xy, text, *args, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return drawn


def near(picture: npt.NDArray[np.uint8], color: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """(H, W) bool: pixels of about this colour."""
    return np.asarray((np.abs(picture.astype(np.int16) - np.array(color)) < 24).all(axis=2))


def first_tile(picture: npt.NDArray[np.uint8], row: int = 0) -> npt.NDArray[np.uint8]:
    top = module.HEADER_PX + module.GAP_PX + 10 + row * 250
    return picture[top : top + 200, module.GAP_PX : module.GAP_PX + TILE_PX]


@pytest.mark.parametrize("orientation", ["RAI", "LPS", "PSL", "IRA"])
def test_preview_any_orientation_same_picture(chest: Phantom, picture: npt.NDArray[np.uint8], orientation: str) -> None:
    canonical = chest.volume.geometry
    probe = Geometry.from_spacing((1, 1, 1), (1, 1, 1), orientation)
    place = {axis: number for number, axis in enumerate(probe.axes)}
    shape = [canonical.shape[place[axis]] for axis in range(3)]
    spacing = [canonical.spacing_mm[place[axis]] for axis in range(3)]
    upright = Geometry.from_spacing(shape, spacing, orientation)
    # Move its origin so that both grids cover the same space and the captions agree.
    shift = canonical.affine[:3, 3] - upright.canonical().affine[:3, 3]
    geometry = Geometry.from_spacing(shape, spacing, orientation, shift.tolist())
    hu, labels, lungs = (
        np.ascontiguousarray(geometry.from_canonical(a))
        for a in (chest.volume.hu, chest.truth.labels, chest.lungs.labels)
    )
    scan = Volume(hu, geometry), Segmentation(labels, geometry), Segmentation(lungs, geometry)
    np.testing.assert_array_equal(np.asarray(preview(*scan, statistics(*scan))), picture)


def test_preview_patient_right_is_on_the_left_of_every_slice(picture: npt.NDArray[np.uint8]) -> None:
    for row in range(3):
        tile = first_tile(picture, row)
        right, left = (np.nonzero(near(tile, color))[1] for color in (RIGHT_COLOR, LEFT_COLOR))
        assert right.size > 50
        assert left.size > 50
        assert right.mean() < TILE_PX / 2 < left.mean()


def test_preview_shows_infection_only_where_there_is_any(chest: Phantom, picture: npt.NDArray[np.uint8]) -> None:
    healthy = Segmentation(chest.lungs.labels, chest.volume.geometry)
    clean = preview(chest.volume, healthy, chest.lungs, statistics(chest.volume, healthy, chest.lungs))
    legend = 400  # pixels of the legend's box
    assert near(picture, INFECTION_COLOR).sum() > 4 * legend
    assert near(np.asarray(clean), INFECTION_COLOR).sum() < legend


def test_preview_axial_tile_has_the_scans_proportions() -> None:
    """A square of lung in mm is a square of pixels, whatever the voxels."""
    geometry = Geometry.from_spacing((40, 120, 60), (2.0, 1.0, 2.0))
    hu = np.full(geometry.shape, 40, np.int16)
    lungs = np.zeros(geometry.shape, np.uint8)
    lungs[10:30, 30:90, 15:45] = 1  # 60 x 60 mm
    scan = Volume(hu, geometry), Segmentation(lungs, geometry), Segmentation(lungs, geometry)
    image = np.asarray(preview(*scan, statistics(*scan)))
    tile = near(image, LEFT_COLOR)[module.HEADER_PX + 30 : module.HEADER_PX + 395, :TILE_PX]
    rows, columns = np.nonzero(tile)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=4)
    assert np.ptp(rows) > 200


def test_preview_says_what_matters(chest: Phantom, numbers: dict[str, Any], texts: list[str]) -> None:
    preview(chest.volume, chest.truth, chest.lungs, numbers)
    everything = "\n".join(texts)
    both = numbers["lungs"]["all"]
    assert f"{both['lung_ml']:.0f} mL" in everything
    assert f"{both['infection_ml']:.1f} mL ({both['infection_percent']:.1f} %)" in everything
    assert "Research use only. Not a medical device" in everything
    assert "not lobes" in everything
    assert texts.count("R") == texts.count("L") == module.AXIAL_TILES + module.CORONAL_TILES
    assert sum(text.startswith("axial") for text in texts) == module.AXIAL_TILES
    assert sum(text.startswith("coronal") for text in texts) == module.CORONAL_TILES


def test_preview_without_infection_says_so(chest: Phantom, texts: list[str]) -> None:
    healthy = Segmentation(chest.lungs.labels, chest.volume.geometry)
    preview(chest.volume, healthy, chest.lungs, statistics(chest.volume, healthy, chest.lungs))
    assert any("No infection found" in text for text in texts)


def test_preview_of_a_cut_scan_says_so_and_lists_the_warnings(texts: list[str]) -> None:
    phantom = chest_phantom((20, 96, 96), (4.0, 2.0, 2.0))
    result = statistics(phantom.volume, phantom.truth, phantom.lungs)
    preview(phantom.volume, phantom.truth, phantom.lungs, result)
    assert any("visible (cut off by the scan)" in text for text in texts)
    assert any(text.startswith("TRUNCATED") for text in texts)


def test_preview_without_lungs_still_draws(chest: Phantom, texts: list[str]) -> None:
    empty = Segmentation(np.zeros_like(chest.lungs.labels), chest.volume.geometry)
    for result in (no_lungs(chest.volume, "none"), statistics(chest.volume, empty, empty)):
        preview(chest.volume, empty, empty, result)
    assert texts.count("No lungs found") == 2
    assert not any("No infection found" in text for text in texts)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (3, 5, 200)])
def test_preview_tiny_and_flat_volumes_work(shape: tuple[int, int, int]) -> None:
    geometry = Geometry.from_spacing(shape, (5.0, 1.0, 1.0))
    lungs = Segmentation(np.ones(shape, np.uint8), geometry)
    volume = Volume(np.full(shape, -800, np.int16), geometry)
    image = preview(volume, lungs, lungs, statistics(volume, lungs, lungs))
    assert image.size[0] == module.COLUMNS * TILE_PX + (module.COLUMNS + 1) * module.GAP_PX
    assert image.size[1] < 3000


def test_preview_writes_a_png_and_nothing_else(chest: Phantom, numbers: dict[str, Any], tmp_path: Path) -> None:
    image = preview(chest.volume, chest.truth, chest.lungs, numbers, tmp_path / "preview.png")
    assert [item.name for item in tmp_path.iterdir()] == ["preview.png"]
    with Image.open(tmp_path / "preview.png") as stored:
        assert stored.format == "PNG"
        assert not stored.info  # no metadata, so nothing about the patient
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(image))


def test_preview_that_cannot_be_written_raises_and_leaves_nothing(
    chest: Phantom, numbers: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="preview"):
        preview(chest.volume, chest.truth, chest.lungs, numbers, tmp_path / "absent" / "preview.png")
    assert not list(tmp_path.iterdir())


def test_choose_takes_the_worst_slice_of_each_part() -> None:
    infected = np.zeros(40, np.int64)
    infected[[14, 16, 33]] = [5, 9, 2]
    assert module._choose(np.arange(40), infected, 4) == [5, 16, 25, 33]
