from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "Network",
    "Segmenter",
    "Session",
    "activation",
    "activation_blocked",
    "backends",
    "binary",
    "binary_blocked",
    "choose_backend",
    "components",
    "conv3d",
    "conv3d_fused",
    "conv_blocked",
    "conv_transpose3d",
    "conv_transpose_blocked",
    "conv_winograd",
    "error_list",
    "fill_holes",
    "filter_components",
    "forget_last_backend",
    "group_norm",
    "hardware_threads",
    "has_op",
    "last_backend",
    "lungs",
    "lungs_workspace_bytes",
    "norm_blocked",
    "null",
    "open_network",
    "pad3d",
    "pool3d",
    "pool_blocked",
    "resample_axis",
    "resize3d",
    "resize_blocked",
    "slice_channels",
    "softmax",
    "spatial_pyramid",
    "surface_measure",
    "to_blocked",
    "to_planar",
    "window_hu",
]

class Network:
    def choose_backend(self, device: str) -> str: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def steps(self) -> list[tuple[str, str, str, bool]]: ...

class Session:
    def __init__(
        self,
        network: Network,
        backend: str,
        threads: typing.SupportsInt | typing.SupportsIndex,
        size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    ) -> None: ...
    def profile(self, x: numpy.typing.NDArray[numpy.float32]) -> list[float]: ...
    def ranges(self, x: numpy.typing.NDArray[numpy.float32]) -> list[float]: ...
    def run(
        self, x: numpy.typing.NDArray[numpy.float32], progress: typing.Any = None, cancel: typing.Any = None
    ) -> numpy.typing.NDArray[numpy.float32]: ...
    @property
    def workspace_bytes(self) -> int: ...

class Segmenter:
    def __init__(
        self, path: bytes, device: str, threads: typing.SupportsInt | typing.SupportsIndex, precision: str = "fp32"
    ) -> None: ...
    def run(
        self,
        hu: numpy.ndarray,
        spacing_mm: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"
        ],
        labels: numpy.ndarray,
        lungs: numpy.ndarray,
        probability: numpy.ndarray | None,
        progress: typing.Any,
        cancel: typing.Any,
    ) -> list[tuple[str, float]]: ...
    def run_slice(
        self,
        image: numpy.ndarray,
        window: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"]
        | None,
        probability: numpy.ndarray,
    ) -> None: ...
    @property
    def backend(self) -> str: ...
    @property
    def device(self) -> str: ...

def activation(
    x: numpy.typing.NDArray[numpy.float32],
    kind: typing.SupportsInt | typing.SupportsIndex,
    a: numpy.typing.NDArray[numpy.float32],
    b: numpy.typing.NDArray[numpy.float32],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def activation_blocked(
    x: numpy.typing.NDArray[numpy.float32],
    kind: typing.SupportsInt | typing.SupportsIndex,
    a: numpy.typing.NDArray[numpy.float32],
    b: numpy.typing.NDArray[numpy.float32],
    elements: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    scales: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def backends() -> list[dict[str, str | None]]: ...
def binary(
    a: numpy.typing.NDArray[numpy.float32],
    b: numpy.typing.NDArray[numpy.float32],
    kind: typing.SupportsInt | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def binary_blocked(
    a: numpy.typing.NDArray[numpy.float32],
    b: numpy.typing.NDArray[numpy.float32],
    kind: typing.SupportsInt | typing.SupportsIndex,
    element: typing.SupportsInt | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def choose_backend(device: str) -> str: ...
def components(
    labels: numpy.ndarray,
    connectivity: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[
    numpy.typing.NDArray[numpy.int32],
    numpy.typing.NDArray[numpy.uint8],
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.int64],
]: ...
def conv3d(
    x: numpy.typing.NDArray[numpy.float32],
    weight: numpy.typing.NDArray[numpy.float32],
    bias: numpy.typing.NDArray[numpy.float32] | None,
    stride: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    padding: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    dilation: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    groups: typing.SupportsInt | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def conv3d_fused(
    x: numpy.typing.NDArray[numpy.float32],
    weight: numpy.typing.NDArray[numpy.float32],
    window: typing.Annotated[
        collections.abc.Sequence[
            typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"]
        ],
        "FixedSize(3)",
    ],
    groups: typing.SupportsInt | typing.SupportsIndex,
    epilogue: tuple[
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
    ],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.float32] | None]: ...
def conv_blocked(
    x: numpy.ndarray,
    weight: numpy.typing.NDArray[numpy.float32],
    in_lanes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    out_lanes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    window: typing.Annotated[
        collections.abc.Sequence[
            typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"]
        ],
        "FixedSize(3)",
    ],
    elements: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    in_scale: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
    is_planar: bool,
    epilogue: tuple[
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[collections.abc.Sequence[numpy.ndarray | None], "FixedSize(3)"],
    ],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[numpy.ndarray, numpy.ndarray | None, numpy.typing.NDArray[numpy.float32]]: ...
def conv_transpose3d(
    x: numpy.typing.NDArray[numpy.float32],
    weight: numpy.typing.NDArray[numpy.float32],
    bias: numpy.typing.NDArray[numpy.float32] | None,
    window: typing.Annotated[
        collections.abc.Sequence[
            typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"]
        ],
        "FixedSize(4)",
    ],
    groups: typing.SupportsInt | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def conv_transpose_blocked(
    x: numpy.typing.NDArray[numpy.float32],
    weight: numpy.typing.NDArray[numpy.float32],
    bias: numpy.typing.NDArray[numpy.float32] | None,
    epilogue: tuple[
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
    ],
    lanes: typing.Annotated[
        collections.abc.Sequence[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]], "FixedSize(2)"
    ],
    elements: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    scale: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def conv_winograd(
    x: numpy.typing.NDArray[numpy.float32],
    weight: numpy.typing.NDArray[numpy.float32],
    in_lanes: numpy.typing.NDArray[numpy.int32],
    out_lanes: numpy.typing.NDArray[numpy.int32],
    bias: numpy.typing.NDArray[numpy.float32] | None,
    slope: numpy.typing.NDArray[numpy.float32] | None,
    operands: typing.Annotated[
        collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None], "FixedSize(3)"
    ],
    padding: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[
    numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.float32] | None, numpy.typing.NDArray[numpy.float32]
]: ...
def error_list() -> list[tuple[str, int, str, str]]: ...
def fill_holes(
    labels: numpy.ndarray,
    connectivity: typing.SupportsInt | typing.SupportsIndex,
    value: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def filter_components(
    labels: numpy.ndarray,
    connectivity: typing.SupportsInt | typing.SupportsIndex,
    ties: typing.SupportsInt | typing.SupportsIndex,
    min_voxels: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def forget_last_backend() -> None: ...
def group_norm(
    x: numpy.typing.NDArray[numpy.float32],
    groups: typing.SupportsInt | typing.SupportsIndex,
    weight: numpy.typing.NDArray[numpy.float32] | None,
    bias: numpy.typing.NDArray[numpy.float32] | None,
    eps: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def hardware_threads() -> int: ...
def has_op(backend: str, op: str) -> bool: ...
def last_backend() -> str: ...
def lungs(
    hu: numpy.ndarray,
    spacing_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
    progress: typing.Any = None,
    cancel: typing.Any = None,
) -> numpy.typing.NDArray[numpy.uint8]: ...
def lungs_workspace_bytes(
    size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    spacing_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"],
) -> int: ...
def norm_blocked(
    x: numpy.typing.NDArray[numpy.float32],
    weight: numpy.typing.NDArray[numpy.float32] | None,
    bias: numpy.typing.NDArray[numpy.float32] | None,
    stats: numpy.typing.NDArray[numpy.float32] | None,
    eps: typing.SupportsFloat | typing.SupportsIndex,
    epilogue: tuple[
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
    ],
    elements: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    y_scale: typing.SupportsFloat | typing.SupportsIndex,
    in_place: bool,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def null(
    x: numpy.typing.NDArray[numpy.float32], device: str, threads: typing.SupportsInt | typing.SupportsIndex
) -> numpy.typing.NDArray[numpy.float32]: ...
def open_network(
    path: bytes,
    precision: str = "fp32",
    exact: bool = False,
    ranges: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex] = {},
) -> Network: ...
def pad3d(
    x: numpy.typing.NDArray[numpy.float32],
    before: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    after: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    value: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def pool3d(
    x: numpy.typing.NDArray[numpy.float32],
    kind: typing.SupportsInt | typing.SupportsIndex,
    window: typing.Annotated[
        collections.abc.Sequence[
            typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"]
        ],
        "FixedSize(4)",
    ],
    ceil_mode: bool,
    count_include_pad: bool,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def pool_blocked(
    x: numpy.typing.NDArray[numpy.float32],
    kind: typing.SupportsInt | typing.SupportsIndex,
    window: typing.Annotated[
        collections.abc.Sequence[
            typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"]
        ],
        "FixedSize(4)",
    ],
    ceil_mode: bool,
    count_include_pad: bool,
    element: typing.SupportsInt | typing.SupportsIndex,
    scale: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def resample_axis(
    x: numpy.typing.NDArray[numpy.float32],
    n_out: typing.SupportsInt | typing.SupportsIndex,
    antialias: bool,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def resize3d(
    x: numpy.typing.NDArray[numpy.float32],
    size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    kind: typing.SupportsInt | typing.SupportsIndex,
    factor: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def resize_blocked(
    x: numpy.typing.NDArray[numpy.float32],
    size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    kind: typing.SupportsInt | typing.SupportsIndex,
    factor: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"],
    element: typing.SupportsInt | typing.SupportsIndex,
    scale: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def slice_channels(
    x: numpy.typing.NDArray[numpy.float32],
    first: typing.SupportsInt | typing.SupportsIndex,
    count: typing.SupportsInt | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def softmax(
    x: numpy.typing.NDArray[numpy.float32],
    is_log: bool,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def spatial_pyramid(
    x: numpy.typing.NDArray[numpy.float32],
    weights: tuple[
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
    ],
    dilation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    stride: typing.SupportsInt | typing.SupportsIndex,
    epilogue: tuple[
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None,
    ],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.float32] | None]: ...
def surface_measure(
    truth: typing.Any,
    prediction: typing.Any,
    labels: collections.abc.Sequence[
        tuple[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        ]
    ],
    spacing_mm: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    kind: str,
    device: str = "auto",
    threads: typing.SupportsInt | typing.SupportsIndex = 0,
) -> list[
    tuple[
        int,
        int,
        int,
        int,
        tuple[
            numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.int64]
        ],
        tuple[
            numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.int64]
        ],
    ]
]: ...
def to_blocked(
    x: numpy.typing.NDArray[numpy.float32],
    lanes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    element: typing.SupportsInt | typing.SupportsIndex,
    scale: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.ndarray: ...
def to_planar(
    x: numpy.ndarray,
    lanes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    channels: typing.SupportsInt | typing.SupportsIndex,
    element: typing.SupportsInt | typing.SupportsIndex,
    scale: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def window_hu(
    hu: numpy.ndarray,
    low_hu: typing.SupportsFloat | typing.SupportsIndex,
    high_hu: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
