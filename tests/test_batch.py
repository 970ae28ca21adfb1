"""Many cases at once: order, overlap, memory, failures in their place, stopping."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import covfast
from covfast.batch import Outcomes, map_cases
from covfast.errors import Cancelled, FormatError, GeometryError, ValueRangeError
from covfast.phantom import Phantom, water_phantom


class Case:
    """What `Fake` reads: it counts how many of them live."""

    alive: ClassVar[weakref.WeakSet[Case]] = weakref.WeakSet()
    most = 0

    def __init__(self, number: int) -> None:
        self.number = number
        Case.alive.add(self)
        Case.most = max(Case.most, len(Case.alive))


@dataclass(frozen=True, eq=False)
class FakeResult:
    case: Case
    run: dict[str, Any]


class Fake:
    """A segmenter that sleeps in place of reading and segmenting."""

    def __init__(self, read_s: float = 0.0, run_s: float = 0.0, memory_limit: int | None = None) -> None:
        self.read_s, self.run_s, self.memory_limit = read_s, run_s, memory_limit
        self.busy: list[tuple[str, int, float, float]] = []
        self.fails: dict[int, Exception] = {}

    def read(self, image: int, on_geometry: str, input_window: object) -> Case:
        return self._work("read", image, self.read_s, lambda: Case(image), None)

    def __call__(self, case: Case, probabilities: bool, progress: object, cancel: Any) -> FakeResult:
        return self._work("run", case.number, self.run_s, lambda: FakeResult(case, {"stages_ms": {}}), cancel)

    def _work(self, kind: str, number: int, seconds: float, make: Callable[[], Any], cancel: Any) -> Any:
        start = time.perf_counter()
        while time.perf_counter() < start + seconds:
            time.sleep(0.005)
            if cancel is not None and cancel.is_set():
                raise Cancelled("cancel: got a request to stop, expected none")
        if kind == "run" and number in self.fails:
            raise self.fails[number]
        self.busy.append((kind, number, start, time.perf_counter()))
        return make()


@pytest.fixture(autouse=True)
def no_case_of_another_test() -> None:
    gc.collect()
    Case.alive.clear()
    Case.most = 0


@pytest.fixture(scope="module")
def segmenter(model: str) -> covfast.Segmenter:
    return covfast.Segmenter(model, threads=2)


@pytest.fixture(scope="module")
def folder(small_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cases")
    covfast.write(path / "good.nii.gz", small_phantom.volume)
    covfast.write(path / "water.nii.gz", water_phantom())
    (path / "bad.nii.gz").write_bytes(b"nothing")
    return path


def numbers(results: Iterator[Any]) -> list[Any]:
    return [item if isinstance(item, Exception) else item.case.number for item in results]


def test_map_gives_what_single_calls_give(segmenter: covfast.Segmenter, small_phantom: Phantom, folder: Path) -> None:
    expected = segmenter(small_phantom.volume)
    for result in segmenter.map([folder / "good.nii.gz", small_phantom.volume]):
        np.testing.assert_array_equal(result.labels, expected.labels)
        np.testing.assert_array_equal(result.lungs, expected.lungs)
        assert set(result.run["stages_ms"]) == set(expected.run["stages_ms"])


def test_results_come_in_order_whatever_each_takes() -> None:
    fake = Fake()
    assert numbers(map_cases(fake, range(20))) == list(range(20))  # type: ignore[arg-type]
    assert numbers(map_cases(fake, [])) == []  # type: ignore[arg-type]


def test_reading_segmenting_and_the_caller_overlap() -> None:
    fake = Fake(read_s=0.1, run_s=0.1)
    start = time.perf_counter()
    for _ in map_cases(fake, range(8)):  # type: ignore[arg-type]
        time.sleep(0.1)
    assert time.perf_counter() - start < 1.5  # 2.4 s one after the other, 1.0 s in three lanes


def test_at_most_three_cases_are_in_memory() -> None:
    for read_s, run_s, use_s in ((0.0, 0.01, 0.0), (0.01, 0.0, 0.0), (0.0, 0.0, 0.02)):
        for result in map_cases(Fake(read_s, run_s), range(12)):  # type: ignore[arg-type]
            time.sleep(use_s)
            assert result.case.number >= 0
            assert len(Case.alive) <= 3
    assert Case.most <= 4  # for a moment, while the caller's variable changes hands


def test_under_a_memory_limit_nothing_is_read_ahead() -> None:
    fake = Fake(memory_limit=1 << 30)
    for result in map_cases(fake, range(6)):  # type: ignore[arg-type]
        time.sleep(0.01)
        assert [number for _, number, _, _ in fake.busy] == sorted([*range(result.case.number + 1)] * 2)
        assert len(Case.alive) == 1
        del result


def test_failures_stand_in_their_place(segmenter: covfast.Segmenter, folder: Path, small_phantom: Phantom) -> None:
    images = [folder / name for name in ("bad.nii.gz", "good.nii.gz", "water.nii.gz", "absent.nii.gz")]
    kinds = [type(item).__name__ for item in segmenter.map([*images, small_phantom.volume, 3], errors="return")]
    assert kinds == ["FormatError", "Result", "NoLungsError", "FormatError", "Result", "DTypeError"]


def test_raised_failures_do_not_end_the_iteration() -> None:
    fake = Fake()
    fake.fails = {1: GeometryError("one"), 2: MemoryError("two")}
    results = map_cases(fake, range(4))  # type: ignore[arg-type]
    assert next(results).case.number == 0
    with pytest.raises(GeometryError, match="one"):
        next(results)
    with pytest.raises(MemoryError, match="two"):
        next(results)
    assert numbers(results) == [3]
    with pytest.raises(StopIteration):
        next(results)


def test_images_are_taken_one_by_one_in_the_callers_thread() -> None:
    taken: list[int] = []

    def images() -> Iterator[int]:
        for number in range(100):
            assert threading.current_thread() is threading.main_thread()
            taken.append(number)
            yield number

    with map_cases(Fake(), images()) as results:  # type: ignore[arg-type]
        assert taken == []
        for expected in range(3):
            assert next(results).case.number == expected
        assert len(taken) <= 5
    assert numbers(results) == []


def test_an_iterable_that_fails_raises_after_the_cases_before_it() -> None:
    def images() -> Iterator[int]:
        yield 0
        yield 1
        raise OSError("the list of cases is gone")

    results = map_cases(Fake(), images(), errors="return")  # type: ignore[arg-type]
    assert [next(results).case.number, next(results).case.number] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(results)
    assert numbers(results) == []


@pytest.mark.parametrize("errors", ["raise", "return"])
def test_a_cancel_flag_ends_the_iteration_at_once(errors: str) -> None:
    cancel = threading.Event()
    results = map_cases(Fake(run_s=5), range(5), errors=errors, cancel=cancel)  # type: ignore[arg-type]
    threading.Timer(0.1, cancel.set).start()
    start = time.perf_counter()
    with pytest.raises(Cancelled):
        next(results)
    assert time.perf_counter() - start < 1
    assert numbers(results) == []


def test_leaving_the_loop_stops_the_threads() -> None:
    fake = Fake(run_s=0.05)
    for _ in map_cases(fake, range(50)):  # type: ignore[arg-type]
        break
    done = len(fake.busy)
    time.sleep(0.2)
    assert len(fake.busy) == done
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("covfast-")]


def test_closing_stops_a_reader_between_two_slices(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-1000, 400, (400, 256, 256)).astype(np.int16)
    geometry = covfast.Geometry.from_spacing(hu.shape, (1, 1, 1))
    covfast.write(tmp_path / "long.nii.gz", covfast.Volume(hu, geometry))

    class Reads(Fake):
        def read(self, image: Any, on_geometry: str, input_window: object) -> Any:
            return covfast.read(image)

    cancel = threading.Event()
    results = map_cases(Reads(), [tmp_path / "long.nii.gz"], cancel=cancel)  # type: ignore[arg-type]
    threading.Timer(0.05, cancel.set).start()
    start = time.perf_counter()
    with pytest.raises(Cancelled):
        next(results)
    assert time.perf_counter() - start < 0.25


def test_ctrl_c_ends_a_loop_within_200_ms_of_the_tile(model: str, small_phantom: Phantom, tmp_path: Path) -> None:
    covfast.write(tmp_path / "case.nii.gz", small_phantom.volume)
    code = f"""
import time, covfast
seg = covfast.Segmenter({model!r}, threads=2)
try:
    for number, result in enumerate(seg.map([{str(tmp_path / "case.nii.gz")!r}] * 1000)):
        print(number, flush=True)
except KeyboardInterrupt:
    print("interrupted", time.monotonic(), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    sent = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    stdout, _ = process.communicate(timeout=20)
    words = stdout.splitlines()[-1].split()
    assert words[0] == "interrupted"
    assert float(words[1]) - sent < 1.0  # 200 ms and a tile; the rest for a busy machine
    assert process.returncode == 0


@pytest.mark.parametrize("images", ["folder", b"folder", Path("folder"), 3, None])
def test_images_that_are_no_list_are_refused(images: Any) -> None:
    with pytest.raises(ValueRangeError, match="images"):
        map_cases(Fake(), images)  # type: ignore[arg-type]


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueRangeError, match="errors"):
        map_cases(Fake(), [], errors="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueRangeError, match="cancel"):
        map_cases(Fake(), [], cancel=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        map_cases(Fake(), [], threads=3)  # type: ignore[arg-type]


def test_outcomes_keep_what_was_read_of_a_case_that_failed(segmenter: covfast.Segmenter, folder: Path) -> None:
    with Outcomes(segmenter, [folder / "water.nii.gz", folder / "bad.nii.gz"]) as outcomes:
        water, bad = outcomes
    assert isinstance(water.source, covfast.Volume)
    assert water.read_ms > 0
    assert water.result is None
    assert isinstance(bad.error, FormatError)
    assert bad.source is None
