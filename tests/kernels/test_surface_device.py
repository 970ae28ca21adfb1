"""surface_measure on arrays in device memory, by __cuda_array_interface__, and what it does with arrays of the host.

The test backend `cuda_on_cpu` runs the CUDA kernels' source on the CPU and takes host memory for device memory: there
a plain object stands in for a device array. The backend `cuda` takes CuPy's and torch's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.test_surface_measure import FOUR, LAYOUTS, ONE, SPACING, Array, bits, maps, measure

from covfast import CovfastError, DeviceError, DTypeError, ShapeError, _core

BACKENDS = {entry["name"]: entry["missing"] for entry in _core.backends()}
DEVICES = [name for name in BACKENDS if name in ("cuda", "cuda_on_cpu")]
HOSTS = [name for name in BACKENDS if name not in DEVICES]


class Shared:
    """Speaks __cuda_array_interface__ for an array whose memory the backend `cuda_on_cpu` can read."""

    def __init__(self, array: Array, **fields: Any) -> None:
        self.array = array
        own = array.__array_interface__
        interface = {name: own[name] for name in ("shape", "typestr", "data", "strides")}
        interface.update({"version": 3, "stream": None, **fields})
        self.__cuda_array_interface__ = {name: value for name, value in interface.items() if value != "absent"}


@pytest.fixture(params=DEVICES or ["cuda"])
def device_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend whose arrays lie in device memory, forced for this test."""
    name = str(request.param)
    if BACKENDS.get(name, "not built") is not None:
        pytest.skip(f"backend {name}: {BACKENDS.get(name, 'not built')}")
    monkeypatch.setenv("COVFAST_BACKEND", name)
    return name


def to_device(array: Array, backend: str) -> Any:
    """The array where the backend works, with the same strides."""
    if backend == "cuda_on_cpu":
        return Shared(array)
    cupy = pytest.importorskip("cupy", reason="cupy is not installed: covfast[cuda]")
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    if base is array or base.dtype != array.dtype:
        return cupy.asarray(array, order="K")
    offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    memory = cupy.asarray(base, order="K")
    return cupy.ndarray(array.shape, array.dtype, memory.data + offset, array.strides)


@pytest.mark.parametrize("kind", ["surfels", "voxels", "none"])
def test_surface_measure_device_arrays_give_the_same_as_host_arrays(kind: str, device_backend: str) -> None:
    found = measure(*(to_device(array, device_backend) for array in maps()), FOUR, kind=kind)
    assert _core.last_backend() == device_backend
    assert bits(found) == bits(measure(*maps(), FOUR, kind=kind))


def test_surface_measure_device_arrays_of_any_layout_give_the_same(device_backend: str) -> None:
    want = bits(measure(*maps(), FOUR))
    for name, layout in LAYOUTS.items():
        truth, prediction = (layout(array) for array in maps())
        found = measure(to_device(truth, device_backend), to_device(prediction, device_backend), FOUR)
        assert bits(found) == want, name


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float32"])
def test_surface_measure_torch_tensors_on_the_device_give_the_same(dtype: str, device_backend: str) -> None:
    if device_backend != "cuda":
        pytest.skip("torch needs a CUDA device")
    torch = pytest.importorskip("torch", reason="torch is not installed: covfast[train]")
    truth, prediction = ((array == 1 if dtype == "bool" else array).astype(dtype) for array in maps())
    tensors = [torch.from_numpy(array).cuda() for array in (truth, prediction)]
    labels = ONE if dtype == "bool" else FOUR
    assert bits(measure(*tensors, labels)) == bits(measure(truth, prediction, labels))


def test_surface_measure_device_arrays_without_strides_are_contiguous(device_backend: str) -> None:
    if device_backend != "cuda_on_cpu":
        pytest.skip("a stand-in for a device array needs cuda_on_cpu")
    want = bits(measure(*maps(), FOUR))
    for strides in (None, "absent"):
        assert bits(measure(*(Shared(array, strides=strides) for array in maps()), FOUR)) == want


@pytest.mark.parametrize("stream", [None, 1, 2, "absent"])
def test_surface_measure_stream_of_the_interface_is_taken(stream: Any, device_backend: str) -> None:
    if device_backend != "cuda_on_cpu":
        pytest.skip("a stand-in for a device array needs cuda_on_cpu")
    found = measure(Shared(maps()[0], stream=stream), Shared(maps()[1]), FOUR)
    assert bits(found) == bits(measure(*maps(), FOUR))


def test_surface_measure_work_queued_on_another_stream_is_waited_for(device_backend: str) -> None:
    if device_backend != "cuda":
        pytest.skip("streams need a CUDA device")
    cupy = pytest.importorskip("cupy", reason="cupy is not installed: covfast[cuda]")
    truth, prediction = (cupy.asarray(array) for array in maps())
    busy = cupy.random.random((4096, 4096))
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        late = cupy.zeros_like(truth)
        for _ in range(20):
            busy = busy @ busy
            busy /= busy.max()
        late += truth  # runs long after this call returns
        found = measure(late, prediction, FOUR)
    assert bits(found) == bits(measure(*maps(), FOUR))


def test_surface_measure_device_and_host_arrays_do_not_mix(device_backend: str) -> None:
    truth, prediction = maps()
    with pytest.raises(DeviceError, match="pred: got an array in host memory, expected one in CUDA memory"):
        measure(to_device(truth, device_backend), prediction)
    with pytest.raises(DeviceError, match="pred: got an array in CUDA memory, expected one in host memory"):
        measure(truth, to_device(prediction, device_backend))


@pytest.mark.parametrize("name", HOSTS)
def test_surface_measure_device_arrays_on_a_host_backend_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if BACKENDS[name] is not None:
        pytest.skip(f"backend {name}: {BACKENDS[name]}")
    monkeypatch.setenv("COVFAST_BACKEND", name)
    arrays = [Shared(array) for array in maps()]  # never read
    with pytest.raises(DeviceError, match=rf"truth: got an array in CUDA memory.* backend '{name}'"):
        _core.surface_measure(*arrays, ONE, SPACING, "surfels", "cpu")
    with pytest.raises(DeviceError, match="truth: got an array in CUDA memory"):
        _core.surface_measure(*arrays, ONE, SPACING, "surfels")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"mask": True}, DTypeError),
        ({"typestr": "<c8"}, DTypeError),
        ({"typestr": ">i2"}, DTypeError),
        ({"typestr": 3}, DTypeError),
        ({"typestr": "no type"}, DTypeError),
        ({"typestr": "absent"}, DTypeError),
        ({"shape": "absent"}, DTypeError),
        ({"shape": (3, "x")}, DTypeError),
        ({"shape": (17, 23, -70)}, DTypeError),
        ({"shape": (17, 23, 71)}, ShapeError),
        ({"data": "absent"}, DTypeError),
        ({"data": 5}, DTypeError),
        ({"strides": (8, 8)}, DTypeError),
        ({"stream": 0}, DTypeError),
        ({"stream": "x"}, DTypeError),
    ],
)
def test_surface_measure_bad_interface_is_refused(fields: dict[str, Any], error: type[CovfastError]) -> None:
    with pytest.raises(error):
        measure(Shared(maps()[0], **fields), Shared(maps()[1]))


def test_surface_measure_interface_of_another_type_is_refused() -> None:
    array = Shared(maps()[0])
    array.__cuda_array_interface__ = [1, 2]  # type: ignore[assignment]
    with pytest.raises(DTypeError):
        measure(array, array)


@pytest.mark.parametrize("value", [None, [[1, 2], [3, 4]], "map"])
def test_surface_measure_no_array_is_refused(value: Any) -> None:
    with pytest.raises(DTypeError, match=r"truth: got .*, expected a NumPy array"):
        measure(value, maps()[1])


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0)])
def test_surface_measure_device_arrays_without_elements_have_no_surface(
    shape: tuple[int, ...], device_backend: str
) -> None:
    empty = np.zeros(shape, np.uint8)
    (found,) = measure(*(to_device(empty, device_backend) for _ in range(2)), ONE, SPACING[: len(shape)])
    assert found[:4] == (0, 0, 0, 0)
    assert bits([found]) == bits(measure(empty, empty, ONE, SPACING[: len(shape)]))
