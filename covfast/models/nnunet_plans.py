"""plans.json and dataset.json of nnU-Net's second generation as settings of a recipe; what we cannot do is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covfast.errors import FormatError, ValueRangeError, describe
from covfast.models.nnunet_recipe import ANISOTROPY, ORIENTATIONS, SEPARATE_Z, Resampling, Settings
from covfast.models.plan_entries import Entries

_RESAMPLING = "resample_data_or_seg_to_shape"
_MOST_LABEL = 255


@dataclass(frozen=True)
class Labels:
    """What the channels of the networks' output mean.

    Attributes:
        values: label of each channel, or of each region.
        is_regions: whether the channels are regions, which overlap.
        foreground: the labels other than 0; of regions those that they are made of.
        names: value -> name, without the background.
    """

    values: tuple[int, ...]
    is_regions: bool
    foreground: tuple[int, ...]
    names: Mapping[int, str]


class Plans:
    """plans.json.

    Args:
        held: the object.
        where: it lies, for messages.
    """

    def __init__(self, held: Mapping[str, Any], where: str) -> None:
        self.entries = Entries(held, where)
        self._configurations = self.entries.below("configurations")

    def configuration(self, name: str) -> Entries:
        """A configuration with what it inherits. Raises: ValueRangeError: there is none; FormatError: a circle."""
        if name not in self._configurations.held:
            known = ", ".join(map(str, self._configurations.held))
            raise ValueRangeError(describe(f"{self.entries.where}: configuration", repr(name), f"one of {known}"))
        held: dict[str, Any] = {}
        seen: list[str] = []
        while True:
            entries = self._configurations.below(name)
            held = {**entries.held, **held}
            seen.append(name)
            if not entries.has("inherits_from"):
                return Entries(held, f"{self._configurations.where}: {seen[0]}")
            name = entries.text("inherits_from")
            if name in seen:
                raise FormatError(describe(entries.where, f"a circle through {name!r}", "inheritance that ends"))


def read_labels(dataset: Entries, plans: Entries) -> Labels:
    """The labels of dataset.json. Raises: FormatError: labels that nnU-Net itself does not allow, or above 255."""
    manager = plans.text("label_manager", "LabelManager")
    if manager != "LabelManager":
        raise FormatError(describe(f"{plans.where}: label_manager", manager, "LabelManager"))
    given = dataset.below("labels")
    parts = {str(name): _label(name, given) for name in given.held}
    if parts.get("background") != (0,):
        raise FormatError(describe(f"{given.where}: background", given.get("background"), "0"))
    ignored = parts.pop("ignore", None)
    every = sorted({label for labels in parts.values() for label in labels})
    if every != list(range(len(every))) or len(every) < 2 or every[-1] > _MOST_LABEL:
        raise FormatError(describe(given.where, f"the labels {every[:10]}", "0, 1, 2, ... without a gap, at most 255"))
    if ignored is not None and ignored != (len(every),):
        raise FormatError(describe(f"{given.where}: ignore", ignored, f"{len(every)}, the highest label"))
    foreground = tuple(every[1:])
    if all(len(labels) == 1 for labels in parts.values()):
        names = {labels[0]: name for name, labels in parts.items() if labels != (0,)}
        return Labels(tuple(every), False, foreground, names)
    regions = [name for name, labels in parts.items() if set(labels) != {0}]
    order = tuple(dataset.wholes("regions_class_order"))
    if len(order) != len(regions) or not all(0 < value <= _MOST_LABEL for value in order):
        got = f"{len(order)} entries for {len(regions)} regions"
        raise FormatError(
            describe(f"{dataset.where}: regions_class_order", got, "a label from 1 to 255 for each region")
        )
    return Labels(order, True, foreground, dict(zip(order, regions, strict=True)))


def _label(name: object, labels: Entries) -> tuple[int, ...]:
    """A label, or the labels of a region."""
    value = labels.get(name)
    found = tuple(labels.wholes(name)) if isinstance(value, (list, tuple)) else (labels.whole(name),)
    if not found or min(found) < 0:
        raise FormatError(describe(f"{labels.where}: {name}", value, "a label, or a list of them"))
    return found


def read_settings(
    plans: Plans, configuration: Entries, dataset: Entries, labels: Labels, mirror_axes: Sequence[int], rank: int
) -> Settings:
    """Everything of a recipe but the networks' names.

    Args:
        plans: of the model.
        configuration: with what it inherits.
        dataset: dataset.json.
        labels: of it.
        mirror_axes: of the networks' inputs, from the checkpoint.
        rank: spatial axes of the networks.

    Raises:
        FormatError: something that our stages do not do, or lists that do not fit.
    """
    name = configuration.text("preprocessor_name", "DefaultPreprocessor")
    if name != "DefaultPreprocessor":
        raise FormatError(describe(f"{configuration.where}: preprocessor_name", name, "DefaultPreprocessor"))
    patch, spacing = configuration.wholes("patch_size"), configuration.numbers("spacing")
    if len(patch) != rank or len(spacing) != rank or min(patch) < 1 or min(spacing) <= 0:
        got = f"patch_size {patch} and spacing {spacing} of a {rank}-D network"
        raise FormatError(describe(configuration.where, got, f"{rank} numbers above 0 each"))
    if any(not 0 <= axis < rank for axis in mirror_axes) or len(set(mirror_axes)) < len(mirror_axes):
        raise FormatError(describe(f"{configuration.where}: mirroring", list(mirror_axes), f"axes below {rank}"))
    lead = 3 - rank  # a 2-D network sees slices of the first axis, whose spacing stays
    return Settings(
        generation=2,
        orientation=_orientation(plans.entries),
        transpose=_transpose(plans.entries),
        channels=_channels(plans.entries, configuration, channel_count(dataset)),
        spacing_mm=(*[0.0] * lead, *spacing),
        data=_resampling(configuration, "data", (1, 3), 3),
        logits=_resampling(configuration, "probabilities", (1,), 3),
        patch=(*[1] * lead, *patch),
        mirror_axes=tuple(sorted(axis + lead for axis in mirror_axes)),
        values=labels.values,
        is_regions=labels.is_regions,
        foreground=labels.foreground,
    )


def channel_count(dataset: Entries) -> int:
    """Channels of the image. Raises: FormatError."""
    given = dataset.below("modality" if "modality" in dataset.held else "channel_names")
    if not given.held:
        raise FormatError(describe(given.where, "no channel", "one at least"))
    return len(given.held)


def require_usual_labels_resampling(configuration: Entries) -> None:
    """Refuse a cascade that resamples labels in another way than nnU-Net's own. Raises: FormatError."""
    _resampling(configuration, "seg", (1,), 3, is_seg=True)


def _orientation(plans: Entries) -> str:
    reader = plans.text("image_reader_writer", "SimpleITKIO")
    if reader not in ORIENTATIONS:
        expected = f"one of {', '.join(ORIENTATIONS)}"
        raise FormatError(describe(f"{plans.where}: image_reader_writer", reader, expected))
    return ORIENTATIONS[reader]


def _transpose(plans: Entries) -> tuple[int, ...]:
    forward, backward = plans.wholes("transpose_forward"), plans.wholes("transpose_backward")
    if sorted(forward) != [0, 1, 2] or [forward[i] if 0 <= i < 3 else -1 for i in backward] != [0, 1, 2]:
        got = f"{forward} and {backward}"
        raise FormatError(describe(f"{plans.where}: transpose_forward", got, "an order of three axes and its inverse"))
    return tuple(forward)


def _channels(plans: Entries, configuration: Entries, count: int) -> tuple[dict[str, Any], ...]:
    """How each channel is normalised."""
    schemes, masked = configuration.get("normalization_schemes"), configuration.get("use_mask_for_norm")
    is_list = isinstance(schemes, list) and isinstance(masked, list)
    if not is_list or len(schemes) != count or len(masked) != count:
        got = f"normalization_schemes {schemes} and use_mask_for_norm {masked}"
        raise FormatError(describe(configuration.where, got, f"one of each for {count} channels"))
    key = "foreground_intensity_properties_per_channel"
    key = key if plans.has(key) else "foreground_intensity_properties_by_modality"
    made = []
    for channel, (scheme, is_masked) in enumerate(zip(schemes, masked, strict=True)):
        if scheme == "CTNormalization":
            made.append(ct_channel(plans.below(key).below(str(channel)), "std", 1e-8))
        elif scheme == "ZScoreNormalization":
            made.append({"scheme": "zscore", "masked": bool(is_masked)})
        elif scheme in _SCHEMES:
            made.append({"scheme": _SCHEMES[scheme]})
        else:
            expected = f"CTNormalization, ZScoreNormalization, {', '.join(_SCHEMES)}"
            raise FormatError(describe(f"{configuration.where}: normalization_schemes", repr(scheme), expected))
    return tuple(made)


_SCHEMES = {"RescaleTo01Normalization": "rescale01", "RGBTo01Normalization": "rgb01", "NoNormalization": "none"}


def ct_channel(given: Entries, deviation: str, least: float) -> dict[str, Any]:
    """Clip and scale of a CT channel; the deviation is `least` at least. Raises: FormatError."""
    low, high = given.number("percentile_00_5"), given.number("percentile_99_5")
    std = max(given.number(deviation), least)
    if low > high or std <= 0:
        raise FormatError(describe(given.where, f"[{low}, {high}] and a deviation of {std}", "low <= high, above 0"))
    return {"scheme": "ct", "low": low, "high": high, "mean": given.number("mean"), "std": std}


def _resampling(
    configuration: Entries, what: str, orders: Sequence[int], default_order: int, is_seg: bool = False
) -> Resampling:
    """How the plans resample one kind of array; the defaults are those of nnU-Net's function."""
    key = f"resampling_fn_{what}"
    name = configuration.text(key, _RESAMPLING)
    if name != _RESAMPLING:
        raise FormatError(describe(f"{configuration.where}: {key}", name, _RESAMPLING))
    given = Entries(configuration.get(f"{key}_kwargs") or {}, f"{configuration.where}: {key}_kwargs")
    known = {"is_seg", "order", "order_z", "force_separate_z", "separate_z_anisotropy_threshold"}
    if set(given.held) - known:
        got = f"the parameter {min(set(given.held) - known)!r}"
        raise FormatError(describe(given.where, got, f"some of {', '.join(sorted(known))}"))
    order, order_z = given.whole("order", default_order), given.whole("order_z", 0)
    separate = given.get("force_separate_z") if "force_separate_z" in given.held else False
    if given.flag("is_seg", False) != is_seg or order not in orders or order_z not in (0, 1):
        got = f"is_seg {given.get('is_seg')}, order {order}, order_z {order_z}"
        expected = f"is_seg {is_seg}, order {' or '.join(map(str, orders))}, order_z 0 or 1"
        raise FormatError(describe(given.where, got, expected))
    if separate not in (None, True, False):
        raise FormatError(describe(f"{given.where}: force_separate_z", separate, "null, true or false"))
    anisotropy = given.number("separate_z_anisotropy_threshold", ANISOTROPY)
    return Resampling(order, order_z, SEPARATE_Z[separate], anisotropy)
