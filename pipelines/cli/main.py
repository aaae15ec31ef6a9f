"""The `thorax` command: parse, call, report, exit code."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

import pipelines
from pipelines.cli import active_learning as cli_active_learning
from pipelines.cli import cohort as cli_cohort
from pipelines.cli import comparing as cli_comparing
from pipelines.cli import datasets as cli_datasets
from pipelines.cli import eda as cli_eda
from pipelines.cli import errors as cli_errors
from pipelines.cli import export as cli_export
from pipelines.cli import heart as cli_heart
from pipelines.cli import interaction as cli_interaction
from pipelines.cli import quality as cli_quality
from pipelines.cli import recipe as cli_recipe
from pipelines.cli import report as cli_report
from pipelines.cli import server as cli_labelling
from pipelines.cli import store as cli_store
from pipelines.cli import training as cli_training
from pipelines.cli import watch as cli_watch
from pipelines.cli import xray as cli_xray
from pipelines.cli.options import App, Output, console, say
from pipelines.core.errors import ThoraxError

app = App(
    help="Thoracic images into numbers a clinician can check and correct.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
prepare_app = App(help="Check a dataset and split it by patient.", no_args_is_help=True)
eda_app = App(help="Explore a dataset before training on it.", no_args_is_help=True)
recipe_app = App(help="Check and do each step of a training.", no_args_is_help=True)
data_app = App(help="Keep datasets in a store, under their terms.", no_args_is_help=True)
app.add_typer(prepare_app, name="prepare")
app.add_typer(data_app, name="data")
app.add_typer(recipe_app, name="recipe")
app.add_typer(eda_app, name="eda")


def main() -> None:
    """Entry point: a foreseen error is one message and exit code 1, without a traceback."""
    screen = Console(stderr=True)
    handlers = [RichHandler(console=screen)] if screen.is_terminal else None  # lines stay whole in a file
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=handlers)
    logging.getLogger("pipelines.training.search").setLevel(logging.INFO)  # a line a trial
    if not console.is_terminal:  # no bar is drawn there: a line an epoch instead
        logging.getLogger("pipelines.training.monitor").setLevel(logging.INFO)
    # MONAI says at each start that an optional DICOM decoder for GPUs is not there.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader", category=UserWarning)
    try:
        app()
    except ThoraxError as error:
        Console(stderr=True).print(
            f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True, highlight=False
        )
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted.")
        sys.exit(130)


@app.callback(invoke_without_command=True)
def version(
    *, show: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False
) -> None:
    """Thoracic images into numbers a clinician can check and correct."""
    if show:
        say(f"thorax {pipelines.__version__}")
        raise typer.Exit


prepare_app.command("acdc")(cli_heart.prepare_acdc)
app.command()(cli_heart.evaluate)
app.command()(cli_heart.segment)
app.command()(cli_datasets.phantom)
app.command()(cli_report.report)
app.command(hidden=True, context_settings=cli_report.ANY_WORDS)(cli_report.results)
app.command()(cli_training.train)
app.command()(cli_training.tune)
app.command()(cli_comparing.cross_validate)
app.command()(cli_comparing.compare)
prepare_app.command("chest-xray")(cli_xray.prepare_chest_xray)
eda_app.command("chest-xray")(cli_xray.eda_chest_xray)
cli_eda.register(eda_app)
app.command()(cli_xray.classify)
app.command()(cli_xray.explain)
app.command()(cli_xray.evaluate_xray)
app.command()(cli_xray.study_explanations)
app.command()(cli_xray.errors)
app.command()(cli_xray.quantize)
app.command()(cli_export.export)
app.command()(cli_export.publish)
app.command()(cli_labelling.serve)
app.command()(cli_labelling.add_user)
app.command()(cli_watch.watch)
app.command()(cli_watch.watch_status)
app.command()(cli_active_learning.fine_tune)
app.command()(cli_active_learning.restore_model)
app.command()(cli_errors.analyse_errors)
app.command()(cli_errors.show_features)
app.command()(cli_interaction.unseen_masks)
app.command()(cli_interaction.interact_benchmark)
app.command()(cli_active_learning.active_learning_benchmark)
recipe_app.command("acdc")(cli_recipe.recipe_acdc)
app.command()(cli_datasets.datasets)
app.command()(cli_datasets.cross_evaluate)
app.command()(cli_quality.fit_quality)
app.command()(cli_quality.evaluate_quality)
app.command()(cli_quality.disease)
app.command()(cli_cohort.cohort)
app.command()(cli_cohort.cohort_benchmark)
app.command()(cli_cohort.simulate_scale)
app.command()(cli_store.push)
app.command()(cli_store.pull)
app.command()(cli_store.trust)
cli_store.register(data_app)


@app.command()
def demo(
    output: Output = Path("runs/demo"),
    data: Annotated[
        Path | None, typer.Option(help="Folder in ACDC's layout; a generated cohort without it.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Time for the training.")] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of cohort, split and training.")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds, to see that all works.")] = False,
) -> None:
    """Do the whole job: data, training, evaluation, a new cine, a report."""
    from pipelines.cli.demo import run_demo

    run_demo(output, data=data, minutes=minutes, seed=seed, smoke=smoke, console=console)


@app.command()
def bench(
    output: Output = Path("runs/bench"),
    data: Annotated[
        Path | None, typer.Option(help="Folder in ACDC's layout; a generated cohort without it.")
    ] = None,
) -> None:
    """Measure speed and memory as ratios within one run."""
    from pipelines.benchmarks.speed import run_bench
    from pipelines.reporting.results.speed import bench_table
    from pipelines.reporting.terminal import render

    console.print(render(bench_table(run_bench(output, data=data, console=console))))
