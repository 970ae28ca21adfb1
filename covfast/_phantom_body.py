"""The body of the synthetic chest, drawn slice by slice: wall, bones, mediastinum, abdomen, table and lung tissue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covfast._phantom_shapes import LEFT, RIGHT, Canvas, Float, dome_mm, heart, junction_mm, lung_shape, lung_side, ramp
from covfast.volume import LEFT_LUNG, RIGHT_LUNG

Page = npt.NDArray[np.int16]

FAT, MUSCLE, BLOOD, ORGAN, CORTEX, MARROW, CARTILAGE = -100, 52, 42, 58, 620, 210, 95
VERTEBRA_MM = 25.0
RIB_STEP_MM = 25.0


def paint_body(canvas: Canvas) -> None:
    """Paint everything but vessels, bronchi and lesions into `canvas.hu`, and the two lungs into `canvas.lungs`."""
    x, y = canvas.x[None, :], canvas.y[:, None]
    dome = dome_mm(x, y)
    drop = _rib_drop(x, y)
    table = _table(x, y)
    for page, lungs, z in zip(canvas.hu, canvas.lungs, canvas.z.tolist(), strict=True):
        np.copyto(page, table, where=table != 0)
        cage = _cage(canvas, z)
        _wall(canvas, page, z)
        _ribs(canvas, page, z, cage, drop)
        inside = cage < 1
        page[inside] = FAT
        _mediastinum(canvas, page, z)
        _abdomen(canvas, page, z, inside & (z < dome + 3) & (z < 150), dome)
        _spine(canvas, page, z)
        _front_bones(canvas, page, z)
        for side, label in ((RIGHT, RIGHT_LUNG), (LEFT, LEFT_LUNG)):
            cx, cy, a, b = (float(v) for v in lung_shape(z, side))
            _, rows, columns = canvas.window((cx - a, cy - b, z), (cx + a, cy + b, z))
            lungs[rows, columns][lung_side(x[:, columns], y[rows], z, side)] = label
        _lung_tissue(canvas, page, lungs, z)


def _table(x: Float, y: Float) -> Page:
    """(H, W) int16, the patient table: a curved carbon shell around foam; 0 where there is none."""
    below = y - (122 - 22 * (x / 190) ** 2)
    half = np.abs(x) < 205
    table = np.zeros(below.shape, np.int16)
    table[(below > 0) & (below < 22) & half] = -930
    table[(((below > 0) & (below < 2.5)) | ((below > 19.5) & (below < 22))) & half] = -180
    return table


def _cage(canvas: Canvas, z: float) -> Float:
    """(H, W) float32, below 1 inside the ring of the ribs: the oval around both lungs."""
    cx, cy, a, b = (float(v) for v in lung_shape(min(z, 262.0), LEFT))
    return canvas.oval(0, cy, cx + a + 4, b + 4, 2.3)


def _wall(canvas: Canvas, page: Page, z: float) -> None:
    """Skin, fat and muscle of the trunk, and the raised arms beside the shoulders."""
    a = float(np.interp(z, [0, 90, 170, 240, 285, 320], [158, 163, 166, 160, 148, 120]))
    b = float(np.interp(z, [0, 150, 250, 320], [121, 123, 112, 92]))
    fat = np.interp(z, [0, 120, 320], [15, 11, 9])
    cy = np.interp(z, [0, 200, 320], [0, 2, 22])
    shapes = [(0.0, float(cy), a, b, 2.4)]
    if z > 232:
        grown = float(np.sqrt(ramp(z, 232, 292)))
        shapes += [(side * 142.0, -6.0, 44 * grown + 1, 50 * grown + 1, 2.0) for side in (RIGHT, LEFT)]
    for inset, hu in ((0.0, 40), (2.2, FAT), (fat, MUSCLE)):
        for cx, middle, half_x, half_y, power in shapes:
            if min(half_x, half_y) > inset + 1:
                page[canvas.oval(cx, middle, half_x - inset, half_y - 1.15 * inset, power) < 1] = hu
    if z < 232:  # the layers of muscle between ribs and skin: fat planes
        ring = canvas.oval(0, float(cy), a - fat - 7, b - fat - 6, 2.4)
        page[np.abs(ring - 1) < 0.018] = -70
    if z > 246:
        for side in (RIGHT, LEFT):
            for radius, hu in ((14, CORTEX + 200), (10, MARROW)):
                canvas.disc(page, (side * 142, -6, radius, radius), hu)


def _rib_drop(x: Float, y: Float) -> Float:
    """(H, W) float32, how far in mm a rib has come down from its vertebra: ribs slope down to the front."""
    angle = np.arctan2(np.abs(x), y)  # 0 at the back, pi at the front
    return np.asarray(56 * (1 - np.cos(np.minimum(angle, 2.5))), np.float32)


def _ribs(canvas: Canvas, page: Page, z: float, cage: Float, drop: Float) -> None:
    """Rings of bone outside the lungs: ovals of 8 x 13 mm in cross-section, cartilage at the front."""
    cx, cy, a, b = (float(v) for v in lung_shape(min(z, 262.0), LEFT))
    half = min(cx + a, b) + 4
    # The oval's field grows by about 2.3 / half-axis a mm outwards.
    radial = (cage - 1) * half / 2.3 - 4.5
    height = (z + drop) % RIB_STEP_MM - RIB_STEP_MM / 2
    section = (radial / 4.2) ** 2 + (height / 6.5) ** 2
    if z > 275:
        return
    x, y = canvas.x[None, :], canvas.y[:, None]
    front = (y < cy - 0.55 * b) & (np.abs(x) < 72)
    body = (section < 1) & (np.abs(x) > 14) & (z < 262)
    page[body] = CORTEX
    page[body & (section < 0.42)] = MARROW
    page[body & front] = CARTILAGE


def _mediastinum(canvas: Canvas, page: Page, z: float) -> None:
    """Heart, great vessels, oesophagus and the fat around them; the trachea is a bronchus like the others."""
    if abs(z - 116) < 70:
        inside = heart(canvas.x[None, :], canvas.y[:, None], z)
        page[inside < 1] = MUSCLE - 6
        page[np.abs(inside - 1.06) < 0.02] = MUSCLE  # pericardium, seen against the fat within and without
    if z < 212:
        canvas.disc(page, (np.interp(z, [0, 120], [10, 25]), np.interp(z, [0, 120], [36, 40]), 13, 13), BLOOD)
    if 128 < z < 214:
        canvas.disc(page, (np.interp(z, [128, 214], [2, -10]), -26 + 0.1 * (z - 170), 16, 16), BLOOD)
    if 205 < z < 227:  # the arch, from front right to back left
        for t in np.linspace(0, 1, 9):
            canvas.disc(page, (-10 + 35 * t, -22 + 62 * t, 13, 13), BLOOD)
    if 146 < z < 190:
        canvas.disc(page, (24, -34 + 0.4 * (z - 146), 14, 14), BLOOD)
    if 170 < z < 190:  # right and left pulmonary artery
        for t in np.linspace(0, 1, 8):
            canvas.disc(page, (18 - 56 * t, -14 + 14 * t, 9, 8), BLOOD)
            canvas.disc(page, (22 + 24 * t, -16 + 22 * t, 9, 9), BLOOD)
    if 160 < z < 262:
        canvas.disc(page, (-25, -16, 9, 10), BLOOD)
    if z > 250:  # neck: muscles beside the spine and in front of the apices
        wide = float(ramp(z, 250, 300))
        for side in (RIGHT, LEFT):
            canvas.disc(page, (side * 44, 58, 30 * wide + 4, 22), MUSCLE)
            canvas.disc(page, (side * 74, 18, 24 * wide + 1, 30 * wide + 1), MUSCLE - 4)
            canvas.disc(page, (side * 44, -34, 26 * wide + 1, 10), MUSCLE - 4)
    if z > 225:
        for cx, cy, radius in ((-17, -14, 7), (-5, -20, 5), (12, -16, 5), (19, 2, 5.5), (-30, -26, 7), (26, -28, 6)):
            spread = 1 + 0.006 * (z - 225)
            canvas.disc(page, (cx * spread, cy, radius, radius), BLOOD)
    canvas.disc(page, (8, 27, 8, 6), 38)
    canvas.disc(page, (-9, 40, 4, 4), BLOOD)
    if 150 < z < 290:
        canvas.disc(page, (8, 27, 2, 1.5), -600)


def _abdomen(canvas: Canvas, page: Page, z: float, inside: npt.NDArray[np.bool_], dome: Float) -> None:
    """Below the diaphragm: liver, spleen, stomach with its gas bubble, aorta, fat."""
    if not inside.any():
        return
    x, y = canvas.x[None, :], canvas.y[:, None]
    below = inside & (heart(x, y, z) > 1.1)
    page[below] = FAT
    page[below & (z > dome - 2)] = MUSCLE
    liver = below & (x < 24 - 0.35 * (y + 30) + 26 * np.sin((z - 70) / 32)) & (canvas.oval(-52, -6, 92, 84, 2.3) < 1.1)
    page[liver] = ORGAN
    spleen = ((x - 92) / 34) ** 2 + ((y - 42) / 42) ** 2 + ((z - 40) / 46) ** 2 < 1
    page[below & spleen] = ORGAN - 8
    stomach = ((x - 68) / 44) ** 2 + ((y + 26) / 40) ** 2 + ((z - 44) / 42) ** 2
    page[below & (stomach < 1)] = MUSCLE - 8
    page[below & (stomach < 0.86)] = 22
    page[below & (stomach < 0.84) & (y < -40)] = -990  # gas rises to the front
    if z < 150:
        canvas.disc(page, (14, 38, 12, 12), BLOOD)


def _spine(canvas: Canvas, page: Page, z: float) -> None:
    """Vertebra or disc, canal with cord, arch and processes, and the muscles beside them."""
    for side in (RIGHT, LEFT):
        canvas.disc(page, (side * 30, 90, 24, 17), MUSCLE)
    canvas.disc(page, (0, 76, 27, 30), MUSCLE)
    phase = z % VERTEBRA_MM
    waist = 1 + 0.07 * float(np.cos(2 * np.pi * phase / VERTEBRA_MM))
    if phase < 4:
        canvas.disc(page, (0, 58, 18, 14.5), 90)
    else:
        canvas.disc(page, (0, 58, 17.5 * waist, 14 * waist), CORTEX - 120)
        canvas.disc(page, (0, 58, 15.5 * waist, 12 * waist), MARROW - 10)
    if phase > 9:
        canvas.disc(page, (0, 81, 15, 12), CORTEX - 100)
        canvas.disc(page, (0, 99, 4, 11), CORTEX - 200)
    else:
        canvas.disc(page, (0, 102, 3.5, 8), CORTEX - 200)
    if 12 < phase < 22:
        for side in (RIGHT, LEFT):
            canvas.disc(page, (side * 22, 80, 14, 5), CORTEX - 200)
            canvas.disc(page, (side * 22, 80, 11, 3), MARROW)
    canvas.disc(page, (0, 79, 9.5, 8.5), FAT + 60)
    canvas.disc(page, (0, 79, 8, 7), 10)
    canvas.disc(page, (0, 79, 5, 4.5), 42)


def _front_bones(canvas: Canvas, page: Page, z: float) -> None:
    """Sternum, clavicles and the blades of the shoulders."""
    _, cy, _, b = (float(v) for v in lung_shape(min(z, 262.0), LEFT))
    front = cy - b - 11
    if 105 < z < 262:
        wide = float(np.interp(z, [105, 200, 235, 262], [12, 17, 28, 22]))
        canvas.disc(page, (0, front, wide, 7), CORTEX - 200)
        canvas.disc(page, (0, front, wide - 2, 5), MARROW - 60)
    if 258 < z < 300:
        for side in (RIGHT, LEFT):
            out = 16 + (z - 258) * 2.4
            canvas.disc(page, (side * out, front + 8 + 0.3 * out, 17, 6), CORTEX)
            canvas.disc(page, (side * out, front + 8 + 0.3 * out, 14, 3.5), MARROW)
    if 150 < z < 268:
        x, y = canvas.x[None, :], canvas.y[:, None]
        lean = y - (88 - 0.72 * (np.abs(x) - 70) - 0.12 * (z - 150))
        long = (np.abs(x) > 78) & (np.abs(x) < 84 + 0.32 * (z - 150))
        page[(np.abs(lean) < 3.4) & long] = CORTEX - 150


def _lung_tissue(canvas: Canvas, page: Page, lungs: npt.NDArray[np.uint8], z: float) -> None:
    """Air-filled tissue, denser towards the back (gravity), with slow texture, fissures and the sheet between lungs."""
    inside = lungs > 0
    if not inside.any():
        return
    x, y = canvas.x[None, :], canvas.y[:, None]
    slow = sum(
        float(np.sin(z / length + turn)) * np.sin(y / length + 2 * turn) * np.sin(x / length + 3 * turn)
        for length, turn in ((17.0, 0.3), (9.0, 1.1), (6.0, 2.3))
    )
    tissue = -832 + 0.28 * y + 12 * slow
    # The oblique fissures run from the back above to the front below.
    fissure = (190 * (y - 62) - 148 * (z - 236)) / 241 + 10 * (np.abs(x) / 100 - 0.6) ** 2
    tissue = np.where(np.abs(fissure) < 0.7, -740, tissue)
    page[inside] = tissue[inside].astype(np.int16)
    # Two pleurae of 0.5 mm where the lungs meet behind the sternum, thinner than a voxel: often not seen at all.
    sheet = inside & (np.abs(x - junction_mm(y, z)) < 0.4) & (y < -40)
    page[sheet] = -560
