"""`covfast predict` beside nnunetv2 over the same folders: the same files, readable by nnU-Net's own ensembling."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2", reason="not installed: nnunetv2, whose predictions these are compared with")

from nnunet_folders import configuration, dataset, plans, write_v2  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

import covfast  # noqa: E402
from covfast.cli import main  # noqa: E402
from covfast.io import write  # noqa: E402
from covfast.volume import Geometry, Volume  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of nnunetv2 and what it brings along
]

HALF_PRECISION = 0.02
"""What nnU-Net's logits in half precision, sums and resampled ones, may make of a probability."""

MOST_TIES = 1e-3


def images(folder: Path, cases: dict[str, str], channels: int = 1) -> Path:
    """Smooth noise within zeros for each case, stored in its orientation."""
    folder.mkdir()
    for seed, (case, orientation) in enumerate(cases.items()):
        rng = np.random.default_rng(seed)
        shape = (26, 40, 36)
        geometry = Geometry.from_spacing(shape, (3.0, 1.2, 1.3), orientation, (12.5, -20.0, 7.25))
        for channel in range(channels):
            made = np.zeros(shape, np.int16)
            noise = gaussian_filter(rng.standard_normal((20, 34, 30)), 1.5)
            made[2:22, 3:37, 4:34] = np.round(noise / noise.std() * 400 - 250)
            write(folder / f"{case}_{channel:04d}.nii.gz", Volume(made, geometry))
    return folder


def theirs(model: Path, source: Path, out: Path) -> Path:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    out.mkdir()
    predictor.predict_from_files_sequential(str(source), str(out), save_probabilities=True)
    return out


def ours(model: Path, source: Path, out: Path, *words: str) -> Path:
    package = out.parent / "model.covfast"
    covfast.import_checkpoint(model).export(package)
    flags = ["--save_probabilities", "--accumulate", "nnunet", *words]
    assert main(["predict", "-m", str(package), "-i", str(source), "-o", str(out), *flags]) == 0
    return out


def require_same_files(one: Path, two: Path, cases: dict[str, str]) -> None:
    """Labels and probabilities of both folders, and the places of the images, read by SimpleITK."""
    import SimpleITK

    for case in cases:
        mine, other = (SimpleITK.ReadImage(str(folder / f"{case}.nii.gz")) for folder in (one, two))
        np.testing.assert_allclose(mine.GetSpacing(), other.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(mine.GetOrigin(), other.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(mine.GetDirection(), other.GetDirection(), atol=1e-6)
        found, expected = (SimpleITK.GetArrayFromImage(image) for image in (mine, other))
        assert len(np.unique(expected)) > 2, "the network says the same everywhere: nothing is compared"
        stored = [np.load(folder / f"{case}.npz")["probabilities"] for folder in (one, two)]
        assert [(array.dtype, array.shape) for array in stored] == [(np.float32, stored[1].shape)] * 2
        np.testing.assert_allclose(stored[0], stored[1], atol=HALF_PRECISION)
        best = np.sort(stored[1], axis=0)
        differs = stored[0].argmax(0) != stored[1].argmax(0)
        assert not (differs & (best[-1] - best[-2] > HALF_PRECISION)).any()
        assert (found != expected).mean() <= MOST_TIES


def held(**changes: Any) -> dict[str, Any]:
    return plans({"3d_fullres": configuration(patch_size=[8, 32, 32], spacing=[3.0, 1.5, 1.5])}, **changes)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"])
def test_a_folder_gets_the_files_that_nnunetv2_writes(tmp_path: Path, reader: str) -> None:
    cases = {"a": "SPL", "b_1": "IAR", "c": "PSL"}
    model = write_v2(tmp_path / "results", held=held(image_reader_writer=reader))
    source = images(tmp_path / "imagesTs", cases)
    expected = theirs(model, source, tmp_path / "theirs")
    found = ours(model, source, tmp_path / "ours")
    require_same_files(found, expected, cases)
    names = {path.name for path in found.iterdir()} - {"manifest.json"}
    assert names == {path.name for path in expected.iterdir() if path.suffix != ".json"}


def test_two_channels_are_read_in_their_order(tmp_path: Path) -> None:
    cases = {"x": "SPL", "y": "SAR"}
    schemes = {"normalization_schemes": ["ZScoreNormalization"] * 2, "use_mask_for_norm": [True, False]}
    made = plans({"3d_fullres": configuration(patch_size=[8, 32, 32], spacing=[3.0, 1.5, 1.5], **schemes)})
    about = dataset(channel_names={"0": "T1", "1": "T2"})
    model = write_v2(tmp_path / "results", held=made, about=about, inputs=2)
    source = images(tmp_path / "imagesTs", cases, channels=2)
    expected = theirs(model, source, tmp_path / "theirs")
    require_same_files(ours(model, source, tmp_path / "ours"), expected, cases)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient"])
def test_nnunets_ensembling_reads_our_probabilities(tmp_path: Path, reader: str) -> None:
    from nnunetv2.ensembling.ensemble import ensemble_folders

    cases = {"a": "SPL", "b": "IAR"}
    model = write_v2(tmp_path / "results", held=held(image_reader_writer=reader))
    found = ours(model, images(tmp_path / "imagesTs", cases), tmp_path / "ours")
    for name in ("plans.json", "dataset.json"):
        shutil.copy(model / name, found / name)
    ensemble_folders([str(found), str(found)], str(tmp_path / "both"), num_processes=1)
    for case in cases:
        one, two = (covfast.io.read_channels(folder / f"{case}.nii.gz") for folder in (found, tmp_path / "both"))
        assert one.geometry.is_close(two.geometry, 1e-3)
        assert (one.arrays[0] != two.arrays[0]).mean() <= MOST_TIES
