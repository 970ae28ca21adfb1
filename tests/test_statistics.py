"""Measurements: laws first, then closed forms, then what must be null, then warnings and the schema."""

from __future__ import annotations

import itertools
import json
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
import pytest

from covfast.errors import GeometryError
from covfast.phantom import Phantom, chest_phantom
from covfast.statistics import BANDS_HU, MIN_LESION_ML, THICK_SLICE_MM, no_lungs, statistics
from covfast.volume import Geometry, Segmentation, Volume

ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(("SI", "PA", "LR")) for letters in itertools.product(*order)
]


@pytest.fixture(scope="module")
def chest() -> Phantom:
    return chest_phantom((64, 128, 128))


@pytest.fixture(scope="module")
def chest_numbers(chest: Phantom) -> dict[str, Any]:
    return statistics(chest.volume, chest.truth, chest.lungs)


def boxes(
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0), infected: int = 0
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8], npt.NDArray[np.uint8], Geometry]:
    """A right lung of 24x20x10 and a left lung of 24x20x8 voxels at -800 HU, in soft tissue.

    The lowest `infected` slices of the left lung are infection at -300 HU.
    """
    hu = np.full((30, 30, 30), 40, np.int16)
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[3:27, 5:25, 3:13] = 2
    lungs[3:27, 5:25, 16:24] = 1
    hu[lungs > 0] = -800
    labels = lungs.copy()
    labels[3 : 3 + infected, 5:25, 16:24] = 3 if infected else 1
    hu[labels == 3] = -300
    return hu, labels, lungs, Geometry.from_spacing(hu.shape, spacing_mm)


def measure(
    hu: npt.NDArray[Any], labels: npt.NDArray[np.uint8], lungs: npt.NDArray[np.uint8], geometry: Geometry
) -> dict[str, Any]:
    return statistics(Volume(hu, geometry), Segmentation(labels, geometry), Segmentation(lungs, geometry))


def codes(result: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in result["warnings"]]


def schema(name: str) -> dict[str, Any]:
    text = resources.files("covfast").joinpath(f"schemas/{name}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def reoriented(chest: Phantom, orientation: str) -> tuple[Volume, Segmentation, Segmentation]:
    """The same scan stored in another orientation."""
    spacing = dict(zip("SPL", chest.volume.geometry.spacing_mm, strict=True))
    spacing |= {"I": spacing["S"], "A": spacing["P"], "R": spacing["L"]}
    sizes = dict(zip("SPL", chest.volume.hu.shape, strict=True))
    sizes |= {"I": sizes["S"], "A": sizes["P"], "R": sizes["L"]}
    shape = [sizes[letter] for letter in orientation]
    geometry = Geometry.from_spacing(shape, [spacing[letter] for letter in orientation], orientation)
    hu, labels, lungs = (
        np.ascontiguousarray(geometry.from_canonical(array))
        for array in (chest.volume.hu, chest.truth.labels, chest.lungs.labels)
    )
    return Volume(hu, geometry), Segmentation(labels, geometry), Segmentation(lungs, geometry)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_statistics_any_orientation_same_numbers(
    chest: Phantom, chest_numbers: dict[str, Any], orientation: str
) -> None:
    found = statistics(*reoriented(chest, orientation))
    for part in ("lungs", "lesions", "thirds"):
        assert found[part] == chest_numbers[part], part


def test_statistics_memory_order_does_not_matter(chest: Phantom, chest_numbers: dict[str, Any]) -> None:
    geometry = chest.volume.geometry
    arrays = [np.asfortranarray(a) for a in (chest.volume.hu, chest.truth.labels, chest.lungs.labels)]
    assert measure(arrays[0], arrays[1], arrays[2], geometry) == chest_numbers


def test_statistics_doubled_spacing_gives_eight_times_the_volume() -> None:
    once, twice = measure(*boxes(infected=4)), measure(*boxes((2.0, 2.0, 2.0), infected=4))
    for side in ("all", "left", "right"):
        for key, value in once["lungs"][side].items():
            if key.endswith("_ml"):
                assert twice["lungs"][side][key] == pytest.approx(8 * value, rel=1e-12)
            elif key.endswith("_percent"):
                assert twice["lungs"][side][key] == value
    assert twice["lesions"]["largest_lesion_ml"] == pytest.approx(8 * once["lesions"]["largest_lesion_ml"])


def test_statistics_swapped_sides_swap_the_numbers() -> None:
    hu, labels, lungs, geometry = boxes()
    swapped = np.where(lungs > 0, 3 - lungs, 0).astype(np.uint8)
    once, other = measure(hu, labels, lungs, geometry), measure(hu, labels, swapped, geometry)
    assert once["lungs"]["left"] == other["lungs"]["right"]
    assert once["lungs"]["all"] == other["lungs"]["all"]


def test_statistics_inputs_stay_as_they_are(chest: Phantom) -> None:
    before = [a.copy() for a in (chest.volume.hu, chest.truth.labels, chest.lungs.labels)]
    statistics(chest.volume, chest.truth, chest.lungs)
    for old, new in zip(before, (chest.volume.hu, chest.truth.labels, chest.lungs.labels), strict=True):
        np.testing.assert_array_equal(old, new)


def test_statistics_boxes_give_their_closed_form() -> None:
    result = measure(*boxes(infected=6))
    left, right, both = (result["lungs"][side] for side in ("left", "right", "all"))
    assert left["lung_ml"] == pytest.approx(24 * 20 * 8 / 1000)
    assert right["lung_ml"] == pytest.approx(24 * 20 * 10 / 1000)
    assert both["infection_ml"] == pytest.approx(6 * 20 * 8 / 1000)
    assert left["infection_percent"] == pytest.approx(25.0)
    assert right["infection_percent"] == 0.0
    assert right["infection_hu"] is None
    assert left["infection_hu"] == {
        "mean_hu": -300.0, "sd_hu": 0.0, "p05_hu": -300, "p25_hu": -300, "p50_hu": -300, "p75_hu": -300, "p95_hu": -300,
    }  # fmt: skip
    assert left["hu"]["mean_hu"] == pytest.approx(0.75 * -800 + 0.25 * -300)
    assert left["well_aerated_percent"] == pytest.approx(75.0)
    assert left["poorly_aerated_percent"] == pytest.approx(25.0)
    assert result["lesions"] == {
        "lesion_count": 1, "largest_lesion_ml": pytest.approx(0.96), "minimum_lesion_ml": MIN_LESION_ML,
    }  # fmt: skip


def test_statistics_thirds_sum_to_their_lung(chest_numbers: dict[str, Any]) -> None:
    for side in ("left", "right"):
        rows = [row for row in chest_numbers["thirds"] if row["side"] == side]
        assert [row["third"] for row in rows] == ["upper", "middle", "lower"]
        for key in ("lung_ml", "infection_ml"):
            assert sum(row[key] for row in rows) == pytest.approx(chest_numbers["lungs"][side][key])


def test_statistics_thirds_of_a_box_are_equal_and_lower_is_low() -> None:
    rows = {(row["side"], row["third"]): row for row in measure(*boxes(infected=4))["thirds"]}
    for third in ("upper", "middle", "lower"):
        assert rows["left", third]["lung_ml"] == pytest.approx(8 * 20 * 8 / 1000)
    assert rows["left", "lower"]["infection_percent"] == pytest.approx(50.0)
    assert rows["left", "upper"]["infection_percent"] == 0.0


def test_statistics_phantom_gives_the_counts_of_its_truth(chest: Phantom, chest_numbers: dict[str, Any]) -> None:
    voxel_ml, lungs = chest.volume.geometry.voxel_ml, chest.lungs.labels
    for side, label in (("left", 1), ("right", 2)):
        region = chest_numbers["lungs"][side]
        inside = lungs == label
        sick = inside & (chest.truth.labels == 3)
        hu = chest.volume.hu[inside].astype(np.float64)
        assert region["lung_ml"] == pytest.approx(inside.sum() * voxel_ml)
        assert region["infection_ml"] == pytest.approx(sick.sum() * voxel_ml)
        assert region["hu"]["mean_hu"] == pytest.approx(hu.mean())
        assert region["hu"]["sd_hu"] == pytest.approx(hu.std())
        for p in (5, 25, 50, 75, 95):
            assert region["hu"][f"p{p:02d}_hu"] == np.percentile(hu, p, method="inverted_cdf")
        aerated = (hu >= -950) & (hu < -700)
        assert region["well_aerated_ml"] == pytest.approx(aerated.sum() * voxel_ml)


def test_statistics_bands_share_out_the_lung(chest_numbers: dict[str, Any]) -> None:
    for region in chest_numbers["lungs"].values():
        assert sum(region[f"{band}_ml"] for band in BANDS_HU) == pytest.approx(region["lung_ml"])
        assert sum(region[f"{band}_percent"] for band in BANDS_HU) == pytest.approx(100.0)


def test_statistics_lesions_agree_with_another_labelling(chest: Phantom, chest_numbers: dict[str, Any]) -> None:
    from scipy import ndimage

    pieces, _ = ndimage.label(chest.truth.labels == 3, np.ones((3, 3, 3)))
    sizes_ml = np.bincount(pieces.ravel())[1:] * chest.volume.geometry.voxel_ml
    assert chest_numbers["lesions"]["lesion_count"] == (sizes_ml >= MIN_LESION_ML).sum()
    assert chest_numbers["lesions"]["largest_lesion_ml"] == pytest.approx(sizes_ml.max())


def test_statistics_small_specks_are_no_lesions_and_corners_connect() -> None:
    hu, labels, lungs, geometry = boxes()
    labels[5:9, 6:10, 4:8] = 3  # 0.064 mL
    labels[9:13, 10:14, 8:12] = 3  # touches the first at a corner
    labels[20:23, 20:23, 17:20] = 3  # 0.027 mL
    lesions = measure(hu, labels, lungs, geometry)["lesions"]
    assert lesions["lesion_count"] == 1
    assert lesions["largest_lesion_ml"] == pytest.approx(0.128)


def test_statistics_float_hu_are_rounded() -> None:
    hu, labels, lungs, geometry = boxes()
    expected = measure(hu, labels, lungs, geometry)["lungs"]
    assert measure(hu.astype(np.float32) + np.float32(0.25), labels, lungs, geometry)["lungs"] == expected


def test_statistics_empty_infection_is_zero_without_density() -> None:
    result = measure(*boxes())
    for region in result["lungs"].values():
        assert region["infection_ml"] == 0.0
        assert region["infection_percent"] == 0.0
        assert region["infection_hu"] is None
    assert result["lesions"]["lesion_count"] == 0
    assert result["lesions"]["largest_lesion_ml"] is None


@pytest.mark.parametrize(("where", "word"), [(0, "inferior"), (-1, "superior")])
def test_statistics_truncated_lung_is_null_not_zero(where: int, word: str) -> None:
    hu, labels, lungs, geometry = boxes(infected=4)
    lungs[where, 5:25, 16:24] = 1
    result = measure(hu, labels, lungs, geometry)
    left, right, both = (result["lungs"][side] for side in ("left", "right", "all"))
    assert left["is_cut_off"] is True
    assert left["lung_ml"] is None
    assert left["infection_percent"] is None
    assert left["visible"]["lung_ml"] == pytest.approx(25 * 20 * 8 / 1000)
    assert right["lung_ml"] == pytest.approx(24 * 20 * 10 / 1000)
    assert both["lung_ml"] is None
    assert both["infection_ml"] is None
    assert {row["lung_ml"] for row in result["thirds"] if row["side"] == "left"} == {None}
    warning = next(w for w in result["warnings"] if w["code"] == "TRUNCATED")
    assert warning["value"] == pytest.approx(160.0)
    assert "left" in warning["message"]
    assert word in warning["message"]


def test_statistics_stray_voxel_on_the_border_cuts_nothing() -> None:
    hu, labels, lungs, geometry = boxes()
    lungs[0, 6:10, 16:22] = 1  # 24 mm2
    assert measure(hu, labels, lungs, geometry)["lungs"]["left"]["lung_ml"] is not None


def test_statistics_lung_at_the_side_of_the_scan_is_cut() -> None:
    hu, labels, lungs, geometry = boxes()
    lungs[3:27, 5:25, 24:] = 1
    result = measure(hu, labels, lungs, geometry)
    assert codes(result).count("FOV_CUT") == 1
    assert result["lungs"]["left"]["lung_ml"] is None
    assert result["lungs"]["right"]["lung_ml"] is not None


def test_statistics_lung_at_the_round_field_of_view_is_cut() -> None:
    phantom = chest_phantom((60, 112, 112), (5.0, 2.0, 2.0), padding_hu=-1024)
    radius = np.hypot(*np.meshgrid(*[np.arange(112) - 55.5] * 2))
    lungs = np.where(radius < 56, phantom.lungs.labels, 0).astype(np.uint8)
    hu = np.where(radius < 56, phantom.volume.hu, -1024).astype(np.int16)
    result = measure(hu, np.zeros_like(lungs), lungs, phantom.volume.geometry)
    assert any("round" in warning["message"] for warning in result["warnings"])
    assert result["lungs"]["all"]["lung_ml"] is None


def test_statistics_whole_chest_in_a_round_field_of_view_is_not_cut() -> None:
    phantom = chest_phantom((64, 128, 128), padding_hu=-1024)
    result = statistics(phantom.volume, phantom.truth, phantom.lungs)
    assert result["warnings"] == []
    assert result["lungs"]["all"]["lung_ml"] > 4000


def test_statistics_missing_lung_has_null_percentages() -> None:
    hu, labels, lungs, geometry = boxes()
    lungs[lungs == 2] = 0
    result = measure(hu, labels, lungs, geometry)
    right = result["lungs"]["right"]
    assert right["lung_ml"] is None
    assert right["infection_percent"] is None
    assert right["visible"]["lung_ml"] == 0.0
    assert right["visible"]["infection_percent"] is None
    assert right["hu"] is None
    assert "LUNG_MISSING" in codes(result)
    assert result["lungs"]["left"]["lung_ml"] is not None
    jsonschema.validate(result, schema("statistics"))


def test_statistics_asymmetric_low_and_thick_are_warned() -> None:
    hu, labels, lungs, geometry = boxes((THICK_SLICE_MM + 1, 2.0, 2.0))
    lungs[:, :, 18:24] = 0
    assert codes(measure(hu, labels, lungs, geometry)) == ["LUNG_ASYMMETRIC", "LUNG_VOLUME_LOW", "THICK_SLICES"]


def test_statistics_infection_outside_the_lungs_is_warned_not_measured() -> None:
    hu, labels, lungs, geometry = boxes()
    labels[0, 0, :10] = 3
    result = measure(hu, labels, lungs, geometry)
    assert result["lungs"]["all"]["infection_ml"] == 0.0
    warning = next(w for w in result["warnings"] if w["code"] == "INFECTION_OUTSIDE_LUNGS")
    assert warning["value"] == pytest.approx(0.01)


def test_statistics_repairs_of_the_volume_are_warned_and_what_reading_always_does_is_not() -> None:
    hu, labels, lungs, geometry = boxes()
    padding = {"code": "PADDING_TO_AIR", "message": "5 voxels", "value": 5}
    repair = {"code": "REPAIRED_MISSING_SLICE", "message": "one slice", "value": 1}
    volume = Volume(hu, geometry, notes=(padding, repair))
    result = statistics(volume, Segmentation(labels, geometry), Segmentation(lungs, geometry))
    assert repair in result["warnings"]
    assert padding not in result["warnings"]


def test_statistics_other_grid_raises() -> None:
    hu, labels, lungs, geometry = boxes()
    other = Geometry.from_spacing(hu.shape, (2.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="lungs"):
        statistics(Volume(hu, geometry), Segmentation(labels, geometry), Segmentation(lungs, other))


def test_statistics_follow_the_schema_and_json(chest_numbers: dict[str, Any]) -> None:
    jsonschema.validate(chest_numbers, schema("statistics"))
    assert json.loads(json.dumps(chest_numbers, allow_nan=False)) == chest_numbers


def test_statistics_single_voxel_works() -> None:
    geometry = Geometry.from_spacing((1, 1, 1), (6.0, 6.0, 6.0))
    one = np.ones((1, 1, 1), np.uint8)
    result = measure(np.full((1, 1, 1), -800, np.int16), one, one, geometry)
    jsonschema.validate(result, schema("statistics"))
    assert result["lungs"]["left"]["is_cut_off"] is True


def test_no_lungs_holds_no_number_that_claims_health() -> None:
    hu, _, _, geometry = boxes()
    result = no_lungs(Volume(hu, geometry), "no air was found in the body")
    jsonschema.validate(result, schema("statistics"))
    measured = [value for region in result["lungs"].values() for key, value in region["visible"].items()]
    assert set(measured) == {None}
    assert result["lesions"]["lesion_count"] is None
    assert codes(result)[0] == "NO_LUNGS"


def test_statistics_of_an_empty_lung_mask_are_those_of_no_lungs() -> None:
    hu, labels, lungs, geometry = boxes(infected=3)
    result = measure(hu, labels, np.zeros_like(lungs), geometry)
    assert result == no_lungs(Volume(hu, geometry), "the lung mask is empty")


def test_definitions_cover_every_band_and_warning(chest_numbers: dict[str, Any]) -> None:
    words = chest_numbers["definitions"]
    assert all(f"{band}_ml" in words for band in BANDS_HU)
    for code in ("TRUNCATED", "FOV_CUT", "LUNG_ASYMMETRIC", "LUNG_VOLUME_LOW", "THICK_SLICES", "LUNG_MISSING"):
        assert code in words
