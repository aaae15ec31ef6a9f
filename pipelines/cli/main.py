"""The `thorax` command: parse, call, report, exit code."""

import logging
import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from typer.core import TyperGroup

import pipelines
from pipelines.cli import data, measuring, report, scale, serve, share, training, use
from pipelines.cli.options import App, RunByDefault, console, say, with_default
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
watch_app = group("watch", USE, "Process what arrives in a folder, each study once.", RunByDefault)
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

cohort_app = group("cohort", SCALE, "Segment and measure cohorts on a Ray cluster.", RunByDefault)
cohort_app.command("run")(scale.cohort)
cohort_app.command("benchmark")(scale.cohort_benchmark)
cohort_app.command("simulate")(scale.simulate_scale)
benchmark_app = group("benchmark", SCALE, "Measure speed, clicks and learning from few labels.")
benchmark_app.old("int8", "export --format int8 --rounds", share.quantize)
benchmark_app.command("clicks")(scale.interact_benchmark)
benchmark_app.command("active-learning")(scale.active_learning_benchmark)
benchmark_app.command("measures")(scale.measures)
benchmark_app.old("unseen-masks", "cross-validate --unseen-masks", measuring.unseen_masks)
benchmark_app.command("speed")(scale.bench)
benchmark_app.command("peers")(scale.peers)


app.command("results", hidden=True, context_settings=report.ANY_WORDS)(report.results)
app.old("evaluate-xray", "evaluate", with_default(measuring.evaluate, network=XRAY.networks[0]))
app.old("analyse-errors", "analyse", measuring.analyse)
app.old("errors", "analyse", measuring.analyse)
app.old("study-explanations", "explain", measuring.explain)
app.old("show-features", "explain", with_default(measuring.explain, network=HEART.networks[0]))
app.old("quantize", "export --format int8 --rounds", share.quantize)
app.old("cross-evaluate", "compare --dataset", measuring.cross_evaluate)
old_data = group("data", None, "")
for each in (app, old_data):
    each.old("push", "store push", share.push)
    each.old("pull", "store pull", share.pull)
old_data.old("verify", "store verify", share.verify)
app.old("trust", "store trust", share.trust)
app.old("eda", "explore", data.explore)
group("recipe", None, "").old("acdc", "check-training", training.check_training)
app.old("bench", "benchmark speed", scale.bench)
app.old("interact-benchmark", "benchmark clicks", scale.interact_benchmark)
app.old("active-learning-benchmark", "benchmark active-learning", scale.active_learning_benchmark)
app.old("unseen-masks", "cross-validate --unseen-masks", measuring.unseen_masks)
app.old("cohort-benchmark", "cohort benchmark", scale.cohort_benchmark)
app.old("simulate-scale", "cohort simulate", scale.simulate_scale)
app.old("watch-status", "watch status", use.watch_status)
app.old("add-user", "server add-user", serve.add_user)
app.old("fine-tune", "server fine-tune", serve.fine_tune)
app.old("restore-model", "server restore", serve.restore_model)
app.old("fit-quality", "quality fit", measuring.fit_quality)
app.old("evaluate-quality", "quality evaluate", measuring.evaluate_quality)
