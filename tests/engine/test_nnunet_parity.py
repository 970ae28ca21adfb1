"""Whole predictions beside nnunetv2's own on the CPU, of small networks with random weights.

nnU-Net weighs and sums windows in half precision. With accumulate="nnunet" the labels are the same but for ties of its
resampled logits, which it rounds to half precision too: at most one voxel in 10,000. With accumulate="float32", the
default, they are the same wherever the two best classes differ by more than the error of nnU-Net's own sums.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2", reason="not installed: nnunetv2, whose predictions these are compared with")

from nnunet_folders import LABELS, configuration, dataset, plans, write_v2  # noqa: E402
from scipy.ndimage import gaussian_filter, maximum_filter, zoom  # noqa: E402

import covfast  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of nnunetv2 and what it brings along
]

HALF, TINY = 2.0**-11, 2.0**-25
"""Relative and least error of one rounding to half precision."""

PATCH = [16, 32, 32]
Spacing = tuple[float, float, float]


def image(shape: tuple[int, int, int], channels: int = 1) -> npt.NDArray[np.float32]:
    """Smooth noise within zeros, so that there is something to crop."""
    rng = np.random.default_rng(1)
    made = np.zeros((channels, *shape), np.float32)
    inner = tuple(slice(2, n - 3) for n in shape)
    for channel in made:
        noise = gaussian_filter(rng.standard_normal(shape), 3)
        channel[inner] = (noise / noise.std() * 400 - 250)[inner]
    return np.round(made)


class Theirs:
    """nnunetv2's predictor of one folder.

    Attributes:
        labels: of the image.
        logits: its own, in half precision, on the network's grid.
    """

    def __init__(
        self,
        folder: Path,
        data: npt.NDArray[np.float32],
        spacing: Spacing,
        folds: tuple[int, ...] = (0,),
        previous: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        device = torch.device("cpu")
        predictor = nnUNetPredictor(device=device, perform_everything_on_device=False, allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), folds)
        found: list[Any] = []
        run = predictor.predict_logits_from_preprocessed_data
        predictor.predict_logits_from_preprocessed_data = lambda x: found.append(run(x)) or found[0]  # type: ignore[func-returns-value]
        before = None if previous is None else previous[None].astype(np.float32)
        self.labels = predictor.predict_single_npy_array(data, {"spacing": list(spacing)}, before)
        self.logits = found[0].float().numpy()


def ours(folder: Path, tmp_path: Path, data: npt.NDArray[np.float32], spacing: Spacing, **options: Any) -> Any:
    """Labels and probabilities of the imported folder."""
    package = tmp_path / "model.covfast"
    if not package.exists():
        covfast.import_checkpoint(folder).export(package)
    array = data[0] if len(data) == 1 else data
    return covfast.Segmenter(package, **options)((array, spacing), probabilities=True)


def margins(probabilities: npt.NDArray[np.float32], is_regions: bool) -> npt.NDArray[np.float64]:
    """Difference of the two best classes' logits, or the least distance of a region's logit from 0."""
    p = probabilities.astype(np.float64)
    if is_regions:
        return np.asarray(np.abs(np.log(p) - np.log1p(-p)).min(0))
    ordered = np.sort(np.log(np.maximum(p, 1e-300)), axis=0)
    return np.asarray(ordered[-1] - ordered[-2])


def require_same(result: Any, theirs: Theirs, is_regions: bool = False) -> None:
    """Labels of accumulate="nnunet": others only where nnU-Net's resampled logits tie in half precision, and few."""
    differs = result.labels != theirs.labels
    ties = margins(result.probabilities, is_regions) <= 4 * HALF * float(np.abs(theirs.logits).max())
    print(f"accumulate='nnunet': {differs.sum()} of {differs.size} voxels differ, {ties.sum()} are nearly ties")
    assert len(np.unique(theirs.labels)) > 2, "the network says the same everywhere: nothing is compared"
    assert not (differs & ~ties).any()
    assert differs.mean() <= 1e-4


def half_precision_error(theirs: Theirs, patch: list[int]) -> npt.NDArray[np.float64]:
    """Most that a logit of nnU-Net's can be wrong by its weights and sums, for each voxel of the network's grid.

    With k windows of weights w in a voxel, of which it uses h in half precision, and logits of at most L: each of the k
    additions to the two sums is rounded, to TINY at least, and each weight is off by |h - w|.
    """
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

    size = theirs.logits.shape[1:]
    exact, half = (
        compute_gaussian(tuple(patch), value_scaling_factor=10, dtype=kind, device=torch.device("cpu")).double().numpy()
        for kind in (torch.float64, torch.float16)
    )
    count, weights, wrong = np.zeros(size), np.zeros(size), np.zeros(size)
    for origin in itertools.product(*compute_steps_for_sliding_window(size, patch, 0.5)):
        window = tuple(slice(first, first + n) for first, n in zip(origin, patch, strict=True))
        count[window] += 1
        weights[window] += exact
        wrong[window] += np.abs(half - exact)
    most = float(np.abs(theirs.logits).max())
    rounded = count * (np.maximum(HALF * (weights + wrong) * most, TINY) + np.maximum(HALF * weights, TINY) * most)
    return np.asarray((2 * most * wrong + rounded) / weights + 2 * HALF * most)


def require_parity(result: Any, theirs: Theirs, patch: list[int], data: npt.NDArray[np.float32]) -> None:
    """Labels of accumulate="float32": the same where the two best classes differ by more than nnU-Net's error."""
    inside = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(data[0]))
    error = maximum_filter(half_precision_error(theirs, patch), 3)
    target = [part.stop - part.start for part in inside]
    factors = [n / m for n, m in zip(target, error.shape, strict=True)]
    error = zoom(error, factors, order=0, grid_mode=True, mode="nearest")
    differs = (result.labels != theirs.labels)[inside]
    is_clear = margins(result.probabilities, False)[inside] > 2 * error
    print(f"accumulate='float32': {is_clear.mean():.2%} clear, {differs.sum()} of {differs.size} voxels differ")
    assert is_clear.mean() > 0.7
    assert not (differs & is_clear).any()


def given(rank: int = 3, **changes: Any) -> dict[str, Any]:
    """A configuration of the patch that these tests use."""
    return configuration(rank, **{"patch_size": PATCH[3 - rank :], **changes})


CASES: dict[str, tuple[str, dict[str, Any], Spacing, dict[str, Any]]] = {
    "isotropic": ("3d_fullres", given(spacing=[1.5, 1.5, 1.5]), (2.0, 1.2, 1.3), {}),
    "anisotropic": ("3d_fullres", given(spacing=[5.0, 1.0, 1.0]), (6.0, 1.3, 1.2), {}),
    "same spacing": ("3d_fullres", given(spacing=[2.0, 1.0, 1.0]), (2.0, 1.0, 1.0), {}),
    "no mirroring": ("3d_fullres", given(spacing=[1.5, 1.5, 1.5]), (2.0, 1.2, 1.3), {"mirroring": None}),
    "two folds": ("3d_fullres", given(spacing=[1.5, 1.5, 1.5]), (2.0, 1.2, 1.3), {"folds": (0, 1)}),
    "residual encoder": ("3d_fullres", given(kind="ResidualEncoderUNet"), (3.0, 1.2, 1.2), {}),
    "2d": ("2d", given(2, spacing=[1.0, 1.0]), (5.0, 1.3, 1.2), {"mirroring": (0, 1)}),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_nnunetv2(tmp_path: Path, case: str) -> None:
    name, held, spacing, options = CASES[case]
    folder = write_v2(tmp_path, name, held=plans({name: held}), **options)
    data = image((25, 48, 42))
    theirs = Theirs(folder, data, spacing, options.get("folds", (0,)))
    require_same(ours(folder, tmp_path, data, spacing, accumulate="nnunet"), theirs)
    patch = PATCH if name != "2d" else [1, *PATCH[1:]]
    require_parity(ours(folder, tmp_path, data, spacing), theirs, patch, data)


def test_regions_are_those_of_nnunetv2(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    about = dataset(labels, regions_class_order=[1, 2, 3])
    folder = write_v2(tmp_path, held=plans({"3d_fullres": given()}), about=about)
    data, spacing = image((25, 48, 42)), (3.0, 1.2, 1.2)
    result = ours(folder, tmp_path, data, spacing, accumulate="nnunet")
    require_same(result, Theirs(folder, data, spacing), is_regions=True)


def test_two_channels_transposed_are_those_of_nnunetv2(tmp_path: Path) -> None:
    schemes = {"normalization_schemes": ["ZScoreNormalization"] * 2, "use_mask_for_norm": [True, False]}
    held = plans(
        {"3d_fullres": given(spacing=[1.2, 1.5, 1.5], **schemes)},
        transpose_forward=[2, 0, 1],
        transpose_backward=[1, 2, 0],
    )
    folder = write_v2(tmp_path, held=held, about=dataset(channel_names={"0": "a", "1": "b"}), inputs=2)
    data, spacing = image((40, 50, 36), 2), (1.9, 1.6, 1.1)
    result = ours(folder, tmp_path, data, spacing, accumulate="nnunet")
    require_same(result, Theirs(folder, data, spacing))


def test_an_image_smaller_than_the_patch_is_labelled_as_by_nnunetv2(tmp_path: Path) -> None:
    folder = write_v2(tmp_path, held=plans({"3d_fullres": given(spacing=[2.0, 1.0, 1.0])}))
    data, spacing = image((14, 45, 25)), (2.0, 1.0, 1.0)
    require_same(ours(folder, tmp_path, data, spacing, accumulate="nnunet"), Theirs(folder, data, spacing))


def test_cascade_is_that_of_nnunetv2(tmp_path: Path) -> None:
    low = given(spacing=[4.0, 2.4, 2.4])
    high = given(spacing=[2.0, 1.2, 1.2], previous_stage="3d_lowres")
    held = json.loads(json.dumps(plans({"3d_lowres": low, "3d_cascade_fullres": high})))
    first = write_v2(tmp_path, "3d_lowres", held=held)
    folder = write_v2(tmp_path, "3d_cascade_fullres", held=held, inputs=1 + len(LABELS) - 1)
    data, spacing = image((25, 48, 42)), (2.4, 1.2, 1.3)
    before = Theirs(first, data, spacing)
    theirs = Theirs(folder, data, spacing, previous=before.labels)
    require_same(ours(folder, tmp_path, data, spacing, accumulate="nnunet"), theirs)


def test_files_read_and_written_are_those_of_nnunetv2(tmp_path: Path) -> None:
    """The same NIfTI file through both, from reading to the label map's voxels."""
    sitk = pytest.importorskip("SimpleITK")
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    folder = write_v2(tmp_path / "model", held=plans({"3d_fullres": given(spacing=[1.5, 1.5, 1.5])}))
    written = sitk.GetImageFromArray(image((25, 48, 42))[0].astype(np.int16))
    written.SetSpacing((1.3, 1.2, 2.0))
    written.SetDirection((-1.0, 0, 0, 0, 0, 1.0, 0, 1.0, 0))
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "case_0000.nii.gz"
    sitk.WriteImage(written, str(path))
    device = torch.device("cpu")
    predictor = nnUNetPredictor(device=device, perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), (0,))
    (tmp_path / "theirs").mkdir()
    predictor.predict_from_files_sequential([[str(path)]], [str(tmp_path / "theirs" / "case")])
    theirs = sitk.ReadImage(str(tmp_path / "theirs" / "case.nii.gz"))
    package = tmp_path / "model.covfast"
    covfast.import_checkpoint(folder).export(package)
    found = covfast.Segmenter(package, accumulate="nnunet")(path).to_sitk()
    assert np.allclose(found.GetDirection(), theirs.GetDirection())
    assert (sitk.GetArrayFromImage(found) != sitk.GetArrayFromImage(theirs)).mean() <= 1e-4
