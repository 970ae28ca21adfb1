"""`covfast import` of nnU-Net's folders and zip files, and a prediction by what it writes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import write_v1, write_v2  # noqa: E402

import covfast  # noqa: E402
from covfast import package  # noqa: E402
from covfast.cli import main  # noqa: E402


def labels_of(path: Path) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.round(rng.standard_normal((10, 24, 20)) * 300 - 300).astype(np.int16)
    return covfast.Segmenter(path)((image, (2.5, 1.0, 1.3))).labels


def test_import_of_chosen_folds_writes_a_package_that_predicts(tmp_path: Path) -> None:
    folder, out = write_v2(tmp_path, folds=(0, 1, 2)), tmp_path / "model.covfast"
    assert main(["import", str(folder), "-o", str(out), "--folds", "0", "2"]) == 0
    metadata = package.read_metadata(out)
    assert (metadata["member"], [one["name"] for one in metadata["members"]]) == ("fold_0", ["fold_2"])
    assert metadata["provenance"]["checkpoint"] == "checkpoint_final"
    assert set(np.unique(labels_of(out))) <= {0, 1, 2}


def test_import_of_a_zip_file_of_the_first_generation_predicts(tmp_path: Path) -> None:
    folder, _ = write_v1(tmp_path / "results")
    packed, out = tmp_path / "task.zip", tmp_path / "model.covfast"
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(tmp_path))
    assert main(["import", str(packed), "-o", str(out)]) == 0
    assert set(np.unique(labels_of(out))) <= {0, 1, 2}


def test_import_of_a_fold_that_is_not_there_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = write_v2(tmp_path), tmp_path / "model.covfast"
    assert main(["import", str(folder), "-o", str(out), "--folds", "4"]) == 2
    assert "fold_4" in capsys.readouterr().err
    assert not out.exists()
