"""Search for better settings of a training with Ray Tune, on one machine or a cluster."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, write_json, write_text
from pipelines.core.manifest import write_manifest
from pipelines.core.ray_session import ray_session
from pipelines.core.tasks import task_of
from pipelines.datasets.prepare import read_datalist
from pipelines.models.checkpoints import LAST_NAME
from pipelines.training.launch import check_settings
from pipelines.training.space import Choice, Range, Space
from pipelines.training.trial import TIME, run_trial
from pipelines.training.trials import SETTINGS_NAME, TRIALS_NAME, Trial, read_trials, write_trials

STATE_NAME: Final = "ray"
"""Folder of the search's own state, from which it goes on."""

OPTIONS_NAME: Final = "options.json"
"""Options that the search began with."""

POINT: Final = "point"
"""What Ray calls the settings of one trial of a grid."""

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
    try:
        with _ray(options):
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
    try:
        began = json.loads(path.read_text(encoding="utf-8"))
        return SearchOptions(**began | {"concurrency": options.concurrency, "address": options.address})
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"expected the options of a search in {path}, found {error!r}") from error


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
        settings = {"max_epochs": options.epochs, **options.settings, **drawn}
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
                name=network, storage_path=str(state), callbacks=[JsonLoggerCallback()], verbose=1
            ),
        )
    results = tuner.fit()
    for error in results.errors:
        logger.warning("a trial failed: %s", error)


@contextmanager
def _ray(options: SearchOptions) -> Iterator[None]:
    """Ray, joined or started for the time of the block."""
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # it would end as if all trials were done
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")  # a killed search loses a second, not a trial
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # each trial has a history of its own
    with ray_session(options.address, cpus=options.concurrency, part="ray.tune", extra="tune"):
        yield


def _ray_domain(domain: Range | Choice) -> Any:
    from ray import tune

    if isinstance(domain, Choice):
        return tune.choice(domain.values)
    return (tune.loguniform if domain.log else tune.uniform)(domain.low, domain.high)
