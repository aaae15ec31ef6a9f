"""Which images are misclassified: what they have in common, with counts and tests."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.stats import fisher_exact
from skimage.transform import resize

from pipelines.core.progress import track
from pipelines.datasets.xray_image import Finding, read_xray
from pipelines.evaluation.statistics import bootstrap_weights, percentile_interval

Pixels = npt.NDArray[np.float32]

SIDE_PX: Final = 64
"""Side of the small copy that posture is measured on."""

TILTS_DEG: Final = range(-12, 13, 2)
SHIFTS_PX: Final = range(-8, 9)
"""Turns and shifts, of the small copy, among which the most symmetric position is looked for."""

BLACK: Final = 0.03
WHITE: Final = 0.97
"""Grey values, 0 to 1, below and above which there is no picture, or a marker, wire or burnt-out bone."""


def measure_attributes(pixels: Pixels) -> dict[str, float]:
    """Measures of one radiograph.

    Args:
        pixels: `(H, W)` grey values, 0 black to 1 white.

    Returns:
        `brightness` and `contrast`, mean and standard deviation of the grey values; `sharpness`,
        standard deviation of the Laplacian over that of the grey values; `tilt_deg` and `shift`, the
        turn (degrees) and sideways shift (of the width) of the body's axis against the middle;
        `asymmetry`, 1 minus the correlation with the mirror image about that axis; `border`, share of
        rows and columns that are black; `white`, share of white pixels; `aspect`, width over height.
    """
    small = resize(pixels, (SIDE_PX, SIDE_PX), anti_aliasing=True).astype(np.float32)
    tilt, shift, likeness = _axis(small)
    spread = float(pixels.std())
    empty_rows, empty_columns = (pixels.max(axis=1) < BLACK).mean(), (pixels.max(axis=0) < BLACK).mean()
    return {
        "brightness": float(pixels.mean()),
        "contrast": spread,
        "sharpness": float(ndimage.laplace(pixels).std()) / max(spread, 1e-6),
        "tilt_deg": tilt,
        "shift": shift,
        "asymmetry": 1 - likeness,
        "border": float(empty_rows + empty_columns),
        "white": float((pixels > WHITE).mean()),
        "aspect": pixels.shape[1] / pixels.shape[0],
    }


def _axis(small: Pixels) -> tuple[float, float, float]:
    """Tilt in degrees, shift as a share of the width, and likeness of the most symmetric position."""
    best = (0.0, 0.0, -1.0)
    for tilt in TILTS_DEG:
        turned = ndimage.rotate(small, tilt, reshape=False, order=1, mode="nearest")
        for shift in SHIFTS_PX:
            likeness = _likeness_of_sides(turned, shift)
            if likeness > best[2]:
                best = (float(tilt), shift / SIDE_PX, likeness)
    return best


def _likeness_of_sides(image: Pixels, shift: int) -> float:
    """Correlation of the two sides of the column that lies `shift` right of the middle."""
    middle = SIDE_PX // 2 + shift
    width = min(middle, SIDE_PX - middle)
    left = image[:, middle - width : middle]
    right = image[:, middle : middle + width][:, ::-1]
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float((left * right).sum()) / scale if scale > 0 else 0.0


TAIL_PERCENT: Final = 10.0
"""An image is dark, sharp, tilted ... if it is among so many percent of the most so."""

CERTAIN: Final = 0.9
"""Probability of the wrong answer from which the label itself is in doubt."""

MANY_IMAGES: Final = 3
"""Images of a patient, among those evaluated, from which they are many."""

DOUBT: Final = "label in doubt: the network is certain of the other"
"""Name of the error type that only errors can have, so that nothing is tested."""

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

EXTREMES: Final[Mapping[str, tuple[str, bool]]] = {
    "dark": ("brightness", False),
    "bright": ("brightness", True),
    "little contrast": ("contrast", False),
    "blurred": ("sharpness", False),
    "grainy or sharp": ("sharpness", True),
    "body turned in the picture": ("tilt_deg", True),
    "body off the middle": ("shift", True),
    "sides unlike": ("asymmetry", True),
    "black borders": ("border", True),
    "white spots: markers, wires, burnt-out bone": ("white", True),
    "wide for its height": ("aspect", True),
    "narrow for its height": ("aspect", False),
}
"""Error types by the tail of an attribute: its name, and whether it is the upper tail."""


@dataclass(frozen=True, slots=True)
class ErrorType:
    """One property of images, and how often images with it are misclassified.

    Attributes:
        name: What is seen.
        images: Images that have it.
        errors: Of these, misclassified ones.
        share_of_errors: Of all misclassified images, the share that has it.
        error_rate: Share of images with it that are misclassified.
        other_rate: The same of images without it.
        interval: 95% interval of the difference of the two rates, bootstrapped over patients;
            None for `DOUBT`.
        p_value: Two-sided, of Fisher's exact test, not adjusted for the number of properties;
            None for `DOUBT`.
        example: Path of a misclassified image that has it, the one that is most wrong.
    """

    name: str
    images: int
    errors: int
    share_of_errors: float
    error_rate: float | None
    other_rate: float | None
    interval: list[float] | None
    p_value: float | None
    example: str | None


@dataclass(frozen=True, slots=True)
class ErrorAnalysis:
    """What `analyse_errors` found.

    Attributes:
        cases: Cases of the evaluation with `attributes` and `seen`, names of error types.
        types: Error types, the one with the most errors first.
    """

    cases: list[dict[str, Any]]
    types: list[ErrorType]

    @property
    def wrong(self) -> list[dict[str, Any]]:
        """Misclassified cases, the most certain first."""
        return sorted((case for case in self.cases if not case["is_correct"]), key=wrongness, reverse=True)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: types and cases."""
        return {"types": [asdict(kind) for kind in self.types], "cases": self.cases}


def analyse_errors(cases: Sequence[Mapping[str, Any]]) -> ErrorAnalysis:
    """Measure each image of an evaluation and test which properties go with errors.

    Args:
        cases: Of `metrics.json`, with the images where they were.

    Raises:
        DataError: If an image cannot be read.
    """
    measured: list[dict[str, Any]] = []
    for case in track(cases, lambda one: Path(one["image"]).name):
        path = Path(case["image"])
        measured.append({**case, "attributes": measure_attributes(read_xray(path).pixels)})
    flags = _flags(measured)
    for index, case in enumerate(measured):
        case["seen"] = [name for name, flag in flags.items() if flag[index]]
    types = [_error_type(name, flag, measured) for name, flag in flags.items() if flag.any()]
    return ErrorAnalysis(measured, sorted(types, key=lambda kind: (-kind.errors, kind.p_value or 0.0)))


def _flags(cases: Sequence[Mapping[str, Any]]) -> dict[str, BoolArray]:
    def each(is_so: Callable[[Mapping[str, Any]], bool]) -> BoolArray:
        return np.array([is_so(case) for case in cases], dtype=np.bool_)

    per_patient = Counter(case["patient"] for case in cases)
    flags = {
        "healthy": each(lambda case: case["finding"] == Finding.NORMAL),
        "bacterial pneumonia": each(lambda case: case["agent"] == "bacteria"),
        "viral pneumonia": each(lambda case: case["agent"] == "virus"),
        f"patient with {MANY_IMAGES} images or more": each(
            lambda case: per_patient[case["patient"]] >= MANY_IMAGES
        ),
    }
    for name, (attribute, is_upper) in EXTREMES.items():
        values = np.abs([case["attributes"][attribute] for case in cases])
        edge = np.percentile(values, 100 - TAIL_PERCENT if is_upper else TAIL_PERCENT)
        flags[name] = values > edge if is_upper else values < edge
    flags[DOUBT] = each(lambda case: not case["is_correct"] and wrongness(case) >= CERTAIN)
    return flags


def _error_type(name: str, flag: BoolArray, cases: Sequence[Mapping[str, Any]]) -> ErrorType:
    wrong = np.array([not case["is_correct"] for case in cases])
    patients, owner = np.unique([case["patient"] for case in cases], return_inverse=True)
    with_it, without = _rate(wrong, flag), _rate(wrong, ~flag)
    weights = bootstrap_weights(len(patients))[:, owner]
    difference = _rates(wrong, flag, weights) - _rates(wrong, ~flag, weights)
    table = [[int((wrong & flag).sum()), int((~wrong & flag).sum())]]
    table.append([int((wrong & ~flag).sum()), int((~wrong & ~flag).sum())])
    shown = [case for case, has in zip(cases, wrong & flag, strict=True) if has]
    return ErrorType(
        name=name,
        images=int(flag.sum()),
        errors=table[0][0],
        share_of_errors=table[0][0] / max(1, int(wrong.sum())),
        error_rate=with_it,
        other_rate=without,
        interval=percentile_interval(difference) if name != DOUBT else None,
        p_value=float(fisher_exact(table).pvalue) if name != DOUBT else None,
        example=str(max(shown, key=wrongness)["image"]) if shown else None,
    )


def _rate(wrong: BoolArray, flag: BoolArray) -> float | None:
    return float(wrong[flag].mean()) if flag.any() else None


def _rates(wrong: BoolArray, flag: BoolArray, weights: FloatArray) -> FloatArray:
    counts = weights[:, flag]
    with np.errstate(invalid="ignore"):
        rates: FloatArray = counts @ wrong[flag].astype(np.float64) / counts.sum(axis=1)
    return rates


def wrongness(case: Mapping[str, Any]) -> float:
    """Probability that was given to the other finding."""
    probability = float(case["probability"])
    return probability if case["finding"] == Finding.NORMAL else 1 - probability
