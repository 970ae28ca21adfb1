"""Multi-head U-Net: one body under all data sets, each head alone, refusals, and the native engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import FEATURES, KERNELS, STRIDES, randomise  # noqa: E402
from unets import assert_native_equals_torch, images, topology  # noqa: E402

from covfast.errors import ValueRangeError  # noqa: E402
from covfast.models import MultiHeadUNet, PlainUNet, ResidualEncoderUNet  # noqa: E402

HEADS = {"tumour": 2, "effusion": 3, "lung-mass_1": 2}


def multihead(heads: dict[str, int] | None = None, **options: Any) -> Any:
    return randomise(MultiHeadUNet(PlainUNet.of(2, 2, topology(3), **options), heads or HEADS), 0)


def test_each_data_set_has_its_own_logits_over_one_body() -> None:
    module = multihead()
    x = images(3)
    given = {name: module(x, name) for name in HEADS}
    assert {name: y.shape[1] for name, y in given.items()} == HEADS
    assert not torch.equal(given["tumour"], given["lung-mass_1"])
    names = dict.fromkeys(".".join(key.split(".")[:2]) for key in module.state_dict())
    body = ["encoder.stages", "decoder.transpconvs", "decoder.stages"]
    assert list(names) == [*body, *(f"heads.{name}" for name in HEADS)]
    plain = sum(p.numel() for p in PlainUNet.of(2, 2, topology(3)).parameters())
    assert sum(p.numel() for p in module.parameters()) == plain + sum((c * (8 + 1) + c * (4 + 1)) for c in (3, 2))


def test_body_state_of_a_data_set_is_a_network_alone() -> None:
    module = multihead()
    x = images(3)
    for name, classes in HEADS.items():
        plain = PlainUNet.of(2, classes, topology(3)).eval()
        plain.load_state_dict(module.body_state(name))
        assert torch.equal(plain(x), module(x, name))


def test_training_one_data_set_leaves_the_other_heads() -> None:
    module = multihead(deep_supervision=True).train()
    levels = module(images(3), "effusion")
    assert [tuple(y.shape) for y in levels] == [(1, 3, 8, 16, 24), (1, 3, 8, 8, 12)]
    sum(y.square().mean() for y in levels).backward()
    missing = {name.split(".")[1] for name, p in module.named_parameters() if p.grad is None}
    assert missing == {"tumour", "lung-mass_1"}


def test_one_data_set_needs_no_name_and_takes_a_residual_body() -> None:
    body = ResidualEncoderUNet(2, 2, FEATURES, KERNELS, STRIDES)
    module = randomise(MultiHeadUNet(body, {"tumour": 2}), 0)
    x = images(3)
    assert torch.equal(module(x), module(x, "tumour"))
    body.load_state_dict(module.body_state())
    assert torch.equal(body.eval()(x), module(x))


@pytest.mark.parametrize("dataset", [None, "nodules"])
def test_a_data_set_that_is_not_there_raises(dataset: str | None) -> None:
    with pytest.raises(ValueRangeError, match="one of tumour, effusion, lung-mass_1"):
        multihead()(images(3), dataset)


@pytest.mark.parametrize("heads", [{}, {"a.b": 2}, {"": 2}, {"forward": 2}, {"tumour": 0}])
def test_heads_that_cannot_be_raise(heads: dict[str, int]) -> None:
    with pytest.raises(ValueRangeError, match="heads"):
        MultiHeadUNet(PlainUNet.of(2, 2, topology(2)), heads)


@pytest.mark.parametrize("rank", [2, 3])
def test_export_native_equals_torch(rank: int, tmp_path: Path) -> None:
    module = MultiHeadUNet(PlainUNet.of(2, 2, topology(rank)), {"tumour": 2})
    assert_native_equals_torch(module, rank, tmp_path / "m.covfast")
