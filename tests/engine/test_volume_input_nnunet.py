"""Preprocessing beside the real nnU-Net's, on volumes of every kind of spacing and scheme."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from covfast import _core

default_preprocessor: Any = pytest.importorskip(
    "nnunetv2.preprocessing.preprocessors.default_preprocessor", reason="nnunetv2 is not installed"
)
resampling: Any = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
plans_handler: Any = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler")

pytestmark = pytest.mark.filterwarnings("ignore")
SCHEMES = {
    "CTNormalization": 1,
    "ZScoreNormalization": 2,
    "RescaleTo01Normalization": 3,
    "RGBTo01Normalization": 4,
    "NoNormalization": 0,
}
CT = {"mean": -540.25, "std": 310.5, "percentile_00_5": -950.0, "percentile_99_5": 300.0}


def plans_of(schemes: list[str], spacing: list[float], masked: bool, order_z: int = 0) -> Any:
    kwargs = {"order": 3, "order_z": order_z, "force_separate_z": None}
    of_labels = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "spacing": spacing,
        "patch_size": [8, 8, 8],
        "normalization_schemes": schemes,
        "use_mask_for_norm": [masked] * len(schemes),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, **kwargs},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": of_labels,
        "architecture": {"network_class_name": "none", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    return plans_handler.PlansManager(
        {
            "dataset_name": "Dataset001_Test",
            "plans_name": "nnUNetPlans",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": {"3d_fullres": configuration},
            "foreground_intensity_properties_per_channel": {str(c): CT for c in range(len(schemes))},
        }
    )


def theirs(
    channels: list[npt.NDArray[Any]], spacing: list[float], plans: Any, labels: npt.NDArray[Any] | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any], dict[str, Any]]:
    preprocessor = default_preprocessor.DefaultPreprocessor(verbose=False)
    preprocessor._sample_foreground_locations = lambda *_, **__: {}  # of training; numpy's generator only
    properties: dict[str, Any] = {"spacing": spacing}
    dataset = {"labels": {"background": 0, "a": 1, "b": 2, "c": 3}}
    seg = None if labels is None else labels[None]
    data, seg, properties = preprocessor.run_case_npy(
        np.stack(channels).astype(np.float32), seg, properties, plans, plans.get_configuration("3d_fullres"), dataset
    )
    return data, seg[0], properties


def plan_of(
    properties: dict[str, Any], size: tuple[int, ...], spacing: list[float], target: list[float], order_z: int = 0
) -> Any:
    begin, end = zip(*properties["bbox_used_for_cropping"], strict=True)
    separate, axis = resampling.determine_do_sep_z_and_axis(None, spacing, target)
    order = [3, 3, 3]
    if separate:
        order[axis] = order_z
    return tuple(map(int, begin)), tuple(map(int, end)), size, tuple(order), int(axis) if separate else -1, True


def body(shape: tuple[int, int, int], seed: int) -> npt.NDArray[np.int16]:
    """A noisy ellipsoid in a field of zeros, with a hole of zeros in it."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1.2, 1.2, n).reshape([-1 if i == a else 1 for i in range(3)]) for a, n in enumerate(shape))
    r = z**2 + y**2 + x**2
    return np.where((r < 1) & (r > 0.1), rng.normal(100, 400, shape), 0).astype(np.int16)


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize(
    ("spacing", "target"),
    [
        ([1.0, 0.7, 0.7], [1.25, 0.8, 0.8]),
        ([1.0, 0.9, 0.8], [0.8, 0.7, 1.0]),
        ([5.0, 0.7, 0.7], [2.5, 0.8, 0.8]),
        ([5.0, 0.7, 0.7], [5.0, 0.8, 0.8]),
        ([0.7, 5.0, 0.7], [0.8, 2.5, 0.6]),
        ([0.7, 0.6, 4.0], [0.8, 0.7, 6.0]),
        ([2.0, 1.0, 1.0], [2.0, 1.0, 1.0]),
    ],
)
def test_input_is_nnunets(spacing: list[float], target: list[float], scheme: str) -> None:
    channels = [body((21, 34, 30), seed) for seed in range(2)]
    if scheme == "RGBTo01Normalization":
        channels = [np.clip(channel, 0, 255) for channel in channels]
    for masked in (False, True):
        expected, _, properties = theirs(channels, spacing, plans_of([scheme] * 2, target, masked))
        plan = plan_of(properties, expected.shape[1:], spacing, target)
        assert _core.nonzero_box(channels, 0) == (list(plan[0]), list(plan[1]))
        norm = (SCHEMES[scheme], masked, CT["percentile_00_5"], CT["percentile_99_5"], CT["mean"], CT["std"])
        got = _core.prepare_input(channels, [norm] * 2, plan, 0)
        np.testing.assert_allclose(got, expected, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("order_z", [1, 3])
@pytest.mark.parametrize(
    ("spacing", "target"), [([5.0, 0.7, 0.7], [2.5, 0.8, 0.8]), ([5.0, 0.7, 0.7], [9.0, 0.7, 0.7])]
)
def test_other_orders_between_slices_are_nnunets(spacing: list[float], target: list[float], order_z: int) -> None:
    channel = body((21, 34, 30), 3)
    expected, _, properties = theirs([channel], spacing, plans_of(["CTNormalization"], target, False, order_z))
    plan = plan_of(properties, expected.shape[1:], spacing, target, order_z)
    norm = (
        SCHEMES["CTNormalization"],
        False,
        *(CT[key] for key in ("percentile_00_5", "percentile_99_5", "mean", "std")),
    )
    np.testing.assert_allclose(_core.prepare_input([channel], [norm], plan, 0), expected, atol=1e-5)


@pytest.mark.parametrize(("spacing", "target"), [([1.5, 0.9, 0.8], [1.0, 0.7, 0.6]), ([5.0, 0.7, 0.7], [3, 1.0, 0.5])])
def test_previous_stage_is_nnunets(spacing: list[float], target: list[float]) -> None:
    channel = body((21, 34, 30), 0)
    labels = np.random.default_rng(1).integers(0, 4, (21, 34, 30)).astype(np.uint8)
    labels[:, :17] = np.repeat(np.repeat(labels[:, ::4], 4, 1), 4, 2)[:, :17, :30]
    expected = theirs([channel], spacing, plans_of(["CTNormalization"], target, False), labels.astype(np.int16))
    plan = plan_of(expected[2], expected[1].shape, spacing, target)
    got = _core.prepare_previous(labels, [1, 2, 3], plan, [channel], 0)
    for i in range(3):
        assert (got[i] != (expected[1] == i + 1)).mean() < 2e-4  # shares that tie but for their rounding
