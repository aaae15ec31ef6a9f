"""The commands of `thorax` for cohorts and benchmarks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import (
    Address,
    Device,
    Engine,
    Fold,
    HeartNetwork,
    Labelled,
    Output,
    ReaderName,
    Resume,
    SplitPart,
    Threads,
    Weights,
    console,
    keeps_results,
    refuse,
    say,
)
from pipelines.core.progress import progress_bar

SHOWN_FAILURES = 10


def cohort(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="CSV or Parquet with a row a study, or a folder of studies."),
    ],
    output: Output,
    address: Address = None,
    workers: Annotated[int, typer.Option(help="Processes with a model each; 0: as many as fit.", min=0)] = 0,
    threads: Threads = 1,
    gpus: Annotated[float, typer.Option(help="GPUs of each worker, e.g. 1 or 0.5.", min=0.0)] = 0.0,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    engine: Engine = "pytorch",
    device: Device = "auto",
    resume: Resume = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: try studies again that failed.")
    ] = False,
) -> None:
    """Segment and measure a cohort of studies on a Ray cluster."""
    from pipelines.inference.inputs import require_images

    if source.is_dir():
        require_images([source])
    from pipelines.cohort.run import CohortOptions, run_cohort
    from pipelines.cohort.worker import BundleModel

    model = BundleModel(
        (network,),
        weights and weights.resolve(),
        device=device,
        engine=engine,
    )
    options = CohortOptions(
        address=address, workers=workers, threads=threads, gpus=gpus, retry_failed=retry_failed
    )
    with progress_bar("Studies", console):
        report = run_cohort(source, output, model, options, resume=resume)
    for problem in report.problems:
        say(f"skipped {problem.path}: {problem.reason}")
    for name, reason in report.failures[:SHOWN_FAILURES]:
        say(f"failed {name}: {reason}")
    say(
        f"{report.table.num_rows} studies, {len(report.failures)} failed, {report.measured} measured now; "
        f"results.parquet and masks in {output}"
    )


@keeps_results
def measures(
    data: Labelled,
    output: Output,
    section: Annotated[
        Literal["training", "test"],
        typer.Option("--split", help="Of a prepared folder: the test set, or all patients outside it."),
    ] = "training",
    reader: ReaderName = "acdc",
    phantoms: Annotated[int, typer.Option(help="Number of generated hearts.", min=2)] = 50,
    seed: Annotated[int, typer.Option(help="Seed of these.")] = 0,
    unseen_masks: Annotated[
        Path | None,
        typer.Option(help="Folder of 'thorax cross-validate --unseen-masks': calibrate intervals on it."),
    ] = None,
    test_masks: Annotated[
        Path | None,
        typer.Option(help="Of 'thorax evaluate --keep-masks' on the test set: measure coverage on it."),
    ] = None,
) -> None:
    """Measure what slices and labels leave open: repeatability, partial volume, disease groups, intervals."""
    from pipelines.benchmarks.measures import CONTENT_NAME, PICTURE_NAME, measure_measures
    from pipelines.core.files import write_manifest
    from pipelines.datasets.prepare import section_records
    from pipelines.reporting.report import write_result_page

    records = section_records(data, section, fold=None)
    if records is None or section == "test":
        refuse("the patients outside the test set of a prepared folder", unseen_masks=unseen_masks)
    if unseen_masks is None:
        refuse("--unseen-masks", test_masks=test_masks)
    test = (section_records(data, "test", fold=None) or [], test_masks) if test_masks is not None else None
    with progress_bar("Measuring", console):
        measure_measures(
            data,
            output,
            records=records,
            reader=reader,
            phantoms=phantoms,
            seed=seed,
            unseen_masks=unseen_masks,
            test=test,
        )
    page = output / "measures.md"
    write_manifest(output, outputs=[CONTENT_NAME, PICTURE_NAME, page.name])
    write_result_page(output, page)
    say(f"page in {page}")


def cohort_benchmark(
    output: Output = Path("runs/cohort-bench"),
    volumes: Annotated[int, typer.Option(help="Studies of one volume each.", min=4)] = 200,
    frames: Annotated[int, typer.Option(help="Frames of the cines whose cost is measured.", min=3)] = 50,
    cines: Annotated[int, typer.Option(help="Number of those cines.", min=1)] = 3,
) -> None:
    """Measure cohorts on local clusters of one and two nodes against a plain loop."""
    from pipelines.benchmarks.cohorts import CohortBench, run_cohort_bench
    from pipelines.reporting.results.scale import cohort_values
    from pipelines.reporting.results.speed import targets_table
    from pipelines.reporting.terminal import render

    content = run_cohort_bench(output, CohortBench(volumes, frames, cines), console=console)
    console.print(render(targets_table(cohort_values(content))))
    say(f"values in {output}")


def simulate_scale(
    bench: Annotated[Path, typer.Argument(help="Folder of 'thorax cohort benchmark'.")],
    studies: Annotated[int, typer.Option(help="Number of cines.", min=1)] = 100_000,
    frames: Annotated[int, typer.Option(help="Frames of each.", min=1)] = 50,
    slices: Annotated[int, typer.Option(help="Slices of each.", min=1)] = 10,
    machine: Annotated[
        str, typer.Option(help="A machine of the page on scale, or NAME=VCPUS:GBIT, e.g. mine=64:25.")
    ] = "c7i.4xlarge",
    machines: Annotated[str, typer.Option(help="Numbers of machines.")] = "1,10,100,1000",
    storage: Annotated[
        float, typer.Option(help="MB a second of the shared storage; 0: no limit.", min=0)
    ] = 1000,
    speed: Annotated[float, typer.Option(help="Speed of a core against the measured one.", min=0.01)] = 1.0,
    price: Annotated[float | None, typer.Option(help="Of one machine for an hour.", min=0)] = None,
) -> None:
    """Simulate a cohort on many machines from what was measured on this one."""
    from pipelines.cohort.scale import machine_type, on_machines
    from pipelines.core.errors import ConfigError
    from pipelines.reporting.results.scale import KIND, outcome_table
    from pipelines.reporting.source import from_content, read_sources
    from pipelines.reporting.terminal import render

    chosen = machine_type(machine)
    try:
        counts = [int(part) for part in machines.split(",")]
        if min(counts) < 1:
            raise ValueError("a number below 1")
    except ValueError as error:
        raise ConfigError(
            f"expected numbers of machines such as 1,10, found {machines!r}: {error}"
        ) from error
    (source,) = read_sources((KIND,), [bench])
    outcomes = from_content(
        KIND,
        [source],
        lambda: on_machines(
            source.content,
            chosen,
            counts,
            studies=studies,
            frames=frames,
            slices=slices,
            storage_mb_s=storage,
            speed=speed,
        ),
    )
    console.print(render(outcome_table(chosen, outcomes, price)))


@keeps_results
def interact_benchmark(
    data: Labelled,
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    corrector_weights: Annotated[
        Path | None, typer.Option(help="Weights of the corrector to use instead of the bundle's own.")
    ] = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    clicks: Annotated[int, typer.Option(help="Most clicks on a volume.", min=1)] = 10,
    slice_clicks: Annotated[int, typer.Option(help="Most clicks on a slice by itself.", min=1)] = 5,
    device: Device = "auto",
) -> None:
    """Simulate a user who corrects automatic masks; write Dice against clicks."""
    from pipelines.core.files import write_manifest
    from pipelines.datasets.nifti_releases import read_acdc
    from pipelines.datasets.prepare import section_records
    from pipelines.interaction import benchmark
    from pipelines.interaction.corrector import Corrector
    from pipelines.models.heart import Predictor
    from pipelines.reporting.results.interaction import interaction_table, write_plot
    from pipelines.reporting.terminal import render

    chosen = section_records(data, section, fold)
    records = list(read_acdc(data).patients) if chosen is None else chosen
    corrector = Corrector.load(weights=corrector_weights, device=device)
    automatic = Predictor.load(network, weights=weights, device=device)
    with progress_bar("Clicking", console):
        content = benchmark.interact_benchmark(
            output,
            corrector,
            automatic,
            records,
            clicks=clicks,
            slice_clicks=slice_clicks,
            automatic_network=network,
            automatic_weights="weights given for it" if weights else "the bundle's own weights",
            section="the whole folder" if chosen is None else f"section {section}",
        )
    plot = write_plot(content, output / "interaction.png")
    outputs = [benchmark.CONTENT_NAME, "clicks.csv", plot.name]
    write_manifest(output, network=network, section=section, outputs=outputs)
    console.print(render(interaction_table(content)))
    say(f"values and plot in {output}")
