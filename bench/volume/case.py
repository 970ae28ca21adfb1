"""A whole case by an nnU-Net v2 model: read, crop, normalise, resample, network in windows, resample back, write.

    python bench/volume/case.py [--shape 96 288 240] [--threads 2] [--runs 3] [--small] [--folder DIR]
                                [--name volume_case]

The model is a result folder of nnunetv2 with random weights: a PlainConvUNet of six stages with 4 classes, windows of
56x192x160 at 1.25x0.8x0.8 mm, CT normalisation, no mirroring. nnunetv2 predicts from the folder, covfast from the
package that `covfast import` makes of it, in fp32 and bf16; all from NIfTI to NIfTI, in turns. Labels are compared
first: in fp32 they may differ only where nnunetv2's float16 logits cannot tell two classes apart.

    pip install torch nnunetv2
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))

import numpy as np
import result_folder
import timing

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SPACING_MM = (1.0, 0.7, 0.7)


def write_image(path: Path, shape: tuple[int, int, int]) -> None:
    """A synthetic chest CT on this grid."""
    import covfast
    from covfast.phantom import chest_phantom

    covfast.write(path, chest_phantom(shape, SPACING_MM).volume)


def nnunetv2_case(folder: Path, image: Path, out: Path, threads: int) -> Callable[[], Any]:
    """Predicts as nnunetv2 does on a CPU, without child processes."""
    for key in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(key, str(folder))
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(threads)
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        verbose=False,
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    return lambda: predictor.predict_from_files_sequential([[str(image)]], [str(out)], overwrite=True)


def covfast_case(package: Path, image: Path, out: Path, threads: int, precision: str) -> Callable[[], Any]:
    """Predicts from the imported package."""
    import covfast

    segmenter = covfast.Segmenter(package, device="cpu", threads=threads, precision=precision, mirror=False)
    return lambda: covfast.write(out, segmenter(image).segmentation)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of each, which take turns, and the part of the voxels whose label is nnunetv2's."""
    import SimpleITK

    import covfast

    model = result_folder.write(folder / "model", options.small)
    image = folder / "case_0000.nii.gz"
    write_image(image, tuple(options.shape))
    package = folder / "model.covfast"
    if not package.exists():
        covfast.import_checkpoint(model).export(package)
    outs = {name: folder / f"{name}.nii.gz" for name in ("nnunetv2", "covfast_fp32", "covfast_bf16")}
    runs = {"nnunetv2": nnunetv2_case(model, image, outs["nnunetv2"], options.threads)}
    for precision in ("fp32", "bf16"):
        name = f"covfast_{precision}"
        runs[name] = covfast_case(package, image, outs[name], options.threads, precision)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(options.runs + 1):  # the first does not count
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if round_ > 0:
                seconds[name].append(time.perf_counter() - start)
    labels = {name: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for name, path in outs.items()}
    truth = labels["nnunetv2"]
    return {
        name: {"s": timing.spread(held), "same_labels": float(np.mean(labels[name] == truth))}
        for name, held in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 288, 240), help="voxels of 1.0x0.7x0.7 mm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a small network: a check of the benchmark")
    parser.add_argument("--folder", type=Path, help="where the model is kept")
    parser.add_argument("--name", default="volume_case", help="of the file in bench/results")
    options = parser.parse_args()
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(options.threads))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measure(options, folder)
    base = rows["nnunetv2"]["s"]["median"]
    for name, row in rows.items():
        s = row["s"]
        print(
            f"{name:14s} {s['median']:8.2f} s ({s['min']:.2f} to {s['max']:.2f}), {base / s['median']:5.2f} times "
            f"nnunetv2's speed, {100 * row['same_labels']:.4f} % of the labels are its own"
        )
    settings = {"threads": options.threads, "shape": list(options.shape), "is_small": options.small}
    print(f"wrote {timing.save(options.name, {**settings, 'cases': rows}).name}")


if __name__ == "__main__":
    main()
