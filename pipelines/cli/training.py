"""The commands of `thorax` that train, search and check."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import options as opt
from pipelines.cli.options import bar, console, say
from pipelines.core.errors import ConfigError
from pipelines.core.tasks import HEART, task_of
from pipelines.datasets.readers import find_reader
from pipelines.models.bundle import bundle_of


def train(
    network: Annotated[opt.Network, typer.Argument(help="Network of one of the bundles.")],
    data: opt.Data,
    output: opt.Output,
    resume: opt.Resume = False,
    smoke: opt.Smoke = False,
    settings: Annotated[
        Path | None,
        typer.Option(help="YAML file of settings, e.g. best.yaml of 'thorax tune'; --set overrides it."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes on a Ray cluster; 0 trains in this one alone.", min=0)
    ] = 0,
    threads: opt.Threads = 1,
    address: opt.Address = None,
    minutes: opt.Minutes = None,
    epochs: opt.Epochs = None,
    fold: opt.TrainingFold = None,
    batch_size: opt.BatchSize = None,
    learning_rate: opt.LearningRate = None,
    seed: opt.TrainingSeed = None,
    setting: opt.Setting = None,
) -> None:
    """Train a network through the bundle's own workflow."""
    from pipelines.datasets.prepare import is_datalist

    if task_of(network) is HEART and not is_datalist(data):
        find_reader("acdc").read(data)  # a wrong folder is told of before the network is loaded
    from pipelines.training.distributed import WorkerOptions, train_by_workers
    from pipelines.training.launch import bundle_command, parse_settings, read_settings, train_network

    if address and not workers:
        raise ConfigError("expected --workers with --address, found none; give the number of processes")
    given = {
        "minutes": minutes,
        "max_epochs": epochs,
        "fold": fold,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    values = read_settings(settings) if settings else {}
    values |= {name: value for name, value in given.items() if value is not None}
    values |= parse_settings(setting or [])
    overlays = (*(["timed"] if minutes else []), *(["smoke"] if smoke else []))
    if workers:
        options = WorkerOptions(workers, address=address, threads=threads)
        say(f"{workers} workers on Ray; watch them: tensorboard --logdir {output / 'tensorboard'}")
        best = train_by_workers(network, data, output, options, resume=resume, overlays=overlays, **values)
        say(f"best weights in {best}")
        return
    say(bundle_command(network, data, output, resume=resume, overlays=overlays, **values))
    with bar("Training"):
        best = train_network(network, data, output, resume=resume, overlays=overlays, **values)
    say(f"best weights in {best}; curves: tensorboard --logdir {output / 'tensorboard'}")


def tune(
    network: Annotated[opt.ImageNetworkName, typer.Argument(help="Network of one of the bundles.")],
    data: opt.Data,
    output: opt.Output,
    trials: Annotated[int, typer.Option(help="Number of settings to try.", min=1)] = 20,
    epochs: Annotated[int, typer.Option(help="Most epochs of a trial.", min=1)] = 8,
    space: Annotated[
        Path | None,
        typer.Option(help="YAML file with settings and their ranges; the bundle's search.yaml without it."),
    ] = None,
    workers: opt.Trials = 0,
    address: opt.Address = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    resume: opt.Resume = False,
    smoke: opt.Smoke = False,
    setting: opt.Setting = None,
) -> None:
    """Search for better settings with Ray Tune; write the best as best.yaml."""
    from pipelines.reporting.terminal import trials_table
    from pipelines.training.launch import parse_settings
    from pipelines.training.search import SearchOptions, read_space, search

    options = SearchOptions(
        trials=2 if smoke else trials,
        epochs=2 if smoke else epochs,
        concurrency=workers,
        seed=seed,
        address=address,
        settings=parse_settings(setting or []),
        overlays=("smoke",) if smoke else (),
    )
    space = space or bundle_of(network) / "configs" / "search.yaml"
    found = search(network, data, output, read_space(space), options, resume=resume)
    console.print(trials_table(found))
    say(f"all trials: tensorboard --logdir {output / 'tensorboard'}")


def check_training(
    data: opt.Labelled,
    output: opt.Output,
    network: opt.HeartNetwork = "unet",
    minutes: Annotated[float, typer.Option(help="Time for all steps, about.", min=1)] = 240.0,
    fold: Annotated[int, typer.Option(help="Fold of validation, 0 to 4.", min=0, max=4)] = 0,
    smoke: opt.Smoke = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Continue after a step that failed.")
    ] = False,
    address: opt.Address = None,
    workers: opt.Trials = 0,
    setting: opt.Setting = None,
) -> None:
    """Check and do each step from data to a trained network; the same command resumes."""
    from pipelines.reporting.report import write_result_page
    from pipelines.training.checks.recipe import run_recipe
    from pipelines.training.launch import parse_settings

    page = output / "recipe.md"

    with bar("Recipe"):
        content = run_recipe(
            data,
            output,
            network=network,
            minutes=minutes,
            smoke=smoke,
            fold=fold,
            keep_going=keep_going,
            address=address,
            concurrency=workers,
            settings=parse_settings(setting or []),
            on_step=lambda: write_result_page(output, page),
        )
    failed = "too short" if smoke else "FAIL"
    for step in content["steps"].values():
        say(f"{'pass' if step['passed'] else failed}  {step['title']}: {step['finding']}")
    if smoke:
        say("a smoke test: that all steps ran is what it shows, their values mean nothing")
    if not content["finished"]:
        say("ended at the step that failed; put right what it says, or continue with --keep-going")
    say(f"values and findings in {page}")
