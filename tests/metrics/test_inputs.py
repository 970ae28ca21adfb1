"""What the metrics take: foreign arrays and images, geometries, masks and labels, and what they refuse."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK

from covfast import io
from covfast.errors import DTypeError, GeometryError, ShapeError, ValueRangeError
from covfast.metrics import SurfaceDistances, dice, evaluate, surface_distances
from covfast.volume import Geometry, Segmentation, Volume

SHAPE, SPACING = (8, 11, 13), (2.5, 0.8, 0.7)
GRID = Geometry.from_spacing(SHAPE, SPACING, origin_mm=(-120.5, 33.25, -700.0))
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Direction cosines that are no axis: a gantry that is tilted about two axes.
TILT = np.array([[1, 0, 0], [0, np.cos(0.1), -np.sin(0.1)], [0, np.sin(0.1), np.cos(0.1)]])
OBLIQUE = np.array([[0.8, -0.36, 0.48], [0.6, 0.48, -0.64], [0.0, 0.8, 0.6]])


def labels(seed: int, shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 2, shape, np.uint8)


def figures(d: SurfaceDistances) -> list[float]:
    return [d.nsd(0.8), d.hausdorff(), d.hausdorff(95), d.assd(), *d.average(), *d.overlap(0.8)]


def as_sitk(array: npt.NDArray[Any], geometry: Geometry) -> SimpleITK.Image:
    return io.to_sitk(Segmentation(np.ascontiguousarray(array), geometry))


def as_nibabel(array: npt.NDArray[Any], geometry: Geometry) -> nibabel.Nifti1Image:
    ras = LPS_TO_RAS @ geometry.affine[:, [2, 1, 0, 3]]
    return nibabel.Nifti1Image(np.asarray(array.T), ras)


def turned(array: npt.NDArray[Any], orientation: str) -> tuple[npt.NDArray[Any], Geometry]:
    """The same voxels of the patient, stored in another order."""
    spacing = dict(zip("SPL", SPACING, strict=True))
    pairs = {"S": "S", "I": "S", "P": "P", "A": "P", "L": "L", "R": "L"}
    steps = [spacing[pairs[letter]] for letter in orientation]
    sizes = dict(zip("SPL", SHAPE, strict=True))
    plain = Geometry.from_spacing([sizes[pairs[letter]] for letter in orientation], steps, orientation)
    # Put the corner where the canonical grid has it.
    shift = GRID.affine[:3, 3] - plain.canonical().affine[:3, 3]
    affine = np.array(plain.affine)
    affine[:3, 3] += shift
    geometry = Geometry(plain.shape, affine)
    return geometry.from_canonical(array), geometry


# Arrays


def test_lists_and_torch_tensors_are_masks() -> None:
    truth, pred = labels(0), labels(1)
    expected = figures(surface_distances(truth, pred, SPACING))
    assert figures(surface_distances(truth.tolist(), pred.tolist(), SPACING)) == expected
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for kind in (torch.bool, torch.uint8, torch.int64, torch.float32):
        tensors = [torch.from_numpy(array).to(kind) for array in (truth, pred)]
        assert figures(surface_distances(*tensors, SPACING)) == expected
    strided = [torch.from_numpy(array.T.copy()).permute(2, 1, 0) for array in (truth, pred)]
    assert figures(surface_distances(*strided, SPACING)) == expected


def test_a_tensor_that_numpy_cannot_hold_is_refused_by_name() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor = torch.zeros(SHAPE, requires_grad=True)
    with pytest.raises(DTypeError, match=r"truth: got Tensor that requires grad, .*; pass truth.detach\(\)"):
        surface_distances(tensor, labels(0), SPACING)
    with pytest.raises(DTypeError, match=r"pred: got bfloat16 Tensor, .*; pass pred.float\(\)"):
        surface_distances(labels(0), tensor.detach().to(torch.bfloat16), SPACING)
    with pytest.raises(DTypeError, match="truth: got Tensor, expected an array on the CPU or CUDA"):
        surface_distances(tensor.detach().to("meta"), labels(0), SPACING)


@pytest.mark.parametrize("path", ["folder/a.nii.gz", Path("folder/a.nii.gz")])
def test_a_path_is_refused_with_the_function_that_reads_it(path: Any) -> None:
    words = rf"truth: got {type(path).__name__} 'a.nii.gz', .*covfast.io.read_labels, or use covfast.evaluation."
    with pytest.raises(DTypeError, match=words):
        evaluate(path, labels(0))
    assert hasattr(io, "read_labels")


@pytest.mark.parametrize(("thing", "name"), [(None, "NoneType"), ({"a": 1}, "dict"), (b"ab", "bytes"), ({1}, "set")])
def test_what_is_no_array_is_named(thing: Any, name: str) -> None:
    with pytest.raises(DTypeError, match=f"pred: got {name}, expected an array or image in memory"):
        evaluate(labels(0), thing, SPACING)


class DLPackOnly:
    """An array of a library of which nothing is known but DLPack."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def test_anything_with_dlpack_is_read() -> None:
    truth, pred = labels(0), labels(1)
    expected = figures(surface_distances(truth, pred, SPACING))
    assert figures(surface_distances(DLPackOnly(truth), DLPackOnly(pred), SPACING)) == expected


@pytest.mark.parametrize("array", [np.zeros(SHAPE, complex), np.full(SHAPE, "a"), np.zeros(SHAPE, object)])
def test_types_that_are_no_labels_are_refused(array: npt.NDArray[Any]) -> None:
    with pytest.raises(DTypeError, match=r"pred: got .*expected bool, whole numbers"):
        surface_distances(labels(0), array, SPACING)


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="truth: got rows of different lengths"):
        dice([[1, 0], [1]], [[1, 0], [1, 1]])


@pytest.mark.parametrize(
    ("value", "dtype"), [(2, np.uint8), (255, np.uint8), (-1, np.int16), (7, np.int64), (0.5, np.float32)]
)
def test_a_label_map_is_no_mask(value: float, dtype: Any) -> None:
    array = labels(0).astype(dtype)
    array[3, 4, 5] = value
    for name, pair in (("truth", (array, labels(0))), ("pred", (labels(0), array))):
        with pytest.raises(ValueRangeError, match=rf"{name}: got .*expected a mask.*pass {name} == label"):
            surface_distances(*pair, SPACING)


def test_nan_is_no_mask() -> None:
    array = labels(0).astype(np.float32)
    array[0, 0, 0] = np.nan
    with pytest.raises(ValueRangeError, match=r"truth: got values from nan to nan|truth: got"):
        surface_distances(array, labels(0), SPACING)


# Images


@pytest.mark.parametrize("make", [Segmentation, as_sitk, as_nibabel], ids=["Segmentation", "SimpleITK", "nibabel"])
def test_images_bring_their_spacing(make: Any) -> None:
    truth, pred = labels(0), labels(1)
    expected = figures(surface_distances(truth, pred, SPACING))
    np.testing.assert_allclose(figures(surface_distances(make(truth, GRID), make(pred, GRID))), expected, rtol=1e-7)
    # One image is enough, and a spacing that agrees may stand beside it: in the order of the image's own axes.
    step = -1 if make is as_nibabel else 1
    one, other, spacing = (truth, pred, SPACING) if step == 1 else (truth.T, pred.T, SPACING[::-1])
    np.testing.assert_allclose(figures(surface_distances(make(truth, GRID), other)), expected, rtol=1e-7)
    np.testing.assert_allclose(figures(surface_distances(one, make(pred, GRID), spacing)), expected, rtol=1e-7)
    assert dice(make(truth, GRID), other) == dice(truth, pred)


@pytest.mark.parametrize("shape", [(9, 9, 9), (9, 9)], ids=["volume", "image"])
@pytest.mark.parametrize("library", ["SimpleITK", "nibabel"])
def test_arrays_beside_an_image_have_the_axes_of_its_library(library: str, shape: tuple[int, ...]) -> None:
    """On a cube nothing but the figures would tell."""
    one, other = labels(0, shape), labels(1, shape)
    chance = other * np.linspace(0, 1, 9, dtype=np.float32)
    if library == "nibabel":
        affine = np.diag([0.7, 0.8, 2.5, 1.0])
        images: list[Any] = [nibabel.Nifti1Image(array, affine) for array in (one, other, chance)]
        spacing = tuple(round(float(mm), 6) for mm in images[0].header.get_zooms())  # float32: 0.8 is 0.80000001
    else:
        images = [SimpleITK.GetImageFromArray(array) for array in (one, other, chance)]
        for image in images:
            image.SetSpacing((0.7, 0.8, 2.5)[: len(shape)])
        spacing = images[0].GetSpacing()[::-1]
    expected = figures(surface_distances(one, other, spacing))
    of_map = evaluate(*images[:2], labels={"lesion": 1}, probability=images[2])["lesion"].probability
    for pair in (images[:2], (images[0], other), (one, images[1])):
        for own in (None, spacing):
            np.testing.assert_allclose(figures(surface_distances(*pair, own)), expected, rtol=1e-6)
        for grey in (chance, images[2]):
            report = evaluate(*pair, labels={"lesion": 1}, probability=grey)
            np.testing.assert_allclose(report.spacing_mm, spacing, rtol=1e-7)
            assert report["lesion"].probability == of_map


def test_a_probability_array_follows_the_prediction_and_an_image_its_own_axes() -> None:
    """The truth may lie in another order, or be an array beside the prediction's image."""
    grid = Geometry.from_spacing((9, 9, 9), SPACING)
    one, other = labels(0, grid.shape), labels(1, grid.shape)
    chance = other * np.linspace(0, 1, 9, dtype=np.float32)
    image = SimpleITK.GetImageFromArray(chance)
    image.CopyInformation(as_sitk(other, grid))
    lesion = {"lesion": 1}
    expected = evaluate(as_sitk(one, grid), as_sitk(other, grid), labels=lesion, probability=chance)[
        "lesion"
    ].probability
    nifti = as_nibabel(other, grid)
    for truth in (as_sitk(one, grid), one.T):
        for grey in (chance.T, image):
            assert evaluate(truth, nifti, labels=lesion, probability=grey)["lesion"].probability == expected


def test_an_array_in_another_order_than_the_image_beside_it_is_refused_with_a_hint() -> None:
    for make, array in ((as_sitk, labels(1).T), (as_nibabel, labels(1))):
        with pytest.raises(ShapeError, match=r"pred: got .*; beside an image an array has the image's order of axes: "):
            surface_distances(make(labels(0), GRID), array)
    with pytest.raises(ShapeError, match=r"the shape of truth$"):
        surface_distances(labels(0), labels(1).T, SPACING)


@pytest.mark.parametrize("names", [{"infection": 3}, None, ["background", "infection"]])
def test_names_of_a_segmentation_are_by_value(names: Any) -> None:
    with pytest.raises(ValueRangeError, match=r"names: got .*, expected value -> name, such as {3:"):
        Segmentation(labels(0), GRID, names)


def test_a_volume_is_a_label_map() -> None:
    truth, pred = labels(0), labels(1)
    volume = Volume(truth.astype(np.int16), GRID)
    assert figures(surface_distances(volume, pred)) == figures(surface_distances(truth, pred, SPACING))


def test_kinds_of_images_mix() -> None:
    truth, pred = labels(0), labels(1)
    expected = figures(surface_distances(truth, pred, SPACING))
    makers: list[Any] = [Segmentation, as_sitk, as_nibabel]
    for one, other in itertools.product(makers, makers):
        found = figures(surface_distances(one(truth, GRID), other(pred, GRID)))
        np.testing.assert_allclose(found, expected, rtol=1e-7)


ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(("SI", "PA", "LR")) for letters in itertools.product(*order)
]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_axes_are_brought_into_one_order(orientation: str) -> None:
    truth, pred = labels(0), labels(1)
    expected = figures(surface_distances(truth, pred, SPACING))
    moved, geometry = turned(pred, orientation)
    for one in (Segmentation(moved.copy(), geometry), as_nibabel(moved, geometry)):
        np.testing.assert_allclose(figures(surface_distances(Segmentation(truth, GRID), one)), expected, rtol=1e-7)
        np.testing.assert_allclose(
            figures(surface_distances(one, Segmentation(truth, GRID)))[:4], expected[:4], rtol=1e-7
        )


def test_a_nibabel_image_is_not_turned_into_floats() -> None:
    image = as_nibabel(labels(0), GRID)
    report = evaluate(image, image, labels={"lung": 1})
    assert report["lung"].dice == 1
    with pytest.raises(
        ValueRangeError, match=r"labels\['lung'\]: got 300, expected a value from 0 to 255; truth is uint8"
    ):
        evaluate(image, image, labels={"lung": 300})


def test_a_scaled_nibabel_image_that_holds_whole_numbers_is_a_label_map() -> None:
    image = as_nibabel(labels(0), GRID)
    image.header.set_slope_inter(2, 0)
    scaled = nibabel.Nifti1Image.from_bytes(image.to_bytes())
    assert np.asanyarray(scaled.dataobj).dtype == np.float64
    report = evaluate(
        scaled, labels(0).T, labels={"lung": {"truth": int(np.asarray(scaled.dataobj).max()), "prediction": 1}}
    )
    assert report["lung"].dice == 1


def test_a_temporary_simpleitk_image_stays_alive() -> None:
    truth = labels(0, (40, 50, 60))
    grid = Geometry.from_spacing(truth.shape, (1, 1, 1))
    assert dice(as_sitk(truth, grid), as_sitk(truth, grid)) == 1


def test_two_dimensional_images_are_measured() -> None:
    truth, pred = labels(0)[4], labels(1)[4]
    expected = figures(surface_distances(truth, pred, SPACING[1:]))
    images = [SimpleITK.GetImageFromArray(array) for array in (truth, pred)]
    for image in images:
        image.SetSpacing(SPACING[:0:-1])
        image.SetOrigin((5.0, -7.0))
    assert figures(surface_distances(*images)) == expected
    flipped = images[1][::-1, :]
    np.testing.assert_allclose(figures(surface_distances(images[0], flipped)), expected, rtol=1e-12)
    with pytest.raises(ShapeError, match="pred: got shape"):
        surface_distances(images[0], as_sitk(labels(1), GRID))


def test_the_length_of_an_oblique_axis_is_what_its_header_means() -> None:
    """A tolerance of 1 mm reaches a voxel at 1 mm although float32 cosines make it 1.00000002 mm."""
    columns = np.float64(np.float32(OBLIQUE * 1.0))
    affine = np.eye(4)
    affine[:3, :3] = columns
    grid = Geometry(SHAPE, affine)
    assert max(grid.spacing_mm) != 1
    truth, pred = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    truth[2:5], pred[2:6] = 1, 1
    d = surface_distances(Segmentation(truth, grid), Segmentation(pred, grid))
    assert d.spacing_mm == (1, 1, 1)
    assert d.nsd(1.0) == 1


# Geometries


def shifted(**change: Any) -> Geometry:
    spacing, origin = change.get("spacing", SPACING), change.get("origin", (-120.5, 33.25, -700.0))
    return Geometry.from_spacing(change.get("shape", SHAPE), spacing, change.get("orientation", "SPL"), origin)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"spacing": (2.5, 0.8, 0.71)},
            r"pred: got spacing \(2.5, 0.8, 0.71\) mm, expected the grid of truth, spacing",
        ),
        ({"origin": (-120.5, 33.25, -699.0)}, r"got origin \(-120.5, 33.25, -699.0\) mm, expected .* -700.0\) mm"),
        ({"shape": (8, 11, 14)}, r"got shape \(8, 11, 14\), expected the grid of truth, shape \(8, 11, 13\)"),
        ({"orientation": "SPR"}, "got origin"),
    ],
)
def test_grids_that_differ_are_refused_and_the_difference_is_named(change: Any, words: str) -> None:
    other = shifted(**change)
    with pytest.raises(GeometryError, match=words):
        surface_distances(Segmentation(labels(0), GRID), Segmentation(labels(1, other.shape), other))


def test_directions_that_differ_are_named() -> None:
    affine = np.array(GRID.affine)
    affine[:3, :3] = TILT @ affine[:3, :3]
    with pytest.raises(GeometryError, match=r"pred: got directions .*expected the grid of truth, directions"):
        surface_distances(Segmentation(labels(0), GRID), Segmentation(labels(1), Geometry(SHAPE, affine)))


def test_rounding_of_a_header_is_no_difference() -> None:
    other = Geometry(SHAPE, np.float64(np.float32(GRID.affine)))
    assert surface_distances(Segmentation(labels(0), GRID), Segmentation(labels(0), other)).nsd(0) == 1


def test_a_spacing_that_contradicts_the_image_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"spacing_mm: got \(0.7, 0.8, 2.5\), expected \(2.5, 0.8, 0.7\)"):
        surface_distances(Segmentation(labels(0), GRID), labels(1), SPACING[::-1])


def test_a_sheared_grid_is_refused_unless_only_voxels_count() -> None:
    affine = np.array(GRID.affine)
    affine[1, 0] = 0.4
    sheared = Geometry(SHAPE, affine)
    truth, pred = Segmentation(labels(0), sheared), Segmentation(labels(1), sheared)
    with pytest.raises(GeometryError, match="truth: got axes that are not at right angles"):
        surface_distances(truth, pred)
    assert dice(truth, pred) == dice(labels(0), labels(1))
    report = evaluate(truth, pred, labels={"infection": 1}, convention="miniseg")
    assert math.isnan(report["infection"].hausdorff_mm)
    assert report["infection"].dice == dice(truth, pred)


@pytest.mark.parametrize("image", [SimpleITK.Image(3, 4, SimpleITK.sitkVectorUInt8), SimpleITK.Image([3, 3, 3, 3], 1)])
def test_images_that_are_no_label_map_are_refused(image: Any) -> None:
    with pytest.raises(ShapeError, match=r"truth: got .*one value a voxel"):
        dice(image, image)


def test_a_series_of_volumes_is_refused() -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.uint8), np.eye(4))
    with pytest.raises(ShapeError, match=r"truth: got shape \(4, 4, 4, 3\)"):
        dice(image, image)


# Device arrays


class DeviceMask:
    """What cupy and torch show of an array on a GPU; no test here can read it."""

    __cuda_array_interface__ = {"shape": SHAPE, "typestr": "|b1", "data": (0, True), "version": 3}  # noqa: RUF012


def test_figures_that_need_host_arrays_refuse_device_arrays() -> None:
    from covfast.metrics.inputs import LabelValues, as_pair

    pair = as_pair(DeviceMask(), DeviceMask(), SPACING)
    assert pair.is_bool
    assert math.prod(pair.spacing_mm) == pytest.approx(1000 * pair.voxel_ml)
    with pytest.raises(DTypeError, match="truth: got DeviceMask, expected an array in host memory"):
        pair.masks(LabelValues("mask", (1,), (1,)))
    with pytest.raises(ShapeError, match="pred: got shape"):
        as_pair(DeviceMask(), labels(0)[1:], SPACING)
