"""From nnU-Net's description of a network, and its weights, to one of our U-Nets with these weights."""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: no-warn-return-any

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from covfast.errors import FormatError, ValueRangeError, WeightsError, describe
from covfast.models.plan_entries import Entries
from covfast.models.unet import PlainUNet, ResidualEncoderUNet

_HOME = "dynamic_network_architectures.architectures."
_CLASSES = {"PlainConvUNet": PlainUNet, "ResidualEncoderUNet": ResidualEncoderUNet}
_COUNTS = {"PlainConvUNet": ("n_conv_per_stage", "convs"), "ResidualEncoderUNet": ("n_blocks_per_stage", "blocks")}
_IGNORED = {"deep_supervision", "dropout_op", "dropout_op_kwargs"}  # without effect on a prediction
_NONE_OR_FALSE = {"nonlin_first", "bottleneck_channels", "stem_channels"}
_PARAMETERS = 1 << 30  # a network of more is refused before its memory is asked for


@dataclass(frozen=True)
class Architecture:
    """A network of the plans.

    Attributes:
        kind: "PlainConvUNet" or "ResidualEncoderUNet".
        rank: spatial axes.
        arguments: of our class, but for channels and classes.
        multiple: of the sizes that it takes, one number per axis.
    """

    kind: str
    rank: int
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def multiple(self) -> tuple[int, ...]:
        """What each size is a multiple of."""
        with torch.device("meta"):
            return self.build(1, 1).multiple

    def build(self, inputs: int, outputs: int) -> PlainUNet | ResidualEncoderUNet:
        """The network with new weights."""
        return _CLASSES[self.kind](inputs, outputs, **self.arguments)


def read_architecture(configuration: Entries) -> Architecture:
    """The network of a configuration, of new or old plans.

    Raises: FormatError: a class, an op or a parameter that we do not have; lists that do not fit.
    """
    if not configuration.has("architecture"):
        return _old_architecture(configuration)
    given = configuration.below("architecture")
    name = given.text("network_class_name")
    kind = name.rsplit(".", 1)[-1]
    if kind not in _CLASSES or not name.startswith(_HOME):
        expected = f"one of {', '.join(sorted(_CLASSES))} of {_HOME[:-1]}"
        raise FormatError(describe(f"{given.where}: network_class_name", name, expected))
    kwargs = given.below("arch_kwargs")
    rank = _rank(kwargs)
    eps, slope = _norm(kwargs, rank), _slope(kwargs)
    _refuse_unknown(kwargs, kind)
    stages = kwargs.whole("n_stages")
    if not 2 <= stages <= 16:
        raise FormatError(describe(f"{kwargs.where}: n_stages", stages, "2 to 16"))
    theirs, ours = _COUNTS[kind]
    arguments = {
        "features": kwargs.one_per_stage("features_per_stage", stages),
        "kernels": kwargs.axes_per_stage("kernel_sizes", stages, rank),
        "strides": kwargs.axes_per_stage("strides", stages, rank),
        ours: kwargs.one_per_stage(theirs, stages),
        "decoder_convs": kwargs.one_per_stage("n_conv_per_stage_decoder", stages - 1),
        "bias": kwargs.flag("conv_bias", False),
        "eps": eps,
        "slope": slope,
    }
    return Architecture(kind, rank, arguments)


def _rank(kwargs: Entries) -> int:
    name = kwargs.text("conv_op")
    ranks = {"Conv2d": 2, "Conv3d": 3}
    if name.rsplit(".", 1)[-1] not in ranks or not name.startswith("torch.nn."):
        raise FormatError(describe(f"{kwargs.where}: conv_op", name, "torch.nn.Conv2d or Conv3d"))
    return ranks[name.rsplit(".", 1)[-1]]


def _norm(kwargs: Entries, rank: int) -> float:
    """The eps of the instance norms."""
    name = kwargs.text("norm_op", "none")
    if name.rsplit(".", 1)[-1] != f"InstanceNorm{rank}d" or not name.startswith("torch.nn."):
        raise FormatError(describe(f"{kwargs.where}: norm_op", name, f"torch.nn.InstanceNorm{rank}d"))
    given = Entries(kwargs.get("norm_op_kwargs") or {}, f"{kwargs.where}: norm_op_kwargs")
    if not given.flag("affine", False) or given.flag("track_running_stats", False):
        got = "no weights, or running statistics"
        raise FormatError(describe(given.where, got, "affine norms without running statistics"))
    return given.number("eps", 1e-5)


def _slope(kwargs: Entries) -> float:
    """The slope of the leaky ReLUs."""
    name = kwargs.text("nonlin", "none")
    if name.rsplit(".", 1)[-1] != "LeakyReLU" or not name.startswith("torch.nn."):
        raise FormatError(describe(f"{kwargs.where}: nonlin", name, "torch.nn.LeakyReLU"))
    return Entries(kwargs.get("nonlin_kwargs") or {}, f"{kwargs.where}: nonlin_kwargs").number("negative_slope", 0.01)


def _refuse_unknown(kwargs: Entries, kind: str) -> None:
    known = {"n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", _COUNTS[kind][0]}
    known |= {"n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs", "nonlin", "nonlin_kwargs"}
    for key, value in kwargs.held.items():
        if key not in known | _IGNORED and not (key in _NONE_OR_FALSE and value in (None, False)):
            raise FormatError(describe(kwargs.where, f"the parameter {key!r}", f"those of a {kind} that we have"))


def _old_architecture(given: Entries) -> Architecture:
    """From plans that nnU-Net wrote before 2.3, without an 'architecture'."""
    kind = given.text("UNet_class_name")
    if kind not in _CLASSES:
        raise FormatError(describe(f"{given.where}: UNet_class_name", kind, f"one of {', '.join(sorted(_CLASSES))}"))
    rank, counts = len(given.numbers("patch_size")), given.wholes("n_conv_per_stage_encoder")
    stages, base, most = len(counts), given.whole("UNet_base_num_features"), given.whole("unet_max_num_features")
    arguments = {
        "features": [min(base * 2**stage, most) for stage in range(stages)],
        "kernels": given.axes_per_stage("conv_kernel_sizes", stages, rank),
        "strides": given.axes_per_stage("pool_op_kernel_sizes", stages, rank),
        _COUNTS[kind][1]: counts,
        "decoder_convs": given.one_per_stage("n_conv_per_stage_decoder", stages - 1),
    }
    return Architecture(kind, rank, arguments)


def own_names(names: Mapping[str, Any]) -> dict[str, Any]:
    """The weights under the one name that our classes have for each.

    nnU-Net's state dicts name every convolution and norm a second time (`all_modules`), and the whole encoder once more
    within the decoder. Prefixes of data parallel and compiled modules are dropped.
    """
    kept = {}
    for name, value in names.items():
        plain = str(name).removeprefix("module.").removeprefix("_orig_mod.")
        if ".all_modules." not in plain and not plain.startswith("decoder.encoder."):
            kept[plain] = value
    return kept


def load(
    architecture: Architecture,
    inputs: int,
    outputs: int,
    stored: Mapping[str, Any],
    read: Callable[[Any], Tensor],
    name: str,
) -> nn.Module:
    """The network with the weights of one checkpoint, in evaluation mode.

    Args:
        architecture: of the plans.
        inputs, outputs: channels, of the plans and labels.
        stored: name -> where the tensor lies, with its `shape`, under our names.
        read: gives the tensor.
        name: of the file, for messages.

    Raises:
        WeightsError: the plans and the weights contradict each other, or a value is not finite.
    """
    hint = "the plans and the weights contradict each other"
    try:
        with torch.device("meta"):
            module = architecture.build(inputs, outputs)
    except ValueRangeError as error:
        raise FormatError(describe(name, f"a network that cannot be ({error})", "plans of a U-Net")) from error
    wanted = module.state_dict()
    if sum(value.numel() for value in wanted.values()) > _PARAMETERS:
        raise WeightsError(describe(name, "a network of more than 2^30 parameters", "one that fits"))
    for what, keys in (("no", wanted.keys() - stored.keys()), ("an unknown", stored.keys() - wanted.keys())):
        if keys:
            raise WeightsError(describe(name, f"{what} tensor {min(keys)!r}", f"the {len(wanted)} of the plans", hint))
    tensors = {}
    for key, value in stored.items():
        shape = tuple(getattr(value, "shape", ()))
        if shape != tuple(wanted[key].shape):
            raise WeightsError(describe(f"{name}: {key}", shape, f"shape {tuple(wanted[key].shape)}", hint))
        tensor = read(value)
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise WeightsError(describe(f"{name}: {key}", "a value that is not finite", "finite weights"))
        tensors[key] = tensor.float()
    module.load_state_dict(tensors, assign=True)
    return module.eval()
