"""Dice of the miniseg-lung weights on volumes that its training never saw, beside the native lungs on the same cases.

    python bench/models/miniseg_lung.py --data DATA --model RUN/miniseg-lung.pt \
        [--cache slices.npz] [--out bench/results/miniseg_lung.json] [--pictures FOLDER]

Three kinds of cases. "whole": the held-out volumes of coronacases_png as they are, equalised. "toned": the same
slices, brought to natural tones by one curve a volume (`covfast.train.lung_slices.tone_curve`), which stand for
Hounsfield units where there are none. "hu": cip_thorax and elastix_lung, real volumes; ricord_1a_series has no truth:
there both methods are compared with each other. The native lungs take a volume in HU: of "whole" and "toned" they see
the toned slices stacked, voxels of an assumed size, which is harder for them than a scan. `joined` is what
`covfast segment --lungs` makes of both (`covfast.lung_fields`).
Intervals: 95 %, bootstrap over the slices of a volume, which are alike, and of the mean over the held-out volumes over
these: they are five, too few for an interval that holds what it says.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import Mask, bootstrap, dice, finish, header, pooled_dice
from miniseg_infection import Predict, network, picture

import covfast
from covfast import ops
from covfast.errors import NoLungsError
from covfast.lung_fields import joined_lungs
from covfast.train.data import read_slices
from covfast.train.lung_slices import WINDOW_HU, tone_curves, whole_slices
from covfast.train.recipe import read_recipe

Bytes = npt.NDArray[np.uint8]

ASSUMED_SPACING_MM = (2.0, 1.4, 1.4)
"""Of the held-out volumes, whose pictures do not tell it: every second slice of 1 mm, 360 mm over 256 pixels."""


@dataclass(frozen=True)
class Case:
    """A volume to find lungs in.

    Attributes:
        name, kind: As in the result.
        images: (D, H, W) uint8 of the window that the network sees, front of the body up.
        truth: (D, H, W) bool; None where there is none.
        hu: (D, H, W) in Hounsfield units, of "whole" and "toned" estimates.
        spacing_mm: Along D, H, W.
    """

    name: str
    kind: str
    images: Bytes
    truth: Mask | None
    hu: npt.NDArray
    spacing_mm: tuple[float, ...]


def native(hu: npt.NDArray, spacing_mm: tuple[float, ...]) -> Mask:
    """The native lungs, both sides; empty where it finds none."""
    try:
        return ops.lungs(hu, spacing_mm) > 0
    except NoLungsError:
        return np.zeros(hu.shape, bool)


def to_hu(images: Bytes) -> npt.NDArray[np.float32]:
    """HU of 8-bit pictures of the window."""
    low, high = WINDOW_HU
    return np.asarray(images.astype(np.float32) / 255.0 * (high - low) + low)


def picture_cases(data: Path, cache: Path | None, held_out: list[str]) -> Iterator[Case]:
    """The held-out volumes of coronacases_png."""
    curves = tone_curves(read_slices(data, cache))
    rows = [row for row in whole_slices(data) if row[3] in held_out]
    for name in held_out:
        mine = [row for row in rows if row[3] == name]
        images, truth = np.stack([row[0] for row in mine]), np.stack([row[2] for row in mine]) > 0
        toned = curves[name][images]
        yield Case(name, "whole", images, truth, to_hu(toned), ASSUMED_SPACING_MM)
        yield Case(name, "toned", toned, truth, to_hu(toned), ASSUMED_SPACING_MM)


def read_labels(path: Path) -> npt.NDArray:
    """Canonical label map of a file that is no CT; 19-label maps keep the lobes in the low byte."""
    import SimpleITK

    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS")
    return np.asarray(SimpleITK.GetArrayFromImage(image)) & 255


def hu_cases(data: Path) -> Iterator[Case]:
    """The volumes in Hounsfield units."""
    lobes = data / "volumes" / "cip_thorax" / "lm-64.nrrd"
    single = data / "volumes" / "elastix_lung" / "3DCT_lung_baseline_mask.mha"
    for path, truth in (
        (lobes.with_name("ct-64.nrrd"), lambda: (read_labels(lobes) >= 9) & (read_labels(lobes) <= 14)),
        (single.with_name("3DCT_lung.mha"), lambda: read_labels(single) > 0),
        (data / "dicom" / "ricord_1a_series", lambda: None),
    ):
        volume = covfast.read(path)
        hu = volume.geometry.to_canonical(volume.hu)
        low, high = WINDOW_HU
        grey = np.clip((hu.astype(np.float32) - low) / (high - low), 0.0, 1.0) * 255.0 + 0.5
        name = path.name if path.is_dir() else path.parent.name
        yield Case(name, "hu", grey.astype(np.uint8), truth(), hu, volume.geometry.canonical().spacing_mm)


def summary(case: Case, predict: Predict, threshold: float, pictures: Path | None) -> dict:
    """Figures of a volume: the network, the native lungs, and both joined."""
    found = np.stack([predict(image) >= threshold for image in case.images])
    classical = native(case.hu, case.spacing_mm)
    joined = found if not classical.any() else joined_lungs(case.hu, case.spacing_mm, found) > 0
    masks = {"network": found, "classical": classical, "joined": joined}
    if pictures is not None:
        for k in np.linspace(0, len(found) - 1, 12).astype(int)[1:-1]:
            truth = classical[k] if case.truth is None else case.truth[k]
            picture(case.images[k], truth, found[k]).save(pictures / f"{case.kind}_{case.name}_{k:03d}.png")
    result: dict = {"slices": len(found), "dice_of_network_and_classical": dice(found, classical)}
    result["voxels"] = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    if case.truth is None:
        return result
    for name, mask in masks.items():
        pairs = [(t, m) for t, m in zip(case.truth, mask, strict=True) if t.any()]
        dices = [dice(t, m) for t, m in pairs]
        empty = [float(m.mean()) for t, m in zip(case.truth, mask, strict=True) if not t.any()]
        result[name] = {
            **pooled_dice(case.truth, mask),
            "dice_slice_mean": float(np.mean(dices)),
            "dice_slice_mean_ci95": bootstrap(dices),
            "dice_slice_least": float(np.min(dices)),
            "slices_below_0_9": int(np.sum(np.array(dices) < 0.9)),
            "slices_without_lung_painted_percent": 100.0 * float(np.mean(empty)) if empty else None,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help=".covfast package, or .pt state dict run by torch")
    parser.add_argument("--engine", default="native")
    parser.add_argument("--recipe", default="miniseg-lung")
    parser.add_argument("--size", type=int, help="of the network's input, where a run changed it")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--cache", type=Path, help="slices.npz of a run")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--pictures", type=Path, help="folder for overlays of restricted data; never commit them")
    options = parser.parse_args()
    table = read_recipe(options.recipe, {"input.size": options.size} if options.size else None)
    predict = network(options.model, options.engine, table)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    result: dict = {
        **header(),
        "model": options.model.name,
        "model_sha256": hashlib.sha256(options.model.read_bytes()).hexdigest(),
        "engine": "torch" if options.model.suffix == ".pt" else options.engine,
        "input_size": table["input"]["size"],
        "threshold": options.threshold,
        "split": table["split"],
        "seed": table["seed"],
        "assumed_spacing_mm": ASSUMED_SPACING_MM,
        "cases": {},
    }
    held_out = table["split"]["held_out"]
    for cases in (picture_cases(options.data, options.cache, held_out), hu_cases(options.data)):
        for case in cases:
            result["cases"][f"{case.kind}/{case.name}"] = summary(case, predict, options.threshold, options.pictures)
    for kind in ("whole", "toned"):
        rows = [row["network"] for name, row in result["cases"].items() if name.startswith(kind)]
        dices = [row["dice_pooled"] for row in rows]
        result[f"{kind}_mean_of_volumes_dice_pooled"] = float(np.mean(dices))
        result[f"{kind}_mean_of_volumes_dice_pooled_ci95"] = bootstrap(dices)
    finish(result, start, options.out)


if __name__ == "__main__":
    main()
