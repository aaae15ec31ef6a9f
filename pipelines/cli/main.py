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
from typer.core import TyperGroup

import pipelines
from pipelines.cli import active_learning as cli_active_learning
from pipelines.cli import cohort as cli_cohort
from pipelines.cli import comparing as cli_comparing
from pipelines.cli import datasets as cli_datasets
from pipelines.cli import eda as cli_eda
from pipelines.cli import export as cli_export
from pipelines.cli import heart as cli_heart
from pipelines.cli import interaction as cli_interaction
from pipelines.cli import measuring as cli_measuring
from pipelines.cli import quality as cli_quality
from pipelines.cli import recipe as cli_recipe
from pipelines.cli import report as cli_report
from pipelines.cli import server as cli_server
from pipelines.cli import store as cli_store
from pipelines.cli import training as cli_training
from pipelines.cli import watch as cli_watch
from pipelines.cli import xray as cli_xray
from pipelines.cli.options import App, Output, RunByDefault, console, keeps_results, say, with_default
from pipelines.core.errors import ThoraxError
from pipelines.core.tasks import HEART, XRAY

app = App(
    help="Thoracic images into numbers a clinician can check and correct.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

DATA, TRAIN, USE, JUDGE = "Data", "Train", "Use on images", "Measure and understand"
SHARE, SERVE, SCALE = "Share", "Label and correct", "Scale"
"""What a person does: panels of `thorax --help`."""


def group(name: str, panel: str | None, text: str, cls: type[TyperGroup] = TyperGroup) -> App:
    """A group of commands in a panel of the help; an old one, which the help leaves out, without a panel."""
    made = App(help=text, no_args_is_help=True, cls=cls)
    app.add_typer(made, name=name, rich_help_panel=panel, hidden=panel is None)
    return made


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


prepare_app = group("prepare", DATA, "Check a dataset and split it by patient.")
prepare_app.command("acdc")(cli_heart.prepare_acdc)
prepare_app.command("chest-xray")(cli_xray.prepare_chest_xray)
app.command(rich_help_panel=DATA)(cli_eda.explore)
app.command(rich_help_panel=DATA)(cli_datasets.datasets)
app.command(rich_help_panel=DATA)(cli_datasets.phantom)

app.command(rich_help_panel=TRAIN)(cli_training.train)
app.command(rich_help_panel=TRAIN)(cli_training.tune)
app.command(rich_help_panel=TRAIN)(cli_comparing.cross_validate)
app.command(rich_help_panel=TRAIN)(cli_recipe.check_training)

app.command(rich_help_panel=USE)(cli_heart.segment)
app.command(rich_help_panel=USE)(cli_xray.classify)
watch_app = group("watch", USE, "Process what arrives in a folder, each study once.", RunByDefault)
watch_app.command("run")(cli_watch.watch)
watch_app.command("status")(cli_watch.watch_status)

app.command(rich_help_panel=JUDGE)(cli_measuring.evaluate)
app.command(rich_help_panel=JUDGE)(cli_measuring.analyse)
app.command(rich_help_panel=JUDGE)(cli_comparing.compare)
app.command(rich_help_panel=JUDGE)(cli_datasets.cross_evaluate)
app.command(rich_help_panel=JUDGE)(cli_measuring.explain)
quality_app = group("quality", JUDGE, "Predict how good a mask is, without a label.")
quality_app.command("fit")(cli_quality.fit_quality)
quality_app.command("evaluate")(cli_quality.evaluate_quality)
app.command(rich_help_panel=JUDGE)(cli_quality.disease)
app.command(rich_help_panel=JUDGE)(cli_report.report)

app.command(rich_help_panel=SHARE)(cli_export.export)
app.command(rich_help_panel=SHARE)(cli_export.publish)
app.command(rich_help_panel=SHARE)(cli_store.push)
app.command(rich_help_panel=SHARE)(cli_store.pull)
app.command(rich_help_panel=SHARE)(cli_store.trust)
cli_store.register(group("data", SHARE, "Keep datasets in a store, under their terms."))

app.command(rich_help_panel=SERVE)(cli_server.serve)
server_app = group("server", SERVE, "Users and models of the labelling server.")
server_app.command("add-user")(cli_server.add_user)
server_app.command("fine-tune")(cli_active_learning.fine_tune)
server_app.command("restore")(cli_active_learning.restore_model)

cohort_app = group("cohort", SCALE, "Segment and measure cohorts on a Ray cluster.", RunByDefault)
cohort_app.command("run")(cli_cohort.cohort)
cohort_app.command("report")(cli_cohort.cohort_report)
cohort_app.command("benchmark")(cli_cohort.cohort_benchmark)
cohort_app.command("simulate")(cli_cohort.simulate_scale)
benchmark_app = group("benchmark", SCALE, "Measure speed, clicks and learning from few labels.")
benchmark_app.command("int8")(cli_xray.quantize)
benchmark_app.command("clicks")(cli_interaction.interact_benchmark)
benchmark_app.command("active-learning")(cli_active_learning.active_learning_benchmark)
benchmark_app.command("unseen-masks")(cli_interaction.unseen_masks)


@app.command(rich_help_panel=USE)
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


@benchmark_app.command("speed")
@keeps_results
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


app.command("results", hidden=True, context_settings=cli_report.ANY_WORDS)(cli_report.results)
app.old("evaluate-xray", "evaluate", with_default(cli_measuring.evaluate, network=XRAY.networks[0]))
app.old("analyse-errors", "analyse", cli_measuring.analyse)
app.old("errors", "analyse", cli_measuring.analyse)
app.old("study-explanations", "explain", cli_measuring.explain)
app.old("show-features", "explain", with_default(cli_measuring.explain, network=HEART.networks[0]))
app.old("quantize", "benchmark int8", cli_xray.quantize)
app.old("eda", "explore", cli_eda.explore)
group("recipe", None, "").old("acdc", "check-training", cli_recipe.check_training)
app.old("bench", "benchmark speed", bench)
app.old("interact-benchmark", "benchmark clicks", cli_interaction.interact_benchmark)
app.old(
    "active-learning-benchmark",
    "benchmark active-learning",
    cli_active_learning.active_learning_benchmark,
)
app.old("unseen-masks", "benchmark unseen-masks", cli_interaction.unseen_masks)
app.old("cohort-benchmark", "cohort benchmark", cli_cohort.cohort_benchmark)
app.old("simulate-scale", "cohort simulate", cli_cohort.simulate_scale)
app.old("watch-status", "watch status", cli_watch.watch_status)
app.old("add-user", "server add-user", cli_server.add_user)
app.old("fine-tune", "server fine-tune", cli_active_learning.fine_tune)
app.old("restore-model", "server restore", cli_active_learning.restore_model)
app.old("fit-quality", "quality fit", cli_quality.fit_quality)
app.old("evaluate-quality", "quality evaluate", cli_quality.evaluate_quality)
