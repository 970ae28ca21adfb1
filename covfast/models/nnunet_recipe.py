"""The recipe of an nnU-Net: what happens to a volume before, in and behind its networks, as data for the engine.

The stages follow nnU-Net's own order, which differs between its generations: the second normalises before it resamples
and averages logits; the first resamples before it normalises and averages probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covfast.errors import FormatError, describe

ANISOTROPY = 3.0
"""A spacing this many times another makes nnU-Net resample an axis by itself."""

SEPARATE_Z = {None: "auto", True: "always", False: "never"}
"""nnU-Net's `force_separate_z` -> ours."""

ORIENTATIONS = {
    "SimpleITKIO": "file",
    "NibabelIO": "file",
    "Tiff3DIO": "file",
    "NaturalImage2DIO": "file",
    "NibabelIOWithReorient": "SAR",
    "SimpleITKIOWithReorient": "SAR",
}
"""nnU-Net's readers -> the direction in which (D, H, W) grow; "file": whatever the file's array has."""


@dataclass(frozen=True)
class Resampling:
    """How arrays change their spacing.

    Attributes:
        order, order_z: of the splines, in the plane and along an axis that is treated by itself.
        separate_z: whether there is such an axis: "always", "never", or "auto", where spacings differ by more than
            `anisotropy`.
    """

    order: int
    order_z: int = 0
    separate_z: str = "auto"
    anisotropy: float = ANISOTROPY

    def fields(self) -> dict[str, Any]:
        """As a stage has them."""
        return {
            "order": self.order,
            "order_z": self.order_z,
            "separate_z": self.separate_z,
            "anisotropy": self.anisotropy,
        }


@dataclass(frozen=True)
class Settings:
    """What the plans say about one configuration; axes are (D, H, W) after the transpose.

    Attributes:
        generation: 1 or 2, of nnU-Net.
        orientation: as of `ORIENTATIONS`.
        transpose: of the file's axes.
        channels: how each channel of the image is normalised.
        spacing_mm: of the network's input; 0 keeps an axis.
        data, logits: how the image and the networks' output are resampled.
        patch: size of a window.
        mirror_axes: along which the networks' outputs are averaged.
        values: label of each channel of the output, or of each region.
        is_regions: whether the channels overlap, and are told apart by their sign.
        foreground: labels that a cascade's second network gets as channels.
        crops: whether the volume is cut to what is not 0.
        normalises_first: whether it is normalised before it is resampled; None: as the generation does.
    """

    generation: int
    orientation: str
    transpose: tuple[int, ...]
    channels: tuple[Mapping[str, Any], ...]
    spacing_mm: tuple[float, ...]
    data: Resampling
    logits: Resampling
    patch: tuple[int, ...]
    mirror_axes: tuple[int, ...]
    values: tuple[int, ...]
    is_regions: bool
    foreground: tuple[int, ...]
    crops: bool = True
    normalises_first: bool | None = None


def recipe(
    settings: Settings,
    members: Sequence[str],
    previous: tuple[Mapping[str, Any], Sequence[str]] | None = None,
    components: Sequence[Sequence[int]] = (),
    connectivity: int = 26,
) -> dict[str, Any]:
    """The recipe of one configuration.

    Args:
        settings: of the configuration.
        members: names of the networks whose outputs are averaged.
        previous: of a cascade: recipe and members of the network that runs first.
        components: groups of labels of which only the largest component stays, one after another.
        connectivity: of these, 6, 18 or 26.
    """
    normalise = {"stage": "normalise_channels", "channels": [dict(channel) for channel in settings.channels]}
    is_first = settings.generation == 1
    normalises_first = not is_first if settings.normalises_first is None else settings.normalises_first
    resample = {
        "stage": "resample_volume",
        "spacing_mm": list(settings.spacing_mm),
        **settings.data.fields(),
    }
    windows = {
        "stage": "windows",
        "size": list(settings.patch),
        "step": 0.5,
        "importance": "gaussian",
        "single": "plain" if is_first else "weighted",
        "mirror_axes": list(settings.mirror_axes),
    }
    stages: list[dict[str, Any]] = [
        {"stage": "orient", "to": settings.orientation},
        {"stage": "transpose", "axes": list(settings.transpose)},
        *([{"stage": "crop", "to": "nonzero"}] if settings.crops else []),
        *((normalise, resample) if normalises_first else (resample, normalise)),
    ]
    if previous is not None:
        first, names = previous
        labels = list(settings.foreground)
        stages.append({"stage": "previous", "member": names[0], "labels": labels, "stages": first["stages"]})
    stages += [windows, {"stage": "network", "members": list(members)}]
    stages += [{"stage": "softmax"}] if is_first else []
    stages += [{"stage": "stitch"}, {"stage": "resample_logits", **settings.logits.fields()}]
    stages.append({"stage": "regions" if settings.is_regions else "argmax", "values": list(settings.values)})
    if components:
        groups = [list(group) for group in components]
        kept = {"keep": "largest", "min_voxels": 0, "connectivity": connectivity}
        stages.append({"stage": "components", "labels": groups, **kept})
    return {"version": 1, "stages": stages}


def require_windows(settings: Settings, multiple: Sequence[int], where: str) -> None:
    """Refuse a patch that the network does not take. Raises: FormatError."""
    sizes = settings.patch[-len(multiple) :]
    if any(n < m or n % m for n, m in zip(sizes, multiple, strict=True)):
        expected = f"multiples of {list(multiple)}, the product of the strides"
        raise FormatError(describe(f"{where}: patch_size", list(sizes), expected))


def largest_components(held: Mapping[str, Any], where: str) -> tuple[tuple[int, ...], ...]:
    """The groups of labels of which a postprocessing.json of either generation keeps the largest component.

    Raises: FormatError: it holds something else.
    """
    expected = "only the largest component of some labels to be kept"
    if "postprocessing_fns" in held:
        names, arguments = held["postprocessing_fns"], held.get("postprocessing_kwargs")
        known = {"remove_all_but_largest_component_from_segmentation"}
        if not isinstance(names, list) or not isinstance(arguments, list) or set(map(str, names)) - known:
            raise FormatError(describe(where, f"{names}", expected))
        if len(names) != len(arguments) or not all(isinstance(one, Mapping) for one in arguments):
            raise FormatError(describe(where, "other arguments than functions", expected))
        if any(one.get("background_label", 0) != 0 for one in arguments):
            raise FormatError(describe(where, "another background than 0", expected))
        # A list stands for the union of its entries, each a label or a region.
        return tuple(_group(one.get("labels_or_regions"), where) for one in arguments)
    if "for_which_classes" in held:
        if held.get("min_valid_object_sizes") not in (None, {}):
            raise FormatError(describe(where, "least sizes of components", expected))
        return tuple(_group(one, where) for one in held["for_which_classes"] or ())
    raise FormatError(describe(where, f"{sorted(map(str, held))[:5]}", expected))


def _group(labels: Any, where: str) -> tuple[int, ...]:
    """One label, a region, or a list of either, as the labels that it covers."""
    if isinstance(labels, int) and not isinstance(labels, bool) and 0 < labels < 256:
        return (labels,)
    if isinstance(labels, (list, tuple)) and labels:
        return tuple(sorted({label for one in labels for label in _group(one, where)}))
    raise FormatError(describe(where, f"the labels {labels!r}", "labels from 1 to 255, or lists of them"))
