"""The four transfer strategies: what each loads, freezes and trains, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import randomise  # noqa: E402
from unets import images, topology  # noqa: E402

from covfast.errors import ValueRangeError, WeightsError  # noqa: E402
from covfast.models import HybridEncoderUNet, MultiHeadUNet, PlainUNet  # noqa: E402
from covfast.models.transfer import Strategy, transfer  # noqa: E402

HEAD = "decoder.seg_layers."


@pytest.fixture
def body() -> Any:
    return randomise(PlainUNet.of(2, 2, topology(3)), 0)


def part(strategy: Strategy, name: str) -> bool:
    """Whether the strategy takes this parameter from the body, by its description."""
    return {
        Strategy.CONTINUAL: True,
        Strategy.BODY_FINETUNE: not name.startswith(HEAD),
        Strategy.LESION_REPRESENTATIONS: name.startswith("encoder."),
        Strategy.HYBRID: name.startswith("adapted."),
    }[strategy]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_strategy_loads_what_it_says_and_nothing_else(strategy: Strategy, body: Any) -> None:
    made = transfer(strategy, body.state_dict(), 2, 2, topology(3))
    held = made.module.state_dict()
    assert made.loaded == {name for name in held if part(strategy, name)}
    theirs = body.state_dict()
    for name, value in held.items():
        source = name.replace("adapted.", "encoder.").replace("dedicated.", "encoder.")
        if value.dim() > 1 and not name.startswith("fusion."):
            assert torch.equal(value, theirs[source]) is (name in made.loaded), name
    assert isinstance(made.module, HybridEncoderUNet if strategy is Strategy.HYBRID else PlainUNet)
    assert made.module.training


def test_continual_is_the_same_function_at_first(body: Any) -> None:
    made = transfer(Strategy.CONTINUAL, body.state_dict(), 2, 2, topology(3))
    assert torch.equal(made.module.eval()(images(3)), body(images(3)))


def test_continual_with_other_classes_has_new_logits(body: Any) -> None:
    made = transfer(Strategy.CONTINUAL, body.state_dict(), 2, 3, topology(3))
    assert {name for name in made.rates if name not in made.loaded} == {
        f"{HEAD}{level}.{kind}" for level in (0, 1) for kind in ("weight", "bias")
    }


def test_a_step_moves_what_trains_and_leaves_what_is_frozen(body: Any) -> None:
    made = transfer(Strategy.LESION_REPRESENTATIONS, body.state_dict(), 2, 2, topology(3), deep_supervision=True)
    optimiser = torch.optim.SGD(made.groups(), lr=0.1)
    assert [group["rate_multiplier"] for group in optimiser.param_groups] == [1.0]
    sum(y.square().mean() for y in made.module(images(3))).backward()
    optimiser.step()
    assert all(torch.equal(made.module.encoder.state_dict()[k], v) for k, v in body.encoder.state_dict().items())
    assert all(p.grad is None for p in made.module.encoder.parameters())
    assert {name for name, rate in made.rates.items() if rate == 0} == made.loaded
    assert all(p.grad is not None for p in made.module.decoder.parameters())


@pytest.mark.parametrize("strategy", [Strategy.BODY_FINETUNE, Strategy.HYBRID])
def test_body_rate_is_that_of_what_was_loaded(strategy: Strategy, body: Any) -> None:
    made = transfer(strategy, body.state_dict(), 2, 2, topology(3), body_rate=0.1)
    assert made.rates == {name: 0.1 if part(strategy, name) else 1.0 for name, _ in made.module.named_parameters()}
    groups = made.groups()
    assert [group["rate_multiplier"] for group in groups] == [0.1, 1.0]
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in made.module.parameters())


def test_a_multi_head_body_gives_encoder_decoder_and_the_head_asked_for() -> None:
    many = randomise(MultiHeadUNet(PlainUNet.of(2, 2, topology(3)), {"tumour": 2, "effusion": 2}), 0)
    whole = transfer(Strategy.CONTINUAL, many.state_dict(), 2, 2, topology(3))
    assert whole.loaded == {name for name in whole.rates if not name.startswith(HEAD)}
    one = transfer(Strategy.CONTINUAL, many.body_state("effusion"), 2, 2, topology(3))
    assert torch.equal(one.module.eval()(images(3)), many(images(3), "effusion"))


def test_a_tensor_that_does_not_fit_is_named(body: Any) -> None:
    with pytest.raises(WeightsError, match=r"pretrained: encoder\.stages\.0\.0\.convs\.0\.conv\.weight: got \(4, 2"):
        transfer(Strategy.CONTINUAL, body.state_dict(), 1, 2, topology(3))
    with pytest.raises(WeightsError, match=r"adapted\.stages\.1\.0\.convs\.0\.conv\.weight: got \(8, 4"):
        transfer(Strategy.HYBRID, body.state_dict(), 2, 2, topology(3, features=[4, 6, 8]))
    state = body.state_dict()
    missing = {name: value for name, value in state.items() if name != "decoder.transpconvs.1.bias"}
    with pytest.raises(WeightsError, match=r"no tensor 'decoder\.transpconvs\.1\.bias'"):
        transfer(Strategy.BODY_FINETUNE, missing, 2, 2, topology(3))
    transfer(Strategy.LESION_REPRESENTATIONS, missing, 2, 2, topology(3))
    with pytest.raises(WeightsError, match=r"an unknown tensor 'encoder\.stages\.3\.x'"):
        transfer(Strategy.LESION_REPRESENTATIONS, {**state, "encoder.stages.3.x": state[f"{HEAD}0.bias"]}, 2, 2,
                 topology(3))  # fmt: skip
    with pytest.raises(WeightsError, match="not finite"):
        transfer(Strategy.HYBRID, {k: v * float("nan") for k, v in state.items()}, 2, 2, topology(3))


@pytest.mark.parametrize(
    ("strategy", "rate"),
    [(Strategy.HYBRID, 0.0), (Strategy.HYBRID, 1.5), (Strategy.CONTINUAL, 0.5), (Strategy.BODY_FINETUNE, float("nan"))],
)
def test_a_rate_that_cannot_be_raises(strategy: Strategy, rate: float, body: Any) -> None:
    with pytest.raises(ValueRangeError, match="body_rate"):
        transfer(strategy, body.state_dict(), 2, 2, topology(3), body_rate=rate)


def test_strategies_by_name() -> None:
    assert Strategy("lesion_representations") is Strategy.LESION_REPRESENTATIONS
    with pytest.raises(ValueRangeError, match="one of continual, body_finetune, lesion_representations, hybrid"):
        Strategy("scratch")
