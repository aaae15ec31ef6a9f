"""Features and true Dice of labelled volumes, as they are and with faults of cardiac images."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import AdjustContrast, GaussianSmooth, GibbsNoise, RandBiasField, RandRicianNoise

from pipelines.core.errors import ConfigError, DataError, expecting
from pipelines.core.files import read_csv
from pipelines.core.progress import show_progress
from pipelines.core.volume import Volume, check_same_grid, read_label, read_volume, slices_last, write_label
from pipelines.evaluation.segmentation import MEAN, STRUCTURES, structure_dice
from pipelines.interaction.simulation import mask_path
from pipelines.models.heart import Predictor
from pipelines.models.weights import seen_note
from pipelines.quality.model import Features, partner_features, quick_features

logger = logging.getLogger(__name__)

CLEAN: Final = "none"
"""Name of the image as it is."""

MILD, SEVERE = 0.15, 1.0
"""Range of the strength that is drawn, a share of the strongest fault."""

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[Any]


def degrade(image: Volume, label: Volume, kind: str, strength: float, *, seed: int) -> tuple[Volume, Volume]:
    """An image with one fault, and the label that is true of it.

    Only slices that moved between breath-holds move the label: the heart is then elsewhere. The other
    faults hide the heart and leave it where it is.

    Args:
        image: `(X, Y, Z)` float32.
        label: `(X, Y, Z)` label map on the same grid.
        kind: One of `KINDS`, or `CLEAN`.
        strength: 0 to 1, share of the strongest fault.
        seed: Seed of what is random in it.

    Raises:
        ConfigError: If the kind is unknown.
    """
    if kind == CLEAN:
        return image, label
    if kind not in KINDS:
        raise ConfigError(f"expected a fault among {', '.join(KINDS)}, found {kind!r}")
    stack, undo = slices_last(image)
    labels, _ = slices_last(label)
    low, high = np.percentile(stack.array, (0.5, 99.5))
    scaled = ((stack.array - low) / max(float(high - low), 1e-6)).astype(np.float32)
    pixels, truth = KINDS[kind](scaled, labels.array, strength, np.random.default_rng(seed)), labels.array
    pixels = pixels.astype(np.float32)
    if KINDS[kind] is _moved_slices:
        truth = _moved_slices(truth, truth, strength, np.random.default_rng(seed))
    return replace(image, array=undo(pixels)), replace(label, array=undo(truth))


def draw_fault(generator: np.random.Generator) -> tuple[str, float]:
    """A kind of `KINDS` and a strength between `MILD` and `SEVERE`."""
    return str(generator.choice(list(KINDS))), float(generator.uniform(MILD, SEVERE))


def _noise(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """Rician noise of up to 0.35 of the image's range."""
    transform = RandRicianNoise(prob=1, std=0.35 * strength, sample_std=False)
    return _by_monai(transform.set_random_state(_seed(generator)), image)


def _blur(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """Blur in plane with a standard deviation of up to 5 pixels, as by breathing."""
    return _by_monai(GaussianSmooth((5 * strength, 5 * strength, 0.01)), image)


def _bias(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """Uneven sensitivity of the coils: the exponential of a polynomial of third degree."""
    reach = 1.2 * strength
    transform = RandBiasField(prob=1, degree=3, coeff_range=(-reach, reach))
    return _by_monai(transform.set_random_state(_seed(generator)), image)


def _contrast(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """Gamma of up to 6, or its inverse: dark or washed-out blood."""
    gamma = (1 + 5 * strength) ** generator.choice((-1, 1))
    return _by_monai(AdjustContrast(gamma=float(gamma)), image)


def _gibbs(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """Ringing of too few lines of k-space."""
    transform = GibbsNoise(alpha=0.6 + 0.38 * strength)
    slices = [_by_monai(transform, image[:, :, z]) for z in range(image.shape[2])]
    return np.stack(slices, axis=2)


def _ghosts(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """Copies of the body along one axis, of up to the image's own strength: gating failed."""
    axis, copies = int(generator.integers(2)), int(generator.integers(2, 6))
    step = image.shape[axis] // copies
    ghosts = sum(np.roll(image, number * step, axis=axis) for number in range(1, copies)) / (copies - 1)
    return (image + strength * ghosts).astype(np.float32)


def _moved_slices(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """Every slice by itself up to 20 pixels off: breath was held differently. So does the label move."""
    reach = 20 * strength
    image = image.copy()
    for z in range(image.shape[2]):
        move = np.rint(generator.uniform(-reach, reach, 2)).astype(int)
        image[:, :, z] = np.roll(image[:, :, z], tuple(move), axis=(0, 1))
    return image


def _lost_slices(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """Up to 60% of the slices without signal."""
    count = max(1, round(0.6 * strength * image.shape[2]))
    image = image.copy()
    image[:, :, generator.choice(image.shape[2], count, replace=False)] = 0
    return image


def _void(image: Image, label: Labels, strength: float, generator: np.random.Generator) -> Image:
    """A dark spot at the heart of up to a fifth of the image's side, as by metal."""
    middle = np.argwhere(label > 0).mean(axis=0)[:2] if (label > 0).any() else np.array(image.shape[:2]) / 2
    radius = 0.2 * strength * min(image.shape[:2])
    x, y = np.ogrid[: image.shape[0], : image.shape[1]]
    offset = generator.uniform(-15, 15, 2)
    distance = np.hypot(x - middle[0] - offset[0], y - middle[1] - offset[1])
    return image * (1 - np.exp(-((distance / max(radius, 1)) ** 4)))[:, :, None]


KINDS: Final[dict[str, Callable[[Any, Labels, float, np.random.Generator], Image]]] = {
    "noise": _noise,
    "blur": _blur,
    "bias field": _bias,
    "contrast": _contrast,
    "ringing": _gibbs,
    "ghosts": _ghosts,
    "moved slices": _moved_slices,
    "lost slices": _lost_slices,
    "signal void": _void,
}
"""The faults by name."""


def _by_monai(transform: Callable[[torch.Tensor], torch.Tensor], image: Image) -> Image:
    tensor = transform(torch.from_numpy(np.ascontiguousarray(image))[None])[0]
    return np.asarray(tensor, dtype=np.float32)


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))


FAULTS: Final = 2
"""Images with a fault that are made of each volume."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One image with what a network made of it.

    Attributes:
        patient: Identifier of the patient.
        group: Disease group.
        phase: `"ED"` or `"ES"`.
        fault: `CLEAN` or the kind of fault put in.
        strength: Share of the strongest fault, 0 for a clean image.
        dice: True Dice of `rv`, `myo` and `lv`, and their `mean`.
        features: What can be told without the label.
    """

    patient: str
    group: str
    phase: str
    fault: str
    strength: float
    dice: Mapping[str, float]
    features: Features

    @property
    def is_clean(self) -> bool:
        """Whether the image is as it was acquired."""
        return self.fault == CLEAN

    def as_row(self) -> dict[str, Any]:
        """The image as a flat row of a table, e.g. `dice_lv`."""
        about = {"patient": self.patient, "group": self.group, "phase": self.phase}
        dice = {f"dice_{name}": value for name, value in self.dice.items()}
        return {**about, "fault": self.fault, "strength": self.strength, **dice, **self.features}


def measure_images(
    items: Sequence[Mapping[str, Any]],
    predictor: Predictor,
    partner: Predictor | None = None,
    *,
    faults: int = FAULTS,
    seed: int = 0,
    masks: Path | None = None,
) -> list[Measured]:
    """Features and Dice of volumes as they are, and of each with faults.

    Patients that one of the networks was trained on are left out: their masks are better than others.

    Args:
        items: Volumes of a datalist.
        predictor: Network whose masks are judged.
        partner: Second network for the features of agreement, which are left out without it.
        faults: Images with a fault that are made of each volume.
        masks: Existing folder that takes the masks of the clean images, named as their images.
        seed: Seed of the faults; with the position of a volume it decides what they are.

    Raises:
        DataError: If the networks were trained on all patients, a volume cannot be read, or a label is not
            on its image's grid or lacks a structure.
        OutputError: If a mask cannot be written.
    """
    trained_on = [network.seen for network in (predictor, partner) if network]
    is_known = None not in trained_on and all("content_hash" in item for item in items)
    hashes = frozenset().union(*(one or () for one in trained_on))
    seen = sorted({item["patient"] for item in items if item.get("content_hash") in hashes})
    items = [item for item in items if item["patient"] not in seen]
    if not items:
        raise DataError(
            f"expected patients that the weights were not trained on, found {len(seen)} that they were; "
            "take others by --weights, such as those of 'thorax cross-validate --unseen-masks'"
        )
    for note in (seen_note(seen, unseen_only=True), None if is_known else seen_note(None, unseen_only=True)):
        if note:
            logger.warning("%s", note)
    found = []
    total = len(items) * (1 + faults)
    for number, item in enumerate(items):
        for version, measured in enumerate(
            _versions(item, predictor, partner, masks, faults, [seed, number])
        ):
            found.append(measured)
            done = number * (1 + faults) + version + 1
            show_progress(done, total, f"{measured.patient} {measured.phase}")
    return found


def _versions(
    item: Mapping[str, Any],
    predictor: Predictor,
    partner: Predictor | None,
    masks: Path | None,
    faults: int,
    seed: list[int],
) -> Iterator[Measured]:
    image, label = read_volume(Path(item["image"])), read_label(Path(item["label"]))
    check_same_grid(image, label)
    generator = np.random.default_rng(seed)
    drawn = [(CLEAN, 0.0), *(draw_fault(generator) for _ in range(faults))]
    for fault, strength in drawn:
        volume, truth = degrade(image, label, fault, strength, seed=int(generator.integers(2**31)))
        prediction = predictor.predict(volume)
        if masks is not None and fault == CLEAN:
            write_label(mask_path(masks, item["image"]), prediction.mask, image.affine)
        features = quick_features(prediction)
        if partner is not None:
            features |= partner_features(prediction.mask, partner.predict(volume).mask)
        dice = structure_dice(prediction.mask, truth.array)
        defined = {name: value for name, value in dice.items() if value is not None}
        if len(defined) < len(STRUCTURES) + 1:
            raise DataError(
                f"expected {', '.join(STRUCTURES)} in the label, found {item['label']} without one; "
                "check it with 'thorax prepare'"
            )
        yield Measured(item["patient"], item["group"], item["phase"], fault, strength, defined, features)


def read_measured(path: Path) -> list[Measured]:
    """Images from a table that was written of them.

    Raises:
        DataError: If it is missing or is no such table.
    """
    with expecting(f"a table of measured images at {path}"):
        return [_from_row(row) for row in read_csv(path)]


def _from_row(row: dict[str, str]) -> Measured:
    names = (*STRUCTURES, MEAN)
    about = {"patient", "group", "phase", "fault", "strength", *(f"dice_{name}" for name in names)}
    return Measured(
        row["patient"],
        row["group"],
        row["phase"],
        row["fault"],
        float(row["strength"]),
        {name: float(row[f"dice_{name}"]) for name in names},
        {key: float(value) for key, value in row.items() if key not in about},
    )
