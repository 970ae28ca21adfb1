from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "Network",
    "OpenMpThreads",
    "Segmenter",
    "Session",
    "WindowPlan",
    "WindowStitcher",
    "activation",
    "activation_blocked",
    "argmax",
    "backends",
    "binary",
    "binary_blocked",
    "choose_backend",
    "clean_lung_labels",
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
    "gather",
    "gather_into",
    "group_norm",
    "hardware_threads",
    "has_op",
    "last_backend",
    "lungs",
    "lungs_workspace_bytes",
    "nnunet_importance",
    "nonzero_box",
    "norm_blocked",
    "null",
    "open_network",
    "pad3d",
    "pointwise_depthwise",
    "pool3d",
    "pool_blocked",
    "prepare_input",
    "prepare_previous",
    "prepare_slices",
    "resample_axis",
    "resample_labels",
    "resize3d",
    "resize_blocked",
    "slice_channels",
    "softmax",
    "spatial_pyramid",
    "spline_axis",
    "spline_columns",
    "stitch",
    "stitch_half",
    "stitch_half_plane",
    "stitch_plane",
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
        self,
        path: bytes,
        device: str,
        threads: typing.SupportsInt | typing.SupportsIndex,
        precision: str = "fp32",
        members: collections.abc.Sequence[str] = [],
        mirror: bool = True,
        step: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        accumulate: str = "float32",
    ) -> None: ...
    def bytes_for(
        self,
        size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        spacing_mm: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"
        ],
        has_probabilities: bool,
    ) -> int: ...
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
        has_lungs: bool = False,
    ) -> list[tuple[str, float]]: ...
    def run_slice(
        self,
        image: numpy.ndarray,
        window: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"]
        | None,
        probability: numpy.ndarray,
    ) -> None: ...
    def run_volume(
        self,
        channels: collections.abc.Sequence[numpy.ndarray],
        spacing_mm: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"
        ],
        labels: numpy.ndarray,
        probabilities: numpy.ndarray | None,
        progress: typing.Any,
        cancel: typing.Any,
    ) -> list[tuple[str, float]]: ...
    @property
    def backend(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def finds_infection(self) -> bool: ...
    @property
    def image_channels(self) -> int: ...
    @property
    def members(self) -> list[str]: ...
    @property
    def orientation(self) -> str: ...
    @property
    def output_channels(self) -> int: ...
    @property
    def takes_hu(self) -> bool: ...

class WindowPlan:
    def __init__(
        self,
        size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        window: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        step: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"],
        even: bool,
        importance: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def origin(
        self, index: typing.SupportsInt | typing.SupportsIndex
    ) -> typing.Annotated[list[int], "FixedSize(3)"]: ...
    def workspace_bytes(
        self,
        channels: typing.SupportsInt | typing.SupportsIndex,
        nnunet: bool,
        mirrors: typing.SupportsInt | typing.SupportsIndex,
    ) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def starts(self) -> typing.Annotated[list[list[int]], "FixedSize(3)"]: ...
    @property
    def weight(self) -> typing.Annotated[list[list[float]], "FixedSize(3)"]: ...

class WindowStitcher:
    def __init__(
        self,
        plan: WindowPlan,
        channels: typing.SupportsInt | typing.SupportsIndex,
        nnunet: bool,
        mirrors: typing.SupportsInt | typing.SupportsIndex,
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def add(
        self,
        index: typing.SupportsInt | typing.SupportsIndex,
        reading: typing.SupportsInt | typing.SupportsIndex,
        x: numpy.typing.NDArray[numpy.float32],
        flip: typing.Annotated[collections.abc.Sequence[bool], "FixedSize(3)"],
    ) -> None: ...
    def finish(self) -> None: ...
    def write_averages(self, averages: numpy.ndarray) -> None: ...
    def write_labels(
        self,
        labels: numpy.ndarray,
        values: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        regions: bool,
    ) -> None: ...

class OpenMpThreads:
    def __enter__(self) -> None: ...
    def __exit__(self, arg0: typing.Any, arg1: typing.Any, arg2: typing.Any) -> None: ...
    def __init__(
        self, parallel: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex
    ) -> None: ...

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
def argmax(
    x: numpy.typing.NDArray[numpy.float32],
    values: numpy.typing.NDArray[numpy.uint8],
    regions: bool,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[numpy.typing.NDArray[numpy.uint8], numpy.typing.NDArray[numpy.uint8]]: ...
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
def clean_lung_labels(
    labels: numpy.ndarray,
    spare: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
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
def gather(
    x: numpy.typing.NDArray[numpy.float32],
    origin: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    window: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    flip: typing.Annotated[collections.abc.Sequence[bool], "FixedSize(3)"],
    fill: typing.SupportsFloat | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def gather_into(
    x: numpy.typing.NDArray[numpy.float32],
    origin: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    flip: typing.Annotated[collections.abc.Sequence[bool], "FixedSize(3)"],
    fill: typing.SupportsFloat | typing.SupportsIndex,
    y: numpy.typing.NDArray[numpy.float32],
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
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
def nnunet_importance(
    arg0: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
) -> numpy.typing.NDArray[numpy.uint16]: ...
def nonzero_box(
    channels: collections.abc.Sequence[numpy.ndarray], threads: typing.SupportsInt | typing.SupportsIndex
) -> tuple[typing.Annotated[list[int], "FixedSize(3)"], typing.Annotated[list[int], "FixedSize(3)"]]: ...
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
def pointwise_depthwise(
    x: numpy.typing.NDArray[numpy.float32],
    mix_weight: numpy.typing.NDArray[numpy.float32],
    weight: numpy.typing.NDArray[numpy.float32],
    window: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
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
def prepare_input(
    channels: collections.abc.Sequence[numpy.ndarray],
    norms: collections.abc.Sequence[
        tuple[
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
        ]
    ],
    plan: tuple[
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.SupportsInt | typing.SupportsIndex,
        bool,
    ],
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def prepare_previous(
    previous: numpy.ndarray,
    labels: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    plan: tuple[
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.SupportsInt | typing.SupportsIndex,
        bool,
    ],
    channels: collections.abc.Sequence[numpy.ndarray],
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def prepare_slices(
    hu: numpy.ndarray,
    size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    window_hu: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"],
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.int64]]: ...
def resample_axis(
    x: numpy.typing.NDArray[numpy.float32],
    n_out: typing.SupportsInt | typing.SupportsIndex,
    antialias: bool,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def resample_labels(
    logits: numpy.typing.NDArray[numpy.float32],
    size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    order: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
    values: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    rule: typing.Annotated[collections.abc.Sequence[bool], "FixedSize(2)"],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[numpy.typing.NDArray[numpy.uint8], numpy.typing.NDArray[numpy.uint8]]: ...
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
def spline_axis(
    x: numpy.typing.NDArray[numpy.float32],
    n_out: typing.SupportsInt | typing.SupportsIndex,
    order: typing.SupportsInt | typing.SupportsIndex,
    range: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def spline_columns(
    x: numpy.typing.NDArray[numpy.float32],
    n_in: typing.SupportsInt | typing.SupportsIndex,
    n_out: typing.SupportsInt | typing.SupportsIndex,
    order: typing.SupportsInt | typing.SupportsIndex,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def stitch(
    x: numpy.typing.NDArray[numpy.float32],
    place: tuple[
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[collections.abc.Sequence[bool], "FixedSize(3)"],
    ],
    weights: tuple[
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
    ],
    floor: typing.SupportsFloat | typing.SupportsIndex,
    sum: numpy.typing.NDArray[numpy.float32],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def stitch_half(
    x: numpy.typing.NDArray[numpy.float32],
    place: tuple[
        typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"],
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[collections.abc.Sequence[bool], "FixedSize(3)"],
    ],
    scale: typing.SupportsFloat | typing.SupportsIndex,
    weight: numpy.typing.NDArray[numpy.uint16],
    sum: numpy.typing.NDArray[numpy.uint16],
    count: numpy.typing.NDArray[numpy.uint16] | None,
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def stitch_half_plane(
    sum: numpy.typing.NDArray[numpy.uint16],
    count: numpy.typing.NDArray[numpy.uint16],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def stitch_plane(
    sum: numpy.typing.NDArray[numpy.float32],
    total_d: typing.SupportsFloat | typing.SupportsIndex,
    total_h: numpy.typing.NDArray[numpy.float32],
    total_w: numpy.typing.NDArray[numpy.float32],
    device: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
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
