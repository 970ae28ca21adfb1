"""Inspections of single files, as text and as JSON, and what importing the package costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from covfast.errors import FormatError, ValueRangeError
from covfast.io import inspect, shown_id, write
from covfast.volume import Geometry, Volume


def written(path: Path, low: int, high: int) -> Path:
    hu = np.linspace(low, high, 210).reshape(5, 6, 7).astype(np.int16)
    write(path, Volume(hu, Geometry.from_spacing(hu.shape, (2.5, 0.7, 0.8), "IPR")))
    return path


def test_image_in_hu_is_chosen(tmp_path: Path) -> None:
    report = inspect(written(tmp_path / "DOE_JOHN.nii.gz", -1000, 400))
    assert report.chosen == 0
    one = report.series[0]
    assert (one.verdict, one.kind, one.shape, one.orientation) == ("chosen", "nii.gz", (5, 6, 7), "IPR")
    assert one.hu_range == (-1000.0, 400.0)
    text = str(report)
    assert "5x6x7" in text
    assert "-1000 to 400" in text
    assert "DOE" not in text + json.dumps(report.to_json())


def test_image_that_was_windowed_is_refused_with_the_way_out(tmp_path: Path) -> None:
    report = inspect(written(tmp_path / "DOE_JOHN.mha", 0, 255))
    assert report.chosen is None
    assert report.series[0].verdict == "refused"
    assert "--input-window" in str(report)
    assert "DOE" not in str(report)


def test_json_keys_carry_their_unit(tmp_path: Path) -> None:
    value = inspect(written(tmp_path / "x.nrrd", -1000, 400)).to_json()
    assert value["schema_version"] == 1
    assert value["series"][0]["spacing_mm"] == [2.5, 0.7, 0.8]
    assert value["series"][0]["range_hu"] == [-1000.0, 400.0]
    json.dumps(value)


def test_nothing_to_inspect_is_a_format_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FormatError):
            inspect(path)


def test_shown_id_hides_the_uid_by_default() -> None:
    assert shown_id("1.2.3") == shown_id("1.2.3", "hash") != "1.2.3"
    assert len(shown_id("1.2.3")) == 12
    assert shown_id("1.2.3", "uid") == "1.2.3"
    assert shown_id("1.2.3", "none") == ""
    with pytest.raises(ValueRangeError):
        shown_id("1.2.3", "name")


def test_importing_io_imports_no_heavy_package() -> None:
    code = (
        "import sys, covfast.io; "
        "print([m for m in ('SimpleITK', 'pydicom', 'torch', 'scipy', 'PIL', 'rich', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_single_file_is_read_without_simpleitk(tmp_path: Path) -> None:
    path = written(tmp_path / "x.nii.gz", -1000, 400)
    code = f"import sys, covfast.io; covfast.io.read({str(path)!r}); print('SimpleITK' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
