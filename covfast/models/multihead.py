"""Multi-lesion pre-training: one U-Net body and one head for each data set.

Wang et al. (doi 10.1016/j.cmpb.2021.106004, arXiv 2006.13877): joint learning over several lesion data sets gives more
general features than any one of them. Our reading, not the paper's word: encoder and decoder are shared, the heads are
the 1x1 convolutions to logits, and batches alternate over the data sets.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.models.unet import PlainUNet, ResidualEncoderUNet, Trunk, logits, new_heads


class MultiHeadUNet(nn.Module):
    """The body of a U-Net, and for each data set a head of its own: a 1x1 convolution at every level of the decoder.

    With one data set it is a U-Net for single-lesion pre-training. State dict: `encoder.*`, `decoder.stages.*` and
    `decoder.transpconvs.*` as of the body, and `heads.{dataset}.{level}.*`, the lowest resolution first.

    Args:
        body: whose encoder and decoder are taken over, not copied; its own logits are left out.
        heads: classes of each data set, by names of letters, digits, "_" and "-".

    Raises:
        ValueRangeError: no data set, a name that cannot be, fewer than 1 class.
    """

    def __init__(self, body: PlainUNet | ResidualEncoderUNet, heads: Mapping[str, int]) -> None:
        super().__init__()
        _check(heads)
        self.topology = body.topology
        self.multiple = body.multiple
        self.deep_supervision = body.deep_supervision
        self.encoder = body.encoder
        self.decoder = Trunk(body.decoder.transpconvs, body.decoder.stages)
        self.heads = nn.ModuleDict({name: new_heads(classes, body.topology) for name, classes in heads.items()})

    def forward(self, x: Tensor, dataset: str | None = None) -> Tensor | tuple[Tensor, ...]:
        """Logits of (N, in_channels, [D,] H, W) float32, sizes multiples of `multiple`, for one data set.

        Args:
            x: images of this data set.
            dataset: its name; may be left out where there is one.

        Returns:
            (N, classes of the data set, [D,] H, W). In training mode with `deep_supervision`: a tuple of the logits of
            every level, the largest first.

        Raises:
            ValueRangeError: no such data set, or none named of several.
        """
        levels = self.decoder.features(self.encoder(x))
        return logits(levels, self.heads[self._name(dataset)], self.training and self.deep_supervision)

    def body_state(self, dataset: str | None = None) -> dict[str, Tensor]:
        """The state dict of a U-Net like the body with one data set's head, for `transfer` or for a network alone.

        Args:
            dataset: whose head becomes `decoder.seg_layers`; may be left out where there is one.

        Raises:
            ValueRangeError: no such data set, or none named of several.
        """
        head = f"heads.{self._name(dataset)}."
        state = self.state_dict()
        named = {f"decoder.seg_layers.{key.removeprefix(head)}": key for key in state if key.startswith(head)}
        shared = {key: value for key, value in state.items() if not key.startswith("heads.")}
        return shared | {name: state[key] for name, key in named.items()}

    def _name(self, dataset: str | None) -> str:
        """The data set meant. Raises: ValueRangeError."""
        known: list[str] = list(self.heads)
        name = known[0] if dataset is None and len(known) == 1 else dataset
        if name is None or name not in known:
            raise ValueRangeError(describe("dataset", repr(dataset), f"one of {', '.join(known)}"))
        return name


def _check(heads: Mapping[str, int]) -> None:
    """Raises: ValueRangeError: no data set, a name that cannot be, fewer than 1 class."""
    if not heads:
        raise ValueRangeError(describe("heads", "no data set", "at least one"))
    for name, classes in heads.items():
        if not re.fullmatch(r"[\w-]+", name, re.ASCII) or hasattr(nn.ModuleDict, name):
            expected = "a name of letters, digits, '_' and '-' that torch.nn.ModuleDict does not use"
            raise ValueRangeError(describe("heads", repr(name), expected))
        if classes < 1:
            raise ValueRangeError(describe(f"heads: {name}", classes, "classes from 1 on"))
