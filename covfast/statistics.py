"""Measurements of a segmented chest CT, ready for JSON, each with its written definition.

One pass over the scan fills a histogram of HU for each lung and for the infection in it, and counts voxels along the
head-to-foot axis; every figure comes from those counts. What the scan cuts off is null, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import GeometryError, describe
from covfast.volume import CONSOLIDATED, GROUND_GLASS, INFECTION, LEFT_LUNG, RIGHT_LUNG, Geometry, Segmentation, Volume

Counts = npt.NDArray[np.int64]
Json = dict[str, Any]

SCHEMA_VERSION = 1

SIDES = {"left": LEFT_LUNG, "right": RIGHT_LUNG}
THIRDS = ("upper", "middle", "lower")

HU_LOW, HU_HIGH = -2048, 3071
"""Ends of the histogram: what 12-bit CT can hold. Values beyond (metal, padding) count at the ends."""

BANDS_HU = {
    "low_attenuation": (None, -950),
    "well_aerated": (-950, -700),
    "reduced_aeration": (-700, -500),
    "poorly_aerated": (-500, -100),
    "non_aerated": (-100, None),
}
"""Half-open bands [low, high) of HU that share out the lung; sources in `DEFINITIONS`."""

MIN_LESION_ML = 0.05
"""Smaller pieces of infection (a cube of 3.7 mm) are not counted as lesions: most are noise of the segmentation."""

MIN_CUT_MM2 = 25.0
"""A lung is cut off where it covers this much (5 x 5 mm) of the scan's border; a stray voxel there is no sign of it."""

ASYMMETRIC_RATIO = (0.6, 1.2)
"""Left over right lung volume is about 0.85 in adults; outside this range a lung is diseased, absent or mislabelled."""

LOW_LUNG_ML = 2000.0
"""Both lungs of an adult in deep inspiration hold 4-7 L; below 2 L: a child, expiration, or lung that was not found."""

DECLARED_NOTES = ("PADDING_TO_AIR", "SERIES_CHOSEN")
"""Notes of what reading always does: they stand in run.json, and as warnings they would hide the real ones."""

THICK_SLICE_MM = 5.0
"""Above this step small lesions fall between slices and partial volume blurs the HU bands."""

DEFINITIONS: dict[str, str] = {
    "lung_ml": "Volume of the lung mask, infection and vessels inside it included; trachea, main bronchi and hilar "
    "vessels excluded. Null where the scan cuts the lung off or no lung was found.",
    "infection_ml": "Volume of the voxels labelled infection inside the lung mask. Null where lung_ml is null.",
    "infection_percent": "100 * infection_ml / lung_ml of the same region.",
    "low_attenuation_ml": "Lung below -950 HU, the threshold for emphysema of Gevenois et al. 1996 (AJRCCM 154:187). "
    "It depends on slice thickness and kernel; alone it does not diagnose emphysema.",
    "well_aerated_ml": "Lung in [-950, -700) HU, after Colombi et al. 2020 (Radiology 296:E86), infection included.",
    "reduced_aeration_ml": "Lung in [-700, -500) HU: between the two published bands beside it.",
    "poorly_aerated_ml": "Lung in [-500, -100) HU, after Gattinoni et al. 2001 (AJRCCM 164:1701).",
    "non_aerated_ml": "Lung at -100 HU and above, after Gattinoni et al. 2001; vessels inside the lung mask included.",
    "*_percent of a band": "100 * the band's mL / lung_ml of the same region.",
    "visible": "The same measurements of the part that the scan shows, also where it cuts the lung off.",
    "is_cut_off": f"The lung covers at least {MIN_CUT_MM2:g} mm2 of the scan's border or of the edge of its round "
    "field of view. 'all' is cut off if either lung is.",
    "hu, infection_hu": "Mean, standard deviation (of the population) and percentiles of the HU in the visible lung "
    f"(infection included) and in its infection; HU rounded to whole numbers and clipped to [{HU_LOW}, {HU_HIGH}]. The "
    "p-th percentile is the smallest HU that at least p percent of the voxels do not exceed. Null without voxels.",
    "lesion_count": "26-connected pieces of infection inside both lungs of at least minimum_lesion_ml each.",
    "largest_lesion_ml": "Volume of the largest of those pieces; null if there is none.",
    "ground_glass_ml, consolidation_ml": "Volume of the infection that a network calls ground glass, or consolidation, "
    "in the visible lungs; consolidation_percent is its share of both. Null without infection.",
    "thirds": "Each lung cut into three slabs of equal height between its own lowest and highest visible slice. Thirds "
    "are not lobes. Null where the lung is cut off, because its ends are then not known.",
    "TRUNCATED": f"A lung covers at least {MIN_CUT_MM2:g} mm2 of the first or last axial slice (value, mm2).",
    "FOV_CUT": f"A lung covers at least {MIN_CUT_MM2:g} mm2 of the scan's sides, or of the edge of its round field of "
    "view (value, mm2).",
    "LUNG_ASYMMETRIC": "Left over right lung volume (value) lies outside "
    f"[{ASYMMETRIC_RATIO[0]}, {ASYMMETRIC_RATIO[1]}].",
    "LUNG_VOLUME_LOW": f"Both lungs together hold less than {LOW_LUNG_ML:g} mL (value).",
    "NO_LUNGS": "No lungs were found in the scan; nothing could be measured.",
    "LUNG_MISSING": "No voxel of this lung was found.",
    "THICK_SLICES": f"The step along the head-to-foot axis (value, mm) is more than {THICK_SLICE_MM:g} mm.",
    "INFECTION_OUTSIDE_LUNGS": "Infection that lies outside the lung mask (value, mL); it is not measured.",
}


def statistics(
    volume: Volume, labels: Segmentation, lungs: Segmentation, lesion_types: Segmentation | None = None
) -> Json:
    """Volumes, infection, density, lesions and warnings of one scan.

    The numbers depend on the voxels and their size, not on the order in which the arrays store them.

    Args:
        volume: the scan in HU, (D, H, W), any orientation.
        labels: 3 is infection; other values are not read.
        lungs: 1 left lung, 2 right lung, infection included.
        lesion_types: 1 ground glass, 2 consolidation, of the infection; None where they are not told apart.
    Returns: a dict as `schemas/statistics.schema.json` describes; every definition stands in it. Without a lung voxel,
        what `no_lungs` returns.
    Raises: GeometryError: they do not lie on one grid.
    """
    for name, other in (("labels", labels), ("lungs", lungs), ("lesion_types", lesion_types)):
        if other is not None and not other.geometry.is_close(volume.geometry):
            raise GeometryError(describe(name, f"grid {other.geometry.shape}", "the grid of volume"))
    geometry = volume.geometry
    # A determinant's last bits depend on the order of the axes; 13 digits do not.
    voxel_ml = float(f"{geometry.voxel_ml:.13g}")
    tally = _count(volume.hu, labels.labels, lungs.labels, geometry)
    if not tally.profile.any():
        return no_lungs(volume, "the lung mask is empty")
    cuts = _cuts(volume.hu, lungs.labels, geometry)
    cut_off = {side: any(cut["side"] == side for cut in cuts) for side in SIDES}
    regions = _regions(tally, cut_off, voxel_ml)
    return {
        "schema_version": SCHEMA_VERSION,
        "lungs": regions,
        "lesions": _lesions(labels.labels, lungs.labels, tally.infection_box, voxel_ml),
        **({} if lesion_types is None else {"lesion_types": _types(lesion_types.labels, lungs.labels, voxel_ml)}),
        "thirds": _thirds(tally, cut_off, voxel_ml),
        "warnings": _warnings(volume, regions, cuts, tally.outside * voxel_ml),
        "definitions": dict(DEFINITIONS),
    }


def _types(types: npt.NDArray[np.uint8], lungs: npt.NDArray[np.uint8], voxel_ml: float) -> Json:
    inside = lungs > 0
    glass, dense = (int(np.count_nonzero(inside & (types == value))) for value in (GROUND_GLASS, CONSOLIDATED))
    return {
        "ground_glass_ml": glass * voxel_ml,
        "consolidation_ml": dense * voxel_ml,
        "consolidation_percent": 100.0 * dense / (glass + dense) if glass + dense else None,
    }


def no_lungs(volume: Volume, message: str) -> Json:
    """The same dict for a scan in which no lungs were found: every measurement is null, because 0 would claim health.

    Args:
        volume: the scan.
        message: why, for the warning NO_LUNGS.
    """
    nothing = np.zeros(0, np.int64)
    visible = dict.fromkeys(_volumes(nothing, nothing, 0.0))
    region: Json = {**visible, "is_cut_off": False, "visible": visible, "hu": None, "infection_hu": None}
    return {
        "schema_version": SCHEMA_VERSION,
        "lungs": dict.fromkeys(("all", *SIDES), region),
        "lesions": {"lesion_count": None, "largest_lesion_ml": None, "minimum_lesion_ml": MIN_LESION_ML},
        "thirds": [_third(side, third) for side in ("right", "left") for third in THIRDS],
        "warnings": [_warning("NO_LUNGS", None, message), *_scan_warnings(volume)],
        "definitions": dict(DEFINITIONS),
    }


@dataclass(frozen=True)
class _Tally:
    """Voxel counts of one scan. Classes: 0 healthy left, 1 healthy right, 2 infected left, 3 infected right.

    Attributes:
        histogram: (4, HU bins) of each class.
        profile: (4, D) of each class along the canonical D, from inferior to superior.
        infection_box: the box (array axes) that holds all infection inside lungs; None without any.
        outside: voxels labelled infection outside the lungs.
    """

    histogram: Counts
    profile: Counts
    infection_box: tuple[slice, slice, slice] | None
    outside: int

    def of(self, counts: Counts, side: str) -> tuple[Counts, Counts]:
        """(lung, infection) rows of `counts` for "left", "right" or "all"."""
        healthy, infected = counts[:2], counts[2:]
        rows = slice(None) if side == "all" else [list(SIDES).index(side)]
        return (healthy[rows] + infected[rows]).sum(axis=0), infected[rows].sum(axis=0)


def _count(
    hu: npt.NDArray[Any], labels: npt.NDArray[np.uint8], lungs: npt.NDArray[np.uint8], geometry: Geometry
) -> _Tally:
    """Count a scan slab by slab along the axis that is slowest in memory, so that each slab is read in order."""
    outer = int(np.argmax(np.abs(lungs.strides)))
    rest = [axis for axis in range(3) if axis != outer]
    height = geometry.axes[0]
    bins = HU_HIGH - HU_LOW + 1
    histogram = np.zeros(4 * bins, np.int64)
    profile = np.zeros((4, geometry.shape[height]), np.int64)
    hit = [np.zeros(n, np.bool_) for n in geometry.shape]
    outside = 0
    slabs = zip(*(np.moveaxis(array, outer, 0) for array in (hu, labels, lungs)), strict=True)
    for number, (hu_slab, labels_slab, lungs_slab) in enumerate(slabs):
        infected = labels_slab == INFECTION
        inside = (lungs_slab == LEFT_LUNG) | (lungs_slab == RIGHT_LUNG)
        outside += int(np.count_nonzero(infected & ~inside))
        if not inside.any():
            continue
        infected &= inside
        kind = lungs_slab[inside].astype(np.int64) - 1 + 2 * infected[inside]
        level = np.clip(np.rint(hu_slab[inside]), HU_LOW, HU_HIGH).astype(np.int64) - HU_LOW
        histogram += np.bincount(kind * bins + level, minlength=4 * bins)
        along = number if height == outer else np.nonzero(inside)[rest.index(height)]
        width = profile.shape[1]
        profile += np.bincount(kind * width + along, minlength=4 * width).reshape(4, width)
        if infected.any():
            hit[outer][number] = True
            hit[rest[0]] |= infected.any(axis=1)
            hit[rest[1]] |= infected.any(axis=0)
    if geometry.flips[0]:
        profile = profile[:, ::-1]
    return _Tally(histogram.reshape(4, bins), profile, _box(hit), outside)


def _box(hit: list[npt.NDArray[np.bool_]]) -> tuple[slice, slice, slice] | None:
    spans = [np.flatnonzero(line) for line in hit]
    if not all(span.size for span in spans):
        return None
    d, h, w = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return d, h, w


def _regions(tally: _Tally, cut_off: dict[str, bool], voxel_ml: float) -> Json:
    """Measurements of "all", "left" and "right"."""
    regions: Json = {}
    seen = {side: bool(tally.of(tally.profile, side)[0].any()) for side in SIDES}
    for side in ("all", *SIDES):
        lung, infection = tally.of(tally.histogram, side)
        members = list(SIDES) if side == "all" else [side]
        is_cut_off = any(cut_off[member] for member in members)
        visible = _volumes(lung, infection, voxel_ml)
        is_whole = not is_cut_off and all(seen[member] for member in members)
        regions[side] = {
            **(visible if is_whole else dict.fromkeys(visible)),
            "is_cut_off": is_cut_off,
            "visible": visible,
            "hu": _density(lung),
            "infection_hu": _density(infection),
        }
    return regions


def _volumes(lung: Counts, infection: Counts, voxel_ml: float) -> Json:
    """mL and percent from the histograms of a lung and of the infection in it; percentages of nothing are null."""
    total, sick = int(lung.sum()), int(infection.sum())
    result: Json = {
        "lung_ml": total * voxel_ml,
        "infection_ml": sick * voxel_ml,
        "infection_percent": _percent(sick, total),
    }
    for name, (low, high) in BANDS_HU.items():
        start = 0 if low is None else low - HU_LOW
        count = int(lung[start : None if high is None else high - HU_LOW].sum())
        result[f"{name}_ml"] = count * voxel_ml
        result[f"{name}_percent"] = _percent(count, total)
    return result


def _percent(part: int, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None


def _density(histogram: Counts) -> Json | None:
    """Mean, standard deviation and percentiles of a histogram of HU; None if it is empty."""
    total = int(histogram.sum())
    if not total:
        return None
    hu = np.arange(HU_LOW, HU_HIGH + 1, dtype=np.float64)
    mean = float(histogram @ hu) / total
    running = np.cumsum(histogram)
    result: Json = {"mean_hu": mean, "sd_hu": float(np.sqrt(histogram @ (hu - mean) ** 2 / total))}
    for percentile in (5, 25, 50, 75, 95):
        # Whole numbers: 100 * running >= p * total has no rounding.
        result[f"p{percentile:02d}_hu"] = int(hu[int(np.argmax(100 * running >= percentile * total))])
    return result


def _lesions(
    labels: npt.NDArray[np.uint8],
    lungs: npt.NDArray[np.uint8],
    box: tuple[slice, slice, slice] | None,
    voxel_ml: float,
) -> Json:
    """Number and largest of the connected pieces of infection; only the box around them is looked at."""
    sizes_ml: npt.NDArray[np.float64] = np.zeros(0)
    if box is not None:
        import SimpleITK

        lung = lungs[box]
        infected = (labels[box] == INFECTION) & ((lung == LEFT_LUNG) | (lung == RIGHT_LUNG))
        pieces = SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(infected.view(np.uint8)), True)
        sizes_ml = np.asarray(np.bincount(SimpleITK.GetArrayViewFromImage(pieces)[infected])[1:] * voxel_ml, np.float64)
        sizes_ml = sizes_ml[sizes_ml >= MIN_LESION_ML]
    return {
        "lesion_count": len(sizes_ml),
        "largest_lesion_ml": float(sizes_ml.max()) if len(sizes_ml) else None,
        "minimum_lesion_ml": MIN_LESION_ML,
    }


def _thirds(tally: _Tally, cut_off: dict[str, bool], voxel_ml: float) -> list[Json]:
    """Each lung in three slabs of equal height, upper first. A slice that two thirds share is shared out by height."""
    rows = []
    for side in ("right", "left"):
        lung, infection = tally.of(tally.profile, side)
        slices = np.flatnonzero(lung)
        known = bool(slices.size) and not cut_off[side]
        for number, third in enumerate(THIRDS):
            row = _third(side, third)
            if known:
                low, height = int(slices[0]), int(slices[-1]) + 1 - int(slices[0])
                start = low + height * (2 - number) / 3
                depth = np.arange(len(lung))
                share = np.clip(np.minimum(depth + 1, start + height / 3) - np.maximum(depth, start), 0, 1)
                row["lung_ml"], row["infection_ml"] = (
                    float(share @ lung) * voxel_ml,
                    float(share @ infection) * voxel_ml,
                )
                row["infection_percent"] = 100 * row["infection_ml"] / row["lung_ml"] if row["lung_ml"] else None
            rows.append(row)
    return rows


def _third(side: str, third: str) -> Json:
    return {"side": side, "third": third, "lung_ml": None, "infection_ml": None, "infection_percent": None}


def _cuts(hu: npt.NDArray[Any], lungs: npt.NDArray[np.uint8], geometry: Geometry) -> list[Json]:
    """Where the scan cuts a lung off: {code, side, where, area_mm2} each."""
    view = geometry.to_canonical(lungs)
    step_d, step_h, step_w = (geometry.spacing_mm[axis] for axis in geometry.axes)
    faces = (
        ("TRUNCATED", "inferior slice", view[0], step_h * step_w),
        ("TRUNCATED", "superior slice", view[-1], step_h * step_w),
        ("FOV_CUT", "anterior side", view[:, 0], step_d * step_w),
        ("FOV_CUT", "posterior side", view[:, -1], step_d * step_w),
        ("FOV_CUT", "right side", view[:, :, 0], step_d * step_h),
        ("FOV_CUT", "left side", view[:, :, -1], step_d * step_h),
    )
    found = []
    rim = _rim(geometry.to_canonical(hu))
    for side, label in SIDES.items():
        areas = [(code, where, float(np.count_nonzero(face == label) * mm2)) for code, where, face, mm2 in faces]
        if rim is not None:
            on_rim = sum(int(np.count_nonzero(page[rim] == label)) for page in view)
            # The rim is two voxels wide.
            areas.append(("FOV_CUT", "edge of the round field of view", on_rim / 2 * step_d * (step_h + step_w) / 2))
        found += [{"code": c, "side": side, "where": w, "area_mm2": a} for c, w, a in areas if a >= MIN_CUT_MM2]
    return found


def _rim(hu: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """(H, W) bool, the two voxels inside the edge of a round field of view; None if the scan has none.

    It has one if the middle slice holds a single value everywhere outside the inscribed circle (padding: measured air
    is noisy) and other values just inside.
    """
    page = hu[hu.shape[0] // 2]
    height, width = page.shape
    if min(height, width) < 16:
        return None
    h, w = (np.abs(np.arange(n) - (n - 1) / 2) * 2 / n for n in (height, width))
    radius = np.sqrt(h[:, None] ** 2 + w[None, :] ** 2)
    one_voxel = 2 / min(height, width)
    outside = page[radius > 1 + one_voxel]
    rim = (radius > 1 - 3 * one_voxel) & (radius <= 1 - one_voxel)
    if outside.size == 0 or (outside != outside[0]).any() or (page[rim] == outside[0]).mean() > 0.5:
        return None
    return np.asarray(rim, np.bool_)


def _warnings(volume: Volume, regions: Json, cuts: list[Json], outside_ml: float) -> list[Json]:
    """What a reader must know before trusting the numbers, then what reading the scan changed."""
    found = [*_cut_warnings(cuts), *_lung_warnings(regions)]
    if outside_ml > 0:
        text = f"{outside_ml:.2f} mL labelled infection lie outside the lungs and are not measured"
        found.append(_warning("INFECTION_OUTSIDE_LUNGS", outside_ml, text))
    return [*found, *_scan_warnings(volume)]


def _scan_warnings(volume: Volume) -> Iterator[Json]:
    step_mm = volume.geometry.spacing_mm[volume.geometry.axes[0]]
    if step_mm > THICK_SLICE_MM:
        yield _warning("THICK_SLICES", step_mm, f"slices lie {step_mm:.1f} mm apart; small lesions may be missed")
    for note in volume.notes:
        if note["code"] in DECLARED_NOTES:
            continue
        yield _warning(str(note["code"]), note.get("value"), str(note["message"]))


def _warning(code: str, value: Any, message: str) -> Json:
    return {"code": code, "value": value, "message": message}


def _cut_warnings(cuts: list[Json]) -> Iterator[Json]:
    for cut in cuts:
        text = f"{cut['side']} lung cut off at the {cut['where']} ({cut['area_mm2']:.0f} mm2)"
        yield _warning(cut["code"], cut["area_mm2"], text)


def _lung_warnings(regions: Json) -> Iterator[Json]:
    missing = [side for side in SIDES if not regions[side]["visible"]["lung_ml"]]
    for side in missing:
        yield _warning("LUNG_MISSING", None, f"no {side} lung was found")
    left, right, both = (regions[side]["lung_ml"] for side in ("left", "right", "all"))
    if both is None:
        return
    ratio = left / right
    if not ASYMMETRIC_RATIO[0] <= ratio <= ASYMMETRIC_RATIO[1]:
        yield _warning("LUNG_ASYMMETRIC", ratio, f"left over right lung volume is {ratio:.2f}")
    if both < LOW_LUNG_ML:
        yield _warning("LUNG_VOLUME_LOW", both, f"both lungs hold {both:.0f} mL; a low volume makes lung look denser")
