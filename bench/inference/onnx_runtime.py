"""ONNX Runtime on the CPU, all its optimisations on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_file
import onnxruntime

KINDS = {"fp32": "ONNX Runtime fp32"}


def versions() -> dict[str, str]:
    return {"onnxruntime": onnxruntime.__version__}


def prepare(name: str, kind: str, threads: int, folder: Path, is_small: bool) -> Callable[[Any], Any]:
    """The network as a function of one array."""
    return open_file(onnx_file.path_of(name, folder, is_small), threads)


def open_file(path: Path, threads: int) -> Callable[[Any], Any]:
    """An ONNX file as a function of one array."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    key = session.get_inputs()[0].name

    def run(x: Any) -> Any:
        return session.run(None, {key: x})[0]

    return run
