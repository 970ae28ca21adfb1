"""SlidingWindow beside the real sliding windows of nnU-Net and MONAI; skips where they are not installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from covfast import SlidingWindow

torch = pytest.importorskip("torch", reason="torch is not installed")


class Network(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Three channels that depend on where a window begins: what a voxel gets differs from window to window."""

    def forward(self, x: Any) -> Any:
        weight = torch.cos(torch.arange(x[0, 0].numel(), dtype=torch.float32)).reshape(x.shape[2:])
        return torch.cat([x[:, :1] * weight, x[:, :1] + weight, x[:, :1] * x[:, :1] - weight], 1)


def volume(shape: tuple[int, ...]) -> Any:
    return torch.from_numpy(np.random.default_rng(4).standard_normal((1, *shape), np.float32))


@pytest.mark.parametrize("mirror_axes", [None, (0, 1, 2), (1,)])
@pytest.mark.parametrize("shape", [(20, 40, 37), (6, 40, 12), (13, 9, 50)])
def test_accumulate_nnunet_gives_the_bits_of_nnunetv2(
    shape: tuple[int, ...], mirror_axes: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(key, "unused")
    inference = pytest.importorskip("nnunetv2.inference.predict_from_raw_data", reason="nnunetv2 is not installed")
    predictor = inference.nnUNetPredictor(
        use_mirroring=True, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.network, predictor.allowed_mirroring_axes = Network(), mirror_axes
    predictor.configuration_manager = SimpleNamespace(patch_size=(8, 16, 12))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=3)
    theirs = predictor.predict_sliding_window_return_logits(volume(shape)).float().numpy()
    window = SlidingWindow((8, 16, 12), mirror_axes=mirror_axes or (), accumulate="nnunet")
    np.testing.assert_array_equal(window.averages(volume(shape), Network()), theirs)
    np.testing.assert_array_equal(window(volume(shape), Network()), theirs.argmax(0))
    near = SlidingWindow((8, 16, 12), mirror_axes=mirror_axes or ())
    assert np.abs(near.averages(volume(shape), Network()) - theirs).mean() < 5e-3  # at corners half precision is coarse


@pytest.mark.parametrize("overlap", [0.25, 0.5, (0.0, 0.3, 0.9)])
@pytest.mark.parametrize("shape", [(20, 40, 37), (6, 40, 12), (13, 9, 50)])
def test_settings_of_monai_give_its_averages(shape: tuple[int, ...], overlap: Any) -> None:
    monai = pytest.importorskip("monai.inferers", reason="MONAI is not installed")
    for mode, importance in (("constant", "constant"), ("gaussian", "gaussian_centred")):
        theirs = monai.sliding_window_inference(
            volume(shape)[None], (8, 16, 12), 2, Network(), overlap=overlap, mode=mode
        )
        window = SlidingWindow((8, 16, 12), overlap=overlap, placement="fixed", importance=importance, batch=2)
        ours = window.averages(volume(shape), Network())
        np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=0, atol=1e-5)
