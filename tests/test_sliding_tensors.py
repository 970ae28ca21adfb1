"""SlidingWindow with networks of torch: windows are views of the volume where the network leaves them as they are."""

from __future__ import annotations

import copy
import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from covfast import SlidingWindow, ValueRangeError, _core, torch_threads

torch = pytest.importorskip("torch")
Array = np.ndarray[Any, Any]


def volume(seed: int = 0, shape: tuple[int, ...] = (2, 11, 20, 23)) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def doubled(x: Any) -> Any:
    return torch.cat([2 * x, x - 1], 1)


def doubled_arrays(x: Array) -> Array:
    return np.concatenate([2 * x, x - 1], 1)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("size", [(5, 8, 9), (20, 8, 9), (8, 9)])
def test_tensors_give_what_arrays_give(size: tuple[int, ...], mode: Any) -> None:
    window, x = SlidingWindow(size), volume()
    with mode():
        found = window.averages(torch.from_numpy(x), doubled)
        made_inside = window.averages(torch.from_numpy(x.copy()), doubled)
    np.testing.assert_array_equal(found, window.averages(x, doubled_arrays))
    np.testing.assert_array_equal(made_inside, found)


def test_windows_are_copies_until_the_network_is_known_not_to_write() -> None:
    x, addresses = torch.from_numpy(volume()), []
    begin, end = x.data_ptr(), x.data_ptr() + x.numel() * 4

    def network(w: Any) -> Any:
        addresses.append(begin <= w.data_ptr() < end)
        return w

    SlidingWindow((5, 8, 9)).averages(x, network)
    assert addresses[0] is False
    assert all(addresses[1:])


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_network_that_writes_gets_copies(mode: Any) -> None:
    values = volume()
    x = torch.from_numpy(values.copy())
    with mode():
        found = SlidingWindow((5, 8, 9)).averages(x, lambda w: torch.nn.functional.relu(w, inplace=True))
    np.testing.assert_array_equal(x, values)
    np.testing.assert_allclose(found, np.maximum(values, 0), rtol=4e-6)


def test_network_that_writes_later_is_refused() -> None:
    calls = []

    def network(w: Any) -> Any:
        calls.append(None)
        return w.add_(1) if len(calls) == 3 else w + 1

    with pytest.raises(ValueRangeError, match="network: got a window written to after the first"):
        SlidingWindow((5, 8, 9)).averages(torch.from_numpy(volume()), network)
    assert len(calls) == 3


def test_network_that_wants_windows_in_one_piece_gets_copies() -> None:
    window, x, calls = SlidingWindow((5, 8, 9)), volume(), []

    def network(w: Any) -> Any:
        calls.append(w.is_contiguous())
        return w.view(w.shape[0], -1).mul(2).view(w.shape)  # of strided views: RuntimeError

    np.testing.assert_array_equal(window.averages(torch.from_numpy(x), network), window.averages(x, lambda w: 2 * w))
    assert calls.count(False) == 1


def test_errors_of_the_network_come_through() -> None:
    calls = []

    def network(w: Any) -> Any:
        calls.append(None)
        if len(calls) > 2:
            raise RuntimeError("broken network")
        return w

    with pytest.raises(RuntimeError, match="broken network"):
        SlidingWindow((5, 8, 9)).averages(torch.from_numpy(volume()), network)


def test_read_only_volumes_are_copied() -> None:
    x = volume()
    x.flags.writeable = False
    found = SlidingWindow((5, 8, 9)).averages(x, torch.nn.ReLU(inplace=True))
    np.testing.assert_allclose(found, np.maximum(x, 0), rtol=4e-6)


def test_volumes_that_torch_cannot_share_are_copied() -> None:
    window, x = SlidingWindow((5, 8, 9)), volume()
    for view in (x[:, ::-1], x[:, :, ::-1, ::2], x.astype(np.float64), x[::-1]):
        found = window.averages(view, torch.nn.LeakyReLU(0.5))
        np.testing.assert_array_equal(found, window.averages(np.ascontiguousarray(view), torch.nn.LeakyReLU(0.5)))


def test_kept_memory_serves_the_next_volume() -> None:
    window = SlidingWindow((5, 8, 9), mirror_axes=(1,))
    volumes = [volume(seed) for seed in range(3)] + [volume(3, (2, 6, 30, 23)), volume(4)]
    for x in volumes:
        fresh = SlidingWindow((5, 8, 9), mirror_axes=(1,))
        np.testing.assert_array_equal(window(x, doubled_arrays), fresh(x, doubled_arrays))
        np.testing.assert_array_equal(window.averages(x, doubled_arrays), fresh.averages(x, doubled_arrays))
    window.mirror_axes, plain = (), SlidingWindow((5, 8, 9))  # settings may change between calls
    np.testing.assert_array_equal(window(volumes[0], doubled_arrays), plain(volumes[0], doubled_arrays))


def test_call_after_one_that_failed_begins_anew() -> None:
    window, x, calls = SlidingWindow((5, 8, 9)), volume(), []

    def breaks(w: Array) -> Array:
        calls.append(None)
        if len(calls) == 3:
            raise KeyError("third")
        return doubled_arrays(w)

    first = window(x, doubled_arrays)
    with pytest.raises(KeyError):
        window(x, breaks)
    np.testing.assert_array_equal(window(x, doubled_arrays), first)


def test_calls_at_once_and_copies_of_the_object() -> None:
    window = SlidingWindow((5, 8, 9), threads=1)
    volumes = [volume(seed) for seed in range(8)]
    answers = [window(x, doubled_arrays) for x in volumes]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(lambda x: window(x, doubled_arrays), volumes), answers, strict=True):
            np.testing.assert_array_equal(found, expected)
    for other in (copy.deepcopy(window), pickle.loads(pickle.dumps(window))):
        assert repr(other) == repr(window)
        np.testing.assert_array_equal(other(volumes[0], doubled_arrays), answers[0])


@pytest.fixture
def torch_of_two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("torch_of_two_threads")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_of_torch_add_up_to_the_same_bits(threads: int) -> None:
    x, size = torch.from_numpy(volume(shape=(2, 30, 60, 70))), (12, 24, 28)
    found = SlidingWindow(size, threads=threads).averages(x, doubled)
    np.testing.assert_array_equal(found, SlidingWindow(size).averages(x.numpy(), doubled_arrays))


@pytest.mark.usefixtures("torch_of_two_threads")
def test_threads_of_torch_serve_while_it_has_several_and_not_in_a_forked_process() -> None:
    assert isinstance(torch_threads.team(), _core.OpenMpThreads)
    torch.set_num_threads(1)
    assert not isinstance(torch_threads.team(), _core.OpenMpThreads)
    torch.set_num_threads(2)
    x = volume(shape=(2, 30, 60, 70))
    expected = SlidingWindow((12, 24, 28)).averages(torch.from_numpy(x), lambda w: w)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a loop that waits for threads which the child does not have ends here
        found = SlidingWindow((12, 24, 28)).averages(torch.from_numpy(x), lambda w: w)
        os._exit(0 if np.array_equal(found, expected) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
