"""The commands of `thorax` that prepare, measure and segment hearts."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options import (
    Anonymous,
    BundleFolder,
    Device,
    Engine,
    Ensemble,
    HeartNetwork,
    LabelMeaning,
    Output,
    PageLanguage,
    Quality,
    Section,
    StudyPage,
    TrustBundle,
    Tta,
    Weights,
    console,
    keeps_results,
    say,
)
from pipelines.cli.quality import quality_estimator
from pipelines.core.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.models.heart import Predictor


@partial(keeps_results, marks=("datalist.json",))
def prepare_acdc(
    root: Annotated[Path, typer.Argument(help="Folder in ACDC's layout.")],
    output: Output,
    test_patients: Annotated[
        Path | None, typer.Option(help="Text file with the test patients, one a line.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    label_values: LabelMeaning = None,
) -> None:
    """Check every patient, list what is skipped, and write the datalist with its split."""
    from pipelines.datasets import prepare
    from pipelines.datasets.loading import parse_values
    from pipelines.datasets.prepare import read_test_patients

    values = parse_values(label_values) if label_values else None
    names = read_test_patients(test_patients) if test_patients else None
    with progress_bar("Checking", console) as tell:
        result = prepare.prepare_acdc(
            root, output, seed=seed, test_patients=names, label_values=values, progress=tell
        )
    for problem in result.problems:
        say(f"skipped {problem.patient}: {problem.reason}")
    say(f"{result.patients} patients, {result.volumes} volumes in {result.datalist}")


def evaluate_hearts(
    root: Path,
    output: Path,
    network: str,
    weights: Path | None,
    section: Section,
    fold: int,
    reader: str,
    label_values: str | None,
    *,
    tta: bool,
    ensemble: bool,
    engine: Engine,
    precision: str,
    unseen_only: bool,
    device: str,
    bundle: Path | None,
    trust: bool,
) -> None:
    """Measure a network on labelled volumes: Dice, distances, volumes, ejection fraction."""
    from pipelines.core.manifest import write_manifest
    from pipelines.datasets.loading import parse_values
    from pipelines.datasets.prepare import section_records
    from pipelines.datasets.readers import find_reader

    records = section_records(root, section, fold)
    if records is None:
        find_reader(reader).read(root)  # a wrong folder is told of before the network is loaded
    from pipelines.evaluation.comparison import described_weights
    from pipelines.evaluation.segmentation import evaluate as evaluate_volumes
    from pipelines.models.weights import seen_note
    from pipelines.reporting.results.evaluation import accuracy_table, agreement_table
    from pipelines.reporting.terminal import render

    values = parse_values(label_values) if label_values else None
    bundle = _known_bundle(bundle, trust)
    predictor = _predictor(
        network,
        weights,
        tta=tta,
        ensemble=ensemble,
        engine=engine,
        precision=precision,
        device=device,
        bundle=bundle,
    )
    with progress_bar("Evaluating", console) as tell:
        metrics = evaluate_volumes(
            root,
            output,
            predictor,
            records=records,
            reader=reader,
            label_values=values,
            seen=predictor.seen,
            unseen_only=unseen_only,
            progress=tell,
        )
    write_manifest(
        output,
        **described_weights(predictor.networks, weights, bundle),
        tta=tta,
        engine=engine,
        precision=precision,
        outputs=["metrics.json", "metrics.csv", "overlays"],
    )
    for table in (accuracy_table(metrics), agreement_table(metrics)):
        console.print(render(table))
    for problem in metrics["problems"]:
        say(f"skipped {problem['patient']}: {problem['reason']}")
    if note := seen_note(metrics["seen_patients"], unseen_only=unseen_only):
        say(note)
    say(f"figures and pictures in {output}")


@partial(keeps_results, marks=("indices.csv",))
def segment(
    inputs: Annotated[list[Path], typer.Argument(help="NIfTI files, DICOM series, or folders of them.")],
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    tta: Tta = False,
    ensemble: Ensemble = False,
    quality: Quality = False,
    engine: Engine = "pytorch",
    device: Device = "auto",
    bundle: BundleFolder = None,
    trust: TrustBundle = False,
    height: Annotated[
        float | None, typer.Option(help="Body height of the one patient in cm, before what the file tells.")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Body weight in kg, likewise.")] = None,
    sex: Annotated[Literal["F", "M"] | None, typer.Option(help="Sex, likewise: picks normal ranges.")] = None,
    age: Annotated[float | None, typer.Option(help="Age in years, likewise.")] = None,
    heart_rate: Annotated[float | None, typer.Option(help="Beats a minute, likewise.")] = None,
    surface: Annotated[
        Literal["mosteller", "du-bois"], typer.Option(help="Formula of the body surface.")
    ] = "mosteller",
    page: StudyPage = False,
    language: PageLanguage = "en",
    anonymous: Anonymous = False,
) -> None:
    """Segment volumes and cines; write label maps, indices, overlays and curves."""
    from pipelines.core.cardiac_figures import PatientFacts, Sex
    from pipelines.inference.inputs import require_images

    require_images(inputs)
    from pipelines.inference.segment import StudyOptions
    from pipelines.inference.segment import segment as segment_studies
    from pipelines.reporting.document import read_language
    from pipelines.reporting.html import require_pdf
    from pipelines.reporting.study_page import StudyPages, model_words
    from pipelines.reporting.terminal import study_tables, warning_lines

    facts = PatientFacts(height, weight, Sex(sex) if sex else None, age, heart_rate)
    read_language(language)
    if page:
        require_pdf()
    bundle = _known_bundle(bundle, trust)
    estimator = quality_estimator(
        network, weights, device, thorough=quality, several=tta or ensemble, bundle=bundle
    )
    predictor = _predictor(
        network, weights, tta=tta, ensemble=ensemble, engine=engine, device=device, bundle=bundle
    )
    with progress_bar("Segmenting", console) as tell:
        options = StudyOptions(facts, surface, page)
        report = segment_studies(
            inputs, output, predictor, estimator=estimator, options=options, progress=tell
        )
    pages = StudyPages(model_words(predictor.networks, tta=tta), language, anonymous)
    for result in report.results if page else ():
        for path in pages(result, output):
            say(str(path))
    for table in study_tables(report.results):
        console.print(table)
    notes = [(one.study, note) for one in report.results for note in (one.reason, *one.warnings) if note]
    for line in warning_lines(notes):
        say(line)
    for problem in report.problems:
        say(f"skipped {problem.path}: {problem.reason}")
    if report.passed_over:
        say(f"skipped {len(report.passed_over)} files that are no images, listed in problems.csv")
    say(f"label maps, indices.csv and pictures in {output}")


def _known_bundle(bundle: Path | None, trusted: bool) -> Path:
    """The bundle that a command was given, vouched for if it says so; the package's own without one."""
    from pipelines.models.bundle import ACDC_BUNDLE, trust

    if bundle is None:
        return ACDC_BUNDLE
    if trusted:
        trust(bundle)
    return bundle


def _predictor(
    network: str,
    weights: Path | None,
    *,
    tta: bool,
    ensemble: bool,
    engine: Engine,
    device: str,
    bundle: Path,
    precision: str = "auto",
) -> "Predictor":
    from pipelines.models.bundle import NETWORKS
    from pipelines.models.heart import Predictor

    names = NETWORKS if ensemble else network
    return Predictor.load(
        names,
        weights=weights,
        tta=tta,
        engine=engine,
        precision=precision,
        device=device,
        bundle=bundle,
    )
