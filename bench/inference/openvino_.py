"""OpenVINO on the CPU with its precision pinned: on CPUs with bfloat16 its default is not fp32. int8 by NNCF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import onnx_file
import openvino

KINDS = {"fp32": "OpenVINO fp32", "bf16": "OpenVINO bf16", "int8": "OpenVINO int8 (NNCF)"}
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def versions() -> dict[str, str]:
    return {"openvino": openvino.__version__}


def prepare(name: str, kind: str, threads: int, folder: Path, is_small: bool) -> Callable[[Any], Any]:
    """The network as a function of one array."""
    model = onnx_file.path_of(name, folder, is_small)
    if kind == "int8":
        model = _quantised(name, model, is_small)
    return open_file(model, kind, threads)


def open_file(path: Path, kind: str, threads: int) -> Callable[[Any], Any]:
    """A model file as a function of one array."""
    request = compiled(path, kind, threads, "LATENCY").create_infer_request()

    def run(x: Any) -> Any:
        return request.infer([x], share_inputs=True, share_outputs=True)[0]

    return run


def compiled(path: Path, kind: str, threads: int, hint: str) -> Any:
    """A model file, compiled for the CPU."""
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[kind],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": hint,
    }
    return openvino.Core().compile_model(path, "CPU", settings)


def _quantised(name: str, path: Path, is_small: bool) -> Path:
    """The model after NNCF's post-training quantisation on normally distributed samples; kept beside the first."""
    import nncf

    target = path.with_name(f"{path.stem}_int8.xml")
    if not target.exists():
        network = networks.NETWORKS[name]
        model = openvino.Core().read_model(path)
        samples = network.calibration(is_small)
        chosen = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
        openvino.save_model(chosen, target, compress_to_fp16=False)
    return target
