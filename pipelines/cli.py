"""The `thorax` command: parse, call, report, exit code."""

import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

import pipelines
from pipelines import cli_active_learning, cli_interaction, cli_labelling, cli_report, cli_training, cli_xray
from pipelines.cli_options import (
    AcdcNetwork,
    Device,
    Ensemble,
    HeartNetwork,
    Network,
    Output,
    Tta,
    Weights,
    console,
    say,
)
from pipelines.errors import ConfigError, ThoraxError
from pipelines.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.inference.predictor import Predictor

app = typer.Typer(
    help="Thoracic images into numbers a clinician can check and correct.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
prepare_app = typer.Typer(help="Check a dataset and split it by patient.", no_args_is_help=True)
results_app = typer.Typer(help="Write the results pages from runs and evaluations.", no_args_is_help=True)
eda_app = typer.Typer(help="Explore a dataset before training on it.", no_args_is_help=True)
app.add_typer(prepare_app, name="prepare")
app.add_typer(eda_app, name="eda")
app.add_typer(results_app, name="results")


def main() -> None:
    """Entry point: a foreseen error is one message and exit code 1, without a traceback."""
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True))]
    )
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


@app.command()
def phantom(
    output: Output,
    patients: Annotated[int, typer.Option(help="Number of patients, dealt over five groups.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same hearts.")] = 0,
) -> None:
    """Write a cohort of generated beating hearts with known volumes, in ACDC's layout."""
    from pipelines.datasets.phantom import write_phantom_cohort

    truth = write_phantom_cohort(output, patients=patients, seed=seed)
    say(f"{len(truth)} patients in {output / 'training'}, their volumes in {output / 'truth.csv'}")


@prepare_app.command("acdc")
def prepare_acdc(
    root: Annotated[Path, typer.Argument(help="Folder in ACDC's layout.")],
    output: Output,
    test_patients: Annotated[
        Path | None, typer.Option(help="Text file with the test patients, one a line.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
) -> None:
    """Check every patient, list what is put aside, and write the datalist with its split."""
    from pipelines.datasets import prepare
    from pipelines.datasets.split import read_test_patients

    names = read_test_patients(test_patients) if test_patients else None
    with progress_bar("Checking", console) as tell:
        result = prepare.prepare_acdc(root, output, seed=seed, test_patients=names, progress=tell)
    for problem in result.problems:
        say(f"put aside {problem.patient}: {problem.reason}")
    say(f"{result.patients} patients, {result.volumes} volumes in {result.datalist}")


app.command()(cli_report.report)
app.command()(cli_training.train)
app.command()(cli_training.tune)
prepare_app.command("chest-xray")(cli_xray.prepare_chest_xray)
eda_app.command("chest-xray")(cli_xray.eda_chest_xray)
app.command()(cli_xray.classify)
app.command()(cli_xray.explain)
app.command()(cli_xray.evaluate_xray)
app.command()(cli_xray.study_explanations)
app.command()(cli_xray.errors)
app.command()(cli_xray.quantize)
app.command()(cli_labelling.serve)
app.command()(cli_labelling.add_user)
app.command()(cli_active_learning.fine_tune)
app.command()(cli_active_learning.restore_model)
results_app.command("chest-xray")(cli_xray.results_chest_xray)
app.command()(cli_interaction.unseen_masks)
app.command()(cli_interaction.interact_benchmark)
results_app.command("interaction")(cli_interaction.results_interaction)
app.command()(cli_active_learning.active_learning_benchmark)
results_app.command("active-learning")(cli_active_learning.results_active_learning)


@app.command()
def evaluate(
    root: Annotated[
        Path, typer.Argument(help="Labelled folder in ACDC's layout, or a datalist of 'thorax prepare'.")
    ],
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    section: Annotated[
        Literal["training", "validation", "test"],
        typer.Option(help="Of a datalist: the patients to measure."),
    ] = "test",
    fold: Annotated[int, typer.Option(help="Of a datalist: the fold that validation stands for.")] = 0,
    tta: Tta = False,
    ensemble: Ensemble = False,
    device: Device = "auto",
) -> None:
    """Measure a network on labelled volumes: Dice, distances, volumes, ejection fraction."""
    from pipelines.datasets.prepare import DATALIST_NAME, patient_records, read_datalist, select
    from pipelines.evaluation.evaluate import evaluate as evaluate_volumes
    from pipelines.manifest import write_manifest
    from pipelines.reporting.tables import metrics_table

    records = None
    if root.name == DATALIST_NAME or (root / DATALIST_NAME).is_file():
        records = patient_records(select(read_datalist(root), section, fold))
    predictor = _predictor(network, weights, tta=tta, ensemble=ensemble, device=device)
    with progress_bar("Evaluating", console) as tell:
        metrics = evaluate_volumes(root, output, predictor, records=records, progress=tell)
    write_manifest(
        output, networks=predictor.networks, tta=tta, outputs=["metrics.json", "metrics.csv", "overlays"]
    )
    console.print(metrics_table(metrics))
    for problem in metrics["problems"]:
        say(f"put aside {problem['patient']}: {problem['reason']}")
    say(f"figures and pictures in {output}")


@app.command()
def segment(
    inputs: Annotated[list[Path], typer.Argument(help="NIfTI files, DICOM series, or folders of them.")],
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    tta: Tta = False,
    ensemble: Ensemble = False,
    device: Device = "auto",
) -> None:
    """Segment volumes and cines; write label maps, indices, overlays and curves."""
    from pipelines.inference.segment import segment as segment_studies
    from pipelines.reporting.tables import indices_table

    predictor = _predictor(network, weights, tta=tta, ensemble=ensemble, device=device)
    with progress_bar("Segmenting", console) as tell:
        report = segment_studies(inputs, output, predictor, progress=tell)
    console.print(indices_table(report.results))
    for result in report.results:
        for warning in result.warnings:
            say(f"{result.study}: {warning}")
    for problem in report.problems:
        say(f"put aside {problem.path}: {problem.reason}")
    say(f"label maps, indices.csv and pictures in {output}")


@app.command()
def export(
    network: Annotated[AcdcNetwork, typer.Argument(help="Network of the ACDC bundle.")],
    output: Output,
    weights: Weights = None,
) -> None:
    """Write a self-contained copy of the bundle that runs with MONAI alone."""
    from pipelines.export import export_bundle

    say(f"bundle in {export_bundle(network, output, weights=weights)}")


@app.command()
def publish(
    network: Annotated[Network, typer.Argument(help="Network that the run trained.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the training run.")] = None,
    last: Annotated[
        bool, typer.Option("--last", help="The end of the run, not its best validation.")
    ] = False,
    int8: Annotated[
        Path | None, typer.Option(help="Folder of 'thorax quantize'; goes beside the weights.")
    ] = None,
) -> None:
    """Put the averaged weights of a run into the bundle, in 16 bits; its int8 model likewise."""
    from pipelines.publish import publish_int8, publish_weights

    if run is None and int8 is None:
        raise ConfigError("expected what to publish, found neither --run nor --int8; give one or both")
    if run is not None:
        say(f"weights in {publish_weights(run, network, which='last' if last else 'best')}")
    if int8 is not None:
        say(f"int8 model in {publish_int8(int8, network)}")


@results_app.command("acdc")
def results_acdc(
    run: Annotated[list[Path], typer.Option(help="Folder of a training run; may be repeated.")],
    evaluation: Annotated[list[Path], typer.Option(help="Folder of an evaluation; may be repeated.")],
    output: Output = Path("docs/results"),
) -> None:
    """Write the page of the ACDC bundle and the figures of its model card."""
    from pipelines.reporting.acdc_results import write_acdc_results

    say(f"page in {write_acdc_results(run, evaluation, output)}")


@results_app.command("bench")
def results_bench(
    bench: Annotated[Path, typer.Option(help="Folder of 'thorax bench'.")] = Path("runs/bench"),
    output: Output = Path("docs/results"),
) -> None:
    """Write the page of speed and memory."""
    from pipelines.reporting.bench_results import write_bench_results

    say(f"page in {write_bench_results(bench, output)}")


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
    from pipelines.demo import run_demo

    run_demo(output, data=data, minutes=minutes, seed=seed, smoke=smoke, console=console)


@app.command()
def bench(
    output: Output = Path("runs/bench"),
    data: Annotated[
        Path | None, typer.Option(help="Folder in ACDC's layout; a generated cohort without it.")
    ] = None,
) -> None:
    """Measure speed and memory as ratios within one run."""
    from pipelines.bench import run_bench

    run_bench(output, data=data, console=console)


def _predictor(network: str, weights: Path | None, *, tta: bool, ensemble: bool, device: str) -> "Predictor":
    from pipelines.bundle import NETWORKS
    from pipelines.inference.predictor import Predictor

    return Predictor.load(NETWORKS if ensemble else network, weights=weights, tta=tta, device=device)
