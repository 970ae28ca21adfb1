"""Lungs of a chest CT by lungmask's R231: covfast and the lungmask package on torch's CPU in turns.

    python bench/volume/lungmask_r231.py [--size full|middle|small] [--threads 2] [--runs 7] [--slow-runs 2]
                                           [--peers ...] [--name volume_lungmask]

From an array of 250 slices of 512x512 to labels: body crop, network, postprocessing, labels on the image's grid. The
network has R231's architecture and size. Its weights are random but for four channels of the finest stage, which blur
the image and tell air, lung and tissue apart: so the postprocessing meets regions like those of a trained network, and
not the noise of random labels, on which lungmask's takes minutes. Labels are compared first. Memory is the peak of a
process of its own above the image, the weights and labels included.

    pip install lungmask
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import numpy.typing as npt
import turns

PEERS = ("lungmask_covfast", "lungmask_torch")
SIZES = {"full": (250, 512, 512), "middle": (24, 512, 512), "small": (3, 128, 128)}
MOST_DIFFERENT = 1e-5  # of the voxels: where two classes are as good as equal
LEVELS = (0.0, 0.05, 0.2, 0.45)  # of (HU + 1024) / 1624 above which each of the four channels begins
# Scores of background, lung and tissue from the four channels: a tent over lung, a ramp over tissue.
SCORES, BIAS = ((0, 0, 0, 0), (0, 40, -80, 0), (0, 0, 0, 40)), (0.8, 0.0, 0.0)


class Case(NamedTuple):
    hu: npt.NDArray[np.int16]
    weights: Path  # as lungmask reads them
    folder: tempfile.TemporaryDirectory[str]  # that they lie in


def network() -> Any:
    """R231, random but for the four channels."""
    import torch
    from lungmask.resunet import UNet

    torch.manual_seed(0)
    module = UNet(1, 3, depth=5, wf=6, padding=True, batch_norm=True, up_mode="upsample", residual=False).eval()
    first, second = module.down_path[0].block[0], module.down_path[0].block[3]
    third, fourth = module.up_path[3].conv_block.block[0], module.up_path[3].conv_block.block[3]
    with torch.no_grad():
        first.weight[0], first.bias[0] = 1 / 9, 0
        for channel, level in enumerate(LEVELS):
            for convolution in (second, third, fourth):
                convolution.weight[channel], convolution.bias[channel] = 0, 0
            second.weight[channel, 0], second.bias[channel] = 1 / 9, -level
            third.weight[channel, 64 + channel, 1, 1] = 1  # behind the channels that come up
            fourth.weight[channel, channel, 1, 1] = 1
        module.last.weight[:], module.last.bias[:] = 0, torch.tensor(BIAS)
        module.last.weight[:, : len(LEVELS), 0, 0] = torch.tensor(SCORES, dtype=torch.float32)
    return module


def make(size: str) -> Case:
    """A chest, and the weights in a file."""
    import torch

    from covfast.phantom import chest_phantom

    folder = tempfile.TemporaryDirectory()
    weights = Path(folder.name) / "r231.pth"
    torch.save(network().state_dict(), weights)
    volume = chest_phantom(SIZES[size]).volume
    return Case(np.ascontiguousarray(volume.geometry.to_canonical(volume.hu)), weights, folder)


def check(answers: dict[str, npt.NDArray[np.uint8]]) -> dict[str, dict[str, Any]]:
    """Which part of the labels is another one than covfast's. Raises: SystemExit where it is too large."""
    found: dict[str, dict[str, Any]] = {}
    mine = answers[PEERS[0]]
    for name, answer in answers.items():
        differ = float(np.mean(answer != mine))
        if not differ <= MOST_DIFFERENT:
            raise SystemExit(f"{name} and covfast differ in {100 * differ:.4f} % of the voxels")
        found[name] = {"voxels": np.bincount(answer.ravel(), minlength=3).tolist(), "differ": differ}
    return found


if __name__ == "__main__":
    turns.run(sys.modules[__name__], __file__, "volume_lungmask")
