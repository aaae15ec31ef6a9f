"""The commands of `thorax` for cohorts and benchmarks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli import options as opt
from pipelines.cli.options import bar, console, keeps_results, refuse, say, show, write_results
from pipelines.core.errors import ConfigError
from pipelines.core.files import write_manifest

SHOWN_FAILURES = 10


def cohort(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="CSV or Parquet with a row a study, or a folder of studies."),
    ],
    output: opt.Output,
    address: opt.Address = None,
    workers: Annotated[int, typer.Option(help="Processes with a model each; 0: as many as fit.", min=0)] = 0,
    threads: opt.Threads = 1,
    gpus: Annotated[float, typer.Option(help="GPUs of each worker, e.g. 1 or 0.5.", min=0.0)] = 0.0,
    network: opt.HeartNetwork = "unet",
    weights: opt.Weights = None,
    engine: opt.Engine = "pytorch",
    device: opt.Device = "auto",
    resume: opt.Resume = False,
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

    model = BundleModel((network,), weights and weights.resolve(), device=device, engine=engine)
    options = CohortOptions(
        address=address, workers=workers, threads=threads, gpus=gpus, retry_failed=retry_failed
    )
    with bar("Studies"):
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
    data: opt.Labelled,
    output: opt.Output,
    section: Annotated[
        Literal["training", "test"],
        typer.Option("--split", help="Of a prepared folder: the test set, or all patients outside it."),
    ] = "training",
    reader: opt.ReaderName = "acdc",
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
    from pipelines.datasets.prepare import section_records

    records = section_records(data, section, fold=None)
    if records is None or section == "test":
        refuse("the patients outside the test set of a prepared folder", unseen_masks=unseen_masks)
    if unseen_masks is None:
        refuse("--unseen-masks", test_masks=test_masks)
    test = (section_records(data, "test", fold=None) or [], test_masks) if test_masks is not None else None
    with bar("Measuring"):
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
    (page,) = write_results(output, ["measures.md"], [CONTENT_NAME, PICTURE_NAME])
    say(f"page in {page}")


@keeps_results
def peers(
    data: opt.Prepared,
    output: opt.Output,
    method: Annotated[
        Literal["unet", "model-zoo", "nnunet"],
        typer.Option(help="Recipe: of this project, of the MONAI Model Zoo's bundle, or nnU-Net's 2d."),
    ] = "unet",
    minutes: Annotated[float, typer.Option(help="Wall time of training.", min=0.01)] = 15.0,
    nnunet_data: Annotated[
        Path | None, typer.Option(help="Folder of what nnU-Net prepares, kept for other runs.")
    ] = None,
) -> None:
    """Train one recipe for a time on a split's training patients; measure it on those of validation."""
    from pipelines.benchmarks.peers import compare_peer
    from pipelines.reporting.results.evaluation import accuracy_table

    with bar("Training"):
        metrics = compare_peer(method, data, output, minutes=minutes, nnunet_data=nnunet_data)
    show(accuracy_table(metrics))
    say(f"values and pictures in {output}")


def cohort_benchmark(
    output: opt.Output = Path("runs/cohort-bench"),
    volumes: Annotated[int, typer.Option(help="Studies of one volume each.", min=4)] = 200,
    frames: Annotated[int, typer.Option(help="Frames of the cines whose cost is measured.", min=3)] = 50,
    cines: Annotated[int, typer.Option(help="Number of those cines.", min=1)] = 3,
) -> None:
    """Measure cohorts on local clusters of one and two nodes against a plain loop."""
    from pipelines.benchmarks.cohorts import run_cohort_bench
    from pipelines.reporting.results.scale import cohort_values
    from pipelines.reporting.results.speed import targets_table

    content = run_cohort_bench(output, volumes=volumes, frames=frames, cines=cines, console=console)
    show(targets_table(cohort_values(content)))
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
    from pipelines.reporting.results.scale import KIND, outcome_table
    from pipelines.reporting.source import from_content, read_sources

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
    show(outcome_table(chosen, outcomes, price))


@keeps_results
def interact_benchmark(
    data: opt.Labelled,
    output: opt.Output,
    network: opt.HeartNetwork = "unet",
    weights: opt.Weights = None,
    corrector_weights: Annotated[
        Path | None, typer.Option(help="Weights of the corrector to use instead of the bundle's own.")
    ] = None,
    section: opt.SplitPart = "test",
    fold: opt.Fold = 0,
    clicks: Annotated[int, typer.Option(help="Most clicks on a volume.", min=1)] = 10,
    slice_clicks: Annotated[int, typer.Option(help="Most clicks on a slice by itself.", min=1)] = 5,
    device: opt.Device = "auto",
) -> None:
    """Simulate a user who corrects automatic masks; write Dice against clicks."""
    from pipelines.datasets.nifti_releases import read_acdc
    from pipelines.datasets.prepare import section_records
    from pipelines.interaction import benchmark
    from pipelines.interaction.corrector import Corrector
    from pipelines.models.heart import Predictor
    from pipelines.reporting.results.interaction import interaction_table, write_plot

    chosen = section_records(data, section, fold)
    records = list(read_acdc(data).patients) if chosen is None else chosen
    corrector = Corrector.load(weights=corrector_weights, device=device)
    automatic = Predictor.load(network, weights=weights, device=device)
    with bar("Clicking"):
        content = benchmark.interact_benchmark(
            output,
            corrector,
            automatic,
            records,
            clicks=clicks,
            slice_clicks=slice_clicks,
            automatic_network=network,
            automatic_weights="weights given for it" if weights else "the bundle's own weights",
            section="the whole folder" if chosen is None else f"split {section}",
        )
    plot = write_plot(content, output / "interaction.png")
    outputs = [benchmark.CONTENT_NAME, "clicks.csv", plot.name]
    write_manifest(output, network=network, section=section, outputs=outputs)
    show(interaction_table(content))
    say(f"values and plot in {output}")


@keeps_results
def active_learning_benchmark(
    data: opt.Labelled,
    output: opt.Output,
    fold: Annotated[int, typer.Option(help="Fold to measure on; the others can be labelled.")] = 0,
    start: Annotated[int, typer.Option(help="Patients labelled at first, at random.", min=1)] = 4,
    add: Annotated[int, typer.Option(help="Patients that a round adds.", min=1)] = 4,
    most: Annotated[int, typer.Option(help="Patients of the last round, at most.", min=2)] = 20,
    seeds: Annotated[int, typer.Option(help="Repetitions, each with another start.", min=1)] = 3,
    first_steps: Annotated[int, typer.Option(help="Batches of the first round.", min=1)] = 500,
    steps: Annotated[int, typer.Option(help="Batches of each later round.", min=1)] = 150,
) -> None:
    """Train on more and more patients, chosen at random or by uncertainty; write the learning curves."""
    from pipelines.interaction import active_learning as benchmark
    from pipelines.reporting.results.active_learning import rounds_table, verdict, write_plot

    plan = benchmark.Plan(fold, start, add, most, seeds, first_steps, steps)
    with bar("Labelling"):
        content = benchmark.active_learning_benchmark(data, output, plan)
    plot = write_plot(content, output / "active-learning.png")
    outputs = [benchmark.CONTENT_NAME, benchmark.TABLE_NAME, plot.name]
    write_manifest(output, fold=fold, outputs=outputs)
    show(rounds_table(content))
    say(verdict(content))
    say(f"values and plot in {output}")


@keeps_results
def bench(
    output: opt.Output = Path("runs/bench"),
    data: opt.OwnCohort = None,
) -> None:
    """Measure speed and memory as ratios within one run."""
    from pipelines.benchmarks.speed import run_bench
    from pipelines.reporting.results.speed import bench_table

    show(bench_table(run_bench(output, data=data, console=console)))
