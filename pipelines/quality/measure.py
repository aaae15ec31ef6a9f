"""Features and true Dice of labelled volumes, as they are and with faults put in."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.core.errors import DataError, cause
from pipelines.core.progress import Progress
from pipelines.core.volume import check_same_grid, read_label, read_volume, write_label
from pipelines.evaluation.segmentation import MEAN, STRUCTURES, structure_dice
from pipelines.interaction.simulation import mask_path
from pipelines.models.predictor import Predictor
from pipelines.quality.degradations import CLEAN, degrade, draw_fault
from pipelines.quality.features import Features, partner_features, quick_features

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
        told = {"patient": self.patient, "group": self.group, "phase": self.phase}
        dice = {f"dice_{name}": value for name, value in self.dice.items()}
        return {**told, "fault": self.fault, "strength": self.strength, **dice, **self.features}


def measure_images(
    items: Sequence[Mapping[str, Any]],
    predictor: Predictor,
    partner: Predictor | None = None,
    *,
    faults: int = FAULTS,
    seed: int = 0,
    masks: Path | None = None,
    progress: Progress | None = None,
) -> list[Measured]:
    """Features and Dice of volumes as they are, and of each with faults.

    Args:
        items: Volumes as in a datalist, with `image`, `label`, `patient`, `group` and `phase`.
        predictor: Network whose masks are judged.
        partner: Second network for the features of agreement, which are left out without it.
        faults: Images with a fault that are made of each volume.
        masks: Existing folder that takes the masks of the clean images, named as their images.
        seed: Seed of the faults; with the position of a volume it decides what they are.
        progress: Told of each image.

    Raises:
        DataError: If a volume cannot be read, or a label is not on its image's grid or lacks a structure.
        OutputError: If a mask cannot be written.
    """
    found = []
    total = len(items) * (1 + faults)
    for number, item in enumerate(items):
        for version, measured in enumerate(
            _versions(item, predictor, partner, masks, faults, [seed, number])
        ):
            found.append(measured)
            if progress is not None:
                name = f"{measured.patient} {measured.phase}"
                progress(number * (1 + faults) + version + 1, total, name)
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
        features = quick_features(prediction, volume)
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
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [_from_row(row) for row in csv.DictReader(stream)]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"expected a table of measured images at {path}, found {cause(error)}") from error


def _from_row(row: dict[str, str]) -> Measured:
    names = (*STRUCTURES, MEAN)
    told = {"patient", "group", "phase", "fault", "strength", *(f"dice_{name}" for name in names)}
    return Measured(
        row["patient"],
        row["group"],
        row["phase"],
        row["fault"],
        float(row["strength"]),
        {name: float(row[f"dice_{name}"]) for name in names},
        {key: float(value) for key, value in row.items() if key not in told},
    )
