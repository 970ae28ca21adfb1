"""Relation U-Net: what training and evaluation give, shapes of the decoder, begin from a U-Net, the native engine."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import randomise  # noqa: E402
from unets import assert_native_equals_torch, images, topology  # noqa: E402

from covfast.errors import WeightsError  # noqa: E402
from covfast.models import PlainUNet, RelationUNet  # noqa: E402
from covfast.models.relation import RelationOutput  # noqa: E402


def test_decoder_takes_both_encoders_and_keeps_its_width() -> None:
    module = RelationUNet(2, 3, topology(3, features=[4, 8, 12]))
    assert [tuple(up.weight.shape[:2]) for up in module.decoder.transpconvs] == [(2 * 12, 8), (8, 4)]
    first = [stage.convs[0].conv.weight.shape[:2] for stage in module.decoder.stages]
    assert [tuple(shape) for shape in first] == [(8, 3 * 8), (4, 3 * 4)]
    assert [tuple(stage.convs[1].conv.weight.shape[:2]) for stage in module.decoder.stages] == [(8, 8), (4, 4)]
    names = dict.fromkeys(key.partition(".")[0] for key in module.state_dict())
    assert list(names) == ["general", "target", "decoder"]


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("every", [False, True])
def test_training_gives_features_and_evaluation_logits(rank: int, every: bool) -> None:
    module = RelationUNet(2, 3, topology(rank), deep_supervision=True, relate_every_stage=every)
    x = images(rank, index=1)
    given = randomise(module, 0).train()(x)
    assert isinstance(given, RelationOutput)
    sizes = [(6, 8, 16), (6, 4, 8), (3, 2, 4)] if rank == 3 else [(24, 8), (12, 4), (6, 2)]
    shapes = [(2, n, *size) for n, size in zip((4, 8, 8), sizes, strict=True)][0 if every else -1 :]
    assert [tuple(f.shape) for f in given.general] == [tuple(f.shape) for f in given.target] == shapes
    assert [tuple(y.shape) for y in given.logits] == [(2, 3, *size) for size in sizes[:2]]
    for features, encoder in ((given.general, module.general), (given.target, module.target)):
        assert torch.equal(features[-1], encoder(x)[-1])
    assert not torch.equal(given.general[-1], given.target[-1])
    assert torch.equal(module.eval()(x), given.logits[0])


def test_features_carry_gradients_to_their_own_encoder() -> None:
    module = randomise(RelationUNet(2, 3, topology(3)), 0).train()
    module(images(3)).target[0].square().mean().backward()
    assert all(p.grad is None for p in module.general.parameters())
    assert all(p.grad is not None for p in module.target.parameters())


@pytest.mark.parametrize("also_target", [False, True])
def test_load_general_begins_from_a_plain_network(also_target: bool) -> None:
    plain = randomise(PlainUNet.of(2, 2, topology(3)), 0)
    module = RelationUNet(2, 3, topology(3))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_general(plain.state_dict(), also_target)
    x = images(3)
    assert torch.equal(module.general(x)[-1], plain.encoder(x)[-1])
    assert torch.equal(module.target(x)[-1], plain.encoder(x)[-1]) is also_target
    after = module.state_dict()
    kept = ("decoder.",) if also_target else ("decoder.", "target.")
    assert all(torch.equal(before[key], after[key]) for key in before if key.startswith(kept))
    assert module.training


def test_load_general_of_another_network_raises_naming_the_tensor() -> None:
    module = RelationUNet(2, 3, topology(3))
    with pytest.raises(WeightsError, match=r"general\.stages\.0\.0\.convs\.0\.conv\.weight: got \(4, 1, 1, 3, 3\)"):
        module.load_general(PlainUNet.of(1, 3, topology(3)).state_dict())
    with pytest.raises(WeightsError, match=r"no tensor 'general\.stages\.0\.0\.convs\.0\.conv\.bias'"):
        module.load_general({})


@pytest.mark.parametrize("rank", [2, 3])
def test_export_native_equals_torch(rank: int, tmp_path: Path) -> None:
    assert_native_equals_torch(RelationUNet(2, 3, topology(rank)), rank, tmp_path / "m.covfast")
