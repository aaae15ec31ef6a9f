"""Search for better settings of a training with Ray Tune: space, trials, and what they showed."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.errors import ConfigError, DataError, cause, expecting
from pipelines.core.files import (
    MANIFEST_NAME,
    output_folder,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_manifest,
    write_text,
)
from pipelines.core.install import ray_session
from pipelines.core.tasks import task_of
from pipelines.datasets.prepare import read_datalist
from pipelines.models.weights import LAST_NAME
from pipelines.training.handlers import HISTORY_NAME
from pipelines.training.launch import check_settings, parse_settings, read_settings, train_network
from pipelines.training.run_record import read_history

Space = Mapping[str, Mapping[str, Any]]
"""What each setting may be, by its id in the configuration: `low`, `high` and `log`, or `choice`."""


def read_space(path: Path) -> Space:
    """A search space of a YAML file.

    Each line names a setting and what it may be: `{low: 0.1, high: 0.5}`, with
    `log: true` for logarithmic draws, or `{choice: [a, b]}`.

    Args:
        path: File to read.

    Raises:
        ConfigError: If the file is missing or an entry cannot be understood.
    """
    content = read_settings(path)
    if not content:
        raise ConfigError(f"expected settings and their ranges in {path}, found none")
    for name, entry in content.items():
        match entry:
            case {"choice": [_, *_], **others} if not others:
                continue
            case {"low": float() | int() as low, "high": float() | int() as high, **others} if (
                low < high and set(others) <= {"log"} and (low > 0 or not others.get("log"))
            ):
                continue
        raise ConfigError(
            f"expected {name} to be {{low: 0.1, high: 0.5}}, with log: true only above 0, or "
            f"{{choice: [a, b]}}, found {entry!r} in {path}"
        )
    return content


TIME = "epoch"


def run_trial(
    settings: Mapping[str, Any],
    *,
    network: str,
    dataset_dir: Path,
    folder: Path,
    report: Callable[[dict[str, float]], None],
    overlays: Sequence[str] = (),
) -> None:
    """Train with some settings; go on from the last checkpoint if there is one.

    Args:
        settings: Values by the id of the setting.
        network: A network of one of the bundles.
        dataset_dir: Prepared folder.
        folder: Folder of the trial's run.
        report: Given the epoch and the scores on validation after each epoch.
        overlays: Further configuration files, without `.yaml`.

    Raises:
        ThoraxError: As for `train_network`.
    """
    scores = task_of(network).scores

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        report({TIME: epoch} | {name: metrics[f"val_{name}"] for name in scores})

    resume = (folder / LAST_NAME).is_file()
    train_network(
        network, dataset_dir, folder, resume=resume, overlays=overlays, on_epoch=on_epoch, **settings
    )


BEST_SETTINGS_NAME: Final = "best.yaml"
TABLE_NAME: Final = "trials.csv"
TRIALS_NAME: Final = "trials"
"""Folder with the run of each trial."""

SETTINGS_NAME: Final = "settings.yaml"
"""File in the run of a trial with what was drawn for it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one trial showed.

    Attributes:
        name: Its name, also that of its folder.
        settings: What was drawn for it.
        epochs: Epochs that it ran.
        scores: On validation by name, in the epoch in which the first was largest.
    """

    name: str
    settings: Mapping[str, Any]
    epochs: int
    scores: Mapping[str, float]

    @property
    def score(self) -> float:
        """What trials are compared by."""
        return next(iter(self.scores.values()))


def read_trials(output: Path, names: Sequence[str] = ("auroc", "accuracy")) -> list[Trial]:
    """Trials of a search that finished an epoch, the best first.

    Args:
        output: Folder of the search.
        names: Scores to read; the first is compared by.

    Raises:
        ConfigError: If there is none.
    """
    trials = []
    for folder in sorted((output / TRIALS_NAME).glob("*")):
        path = folder / HISTORY_NAME
        if not path.is_file():
            continue
        rows = read_csv(path)
        best = max(rows, key=lambda row: float(row[f"val_{names[0]}"]))
        settings = yaml.safe_load((folder / SETTINGS_NAME).read_text(encoding="utf-8"))
        scores = {name: float(best[f"val_{name}"]) for name in names}
        trials.append(Trial(folder.name, settings, len(rows), scores))
    if not trials:
        raise ConfigError(f"expected a trial that finished an epoch in {output}, found none; see its errors")
    return sorted(trials, key=lambda trial: trial.score, reverse=True)


def write_trials(output: Path, trials: Sequence[Trial], shared: Mapping[str, Any]) -> None:
    """Write `trials.csv`, `best.yaml` and TensorBoard's HParams.

    Args:
        output: Folder of the search.
        trials: At least one, the best first.
        shared: Settings that all trials shared.

    Raises:
        OutputError: If a file cannot be written.
    """
    names = list(trials[0].settings)
    rows = [
        {"trial": trial.name, "epochs": trial.epochs} | dict(trial.scores) | dict(trial.settings)
        for trial in trials
    ]
    write_csv(output / TABLE_NAME, ["trial", "epochs", *trials[0].scores, *names], rows)
    best = trials[0]
    metric = next(iter(best.scores))
    header = f"# Trial {best.name}: {metric} {best.score:.4f} on validation within {best.epochs} epochs.\n"
    write_text(output / BEST_SETTINGS_NAME, header + yaml.safe_dump({**shared, **best.settings}))
    for trial in trials:
        with SummaryWriter(str(output / "tensorboard" / trial.name)) as writer:
            values = {
                name: value if isinstance(value, int | float | bool) else str(value)
                for name, value in trial.settings.items()
            }
            writer.add_hparams(values, dict(trial.scores), run_name=".")


STATE_NAME: Final = "ray"
"""Folder of the search's own state, from which it goes on."""

OPTIONS_NAME: Final = "options.json"
"""Options that the search began with."""

POINT: Final = "point"
"""What Ray calls the settings of one trial of a grid."""

RAY_ENVIRONMENT: Final = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would end as if all trials were done
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables at any verbosity
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # a killed search loses a second, not a trial
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # each trial has a history of its own
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How far and where to search.

    Attributes:
        trials: Number of settings to try.
        epochs: Most epochs of a trial.
        grace: Epochs that each trial has before it may be stopped.
        reduction: Of this many trials at a rung, one goes on.
        concurrency: Trials at a time, each on one thread; 0 for one a core.
        seed: Seed of the draws.
        address: Existing Ray cluster, such as `"auto"` or `"ray://host:10001"`, whose machines
            all see the same folders; None starts Ray on this machine.
        settings: Settings that all trials share.
        overlays: Further configuration files that all trials read after `train`.
        points: Settings of each trial, as of a grid, instead of draws from a space; `trials` then counts not.
    """

    trials: int = 20
    epochs: int = 8
    grace: int = 2
    reduction: int = 3
    concurrency: int = 0
    seed: int = 0
    address: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    overlays: Sequence[str] = ()
    points: Sequence[Mapping[str, Any]] = ()


def search(
    network: str,
    dataset_dir: Path,
    output: Path,
    space: Space,
    options: SearchOptions,
    *,
    resume: bool = False,
) -> list[Trial]:
    """Try settings by asynchronous successive halving, and write the best ones.

    Settings are drawn at random; at 2, 6, 18, ... epochs (`grace`, `reduction`) a trial
    goes on only if it is among the best third of those that came as far.
    Writes `trials.csv`, `best.yaml` (settings for `thorax train --settings`), TensorBoard's
    HParams, and the folder of each trial below `trials`.

    Args:
        network: A network of one of the bundles.
        dataset_dir: Prepared folder.
        output: Folder of the search.
        space: Settings and their ranges; one that `options.settings` gives is not drawn. Empty with `points`.
        options: How far and where to search.
        resume: Go on with the search in `output`, as far as it was meant to go when it began;
            of the options only `concurrency` and `address` count. Trials go on from their last epoch.

    Returns:
        Trials that finished an epoch, the best first.

    Raises:
        ConfigError: If a setting is unknown, none is left to search, Ray is missing, `output` does
            not fit `resume`, or no trial finished an epoch.
        DataError: If `dataset_dir` is not prepared.
        KeyboardInterrupt: If the search was interrupted; it can be resumed.
    """
    read_datalist(dataset_dir, kind=task_of(network).datalist_kind)
    state = output_folder(output.resolve()) / STATE_NAME
    if state.exists() and not resume:
        raise ConfigError(
            f"expected an empty folder, found the search {state}; go on with it by --resume, "
            "or choose another folder by --output"
        )
    if resume and not state.exists():
        raise ConfigError(f"expected a search to go on with in {output}, found none; start without --resume")
    named = {name for point in options.points for name in point}
    check_settings([*space, *named, *options.settings], network, options.overlays)
    space = {name: domain for name, domain in space.items() if name not in options.settings}
    if not space and not options.points:
        raise ConfigError("expected a setting to search, found all of them given by --set; leave one out")
    options = _kept_options(output, options, resume=resume)
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with ray_session(options.address, cpus=options.concurrency, part="ray.tune", extra="tune"):
            _run(network, dataset_dir.resolve(), state, space, options, resume=resume)
    except KeyboardInterrupt:
        logger.warning("interrupted; go on with --resume")
        raise
    trials = read_trials(output, task_of(network).scores)
    for trial in trials:  # what they would go on from is as large as three networks
        (output / TRIALS_NAME / trial.name / LAST_NAME).unlink(missing_ok=True)
    write_trials(output, trials, options.settings)
    write_manifest(output, network=network, finished_trials=len(trials), **asdict(options))
    return trials


def _kept_options(output: Path, options: SearchOptions, *, resume: bool) -> SearchOptions:
    """Options that a search began with, here and now."""
    path = output / OPTIONS_NAME
    if not resume:
        write_json(path, asdict(options))
        return options
    with expecting(f"the options of a search in {path}", ConfigError):
        began = read_json(path)
        return SearchOptions(**began | {"concurrency": options.concurrency, "address": options.address})


def _run(
    network: str, dataset_dir: Path, state: Path, space: Space, options: SearchOptions, *, resume: bool
) -> None:
    """Run Ray Tune until all trials have ended."""
    from ray import tune
    from ray.tune.logger import JsonLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import BasicVariantGenerator

    trials = state.parent / TRIALS_NAME

    def trainable(drawn: dict[str, Any]) -> None:
        folder = trials / tune.get_context().get_trial_id()
        drawn = drawn.get(POINT, drawn)
        write_text(folder / SETTINGS_NAME, yaml.safe_dump(drawn))
        settings = {"max_epochs": options.epochs, "val_interval": 1, **options.settings, **drawn}
        run_trial(
            settings,
            network=network,
            dataset_dir=dataset_dir,
            folder=folder,
            report=tune.report,
            overlays=options.overlays,
        )

    if resume:
        tuner = tune.Tuner.restore(
            str(state / network), trainable=trainable, resume_unfinished=True, resume_errored=True
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={POINT: tune.grid_search(list(options.points))}
            if options.points
            else {name: _ray_domain(domain) for name, domain in space.items()},
            tune_config=tune.TuneConfig(
                metric=task_of(network).scores[0],
                mode="max",
                num_samples=1 if options.points else options.trials,
                trial_dirname_creator=lambda trial: trial.trial_id,
                max_concurrent_trials=(options.concurrency or None) if options.address else None,
                search_alg=BasicVariantGenerator(random_state=options.seed),
                scheduler=ASHAScheduler(
                    time_attr=TIME,
                    max_t=options.epochs,
                    grace_period=min(options.grace, options.epochs),
                    reduction_factor=options.reduction,
                ),
            ),
            run_config=tune.RunConfig(
                name=network,
                storage_path=str(state),
                callbacks=[JsonLoggerCallback(), _trial_lines(task_of(network).scores[0])],
                verbose=0,
            ),
        )
    results = tuner.fit()
    for error in results.errors:
        logger.warning("a trial failed: %s", error)


def _trial_lines(score: str) -> Any:
    """A callback of Ray Tune that logs a line for each trial that ends, in place of Ray's own tables."""
    from ray.tune import Callback

    class TrialLines(Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ended = 1 + sum(each.is_finished() for each in trials if each is not trial)
            result = trial.last_result
            logger.info(
                "trial %s ended after epoch %s (%d of %d started): %s %.4f",
                trial.trial_id,
                result.get(TIME),
                ended,
                len(trials),
                score,
                result.get(score, float("nan")),
            )

    return TrialLines()


def _ray_domain(domain: Mapping[str, Any]) -> Any:
    from ray import tune

    if "choice" in domain:
        return tune.choice(domain["choice"])
    draw = tune.loguniform if domain.get("log") else tune.uniform
    return draw(float(domain["low"]), float(domain["high"]))


SCORES: Final = ("val_mean_dice", "val_auroc")
"""What runs are scored by: the best validation of the first of these that they have."""

NOT_SETTINGS: Final = frozenset(
    {"args_file", "config_file", "meta_file", "dataset_dir", "output_dir", "cache_dir", "resume", "fold"}
)
"""Options of a training that say where, not how."""


def read_scored_settings(folder: Path) -> list[tuple[dict[str, Any], float]]:
    """Settings and validation score of each trial or run.

    Args:
        folder: Of `thorax tune`, or one whose folders are training runs; of a run, the settings are
            those of its command that are not the network's own.

    Raises:
        DataError: If there are fewer than two.
    """
    is_search = (folder / TRIALS_NAME).is_dir()
    histories = sorted((folder / TRIALS_NAME if is_search else folder).glob(f"*/{HISTORY_NAME}"))
    found = [_read_scored(path.parent, drawn=is_search) for path in histories]
    if len(found) < 2:
        raise DataError(
            f"expected a folder of 'thorax tune' or of training runs, found {len(found)} with a score in "
            f"{folder}; give one with two at least"
        )
    return found


def command_settings(words: list[str]) -> dict[str, Any]:
    """Settings in the command of a run, of `thorax train` (`--set`) or of MONAI (`--name value`).

    Args:
        words: Program and arguments, as in a manifest.
    """
    settings: dict[str, Any] = {}
    for option, value in zip(words, [*words[1:], ""], strict=True):
        name, sign, own = option.partition("=")
        if option == "--set":
            settings |= parse_settings([value])
        elif words[0] == "__main__.py" and option.startswith("--"):
            settings[name.removeprefix("--")] = yaml.safe_load(own if sign else value)
    return {name: value for name, value in settings.items() if name not in NOT_SETTINGS}


def _read_scored(run: Path, *, drawn: bool) -> tuple[dict[str, Any], float]:
    """Settings of a run, as drawn for it or as in its command, and its best validation."""
    history = read_history(run / HISTORY_NAME)
    scores = [max(history[name][1]) for name in SCORES if history.get(name, ([], []))[1]]
    try:
        if drawn:
            settings = dict(yaml.safe_load((run / SETTINGS_NAME).read_text(encoding="utf-8")))
        else:
            words = read_json(run / MANIFEST_NAME)["command"]
            settings = command_settings(words)
        return settings, scores[0]
    except (OSError, ValueError, TypeError, KeyError, IndexError, yaml.YAMLError, ConfigError) as error:
        needed = SETTINGS_NAME if drawn else MANIFEST_NAME
        raise DataError(
            f"expected a training run with {needed} and a validation, found {run}: {cause(error)}"
        ) from error
