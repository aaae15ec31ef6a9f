"""One round of active learning: label more patients, train on, measure."""

import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pipelines.core.files import output_folder, write_json
from pipelines.datasets.loading import load_image
from pipelines.datasets.prepare import patient_records, select, write_datalist
from pipelines.evaluation.dice import mean_dice
from pipelines.interaction.disagreement import disagreement
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.models.member import Member
from pipelines.models.predictor import Predictor
from pipelines.training.launch import train_network

Strategy = Literal["random", "uncertainty"]

RESULT_NAME: Final = "round.json"
WEIGHTS_NAME: Final = "model.pt"

TRAINING_FOLD: Final = 1
VALIDATION_FOLD: Final = 0

NETWORK: Final = "unet"

MODEL: Final[dict[str, Any]] = {
    "spacing_mm": 3.0,
    "field_px": [96, 96],
    "network_def#filters": [16, 32, 64, 128, 128],
}
"""Quick to train from nothing: the same field of view on a coarser grid, fewer channels."""

SETTINGS: Final[dict[str, Any]] = MODEL | {
    "batch_size": 6,
    "patch_px": [64, 64],
    "patch_growth": [[0, 1]],
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "warmup": 30,
    "ema_decay": 0.98,
    "fold": VALIDATION_FOLD,
}
"""For a few hundred steps, as in `thorax demo`: small batches and a high rate that peaks soon."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """The patients of a benchmark.

    Attributes:
        datalist: As from `read_datalist`.
        fold: Fold that is validated on; it never gets into the pool.
        folder: Folder of the benchmark.
    """

    datalist: dict[str, Any]
    fold: int
    folder: Path

    @property
    def pool(self) -> list[str]:
        """Names of the patients that can be labelled."""
        return sorted({item["patient"] for item in select(self.datalist, "training", self.fold)})

    def items(self, patients: Sequence[str]) -> list[dict[str, Any]]:
        """Volumes of some patients of the pool, as they stand in the datalist."""
        return [item for item in select(self.datalist, "training", self.fold) if item["patient"] in patients]


def run_round(
    cohort: Cohort,
    folder: Path,
    labelled: Sequence[str],
    *,
    seed: int,
    steps: int,
    initial_weights: Path | None,
    **details: Any,
) -> dict[str, Any]:
    """Train on the labelled patients and measure on the validation patients.

    Args:
        cohort: Patients.
        folder: Folder for `round.json`, written last, and the weights, `model.pt`; made if it does not
            exist. What an interrupted round left there is replaced.
        labelled: Patients to train on.
        seed: Seed of the first weights and of the order and augmentation of slices.
        steps: Batches.
        initial_weights: Weights to go on from, None for random ones.
        **details: Further entries of `round.json`.

    Returns:
        Content of `round.json`: `labelled`, `steps`, `dice` by structure on validation, `seconds` of the
        training, and `details`.

    Raises:
        DataError: If a volume cannot be read.
        OutputError: If the round cannot be written.
    """
    run = output_folder(folder) / "training"
    shutil.rmtree(run, ignore_errors=True)
    items = [item | {"part": TRAINING_FOLD} for item in cohort.items(labelled)]
    # The weights are those of the last step, so that one volume is enough for the run's own validation.
    validation = select(cohort.datalist, "validation", cohort.fold)
    items.append(validation[0] | {"part": VALIDATION_FOLD})
    write_datalist(folder, Path(cohort.datalist["root"]), items, seed=seed)
    start = time.perf_counter()
    weights = train_network(
        NETWORK,
        folder,
        run,
        overlays=["steps"],
        seed=seed,
        steps=steps,
        max_epochs=1,
        val_interval=1,
        initial_weights=None if initial_weights is None else str(initial_weights.resolve()),
        cache_dir=str((cohort.folder / "cache").resolve()),
        **SETTINGS,
    )
    seconds = time.perf_counter() - start
    weights.replace(folder / WEIGHTS_NAME)
    shutil.rmtree(run)
    result = {
        "labelled": sorted(labelled),
        "steps": steps,
        "dice": mean_dice(load_predictor(folder / WEIGHTS_NAME), validation),
        "seconds": seconds,
        **details,
    }
    write_json(folder / RESULT_NAME, result)
    return result


def finished_round(folder: Path) -> dict[str, Any] | None:
    """Content of the `round.json` that a folder holds, None if the round is not finished."""
    path = folder / RESULT_NAME
    if not path.is_file():
        return None
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


def load_predictor(weights: Path) -> Predictor:
    """The network of the benchmark with the weights of a round.

    Args:
        weights: Existing file.

    Raises:
        ConfigError: If the weights do not fit.
    """
    return Predictor({NETWORK: Member.load(NETWORK, bundle=ACDC_BUNDLE, weights=weights, **MODEL)})


def patient_uncertainty(cohort: Cohort, weights: Path, patients: Sequence[str]) -> dict[str, float]:
    """How much the in-plane flips of each patient's volumes disagree, the mean over the volumes, 0 to 1.

    Args:
        cohort: Patients.
        weights: Weights of a round.
        patients: Patients of the pool; their labels are not looked at.

    Raises:
        DataError: If a volume cannot be read.
    """
    predictor = load_predictor(weights)
    return {
        record.patient: statistics.fmean(
            disagreement(predictor.flipped_masks(load_image(volume))) for volume in record.volumes
        )
        for record in patient_records(cohort.items(patients))
    }


def most_uncertain(scores: Mapping[str, float], count: int) -> list[str]:
    """Names of the highest scores, the highest first; equal ones by name."""
    return sorted(scores, key=lambda name: (-scores[name], name))[:count]
