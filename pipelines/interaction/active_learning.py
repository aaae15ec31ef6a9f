"""Does it pay to label uncertain cases first? Learning curves of strategies."""

import itertools
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import output_folder, read_json, write_csv, write_json
from pipelines.core.progress import progress_to, show_progress
from pipelines.core.records import FOREGROUND
from pipelines.datasets.loading import load_image
from pipelines.datasets.prepare import load_or_prepare, patient_records, select, write_datalist
from pipelines.evaluation.segmentation import MEAN, STRUCTURES, dice_coefficient, mean_dice
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.models.heart import Member, Predictor
from pipelines.training.launch import train_network


def disagreement(masks: Sequence[npt.NDArray[np.uint8]]) -> float:
    """One minus the mean Dice of every two label maps over the structures, 0 to 1.

    Args:
        masks: At least two label maps `(X, Y, Z)` of one volume.

    Returns:
        0.0 if all agree; a structure that neither of two has counts as agreement.
    """
    scores = [
        dice_coefficient(one == label, other == label)
        for one, other in itertools.combinations(masks, 2)
        for label in FOREGROUND
    ]
    return 1.0 - statistics.fmean(1.0 if score is None else score for score in scores)


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


@progress_to(None)
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


CONTENT_NAME: Final = "active_learning.json"
TABLE_NAME: Final = "active_learning.csv"
PLAN_NAME: Final = "plan.json"
HOLD_OUT_NAME: Final = "hold_out.json"

COLUMNS: Final = (
    "seed",
    "strategy",
    "patients",
    *(f"dice_{name}" for name in (*STRUCTURES, MEAN)),
    "added",
    "seconds",
)
"""Of `active_learning.csv`: Dice on validation, names of the patients that the round added, training in s."""

STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        fold: Fold that is validated on, 0 to 4; the pool is the other folds.
        start: Patients that are labelled at first, drawn at random, the same for each strategy.
        add: Patients that a strategy adds in each round.
        most: Patients in the last round, at most.
        seeds: Repetitions, each with another start.
        first_steps: Batches of the first round.
        steps: Batches of each later round, which goes on from the weights of the one before.
    """

    fold: int = 0
    start: int = 4
    add: int = 4
    most: int = 20
    seeds: int = 3
    first_steps: int = 500
    steps: int = 150

    @property
    def sizes(self) -> list[int]:
        """Labelled patients of each round."""
        return list(range(self.start, self.most + 1, self.add))


def active_learning_benchmark(root: Path, output: Path, plan: Plan) -> dict[str, Any]:
    """Train on more and more patients, chosen by each strategy, and measure after each round.

    Rounds are measured on the patients of the validation fold. The test set is measured once at the end
    of each curve. What is done already in `output` is kept, so that an interrupted benchmark goes on.

    Args:
        root: Labelled folder in ACDC's layout, or a prepared one.
        output: Folder for `active_learning.json`, `active_learning.csv` (a row a round), both written after
            each seed, and the rounds' weights; made if it does not exist.
        plan: What is measured.

    Returns:
        Content of `active_learning.json`: `plan`, `network`, `pool`, `validation` and `hold_out` (patients),
        and `curves`: for each seed and strategy its `rounds` and the Dice by structure on the test set.

    Raises:
        DataError: If the data cannot be used or the pool is too small.
        ConfigError: If `output` holds a benchmark of another plan.
        OutputError: If the results cannot be written.
    """
    datalist = load_or_prepare(root, output_folder(output) / "prepared")
    cohort = Cohort(datalist, plan.fold, output)
    _check(cohort, plan)
    hold_out, validation = (
        sorted({item["patient"] for item in select(datalist, section, plan.fold)})
        for section in ("test", "validation")
    )
    content: dict[str, Any] = {
        "plan": asdict(plan),
        "network": {"name": NETWORK, **MODEL},
        "pool": cohort.pool,
        "validation": validation,
        "hold_out": hold_out,
        "curves": [],
    }
    for curves in _curves(cohort, plan):
        content["curves"] += curves
        write_csv(output / TABLE_NAME, COLUMNS, _rows(content["curves"]))
        write_json(output / CONTENT_NAME, content)
    return content


def _rows(curves: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for curve in curves:
        for step in curve["rounds"]:
            about = {name: curve[name] for name in ("seed", "strategy")}
            dice = {f"dice_{name}": value for name, value in step["dice"].items()}
            added = {"patients": len(step["labelled"]), "added": " ".join(step["added"])}
            yield about | added | dice | {"seconds": step["seconds"]}


def _check(cohort: Cohort, plan: Plan) -> None:
    if len(cohort.pool) < plan.most:
        raise DataError(
            f"expected at least {plan.most} patients to choose from, found {len(cohort.pool)} outside of "
            f"fold {plan.fold} and the test set; give fewer patients for the last round"
        )
    path = cohort.folder / PLAN_NAME
    # More seeds may follow; all else would mix what does not compare.
    wanted = asdict(plan) | {"seeds": None, "fingerprint": cohort.datalist["fingerprint"]}
    known = read_json(path) if path.is_file() else wanted
    if known != wanted:
        changed = sorted(name for name in wanted if known.get(name) != wanted[name])
        raise ConfigError(
            f"expected the plan of the benchmark in {cohort.folder}, found another {', '.join(changed)}; "
            "give the same options to go on with it, or choose another folder"
        )
    write_json(path, wanted)


def _curves(cohort: Cohort, plan: Plan) -> Iterator[list[dict[str, Any]]]:
    """The curves of all strategies, seed by seed."""
    total = plan.seeds * (1 + len(STRATEGIES) * (len(plan.sizes) - 1))
    numbers = itertools.count()

    def report(name: str) -> None:
        show_progress(next(numbers), total, name)

    for seed in range(plan.seeds):
        order = [str(name) for name in np.random.default_rng(seed).permutation(cohort.pool)]
        yield [_curve(cohort, plan, strategy, seed, order, report) for strategy in STRATEGIES]


def _curve(
    cohort: Cohort, plan: Plan, strategy: Strategy, seed: int, order: list[str], report: Callable[[str], None]
) -> dict[str, Any]:
    """Rounds of a strategy; the first one is that of the other strategies too.

    Args:
        cohort: Patients.
        plan: What is measured.
        strategy: How patients are chosen.
        seed: Seed of start and training.
        order: The pool in random order.
        report: Called with the words of each round.
    """
    rounds: list[dict[str, Any]] = []
    weights: Path | None = None
    for size in plan.sizes:
        name = strategy if rounds else "start"
        folder = cohort.folder / "rounds" / f"seed{seed}" / f"{name}{size}"
        if rounds or strategy == STRATEGIES[0]:
            report(f"seed {seed}, {name}, {size} patients")
        path = folder / RESULT_NAME
        if path.is_file():
            found = read_json(path)
        else:
            known = rounds[-1]["labelled"] if rounds else []
            rest = [patient for patient in order if patient not in known]
            scores: dict[str, float] = {}
            if weights is not None and strategy == "uncertainty":
                scores = patient_uncertainty(cohort, weights, rest)
            added = most_uncertain(scores, plan.add) if scores else rest[: size - len(known)]
            found = run_round(
                cohort,
                folder,
                [*known, *added],
                seed=seed,
                steps=plan.steps if rounds else plan.first_steps,
                initial_weights=weights,
                added=sorted(added),
                scores=scores,
            )
        rounds.append(found)
        weights = folder / WEIGHTS_NAME
    path = folder / HOLD_OUT_NAME
    if not path.is_file():  # measured once
        test = select(cohort.datalist, "test", cohort.fold)
        write_json(path, mean_dice(load_predictor(folder / WEIGHTS_NAME), test))
    hold_out = read_json(path)
    return {"seed": seed, "strategy": strategy, "rounds": rounds, "hold_out": hold_out}
