"""The wall of the left ventricle in short-axis label maps: thickness, thickening, motion and strain.

Everything is measured on smooth contours that keep the area of the label. Where a point of the wall is comes
from the right ventricle's insertions; on which side of them the anterior wall lies comes from the affine.

References:
    Segments: Cerqueira et al., Circulation 105(4), 2002, doi:10.1161/hc0402.102975.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from pipelines.core.plausibility import OPEN_RING_SHARE, crop_to_heart, open_ring_share
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume, slices_last

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Segments = tuple[float | None, ...]
"""A value of each of the 16 segments, in the order of their numbers; None where none was measured."""

ANGLES: Final = 360
"""Points of a contour, one a degree."""

HARMONICS: Final = 8
"""Waves around a contour that are kept: steps of pixels are finer, papillary muscles and bulges coarser."""

MIN_CAVITY_PIXELS: Final = 12
"""Pixels of the smallest cavity that has a contour."""

MIN_POINTS: Final = 10
"""Fewest points, of one a degree, that a segment is measured on."""

MIN_CONTACT_DEG: Final = 20.0
"""Narrowest contact of RV and wall that gives both insertions, degrees around the LV."""

BASE_RATIO: Final = 0.85
"""Share of the half at the apex that the area of the half at the base must reach at least.

The LV narrows to the apex, to less than 0.85 in 158 of 160 label maps of ACDC, and in none widens by as much;
where it does, the file's order of slices is not to be believed.
"""

SEGMENTS: Final = 16
SEGMENT_NAMES: Final = (
    *(f"basal {name}" for name in ("anterior", "anteroseptal", "inferoseptal")),
    *(f"basal {name}" for name in ("inferior", "inferolateral", "anterolateral")),
    *(f"mid {name}" for name in ("anterior", "anteroseptal", "inferoseptal")),
    *(f"mid {name}" for name in ("inferior", "inferolateral", "anterolateral")),
    *(f"apical {name}" for name in ("anterior", "septal", "inferior", "lateral")),
)
"""Names of the AHA segments 1 to 16; the 17th, the apex, is not cut by the short axis."""

_SIXTHS: Final = np.array([2, 1, 6, 5, 4, 3])
"""Basal segments from the middle of the septum on, over the anterior wall; those of the middle are 6 more."""

_QUARTERS: Final = np.array([14, 13, 16, 15])
"""Apical segments in the same order; the first is centred on the middle of the septum."""

NO_RING: Final = "no slice has a closed ring of myocardium"


@dataclass(frozen=True, slots=True)
class Ring:
    """The wall of one slice: two contours around the centre of the cavity.

    Attributes:
        centre_mm: `(2,)` centre of the cavity in the slice, mm.
        middle_mm: `(2,)` centre of cavity and wall together, mm.
        endo_mm: `(ANGLES,)` distance of the inner contour from `centre_mm`, mm, one a degree.
        epi_mm: `(ANGLES,)` distance of the outer contour from `centre_mm`, mm.
        thickness_mm: `(ANGLES,)` distance of each point of the inner contour to the outer one, mm.
    """

    centre_mm: FloatArray
    middle_mm: FloatArray
    endo_mm: FloatArray
    epi_mm: FloatArray
    thickness_mm: FloatArray

    @property
    def mid_mm(self) -> FloatArray:
        """Contour that halves the area of the wall: it moves with muscle that keeps its length."""
        return np.asarray(np.sqrt((self.endo_mm**2 + self.epi_mm**2) / 2))


@dataclass(frozen=True, slots=True)
class Rings:
    """The walls of a stack in the order of training: base first, seen from the apex with the septum left.

    Attributes:
        of_slice: Ring of each slice that has a closed one, by its 0-based index in the stack.
        first: First slice with LV cavity, at the base; -1 without any.
        last: Last slice with LV cavity, at the apex.
        septum_rad: Direction from the LV to the middle between the two RV insertions; None if the RV does
            not touch the wall.
        is_oriented: Whether the file tells how the image lies in the patient.
        is_base_first: Whether the LV narrows as the file says.
    """

    of_slice: Mapping[int, Ring]
    first: int
    last: int
    septum_rad: float | None
    is_oriented: bool
    is_base_first: bool


@dataclass(frozen=True, slots=True)
class Strain:
    """Change of the wall against ED in percent, from contours; None without a slice seen at both times.

    It comes from lengths of contours, not from tracked tissue: values of feature tracking or tagging are not
    the same, and no range of theirs fits.

    Attributes:
        endo_percent: Of the length of the inner contour; negative where it shortens.
        mid_percent: Of the length of the contour that halves the wall.
        epi_percent: Of the length of the outer contour.
        radial_percent: Of the mean thickness of the wall; positive where it thickens.
    """

    endo_percent: float | None = None
    mid_percent: float | None = None
    epi_percent: float | None = None
    radial_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Wall:
    """Wall of one heart at ED and ES.

    Attributes:
        mean_ed_mm: Mean thickness at ED over all closed rings, mm.
        mean_es_mm: The same at ES.
        max_ed_mm: Largest thickness of a segment at ED, mm.
        ed_mm: Thickness of each AHA segment at ED, mm.
        es_mm: Thickness of each AHA segment at ES, mm.
        thickening_percent: Gain of thickness from ED to ES, percent of that at ED.
        motion_mm: Way of the inner contour from ED to ES towards the centre of the LV, mm.
        strain: From ED to ES.
        reason: Why a value is None, `""` if none is.
    """

    mean_ed_mm: float | None = None
    mean_es_mm: float | None = None
    max_ed_mm: float | None = None
    ed_mm: Segments = (None,) * SEGMENTS
    es_mm: Segments = (None,) * SEGMENTS
    thickening_percent: Segments = (None,) * SEGMENTS
    motion_mm: Segments = (None,) * SEGMENTS
    strain: Strain = field(default_factory=Strain)
    reason: str = ""


def find_rings(label: Volume) -> Rings:
    """Contours of the wall in each slice of a label map.

    A slice whose ring is open, as in the outflow tract, has none.

    Args:
        label: `(X, Y, Z)` label map with values from `AcdcLabel`, in any order and direction of its axes.
    """
    stack, _ = slices_last(label)
    spacing = (stack.spacing_mm[0], stack.spacing_mm[1])
    heart = stack.array[crop_to_heart(stack.array)]
    lv, myo, rv = (heart == one for one in (AcdcLabel.LV, AcdcLabel.MYO, AcdcLabel.RV))
    present = np.flatnonzero(lv.any(axis=(0, 1)))
    found: dict[int, Ring] = {}
    contacts: list[tuple[float, float]] = []
    areas = np.zeros(lv.shape[2])
    for z in present:
        filled = ndimage.binary_fill_holes(lv[:, :, z] | myo[:, :, z])
        areas[z] = np.count_nonzero(filled)
        cavity = lv[:, :, z]
        is_small = np.count_nonzero(cavity) < MIN_CAVITY_PIXELS
        if is_small or open_ring_share(cavity, myo[:, :, z]) > OPEN_RING_SHARE:
            continue
        centre, middle = (np.argwhere(region).mean(axis=0) * spacing for region in (cavity, filled))
        endo, epi = (_radii_mm(region, centre, spacing) for region in (cavity, filled))
        epi = np.maximum(endo, epi)  # where a cavity reaches the outer border, smoothing may cross it
        thickness, _ = cKDTree(_points(epi)).query(_points(endo))
        found[int(z)] = Ring(centre, middle, endo, epi, np.asarray(thickness, dtype=np.float64))
        if (contact := _contact(filled, rv[:, :, z], middle, spacing)) is not None:
            contacts.append(contact)
    # Mean of directions on the circle, each as heavy as its contact is wide.
    septum = sum(width * np.exp(1j * direction) for direction, width in contacts)
    halves = [float(part.mean()) for part in np.array_split(areas[present], 2) if len(part)]
    return Rings(
        found,
        int(present[0]) if len(present) else -1,
        int(present[-1]) if len(present) else -1,
        float(np.angle(septum)) if contacts else None,
        label.is_oriented,
        len(halves) < 2 or halves[0] >= BASE_RATIO * halves[1],
    )


def measure_wall(ed: Rings, es: Rings) -> Wall:
    """Thickness in mm, thickening in percent, motion in mm and strain in percent of one heart.

    Both phases take the direction of the septum from ED. Base, middle and apex are the thirds of the slices
    with LV cavity, at ED and at ES by themselves. Motion is towards the centre of cavity and wall of the same
    phase, so that a heart that moves as a whole has none.

    Args:
        ed: Rings at end-diastole.
        es: Rings at end-systole.

    Returns:
        The figures. Those by segment are all None, with the reason, where the file does not tell which way
        the image lies, its slices run against it, or no RV touches the wall.
    """
    if not ed.of_slice or not es.of_slice:
        phase = " and ".join(name for name, one in (("ED", ed), ("ES", es)) if not one.of_slice)
        return Wall(reason=f"{NO_RING} at {phase}")
    reason = ""
    if not ed.is_oriented:
        reason = "the file does not tell how the image lies in the patient: no segments"
    elif not (ed.is_base_first and es.is_base_first):
        reason = "the LV does not narrow from base to apex as the file orders its slices: no segments"
    elif ed.septum_rad is None:
        reason = "the RV does not touch the wall at ED: no segments"
    means = [np.mean([ring.thickness_mm.mean() for ring in one.of_slice.values()]) for one in (ed, es)]
    whole = Wall(float(means[0]), float(means[1]), strain=measure_strain(ed, es), reason=reason)
    if reason or ed.septum_rad is None:
        return whole
    thick, radius = zip(*(_by_segment(one, ed.septum_rad) for one in (ed, es)), strict=True)
    return replace(
        whole,
        max_ed_mm=max((value for value in thick[0] if value is not None), default=None),
        ed_mm=thick[0],
        es_mm=thick[1],
        thickening_percent=tuple(
            None if before is None or after is None else 100 * (after - before) / before
            for before, after in zip(*thick, strict=True)
        ),
        motion_mm=tuple(
            None if before is None or after is None else before - after
            for before, after in zip(*radius, strict=True)
        ),
    )


def measure_strain(ed: Rings, now: Rings) -> Strain:
    """Strain of the whole wall against ED in percent, over the slices with a closed ring at both times.

    Args:
        ed: Rings at end-diastole.
        now: Rings of the same stack at another time.

    Returns:
        All None if no slice has a closed ring at both times.
    """
    common = sorted(ed.of_slice.keys() & now.of_slice.keys())
    if not common:
        return Strain()

    def change(name: str) -> float:
        before, after = (sum(_length_mm(getattr(one.of_slice[z], name)) for z in common) for one in (ed, now))
        return 100 * (after - before) / before

    thick = [np.mean([one.of_slice[z].thickness_mm.mean() for z in common]) for one in (ed, now)]
    return Strain(
        change("endo_mm"), change("mid_mm"), change("epi_mm"), float(100 * (thick[1] - thick[0]) / thick[0])
    )


def _radii_mm(region: BoolArray, centre_mm: FloatArray, spacing: tuple[float, float]) -> FloatArray:
    """Distance of a region's border from a centre, one a degree, smooth and with the region's area."""
    border = max(find_contours(np.pad(region, 1).astype(float), 0.5), key=len)
    away = (border - 1) * spacing - centre_mm
    angles, radii = np.arctan2(away[:, 1], away[:, 0]), np.hypot(away[:, 0], away[:, 1])
    waves = np.fft.rfft(np.interp(_THETA, angles, radii, period=2 * np.pi))
    waves[HARMONICS + 1 :] = 0
    smooth = np.maximum(np.fft.irfft(waves, ANGLES), 0)
    area = np.count_nonzero(region) * spacing[0] * spacing[1]
    return np.asarray(smooth * np.sqrt(area / (np.pi * np.mean(smooth**2))))


def _length_mm(radii_mm: FloatArray) -> float:
    """Length of a contour of `HARMONICS` waves, by the derivative of its series."""
    waves = np.fft.rfft(radii_mm)
    slope = np.fft.irfft(1j * np.arange(len(waves)) * waves, ANGLES)
    return float(2 * np.pi * np.mean(np.hypot(radii_mm, slope)))


def _points(radii_mm: FloatArray) -> FloatArray:
    return np.stack([radii_mm * np.cos(_THETA), radii_mm * np.sin(_THETA)], axis=1)


def _contact(
    filled: BoolArray, rv: BoolArray, middle_mm: FloatArray, spacing: tuple[float, float]
) -> tuple[float, float] | None:
    """Direction in radians to the middle between the ends of the RV's contact, and its width in radians."""
    touching = ndimage.binary_dilation(filled, structure=np.ones((3, 3))) & ~filled & rv
    away = np.argwhere(touching) * spacing - middle_mm
    if len(away) < 2:
        return None
    angles = np.sort(np.arctan2(away[:, 1], away[:, 0]))
    gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
    widest = int(np.argmax(gaps))
    width = 2 * np.pi - float(gaps[widest])
    if width < np.deg2rad(MIN_CONTACT_DEG):
        return None
    start = angles[(widest + 1) % len(angles)]
    return float(start + width / 2), width


def _by_segment(rings: Rings, septum_rad: float) -> tuple[Segments, Segments]:
    """Mean over each segment of the thickness, and of the inner contour's distance from the LV's centre."""
    values: list[list[FloatArray]] = [[] for _ in range(SEGMENTS)]
    for z, ring in rings.of_slice.items():
        third = int(3 * (z - rings.first + 0.5) / (rings.last - rings.first + 1))
        away = _points(ring.endo_mm) + ring.centre_mm - ring.middle_mm
        turned = (np.arctan2(away[:, 1], away[:, 0]) - septum_rad) % (2 * np.pi)
        if third == 2:
            of_point = _QUARTERS[np.floor(turned / (np.pi / 2) + 0.5).astype(int) % 4]
        else:
            of_point = _SIXTHS[(turned / (np.pi / 3)).astype(int) % 6] + 6 * third
        measured = np.stack([ring.thickness_mm, np.hypot(away[:, 0], away[:, 1])])
        for number in np.unique(of_point):
            values[number - 1].append(measured[:, of_point == number])
    joined = [np.concatenate(one, axis=1) if one else np.empty((2, 0)) for one in values]
    thick, radius = (
        tuple(float(one[row].mean()) if one.shape[1] >= MIN_POINTS else None for one in joined)
        for row in (0, 1)
    )
    return thick, radius


_THETA: Final = np.deg2rad(np.arange(ANGLES, dtype=np.float64))
