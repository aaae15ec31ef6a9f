"""The `thorax` command: parse, call, report, exit code."""

import logging
import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

import pipelines
from pipelines.cli import data, measuring, report, scale, serve, share, training, use
from pipelines.cli.options import App, OldNames, console, say
from pipelines.core.errors import ThoraxError

app = App(
    help="Thoracic images into numbers a clinician can check and correct.",
    cls=OldNames,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

DATA, TRAIN, USE, JUDGE = "Data", "Train", "Use on images", "Measure and understand"
SHARE, SERVE, SCALE = "Share", "Label and correct", "Scale"
"""What a person does: panels of `thorax --help`."""


def group(name: str, panel: str, text: str) -> App:
    """A group of commands in a panel of the help."""
    made = App(help=text, no_args_is_help=True)
    app.add_typer(made, name=name, rich_help_panel=panel)
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


app.command(rich_help_panel=DATA)(data.prepare)
app.command(rich_help_panel=DATA)(data.explore)
app.command(rich_help_panel=DATA)(data.datasets)
app.command(rich_help_panel=DATA)(data.phantom)

app.command(rich_help_panel=TRAIN)(training.train)
app.command(rich_help_panel=TRAIN)(training.tune)
app.command(rich_help_panel=TRAIN)(measuring.cross_validate)
app.command(rich_help_panel=TRAIN)(training.check_training)

app.command(rich_help_panel=USE)(use.segment)
app.command(rich_help_panel=USE)(use.classify)
app.command(rich_help_panel=USE)(use.demo)
watch_app = group("watch", USE, "Process what arrives in a folder, each study once.")
watch_app.command("run")(use.watch)
watch_app.command("status")(use.watch_status)

app.command(rich_help_panel=JUDGE)(measuring.evaluate)
app.command(rich_help_panel=JUDGE)(measuring.analyse)
app.command(rich_help_panel=JUDGE)(measuring.compare)
app.command(rich_help_panel=JUDGE)(measuring.explain)
quality_app = group("quality", JUDGE, "Predict how good a mask is, without a label.")
quality_app.command("fit")(measuring.fit_quality)
quality_app.command("evaluate")(measuring.evaluate_quality)
app.command(rich_help_panel=JUDGE)(measuring.disease)
app.command(rich_help_panel=JUDGE)(report.report)

app.command(rich_help_panel=SHARE)(share.export)
app.command(rich_help_panel=SHARE)(share.publish)
store_app = group("store", SHARE, "Keep bundles and datasets in a folder, a hub or an object store.")
store_app.command("push")(share.push)
store_app.command("pull")(share.pull)
store_app.command("verify")(share.verify)
store_app.command("trust")(share.trust)

app.command(rich_help_panel=SERVE)(serve.serve)
server_app = group("server", SERVE, "Users and models of the labelling server.")
server_app.command("add-user")(serve.add_user)
server_app.command("fine-tune")(serve.fine_tune)
server_app.command("restore")(serve.restore_model)

cohort_app = group("cohort", SCALE, "Segment and measure cohorts on a Ray cluster.")
cohort_app.command("run")(scale.cohort)
cohort_app.command("benchmark")(scale.cohort_benchmark)
cohort_app.command("simulate")(scale.simulate_scale)
benchmark_app = group("benchmark", SCALE, "Measure speed, clicks and learning from few labels.")
benchmark_app.command("clicks")(scale.interact_benchmark)
benchmark_app.command("active-learning")(scale.active_learning_benchmark)
benchmark_app.command("measures")(scale.measures)
benchmark_app.command("speed")(scale.bench)
benchmark_app.command("peers")(scale.peers)


app.command("results", hidden=True, context_settings=report.ANY_WORDS)(report.results)
