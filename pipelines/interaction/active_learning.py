"""Does it pay to label uncertain cases first? Learning curves of strategies from the same start."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.progress import Progress
from pipelines.datasets.prepare import load_or_prepare, select
from pipelines.evaluation.dice import MEAN, STRUCTURES, mean_dice
from pipelines.interaction.rounds import (
    MODEL,
    NETWORK,
    WEIGHTS_NAME,
    Cohort,
    Strategy,
    finished_round,
    load_predictor,
    most_uncertain,
    patient_uncertainty,
    run_round,
)

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


def active_learning_benchmark(
    root: Path, output: Path, plan: Plan, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Train on more and more patients, chosen by each strategy, and measure after each round.

    Rounds are measured on the patients of the validation fold. The hold-out is measured once at the end
    of each curve. What is done already in `output` is kept, so that an interrupted benchmark goes on.

    Args:
        root: Labelled folder in ACDC's layout, or a prepared one.
        output: Folder for `active_learning.json`, `active_learning.csv` (a row a round), both written after
            each seed, and the rounds' weights; made if it does not exist.
        plan: What is measured.
        progress: Called with rounds done, rounds in all and the round's name.

    Returns:
        Content of `active_learning.json`: `plan`, `network`, `pool`, `validation` and `hold_out` (patients),
        and `curves`: for each seed and strategy its `rounds` and the Dice by structure on the hold-out.

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
    for curves in _curves(cohort, plan, progress):
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
            f"fold {plan.fold} and the hold-out; give fewer patients for the last round"
        )
    path = cohort.folder / PLAN_NAME
    # More seeds may follow; all else would mix what does not compare.
    wanted = asdict(plan) | {"seeds": None, "fingerprint": cohort.datalist["fingerprint"]}
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else wanted
    if known != wanted:
        changed = sorted(name for name in wanted if known.get(name) != wanted[name])
        raise ConfigError(
            f"expected the plan of the benchmark in {cohort.folder}, found another {', '.join(changed)}; "
            "give the same options to go on with it, or choose another folder"
        )
    write_json(path, wanted)


def _curves(cohort: Cohort, plan: Plan, progress: Progress | None) -> Iterator[list[dict[str, Any]]]:
    """The curves of all strategies, seed by seed."""
    total = plan.seeds * (1 + len(STRATEGIES) * (len(plan.sizes) - 1))
    numbers = itertools.count()

    def tell(name: str) -> None:
        if progress is not None:
            progress(next(numbers), total, name)

    for seed in range(plan.seeds):
        order = [str(name) for name in np.random.default_rng(seed).permutation(cohort.pool)]
        yield [_curve(cohort, plan, strategy, seed, order, tell) for strategy in STRATEGIES]


def _curve(
    cohort: Cohort, plan: Plan, strategy: Strategy, seed: int, order: list[str], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Rounds of a strategy; the first one is that of the other strategies too.

    Args:
        cohort: Patients.
        plan: What is measured.
        strategy: How patients are chosen.
        seed: Seed of start and training.
        order: The pool in random order.
        tell: Told of each round.
    """
    rounds: list[dict[str, Any]] = []
    weights: Path | None = None
    for size in plan.sizes:
        name = strategy if rounds else "start"
        folder = cohort.folder / "rounds" / f"seed{seed}" / f"{name}{size}"
        found = finished_round(folder)
        if rounds or strategy == STRATEGIES[0]:
            tell(f"seed {seed}, {name}, {size} patients")
        if found is None:
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
    return {
        "seed": seed,
        "strategy": strategy,
        "rounds": rounds,
        "hold_out": _on_hold_out(cohort, folder),
    }


def _on_hold_out(cohort: Cohort, folder: Path) -> dict[str, float | None]:
    """Dice by structure of the weights of a round on the hold-out, measured once."""
    path = folder / HOLD_OUT_NAME
    if path.is_file():
        known: dict[str, float | None] = json.loads(path.read_text(encoding="utf-8"))
        return known
    found = mean_dice(load_predictor(folder / WEIGHTS_NAME), select(cohort.datalist, "test", cohort.fold))
    write_json(path, found)
    return found
