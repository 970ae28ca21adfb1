from __future__ import annotations

import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "backends",
    "choose_backend",
    "error_list",
    "forget_last_backend",
    "hardware_threads",
    "last_backend",
    "null",
    "resample_axis",
    "window_hu",
]

def backends() -> list: ...
def choose_backend(device: str) -> str: ...
def error_list() -> list: ...
def forget_last_backend() -> None: ...
def hardware_threads() -> int: ...
def last_backend() -> str: ...
def null(
    x: numpy.typing.NDArray[numpy.float32], device: str, threads: typing.SupportsInt | typing.SupportsIndex
) -> numpy.typing.NDArray[numpy.float32]: ...
def resample_axis(
    x: numpy.typing.NDArray[numpy.float32],
    n_out: typing.SupportsInt | typing.SupportsIndex,
    antialias: bool,
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
