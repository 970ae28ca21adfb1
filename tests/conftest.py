"""Fixtures that every test shares: the backends of this machine, and the real data if the user has it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from covfast import _core
from covfast.phantom import Phantom, chest_phantom

# A runner in the background starts us with SIGINT ignored. Tests press Ctrl-C, here and in their child processes, which
# inherit an ignored signal but not a handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

BACKENDS = {entry["name"]: entry["missing"] for entry in _core.backends()}


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a backend that is forced for this test; the test fails if another one, or none, ran."""
    name = str(request.param)
    if BACKENDS[name] is not None:
        pytest.skip(f"backend {name}: {BACKENDS[name]}")
    for mark in request.node.iter_markers("op"):
        if not _core.has_op(name, mark.args[0]):
            pytest.skip(f"backend {name}: no twin of {mark.args[0]}")
    monkeypatch.setenv("COVFAST_BACKEND", name)
    _core.forget_last_backend()
    yield name
    assert _core.last_backend() == name, f"backend {name} was forced, but {_core.last_backend() or 'none'} ran"


@pytest.fixture
def data_dir() -> Path:
    """Folder of the real data (README, "Data for tests"); tests that need it skip when it is absent."""
    path = os.environ.get("COVFAST_DATA")
    if not path:
        pytest.skip("COVFAST_DATA is not set: this test needs the real data")
    if not Path(path).is_dir():
        pytest.skip("COVFAST_DATA names no folder")
    return Path(path)


@pytest.fixture(scope="session", autouse=True)
def away_from_the_checkout() -> None:
    """Tests run beside this file: Python started in the checkout itself takes its source for the installed package."""
    os.chdir(Path(__file__).parent)


@pytest.fixture(scope="session")
def model() -> str:
    """Name of the trained model; tests that run it skip where covfast-weights is not installed."""
    pytest.importorskip("covfast_weights", reason="covfast-weights is not installed: pip install ./weights")
    return "miniseg-infection"


@pytest.fixture(scope="session")
def small_phantom() -> Phantom:
    """The synthetic chest CT on a coarse grid: quick to segment."""
    return chest_phantom(shape=(64, 128, 128), spacing_mm=(5.0, 2.8125, 2.8125), seed=0)
