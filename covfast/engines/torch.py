"""The reference engine: the graph of a package, node by node, with torch's functions."""

# torch is not followed by the type checker: its tensors are Any.
# mypy: no-warn-return-any

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from covfast import package
from covfast.engines import Cancel, Floats, Network
from covfast.errors import BackendUnavailable, Cancelled, DeviceError, ValueRangeError, describe

try:
    import torch
    import torch.nn.functional as F
except ModuleNotFoundError as error:
    raise BackendUnavailable(describe("engine", "no torch", "torch", 'pip install "covfast[train]"')) from error

Node = Mapping[str, Any]


class TorchNetwork(Network):
    """A network run by torch; slow to start, for comparison.

    Args:
        path: of the package.
        device, threads, precision, exact: as of `load`; `threads` None leaves torch as it is.
    """

    def __init__(
        self, path: str | os.PathLike[str], device: str, threads: int | None, precision: str, exact: bool
    ) -> None:
        if precision != "fp32":
            raise BackendUnavailable(describe("precision", repr(precision), "'fp32' for the engine torch"))
        super().__init__(path, precision, exact)
        self.device = _resolve(device)
        self.engine = "torch"
        self.backend = f"torch {torch.__version__} {self.device}"
        self._threads = threads
        tensors = package.read_tensors(path)
        self._tensors = {name: torch.from_numpy(tensor.copy()).to(self.device) for name, tensor in tensors.items()}

    def _run(self, x: Floats, progress: Callable[[str, int, int], object] | None, cancel: Cancel | None) -> Floats:
        graph = self.metadata["graph"]
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        values = {graph["inputs"][0]["name"]: torch.from_numpy(x).to(self.device)}
        with torch.no_grad():
            for index, node in enumerate(graph["nodes"]):
                if cancel is not None and cancel.is_set():
                    raise Cancelled(describe("cancel", "a request to stop", "none"))
                if progress is not None:
                    progress("network", index, len(graph["nodes"]))
                values[node["output"]] = self._apply(node, [values[name] for name in node["inputs"]])
        return values[graph["outputs"][0]].cpu().numpy()

    def _apply(self, node: Node, x: list[Any]) -> Any:
        """Output of one node."""
        if node["op"] not in _OPS:
            raise ValueRangeError(describe("op", repr(node["op"]), "one of the closed list"))
        tensors = {key: self._tensors[node[key]] for key in _TENSORS if isinstance(node.get(key), str)}
        return _OPS[node["op"]]({**node, **tensors}, x)


def _resolve(device: str) -> str:
    """The device that `device` asks for. Raises: DeviceError: unknown or absent."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    kind, colon, number = device.partition(":")
    is_known = device == "cpu" or (kind == "cuda" and (not colon or (number.isascii() and number.isdigit())))
    if not is_known:
        raise DeviceError(describe("device", repr(device), "'auto', 'cpu', 'cuda' or 'cuda:N'"))
    if kind == "cuda" and int(number or 0) >= count:
        raise DeviceError(describe("device", repr(device), f"one of the {count} CUDA devices that are present here"))
    return device


def _functional(name: str) -> Callable[..., Any]:
    """torch's function for 2-D or 3-D inputs, by the first one's axes."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(F, f"{name}{x.dim() - 2}d")(x, *args, **kwargs)

    return call


def _per_channel(numbers: Any, x: Any) -> Any:
    return numbers.reshape(1, -1, *[1] * (x.dim() - 2))


def _conv(node: Node, x: list[Any]) -> Any:
    window = (node["stride"], node["padding"], node["dilation"], node["groups"])
    return _functional("conv")(x[0], node["weight"], node.get("bias"), *window)


def _conv_transpose(node: Node, x: list[Any]) -> Any:
    window = (node["stride"], node["padding"], node["output_padding"], node["groups"], node["dilation"])
    return _functional("conv_transpose")(x[0], node["weight"], node.get("bias"), *window)


def _avg_pool(node: Node, x: list[Any]) -> Any:
    window = (node["kernel"], node["stride"], node["padding"], node["ceil_mode"], node["count_include_pad"])
    return _functional("avg_pool")(x[0], *window)


def _max_pool(node: Node, x: list[Any]) -> Any:
    window = (node["kernel"], node["stride"], node["padding"], node["dilation"], node["ceil_mode"])
    return _functional("max_pool")(x[0], *window)


def _resize(node: Node, x: list[Any]) -> Any:
    given = {"size": x[1].shape[2:]} if len(x) == 2 else {"scale_factor": node["factor"]}
    if node["op"] == "resize_nearest":
        return F.interpolate(x[0], mode="nearest-exact" if node["exact"] else "nearest", **given)
    mode = "bilinear" if x[0].dim() == 4 else "trilinear"
    return F.interpolate(x[0], mode=mode, align_corners=node["align_corners"], **given)


def _pad(node: Node, x: list[Any]) -> Any:
    pairs = zip(node["before"][::-1], node["after"][::-1], strict=True)
    return F.pad(x[0], [n for pair in pairs for n in pair], value=node["value"])


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Node, list[Any]], Any]:
    def call(node: Node, x: list[Any]) -> Any:
        pair = x if len(x) == 2 else [x[0], node["scalar"]]
        return function(*(pair[::-1] if node.get("reversed") else pair))

    return call


_TENSORS = ("weight", "bias", "slope", "scale", "shift")
_OPS: dict[str, Callable[[Node, list[Any]], Any]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "group_norm": lambda node, x: F.group_norm(x[0], node["groups"], node.get("weight"), node.get("bias"), node["eps"]),
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "adaptive_avg_pool": lambda node, x: _functional("adaptive_avg_pool")(x[0], node["size"]),
    "adaptive_max_pool": lambda node, x: _functional("adaptive_max_pool")(x[0], node["size"]),
    "resize": _resize,
    "resize_nearest": _resize,
    "pad": _pad,
    "prelu": lambda node, x: F.prelu(x[0], node["slope"]),
    "leaky_relu": lambda node, x: F.leaky_relu(x[0], node["slope"]),
    "relu": lambda node, x: F.relu(x[0]),
    "sigmoid": lambda node, x: torch.sigmoid(x[0]),
    "affine": lambda node, x: x[0] * _per_channel(node["scale"], x[0]) + _per_channel(node["shift"], x[0]),
    "softmax": lambda node, x: torch.softmax(x[0], 1),
    "log_softmax": lambda node, x: torch.log_softmax(x[0], 1),
    "add": _binary(lambda a, b: a + b),
    "sub": _binary(lambda a, b: a - b),
    "mul": _binary(lambda a, b: a * b),
    "concat": lambda node, x: torch.cat(x, 1),
    "slice": lambda node, x: x[0][:, node["first"] : node["first"] + node["count"]],
}
