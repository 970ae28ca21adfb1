"""Weight files as lungmask publishes them, of small networks that learnt a little, and the volumes to run them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.phantom import chest_phantom
from covfast.slice_ops import prepare_slices

WIDTH = 4
"""Channels of the first stage, where lungmask has 64."""


def chest(shape: tuple[int, int, int] = (12, 100, 110)) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """HU of a chest, and lungs in lungmask's order: 1 right, 2 left."""
    phantom = chest_phantom(shape)
    lungs = phantom.volume.geometry.to_canonical(phantom.lungs.labels)
    return phantom.volume.geometry.to_canonical(phantom.volume.hu), np.array([0, 2, 1], np.uint8)[lungs]


def lobes(lungs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Five pieces of lungs in lungmask's order, cut at fixed heights."""
    height = np.arange(len(lungs))[:, None, None] / len(lungs)
    left = np.where(height > 0.5, 1, 2)
    right = np.where(height > 0.6, 3, np.where(height > 0.4, 4, 5))
    return np.where(lungs == 2, left, np.where(lungs == 1, right, 0)).astype(np.uint8)


def write_weights(path: Path, hu: npt.NDArray[Any], labels: npt.NDArray[np.uint8], steps: int = 40) -> Path:
    """A state dict with all entries of lungmask's files, the unused ones too, after a few steps on slices."""
    import torch
    from torch import nn

    from covfast.models import LungUNet

    torch.manual_seed(0)
    classes = 1 + int(labels.max())
    module = LungUNet(classes, [WIDTH * 2**stage for stage in range(5)])
    x = torch.from_numpy(prepare_slices(hu, (64, 64))[0][:, None])
    truth = torch.from_numpy(_at_boxes(hu, labels)).long()
    optimiser = torch.optim.Adam(module.train().parameters(), 3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.nll_loss(module(x), truth).backward()
        optimiser.step()
    state = module.eval().state_dict()
    last = {name: state.pop(name) for name in ("last.weight", "last.bias")}
    for part in ("down_path", "up_path"):
        for stage, block in enumerate(getattr(module, part)):
            convolution = block.block[0] if part == "down_path" else block.conv_block.block[0]
            prefixes = [f"{part}.{stage}.", f"{part}.{stage}.conv_block."][: 1 if part == "down_path" else 2]
            for prefix in prefixes:
                unused = nn.ModuleDict(
                    {
                        "residual_input_conv": nn.Conv2d(convolution.in_channels, convolution.out_channels, 1),
                        "residual_batchnorm": nn.BatchNorm2d(convolution.out_channels),
                    }
                )
                state.update({prefix + name: value for name, value in unused.state_dict().items()})
    torch.save({**state, **last}, path)  # lungmask counts the classes in the last entry
    return path


def _at_boxes(hu: npt.NDArray[Any], labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(D, 64, 64) labels in the boxes that the slices are cropped to."""
    found = np.zeros((len(labels), 64, 64), np.uint8)
    for page, box, small in zip(labels, prepare_slices(hu, (64, 64))[1], found, strict=True):
        rows, columns = (np.linspace(begin, end - 1, 64).round().astype(int) for begin, end in box.T)
        small[:] = page[np.ix_(rows, columns)]
    return found
