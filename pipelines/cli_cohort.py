"""The commands of `thorax` that measure cohorts on many machines."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import Device, Ensemble, HeartNetwork, Output, Tta, Weights, console, say
from pipelines.progress import progress_bar

SHOWN_FAILURES = 10


def cohort(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="CSV or Parquet with a row a study, or a folder of studies."),
    ],
    output: Output,
    address: Annotated[
        str | None, typer.Option(help="Existing Ray cluster, e.g. auto; without it Ray starts here.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes with a model each; 0: as many as fit.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="Cores of each worker.", min=1)] = 1,
    gpus: Annotated[float, typer.Option(help="GPUs of each worker, e.g. 1 or 0.5.", min=0.0)] = 0.0,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    tta: Tta = False,
    ensemble: Ensemble = False,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the cohort in the output folder.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: try studies again that failed.")
    ] = False,
) -> None:
    """Segment and measure a cohort of studies on a Ray cluster."""
    from pipelines.bundle import NETWORKS
    from pipelines.cohort.model import BundleModel
    from pipelines.cohort.run import CohortOptions, run_cohort

    model = BundleModel(
        NETWORKS if ensemble else (network,), weights and weights.resolve(), tta=tta, device=device
    )
    options = CohortOptions(
        address=address, workers=workers, threads=threads, gpus=gpus, retry_failed=retry_failed
    )
    with progress_bar("Studies", console) as tell:
        report = run_cohort(source, output, model, options, resume=resume, progress=tell)
    for problem in report.problems:
        say(f"put aside {problem.path}: {problem.reason}")
    for name, reason in report.failures[:SHOWN_FAILURES]:
        say(f"failed {name}: {reason}")
    say(
        f"{report.table.num_rows} studies, {len(report.failures)} failed, {report.measured} measured now; "
        f"results.parquet and masks in {output}"
    )
