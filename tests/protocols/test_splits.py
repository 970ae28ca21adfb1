"""The published splits: sizes, disjoint sides, and equality with the published files."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from protocol_folders import read_split

from covfast.errors import FormatError, ValueRangeError
from covfast.protocols import PROTOCOLS
from covfast.protocols.splits import (
    ctseg_cases,
    miniseg_counts,
    miniseg_folds,
    miniseg_images,
    mosmed_cases,
    task1_folds,
    task2_fold,
    task3_folds,
    volume_folds,
)
from covfast.train.schema import TRANSFER, UNET

SOURCES = ("structseg", "nsclc-lung", "msd", "nsclc-pe")
FILES = {
    "structseg": ("Task200_StructSegLung_datasplit.pkl", "Task203_StructSegTumor_datasplit.pkl"),
    "nsclc-lung": ("Task201_NSCLCLung_datasplit.pkl",),
    "msd": ("Task202_MSD_LungTumor_datasplit.pkl",),
    "nsclc-pe": ("Task204_NSCLCPE_datasplit.pkl",),
}


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_no_case_is_on_both_sides_of_a_split(protocol) -> None:
    for tested in protocol.sets:
        for fold in tested.folds:
            assert not set(fold.train) & set(fold.test)
            assert len(set(fold.train)) == len(fold.train)
            assert len(set(fold.test)) == len(fold.test)


@pytest.mark.parametrize(("swapped", "sizes"), [(False, (4, 16)), (True, (16, 4))])
def test_task1_divides_the_20_cases(swapped: bool, sizes: tuple[int, int]) -> None:
    folds = task1_folds(swapped=swapped)
    assert len(folds) == 5
    for fold in folds:
        assert (len(fold.train), len(fold.test)) == sizes
        assert {*fold.train, *fold.test} == set(ctseg_cases())
    few = [case for fold in folds for case in (fold.test if swapped else fold.train)]
    assert sorted(few) == sorted(ctseg_cases())


def test_task1_82_is_task1_with_its_sides_swapped() -> None:
    for fold, other in zip(task1_folds(), task1_folds(swapped=True), strict=True):
        assert (set(fold.train), set(fold.test)) == (set(other.test), set(other.train))


@pytest.mark.parametrize(
    ("source", "sizes"), list(zip(SOURCES, [(40, 10), (322, 80), (51, 12), (63, 15)], strict=True)), ids=SOURCES
)
def test_task2_and_task3_have_the_published_sizes(source: str, sizes: tuple[int, int]) -> None:
    fold = task2_fold(source)
    assert (len(fold.train), len(fold.test)) == sizes
    for few, joined in zip(task1_folds(), task3_folds(source), strict=True):
        assert len(joined.train) == sizes[0] + 4
        assert set(joined.train) == {*fold.train, *few.train}
        assert joined.test == few.test


def test_every_split_of_volumes_that_a_recipe_may_name_is_a_published_one() -> None:
    names = [name for name in UNET["split.published"].choices if name]
    assert len(names) == 10
    found = {name: volume_folds(name) for name in names}
    assert found["task1"] == task1_folds()
    assert found["task1-82"] == task1_folds(swapped=True)
    for source in SOURCES:
        assert found[f"task2-{source}"] == (task2_fold(source),)
        assert found[f"task3-{source}"] == task3_folds(source)
    assert set(TRANSFER["sources.published"].choices) == set(SOURCES)


@pytest.mark.parametrize(
    ("name", "images"), [("ct100", 99), ("p9", 268), ("p20", 1844), ("p1110", 785)], ids=lambda x: str(x)
)
def test_miniseg_folds_divide_volumes(name: str, images: int) -> None:
    folds = miniseg_folds(name)
    assert len(folds) == 5
    assert sum(miniseg_images(name)) == images
    assert all(not set(a.test) & set(b.test) for a, b in combinations(folds, 2))
    every = {case for fold in folds for case in fold.test}
    assert all({*fold.train, *fold.test} == every for fold in folds)
    for group, total in zip(miniseg_counts(name), miniseg_images(name), strict=True):
        known = [count for count in group.values() if count is not None]
        assert len(known) < len(group) or sum(known) == total


def test_p20_has_the_volumes_of_the_benchmark_and_p1110_those_of_mosmed() -> None:
    assert sorted(case for fold in miniseg_folds("p20") for case in fold.test) == sorted(ctseg_cases())
    assert sorted(case for fold in miniseg_folds("p1110") for case in fold.test) == list(mosmed_cases())


@pytest.mark.parametrize("call", [task2_fold, task3_folds, miniseg_folds, miniseg_counts])
def test_unknown_names_are_refused_with_those_that_exist(call) -> None:
    with pytest.raises(ValueRangeError, match="expected '"):
        call("lidc")


@pytest.mark.parametrize(
    ("name", "swapped"), [("Task1_COVID_datasplit.pkl", False), ("Task1_COVID_82_datasplit.pkl", True)]
)
def test_task1_equals_the_published_files(data_dir: Path, name: str, swapped: bool) -> None:
    published = read_split(data_dir / "benchmark_splits" / name)
    folds = task1_folds(swapped=swapped)
    assert len(published) == len(folds)
    for theirs, ours in zip(published, folds, strict=True):
        assert sorted(theirs["train"]) == sorted(ours.train)
        assert sorted(theirs["val"]) == sorted(ours.test)


@pytest.mark.parametrize(("source", "name"), [(source, name) for source in SOURCES for name in FILES[source]])
def test_task2_equals_the_published_files(data_dir: Path, source: str, name: str) -> None:
    ours = task2_fold(source)
    for theirs in read_split(data_dir / "benchmark_splits" / name):
        assert sorted(theirs["train"]) == sorted(ours.train)
        assert sorted(theirs["val"]) == sorted(ours.test)


def test_a_split_file_that_names_a_function_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.pkl"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(FormatError, match=r"split\.pkl"):
        read_split(path)
