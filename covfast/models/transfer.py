"""The four ways from networks of other lung lesions to one of COVID-19 infections.

Wang et al., Does Non-COVID-19 Lung Lesion Help? (Computer Methods and Programs in Biomedicine 2021, doi
10.1016/j.cmpb.2021.106004, arXiv 2006.13877). The names of the strategies are reported; what each loads, freezes and
trains is our reading, not the paper's word (`docs/transfer.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.models.hybrid import HybridEncoderUNet
from covfast.models.state_dict import load_parts
from covfast.models.topology import Topology
from covfast.models.unet import PlainUNet

_HEAD = "decoder.seg_layers."


class Strategy(Enum):
    """How a pre-trained body is used.

    CONTINUAL: all weights are loaded, those of the logits where their shapes allow, and trained on.
    BODY_FINETUNE: encoder and decoder are loaded, the logits new; the body may learn at a lower rate.
    LESION_REPRESENTATIONS: the encoder is loaded and frozen, decoder and logits are new.
    HYBRID: the adapted encoder of a `HybridEncoderUNet` is loaded, all else is new; the adapted encoder may learn at a
    lower rate.
    """

    CONTINUAL = "continual"
    BODY_FINETUNE = "body_finetune"
    LESION_REPRESENTATIONS = "lesion_representations"
    HYBRID = "hybrid"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        """Raises: ValueRangeError: names those that exist."""
        raise ValueRangeError(describe("strategy", repr(value), f"one of {', '.join(s.value for s in cls)}"))


_ENCODER = ("encoder.", "encoder.")
_BODY = [_ENCODER, *((part, part) for part in ("decoder.transpconvs.", "decoder.stages."))]
_PARTS = {
    Strategy.CONTINUAL: _BODY,
    Strategy.BODY_FINETUNE: _BODY,
    Strategy.LESION_REPRESENTATIONS: [_ENCODER],
    Strategy.HYBRID: [("encoder.", "adapted.")],
}
"""(names of the pre-trained body, names of the new module) of what is loaded, but for logits."""


@dataclass(frozen=True)
class Transferred:
    """A module to train.

    Attributes:
        module: in training mode.
        rates: of every parameter of the module, by name: what its learning rate is multiplied by; 0 for a frozen one,
            which asks for no gradient either.
        loaded: names of the parameters that come from the pre-trained body.
    """

    module: PlainUNet | HybridEncoderUNet
    rates: Mapping[str, float]
    loaded: frozenset[str]

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimiser, one a rate, frozen ones left out: "params" and "rate_multiplier"."""
        parameters = dict(self.module.named_parameters())
        return [
            {
                "params": [parameters[name] for name, given in self.rates.items() if given == rate],
                "rate_multiplier": rate,
            }
            for rate in sorted(set(self.rates.values()) - {0.0})
        ]


def transfer(
    strategy: Strategy,
    pretrained: Mapping[str, Tensor],
    in_channels: int,
    classes: int,
    topology: Topology,
    body_rate: float = 1.0,
    deep_supervision: bool = False,
) -> Transferred:
    """The module that a strategy trains, begun from a pre-trained body.

    New weights are drawn from torch's generator: seed it before.

    Args:
        strategy: which of the four.
        pretrained: state dict of a `PlainUNet` or of a `MultiHeadUNet`, or its `body_state` of one data set, whose
            head CONTINUAL then takes over. Names that begin with `heads.` are left out.
        in_channels: of the image.
        classes: channels of the logits.
        topology: of the body.
        body_rate: multiplier of the learning rate of what was loaded, for BODY_FINETUNE and HYBRID.
        deep_supervision: whether training gives the logits of every level.

    Raises:
        WeightsError: a tensor of what is to be loaded is missing, not wanted, of another shape, or not finite.
        ValueRangeError: `body_rate` is not above 0 and at most 1, or not 1 for a strategy that has none.
    """
    _check_rate(strategy, body_rate)
    build = HybridEncoderUNet if strategy is Strategy.HYBRID else PlainUNet.of
    module = build(in_channels, classes, topology, deep_supervision)
    parts = [*_PARTS[strategy], *(_heads(module, pretrained) if strategy is Strategy.CONTINUAL else ())]
    loaded = frozenset(load_parts(module, pretrained, parts, "pretrained", f"a {type(module).__name__}"))
    rate = 0.0 if strategy is Strategy.LESION_REPRESENTATIONS else body_rate
    rates = {name: rate if name in loaded else 1.0 for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(rates[name] > 0)
    return Transferred(module, rates, loaded)


def _check_rate(strategy: Strategy, body_rate: float) -> None:
    """Raises: ValueRangeError: as of `transfer`."""
    if not 0 < body_rate <= 1:
        raise ValueRangeError(describe("body_rate", body_rate, "a number above 0 and at most 1"))
    if body_rate != 1 and strategy not in (Strategy.BODY_FINETUNE, Strategy.HYBRID):
        raise ValueRangeError(describe("body_rate", body_rate, f"1 for the strategy {strategy.value!r}"))


def _heads(module: nn.Module, pretrained: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """The levels' logits whose shapes allow to load them."""
    wanted = {name: value.shape for name, value in module.state_dict().items() if name.startswith(_HEAD)}
    fits = {name: name in pretrained and pretrained[name].shape == shape for name, shape in wanted.items()}
    levels = {name.rsplit(".", 1)[0] + "." for name in wanted}
    return [(level, level) for level in sorted(levels) if all(fits[n] for n in fits if n.startswith(level))]
