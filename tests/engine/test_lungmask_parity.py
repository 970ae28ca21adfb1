"""lungmask's own package beside its recipes: cropping, postprocessing, and labels of whole volumes.

The rule: without postprocessing, labels are equal wherever lungmask's best two classes lie further apart than 1e-4 of
their logarithms; with it, they differ in at most 20 voxels for each pixel of a network closer than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lungmask", reason="not installed: lungmask, whose labels these are compared with")

import lungmask.mask  # noqa: E402
import skimage.measure  # noqa: E402
from lungmask import resunet, utils  # noqa: E402
from lungmask_files import WIDTH, chest, lobes, write_weights  # noqa: E402
from scipy import ndimage  # noqa: E402

import covfast  # noqa: E402
from covfast.slice_ops import clean_lung_labels, prepare_slices  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of lungmask and what it brings along

CLOSE = 1e-4
Array = npt.NDArray[Any]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks: torch's threads would wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[str, Path]:
    """Weight files "lungs" and "lobes"."""
    folder = tmp_path_factory.mktemp("weights")
    hu, lungs = chest()
    made = {"lungs": lungs, "lobes": lobes(lungs)}
    return {name: write_weights(folder / f"{name}.pth", hu, labels) for name, labels in made.items()}


def noise(shape: tuple[int, ...], seed: int, width: float) -> Array:
    made = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), width)
    return made / (made.std() or 1)


SHAPES = [
    (3, 512, 512),
    (2, 512, 430),
    (3, 100, 128),
    (3, 64, 50),
    (2, 300, 700),
    (3, 33, 127),
    (3, 129, 257),
    (3, 1, 9),
]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_slices_are_cropped_and_zoomed_to_the_bit(shape: tuple[int, int, int], dtype: Any) -> None:
    rows, columns = (np.linspace(-1, 1, n) for n in shape[1:])
    inside = (rows[:, None] / 0.8) ** 2 + (columns / 0.9) ** 2 < 1
    body = np.where(inside, -100 + 400 * noise(shape, 0, 3), -1000 - 2000 * np.random.default_rng(0).random(shape))
    blobs = -500 + 600 * np.stack([noise(shape[1:], seed, max(shape) / 20) for seed in range(shape[0])])
    for hu in (body, blobs, blobs + 300 * noise(shape, 9, 0)):
        values = np.round(hu).astype(dtype) if dtype == np.int16 else hu.astype(dtype)
        slices, boxes = utils.preprocess(values.copy(), resolution=[256, 256])
        expected = np.divide(np.minimum(slices, 600) + 1024, 1624).astype(np.float32)
        x, found = prepare_slices(values)
        np.testing.assert_array_equal(found.reshape(-1, 4), np.array([tuple(box) for box in boxes]))
        np.testing.assert_array_equal(x, expected)


def test_air_alone_keeps_whole_slices() -> None:
    hu = np.full((1, 70, 90), -1000, np.int16)
    _, boxes = utils.preprocess(hu, resolution=[256, 256])
    np.testing.assert_array_equal(prepare_slices(hu)[1].ravel(), boxes[0])


def _last_of_the_largest(mask: Array) -> Array:
    """lungmask's own choice with a stable sort: which of equal components it keeps depends on the machine."""
    numbers = skimage.measure.label(mask)
    sizes = np.bincount(numbers.ravel())[1:]
    return numbers == 1 + np.argsort(sizes, kind="stable")[-1] if len(sizes) else np.zeros(mask.shape, bool)


@pytest.mark.parametrize("shape", [(1, 40, 50), (1, 60, 64), (2, 30, 31), (3, 30, 31), (10, 30, 33), (20, 24, 28)])
def test_postprocessing_equals_theirs_on_random_labels(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utils, "keep_largest_connected_component", _last_of_the_largest)
    for seed in range(12):
        random = np.random.default_rng(seed)
        width, empty = float(random.choice([0.5, 0.8, 1.2, 2])), float(random.choice([-1, 0, 0.5, 1.5]))
        values = [noise(shape, 100 * seed + value, width) for value in range(2 + seed % 5)]
        values[0] += empty
        labels = np.argmax(values, axis=0).astype(np.uint8)
        labels[0, 0] = 0  # fill_voids 2.1.2 takes what reaches the border in that row alone for a hole
        for spare in {0, 1, int(labels.max())}:
            theirs = utils.postprocessing(labels, spare=[spare] if spare else [], disable_tqdm=True)
            np.testing.assert_array_equal(clean_lung_labels(labels, spare), theirs)


def test_published_network_is_ours(files: dict[str, Path]) -> None:
    theirs = resunet.UNet(n_classes=3, padding=True, batch_norm=True, up_mode="upsample")
    state = theirs.state_dict()
    assert (len(state), sum(value.numel() for value in theirs.parameters())) == (227, 31_054_275)
    assert len(torch.load(files["lungs"], weights_only=True)) == 227
    from covfast.models import lungmask as ours

    module = ours.build(state, "r231")
    assert sum(value.numel() for value in module.parameters()) == 28_953_539
    x = torch.rand(1, 1, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(module(x), theirs.eval()(x))


class Theirs:
    """lungmask on the CPU with small networks.

    Attributes:
        close: pixels of its networks whose best two classes lie closer than `CLOSE`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: dict[str, Path], main: str, **options: Any) -> None:
        monkeypatch.setattr(lungmask.mask, "UNet", partial(resunet.UNet, wf=WIDTH.bit_length() - 1))
        fill = options.pop("fill", None)
        if fill is not None:
            options |= {"fillmodel": "fill", "fillmodel_path": str(files[fill])}
        self._run = lungmask.mask.LMInferer(
            modelpath=str(files[main]), force_cpu=True, tqdm_disable=True, batch_size=6, **options
        )
        self.close = 0
        for network in (self._run.model, self._run.fillmodelm):
            if network is not None:
                network.register_forward_hook(self._count)

    def _count(self, network: Any, given: Any, scores: Any) -> None:
        best = torch.topk(scores, 2, dim=1).values
        self.close += int((best[:, 0] - best[:, 1] < CLOSE).sum())

    def __call__(self, hu: Array) -> Array:
        return self._run.apply(np.ascontiguousarray(hu))


def ours(tmp_path: Path, hu: Array, weights: Path, **options: Any) -> Array:
    package = tmp_path / "model.covfast"
    threads = options.pop("threads", None)
    covfast.import_checkpoint(weights, **options).export(package)
    result = covfast.Segmenter(package, threads=threads)((hu, (5.0, 2.0, 2.0)))
    return result.labels


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("main", ["lungs", "lobes"])
def test_network_labels_equal_theirs(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, main: str, dtype: Any
) -> None:
    hu = chest()[0].astype(dtype)
    theirs = Theirs(monkeypatch, files, main, volume_postprocessing=False)
    expected = theirs(hu)
    found = ours(tmp_path, hu, files[main], postprocessing=False)
    assert len(np.unique(expected)) >= 3
    assert int((found != expected).sum()) <= 20 * theirs.close
    assert theirs.close < 1e-4 * len(hu) * 256**2


@pytest.mark.parametrize(("main", "fill"), [("lungs", None), ("lobes", None), ("lobes", "lungs")])
@pytest.mark.parametrize("slices", [slice(None), slice(5, 6)])
def test_whole_pipeline_equals_theirs(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, main: str, fill: str | None, slices: slice
) -> None:
    hu = chest()[0][slices]
    theirs = Theirs(monkeypatch, files, main, fill=fill)
    expected = theirs(hu)
    found = ours(tmp_path, hu, files[main], fill=None if fill is None else files[fill])
    assert (expected > 0).any()
    assert int((found != expected).sum()) <= 20 * theirs.close


def test_real_chest_equals_theirs(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    import SimpleITK

    path = data_dir / "volumes" / "elastix_lung" / "3DCT_lung.mha"
    image = SimpleITK.ReadImage(str(path))
    theirs = Theirs(monkeypatch, files, "lungs")
    expected = theirs._run.apply(image)
    covfast.import_checkpoint(files["lungs"]).export(tmp_path / "model.covfast")
    found = covfast.Segmenter(tmp_path / "model.covfast")(path).labels
    assert found.shape == expected.shape
    assert int((found != expected).sum()) <= 20 * theirs.close
