"""The difficult series: each ends right, in a typed error, or in a repair that is declared and exact in space."""

from __future__ import annotations

import json
from pathlib import Path

import dicom_series as series
import numpy as np
import pytest
from dicom_files import (
    LESION_CENTRE_MM,
    PLANTED,
    hounsfield,
    lesion_ml,
    lesion_truth_ml,
    points_of,
    truth_hu,
    upright_affine,
    write_slices,
)

from covfast.errors import FormatError, GeometryError
from covfast.io import inspect, read
from covfast.volume import Volume

pytest.importorskip("gdcm", reason="python-gdcm encodes the compressed series")

ALL = {**series.CASES, **series.MORE_CASES}
RIGHT = [name for name, case in ALL.items() if not case.fault]
REPAIRED = [name for name, case in ALL.items() if case.fault and case.is_repairable]
HOPELESS = [name for name, case in ALL.items() if case.fault and not case.is_repairable]
TOLERANCE_PERCENT = 1.0  # of the lesion's volume; sampling alone costs 0.16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every series, written once, each in a folder of its name."""
    root = tmp_path_factory.mktemp("series")
    for name, case in ALL.items():
        case.write(root / name)
    return root


def check_lesion(volume: Volume) -> None:
    ml = lesion_ml(volume.hu, volume.geometry.affine)
    assert ml == pytest.approx(lesion_truth_ml(), rel=TOLERANCE_PERCENT / 100)


def test_the_series_of_the_comparison_are_sixteen() -> None:
    assert len(series.CASES) == 16  # one CT and fifteen mutations


@pytest.mark.parametrize("name", RIGHT)
def test_series_that_can_be_read_is_read_exactly(folder: Path, name: str) -> None:
    volume = read(folder / name)
    assert volume.hu.dtype == np.int16
    assert ALL[name].expected is not None
    np.testing.assert_array_equal(volume.hu, ALL[name].expected())
    # Jitter moves the fitted grid within the tolerance of 0.125 mm; everything else is exact.
    np.testing.assert_allclose(volume.geometry.affine, upright_affine(), atol=0.1 if name == "jitter" else 1e-9)
    assert volume.geometry.orientation == "SPL"
    check_lesion(volume)


@pytest.mark.parametrize("name", [*REPAIRED, *HOPELESS])
def test_series_at_fault_is_refused_with_its_files(folder: Path, name: str) -> None:
    with pytest.raises(GeometryError) as caught:
        read(folder / name)
    message = str(caught.value)
    assert ALL[name].fault in message
    assert ".dcm" in message
    hint = "--on-geometry repair reads it" if name in REPAIRED else "segment_slice" if name == "lone" else "cannot help"
    assert hint in message


@pytest.mark.parametrize("name", REPAIRED)
def test_repair_is_declared_and_keeps_the_lesion(folder: Path, name: str) -> None:
    volume = read(folder / name, on_geometry="repair")
    assert [note["code"] for note in volume.notes] == [f"REPAIRED_{ALL[name].fault}"]
    assert volume.notes[0]["value"] >= 1
    check_lesion(volume)
    if ALL[name].expected is not None:
        np.testing.assert_array_equal(volume.hu, ALL[name].expected())
        np.testing.assert_allclose(volume.geometry.affine, upright_affine(), atol=1e-9)


@pytest.mark.parametrize("name", HOPELESS)
def test_repair_that_would_invent_anatomy_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(GeometryError):
        read(folder / name, on_geometry="repair")


def test_missing_slice_leaves_the_others_untouched(folder: Path) -> None:
    volume = read(folder / "missing", on_geometry="repair")
    truth = truth_hu()
    kept = [k for k in range(24) if k != 12]
    np.testing.assert_array_equal(volume.hu[kept], truth[kept])
    middle = np.rint((truth[11].astype(float) + truth[13]) / 2)
    np.testing.assert_array_equal(volume.hu[12], middle)
    np.testing.assert_allclose(volume.geometry.affine, upright_affine(), atol=1e-9)


def test_tilt_is_removed_in_patient_coordinates(folder: Path) -> None:
    volume = read(folder / "tilt", on_geometry="repair")
    affine = volume.geometry.affine
    columns = affine[:3, :3] / volume.geometry.spacing_mm
    np.testing.assert_allclose(columns.T @ columns, np.eye(3), atol=1e-6)
    truth = hounsfield(points_of(volume.hu.shape, affine)).astype(float)
    covered = volume.hu > -1020
    # Linear interpolation of a smooth patient: the same values at the same places, up to its curvature at the edges.
    assert np.abs(volume.hu - truth)[covered].mean() < 3.0
    assert np.percentile(np.abs(volume.hu - truth)[covered], 99) < 60.0
    shares = np.clip((volume.hu + 400.0) / 550.0, 0, 1) * (volume.hu > -400)
    points = points_of(volume.hu.shape, affine)
    near = np.sqrt(((points - np.reshape(LESION_CENTRE_MM, (3, 1, 1, 1))) ** 2).sum(axis=0)) < 20
    centre = (points[:, near] * shares[near]).sum(axis=1) / shares[near].sum()
    np.testing.assert_allclose(centre, LESION_CENTRE_MM, atol=0.2)


def test_irregular_spacing_is_resampled_in_patient_coordinates(folder: Path) -> None:
    volume = read(folder / "irregular", on_geometry="repair")
    truth = hounsfield(points_of(volume.hu.shape, volume.geometry.affine)).astype(float)
    assert np.abs(volume.hu - truth).mean() < 2.0
    assert volume.geometry.spacing_mm == pytest.approx((2.0, 2.0, 2.0))


def test_duplicate_with_other_pixels_keeps_the_larger_acquisition(folder: Path) -> None:
    volume = read(folder / "different", on_geometry="repair")
    np.testing.assert_array_equal(volume.hu, truth_hu())
    assert "1 with different pixels" in volume.notes[0]["message"]


def test_jitter_within_the_tolerance_is_declared_and_beyond_it_refused(folder: Path, tmp_path: Path) -> None:
    assert [note["code"] for note in read(folder / "jitter").notes] == ["POSITION_JITTER"]
    write_slices(tmp_path / "far", series.jittered(0.4))
    with pytest.raises(GeometryError, match="IRREGULAR_SPACING"):
        read(tmp_path / "far")


def test_positions_rounded_to_a_tenth_do_not_add_up(tmp_path: Path) -> None:
    """1.25 mm written as 1.3, 2.5, 3.8, ...: each lies within the tolerance of the true grid, their median does not."""
    planes = series.plain()
    for k, plane in enumerate(planes):
        plane.position = (*plane.position[:2], round(100.0 + 1.25 * k + 1e-6, 1))
    write_slices(tmp_path / "rounded", planes)
    assert read(tmp_path / "rounded").geometry.spacing_mm[0] == pytest.approx(1.25, abs=2e-3)


def test_slices_displaced_sideways_are_refused_and_repaired(tmp_path: Path) -> None:
    planes = series.plain()
    for plane in planes[12:]:
        x, y, z = plane.position
        plane.hu, plane.position = np.roll(plane.hu, -3, axis=1), (x + 6.0, y, z)
    write_slices(tmp_path / "moved", planes)
    with pytest.raises(GeometryError, match="SIDEWAYS_SHIFT"):
        read(tmp_path / "moved")
    volume = read(tmp_path / "moved", on_geometry="repair")
    assert volume.hu.shape == (24, 128, 131)
    np.testing.assert_array_equal(volume.hu[:12, :, :128], truth_hu()[:12])
    np.testing.assert_array_equal(volume.hu[12:, :, 3:128], truth_hu()[12:, :, 3:])
    check_lesion(volume)


def test_several_faults_at_once_are_all_declared(tmp_path: Path) -> None:
    planes = [plane for k, plane in enumerate(series.localizer_inside()) if k != 13]  # slice 12
    write_slices(tmp_path / "both", planes)
    volume = read(tmp_path / "both", on_geometry="repair")
    assert {note["code"] for note in volume.notes} == {"REPAIRED_LOCALIZER_IN_SERIES", "REPAIRED_MISSING_SLICE"}
    check_lesion(volume)


def test_tilted_series_with_a_missing_and_a_double_slice_is_repaired(tmp_path: Path) -> None:
    planes = series.tilted()
    planes.append(planes[3])
    del planes[10]
    write_slices(tmp_path / "all", planes)
    volume = read(tmp_path / "all", on_geometry="repair")
    assert {note["code"] for note in volume.notes} == {
        "REPAIRED_GANTRY_TILT",
        "REPAIRED_MISSING_SLICE",
        "REPAIRED_DUPLICATE_POSITION",
    }
    check_lesion(volume)


@pytest.mark.parametrize("turn", ["feet first", "prone", "coronal", "sagittal"])
def test_series_of_any_orientation_lands_in_the_right_place(tmp_path: Path, turn: str) -> None:
    """Slices written along other axes: the canonical volume is the same patient."""
    row, column = {
        "feet first": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        "prone": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
        "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
        "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    }[turn]
    normal = np.cross(row, column)
    planes = []
    for k in range(40):
        affine = np.eye(4)
        affine[:3, :3] = np.stack([normal * 3.0, np.array(column) * 2.0, np.array(row) * 2.0], axis=1)
        centre = np.array(LESION_CENTRE_MM) + normal * 3.0 * (k - 20)
        affine[:3, 3] = centre - affine[:3, 1] * 40 - affine[:3, 2] * 40
        x, y, z = (float(v) for v in affine[:3, 3])
        hu = hounsfield(points_of((1, 80, 80), affine))[0]
        planes.append(series.Plane(hu, (x, y, z), k + 1, row=row, column=column))
    write_slices(tmp_path / "turned", planes)
    volume = read(tmp_path / "turned")
    np.testing.assert_array_equal(volume.hu, hounsfield(points_of(volume.hu.shape, volume.geometry.affine)))
    check_lesion(volume)


def test_folder_of_folders_list_of_files_and_one_file_read_the_same(folder: Path, tmp_path: Path) -> None:
    planes = series.shuffled()
    write_slices(tmp_path / "a" / "b", planes[:10])
    write_slices(tmp_path / "a" / "c" / "d", planes[10:])
    for number, path in enumerate(sorted((tmp_path / "a").rglob("*.dcm"))):
        path.rename(path.with_name(f"{number:03d}"))  # no suffix, as on a CD
    (tmp_path / "a" / "readme.txt").write_text("not DICOM")
    truth = truth_hu()
    np.testing.assert_array_equal(read(tmp_path / "a").hu, truth)
    np.testing.assert_array_equal(read(sorted((folder / "rle").iterdir())).hu, truth)
    np.testing.assert_array_equal(read(next((folder / "enhanced").iterdir())).hu, truth)
    np.testing.assert_array_equal(read([folder / "rle", *(folder / "rle").iterdir()]).hu, truth)
    with pytest.raises(GeometryError, match="segment_slice"):
        read(next((folder / "rle").iterdir()))


def test_legacy_converted_enhanced_ct_of_highdicom_reads_exactly(folder: Path, tmp_path: Path) -> None:
    """The file that one reader turns into stored values (0 mL): rescale in the shared groups, written by highdicom."""
    legacy = pytest.importorskip("highdicom.legacy")
    pydicom = pytest.importorskip("pydicom")
    slices = [pydicom.dcmread(path) for path in sorted((folder / "shuffled").iterdir())]
    uid = pydicom.uid.generate_uid
    converted = legacy.LegacyConvertedEnhancedCTImage(
        slices, series_instance_uid=uid(), series_number=9, sop_instance_uid=uid(), instance_number=1
    )
    converted.save_as(tmp_path / "one.dcm")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.hu, truth_hu())
    np.testing.assert_allclose(volume.geometry.affine, upright_affine(), atol=1e-9)


def test_best_series_is_chosen_and_every_other_has_its_reasons(folder: Path) -> None:
    report = inspect(folder / "several")
    assert report.chosen == 0
    assert [one.verdict for one in report.series] == ["chosen", "usable", "usable", "refused"]
    assert [one.slices for one in report.series] == [24, 4, 6, 1]
    assert all(one.reasons for one in report.series)
    assert report.series[3].reasons == ("a localizer",)
    assert [note["code"] for note in read(folder / "several").notes] == ["SERIES_CHOSEN"]


@pytest.mark.parametrize("name", list(ALL))
def test_inspection_foretells_what_reading_does(folder: Path, name: str) -> None:
    best = inspect(folder / name).series[0]
    if name in RIGHT:
        assert best.verdict == "chosen"
        assert best.shape == read(folder / name).hu.shape
    elif name in REPAIRED:
        assert best.verdict == "needs repair"
        volume = read(folder / name, on_geometry="repair")
        assert (best.shape, best.orientation) == (volume.hu.shape, volume.geometry.orientation)
        assert best.spacing_mm == pytest.approx(volume.geometry.spacing_mm)
    else:
        assert best.verdict == "refused"


@pytest.mark.parametrize("name", list(ALL))
def test_planted_name_and_id_never_come_out(folder: Path, name: str) -> None:
    words = [str(inspect(folder / name)), json.dumps(inspect(folder / name).to_json())]
    for on_geometry in ("error", "repair"):
        try:
            volume = read(folder / name, on_geometry=on_geometry)
        except (FormatError, GeometryError) as error:
            words += [str(error), str(error.__cause__)]
        else:
            words += [json.dumps(dict(note)) for note in volume.notes] + [json.dumps(dict(volume.scan))]
    for planted in (*PLANTED, str(folder)):
        assert not any(planted in word for word in words)


def test_inspection_hides_uids_unless_asked(folder: Path) -> None:
    uid = str(read(folder / "rle").scan["series_uid"])
    assert uid not in str(inspect(folder / "rle"))
    assert inspect(folder / "rle", ids="uid").series[0].id == uid
    assert inspect(folder / "rle", ids="none").series[0].id == "series 1"


def test_other_modality_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "mr", series.magnetic_resonance())
    with pytest.raises(FormatError, match="modality MR"):
        read(tmp_path / "mr", on_geometry="repair")
    assert inspect(tmp_path / "mr").chosen is None


def test_table_of_outcomes_has_a_row_a_series(tmp_path: Path) -> None:
    cases = {name: series.CASES[name] for name in ("consistent", "missing")}
    table = series.markdown(series.outcomes(tmp_path, cases)).splitlines()
    assert len(table) == 4
    assert "| normal, InstanceNumber consistent | right |" in table[2]
    assert "GeometryError MISSING_SLICE; with repair, declared" in table[3]


def test_series_of_two_studies_are_refused_and_none_is_chosen(tmp_path: Path) -> None:
    import pydicom

    for number, study in enumerate(("1.2.3", "1.2.4")):
        write_slices(tmp_path / study, series.plain())
        for path in (tmp_path / study).iterdir():
            dataset = pydicom.dcmread(path)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"1.2.{5 + number}"
            dataset.save_as(path)
    with pytest.raises(FormatError, match="CT series of 2 studies, expected one case"):
        read(tmp_path)
    assert inspect(tmp_path).chosen is None
    assert read(tmp_path / "1.2.3").hu.shape == read(tmp_path / "1.2.4").hu.shape
