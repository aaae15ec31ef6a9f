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
from pipelines.cli import data as data_commands
from pipelines.cli import measuring as measuring_commands
from pipelines.cli import report as report_commands
from pipelines.cli import scale as scale_commands
from pipelines.cli import serve as serve_commands
from pipelines.cli import share as share_commands
from pipelines.cli import training as training_commands
from pipelines.cli import use as use_commands
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
        logging.getLogger("pipelines.training.handlers").setLevel(logging.INFO)
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


app.command(rich_help_panel=DATA)(data_commands.prepare)
app.command(rich_help_panel=DATA)(data_commands.explore)
app.command(rich_help_panel=DATA)(data_commands.datasets)
app.command(rich_help_panel=DATA)(data_commands.phantom)

app.command(rich_help_panel=TRAIN)(training_commands.train)
app.command(rich_help_panel=TRAIN)(training_commands.tune)
app.command(rich_help_panel=TRAIN)(measuring_commands.cross_validate)
app.command(rich_help_panel=TRAIN)(training_commands.check_training)

app.command(rich_help_panel=USE)(use_commands.segment)
app.command(rich_help_panel=USE)(use_commands.classify)
watch_app = group("watch", USE, "Process what arrives in a folder, each study once.", RunByDefault)
watch_app.command("run")(use_commands.watch)
watch_app.command("status")(use_commands.watch_status)

app.command(rich_help_panel=JUDGE)(measuring_commands.evaluate)
app.command(rich_help_panel=JUDGE)(measuring_commands.analyse)
app.command(rich_help_panel=JUDGE)(measuring_commands.compare)
app.command(rich_help_panel=JUDGE)(measuring_commands.explain)
quality_app = group("quality", JUDGE, "Predict how good a mask is, without a label.")
quality_app.command("fit")(measuring_commands.fit_quality)
quality_app.command("evaluate")(measuring_commands.evaluate_quality)
app.command(rich_help_panel=JUDGE)(measuring_commands.disease)
app.command(rich_help_panel=JUDGE)(report_commands.report)

app.command(rich_help_panel=SHARE)(share_commands.export)
app.command(rich_help_panel=SHARE)(share_commands.publish)
store_app = group("store", SHARE, "Keep bundles and datasets in a folder, a hub or an object store.")
store_app.command("push")(share_commands.push)
store_app.command("pull")(share_commands.pull)
store_app.command("verify")(share_commands.verify)
store_app.command("trust")(share_commands.trust)

app.command(rich_help_panel=SERVE)(serve_commands.serve)
server_app = group("server", SERVE, "Users and models of the labelling server.")
server_app.command("add-user")(serve_commands.add_user)
server_app.command("fine-tune")(serve_commands.fine_tune)
server_app.command("restore")(serve_commands.restore_model)

cohort_app = group("cohort", SCALE, "Segment and measure cohorts on a Ray cluster.", RunByDefault)
cohort_app.command("run")(scale_commands.cohort)
cohort_app.command("benchmark")(scale_commands.cohort_benchmark)
cohort_app.command("simulate")(scale_commands.simulate_scale)
benchmark_app = group("benchmark", SCALE, "Measure speed, clicks and learning from few labels.")
benchmark_app.old("int8", "export --format int8 --rounds", share_commands.quantize)
benchmark_app.command("clicks")(scale_commands.interact_benchmark)
benchmark_app.command("active-learning")(serve_commands.active_learning_benchmark)
benchmark_app.command("measures")(scale_commands.measures)
benchmark_app.old("unseen-masks", "cross-validate --unseen-masks", measuring_commands.unseen_masks)


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


app.command("results", hidden=True, context_settings=report_commands.ANY_WORDS)(report_commands.results)
app.old("evaluate-xray", "evaluate", with_default(measuring_commands.evaluate, network=XRAY.networks[0]))
app.old("analyse-errors", "analyse", measuring_commands.analyse)
app.old("errors", "analyse", measuring_commands.analyse)
app.old("study-explanations", "explain", measuring_commands.explain)
app.old("show-features", "explain", with_default(measuring_commands.explain, network=HEART.networks[0]))
app.old("quantize", "export --format int8 --rounds", share_commands.quantize)
app.old("cross-evaluate", "compare --dataset", measuring_commands.cross_evaluate)
old_data = group("data", None, "")
for each in (app, old_data):
    each.old("push", "store push", share_commands.push)
    each.old("pull", "store pull", share_commands.pull)
old_data.old("verify", "store verify", share_commands.verify)
app.old("trust", "store trust", share_commands.trust)
app.old("eda", "explore", data_commands.explore)
group("recipe", None, "").old("acdc", "check-training", training_commands.check_training)
app.old("bench", "benchmark speed", bench)
app.old("interact-benchmark", "benchmark clicks", scale_commands.interact_benchmark)
app.old(
    "active-learning-benchmark",
    "benchmark active-learning",
    serve_commands.active_learning_benchmark,
)
app.old("unseen-masks", "cross-validate --unseen-masks", measuring_commands.unseen_masks)
app.old("cohort-benchmark", "cohort benchmark", scale_commands.cohort_benchmark)
app.old("simulate-scale", "cohort simulate", scale_commands.simulate_scale)
app.old("watch-status", "watch status", use_commands.watch_status)
app.old("add-user", "server add-user", serve_commands.add_user)
app.old("fine-tune", "server fine-tune", serve_commands.fine_tune)
app.old("restore-model", "server restore", serve_commands.restore_model)
app.old("fit-quality", "quality fit", measuring_commands.fit_quality)
app.old("evaluate-quality", "quality evaluate", measuring_commands.evaluate_quality)
