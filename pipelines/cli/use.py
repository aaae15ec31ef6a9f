"""The commands of `thorax` that use networks: hearts, radiographs, the watched folder."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from pipelines.cli import options as opt
from pipelines.cli.options import bar, console, keeps_results, known_bundle, say
from pipelines.core.errors import ConfigError, DataError

DATES: Final = 2
"""Studies that a comparison is of."""


@partial(keeps_results, marks=("indices.csv",))
def segment(
    inputs: Annotated[list[Path], typer.Argument(help="NIfTI files, DICOM series, or folders of them.")],
    output: opt.Output,
    network: opt.HeartNetwork = "unet",
    weights: opt.Weights = None,
    quality: opt.Quality = False,
    engine: opt.Engine = "pytorch",
    device: opt.Device = "auto",
    bundle: opt.BundleFolder = None,
    trust: opt.TrustBundle = False,
    height: Annotated[
        float | None, typer.Option(help="Body height of the one patient in cm; overrides the file's.")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Body weight in kg, likewise.")] = None,
    sex: Annotated[Literal["F", "M"] | None, typer.Option(help="Sex, likewise: picks normal ranges.")] = None,
    age: Annotated[float | None, typer.Option(help="Age in years, likewise.")] = None,
    heart_rate: Annotated[float | None, typer.Option(help="Beats a minute, likewise.")] = None,
    surface: Annotated[
        Literal["mosteller", "du-bois"], typer.Option(help="Formula of the body surface.")
    ] = "mosteller",
    page: opt.StudyPage = False,
    language: opt.PageLanguage = "en",
    anonymous: opt.Anonymous = False,
    follow_up: Annotated[
        bool,
        typer.Option("--follow-up", help="The two inputs are dates of one patient: compare them on a page."),
    ] = False,
    fhir: opt.Fhir = False,
) -> None:
    """Segment volumes and cines; write label maps, indices, overlays and curves."""
    from pipelines.core.cardiac import PatientFacts, Sex
    from pipelines.inference.inputs import require_images

    require_images(inputs)
    from pipelines.figures.overlay import texts_by
    from pipelines.inference.fhir import write_fhir
    from pipelines.inference.segment import StudyOptions
    from pipelines.inference.segment import segment as segment_studies
    from pipelines.models.heart import Predictor
    from pipelines.quality.model import QualityEstimator
    from pipelines.reporting.document import read_language
    from pipelines.reporting.html import require_pdf
    from pipelines.reporting.study_page import StudyPages, model_words
    from pipelines.reporting.terminal import study_tables, warning_lines

    facts = PatientFacts(height, weight, Sex(sex) if sex else None, age, heart_rate)
    texts = texts_by(read_language(language).translated)
    if page or follow_up:
        require_pdf()
    bundle = known_bundle(bundle, trust)
    estimator = QualityEstimator.load(
        network, weights=weights, thorough=quality, device=device, bundle=bundle
    )
    predictor = Predictor.load(network, weights=weights, engine=engine, device=device, bundle=bundle)
    with bar("Segmenting"), texts:
        options = StudyOptions(facts, surface, page)
        report = segment_studies(inputs, output, predictor, estimator=estimator, options=options)
    pages = StudyPages(model_words(predictor.networks), language, anonymous)
    if follow_up:
        if len(report.results) != DATES:
            raise DataError(
                f"expected two studies to compare, found {len(report.results)} that were measured"
            )
        first, second = sorted(report.results, key=lambda one: one.facts.study_date)
        for path in pages.compared(first, second, output):
            say(str(path))
    for result in report.results:
        for path in pages(result, output) if page else ():
            say(str(path))
        if fhir:
            say(str(write_fhir(result, output, model=pages.model, anonymous=anonymous)))
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


@partial(keeps_results, marks=("classification.csv",))
def classify(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Pictures (JPEG, PNG, TIFF, BMP, WebP) or DICOM files, or folders of them."),
    ],
    output: opt.Output,
    network: opt.LungsNetwork = "efficientnet_lite0",
    weights: opt.Weights = None,
    engine: Annotated[
        Literal["pytorch", "int8"], typer.Option(help="int8 is smaller and faster, on CPUs only.")
    ] = "pytorch",
    model: Annotated[Literal["float", "int8"], typer.Option(hidden=True)] = "float",
    threshold: opt.Threshold = None,
    device: opt.Device = "auto",
) -> None:
    """Classify chest X-rays as normal or pneumonia; write a table."""
    from pipelines.inference.classify import classify as classify_images
    from pipelines.inference.classify import find_xrays

    find_xrays(inputs)
    from pipelines.models.xray import Classifier, Int8Classifier
    from pipelines.reporting.terminal import classification_table, warning_lines

    classifier: Classifier | Int8Classifier
    if "int8" not in (engine, model):
        classifier = Classifier.load(network, weights=weights, threshold=threshold, device=device)
    elif device in ("auto", "cpu"):
        classifier = Int8Classifier(network, model=weights, threshold=threshold)
    else:
        raise ConfigError(f"expected the CPU for an int8 model, found device {device!r}")
    with bar("Classifying"):
        report = classify_images(inputs, output, classifier)
    console.print(classification_table(report.results))
    for line in warning_lines((one.image.name, text) for one in report.results for text in one.warnings):
        say(line)
    for problem in report.problems:
        say(f"skipped {problem.path}: {problem.reason}")
    say(f"table in {report.table}")


def watch(
    incoming: Annotated[Path, typer.Argument(help="Folder in which images arrive; only read.")],
    output: Annotated[Path, typer.Argument(help="Folder for the results; made if it does not exist.")],
    network: opt.HeartNetwork = "unet",
    weights: opt.Weights = None,
    xray_network: opt.LungsNetwork = "efficientnet_lite0",
    xray_weights: Annotated[
        Path | None, typer.Option(help="Weights for radiographs instead of the bundle's own.")
    ] = None,
    quality: opt.Quality = False,
    seg: Annotated[
        bool,
        typer.Option(
            "--seg", help="Write DICOM SEG of DICOM series, SR of cines, the page too with --report."
        ),
    ] = False,
    page: opt.StudyPage = False,
    language: opt.PageLanguage = "en",
    anonymous: opt.Anonymous = False,
    fhir: opt.Fhir = False,
    series: Annotated[
        str | None, typer.Option(help="Only DICOM series whose description matches, e.g. '(?i)sax'.")
    ] = None,
    fetch_from: Annotated[
        str | None, typer.Option(help="DICOMweb address that new MR series and radiographs are fetched from.")
    ] = None,
    fetch_days: Annotated[int, typer.Option(help="Age of the studies that are fetched, days.", min=0)] = 7,
    send_to: Annotated[
        str | None, typer.Option(help="DICOMweb address that segmentations are sent to; implies --seg.")
    ] = None,
    settle_seconds: Annotated[float, typer.Option(help="Seconds a file must be unchanged.", min=0)] = 5,
    quiet_seconds: Annotated[
        float, typer.Option(help="Seconds a DICOM study or patient's folder must be unchanged.", min=0)
    ] = 60,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.01)] = 5,
    tries: Annotated[int, typer.Option(help="Tries before a study goes to quarantine.", min=1)] = 3,
    minutes: Annotated[float, typer.Option(help="Longest time for one study.", min=0.01)] = 30,
    memory_mb: Annotated[float, typer.Option(help="Most memory of the working process, MB.", min=100)] = 6000,
    grace_seconds: Annotated[
        float, typer.Option(help="Time that the current study gets after SIGTERM; then it is left.", min=0)
    ] = 20,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there is done.")] = False,
    engine: opt.Engine = "pytorch",
    device: opt.Device = "auto",
) -> None:
    """Process what arrives in a folder, each study once, until stopped."""
    from pipelines.inference.fhir import write_fhir
    from pipelines.reporting.document import read_language
    from pipelines.reporting.study_page import StudyPages, model_words
    from pipelines.watching import dicomweb, processing, service, units, worker

    words = read_language(language)
    pages = None
    if page:
        from pipelines.reporting.html import require_pdf

        require_pdf()
        pages = StudyPages(model_words([network]), language, anonymous)
    factory = partial(
        processing.StudyProcessor,
        network=network,
        weights=weights,
        xray_network=xray_network,
        xray_weights=xray_weights,
        quality=quality,
        seg=seg or send_to is not None,
        pages=pages,
        translate=words.translated,
        fhir=partial(write_fhir, model=model_words([network]), anonymous=anonymous) if fhir else None,
        engine=engine,
        device=device,
    )
    try:
        pattern = None if series is None else re.compile(series)
    except re.error as error:
        raise ConfigError(f"expected a regular expression for --series, found {series!r}: {error}") from error
    settings = service.WatchSettings(
        waits=units.Waits(settle_seconds, max(settle_seconds, quiet_seconds)),
        limits=worker.Limits(study_s=minutes * 60, memory_mb=memory_mb),
        poll_s=poll_seconds,
        tries=tries,
        grace_s=grace_seconds,
        series=pattern,
    )
    exchange = None
    if fetch_from is not None or send_to is not None:
        exchange = dicomweb.DicomWeb(fetch_from, send_to, days=fetch_days, quiet_s=quiet_seconds)
    service.watch(incoming, output, factory, settings, once=once, exchange=exchange, report=say)


def watch_status(
    output: Annotated[Path, typer.Argument(help="Folder that 'thorax watch' writes to.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Fail unless a watcher is running and gives signs of life.")
    ] = False,
) -> None:
    """Report what 'thorax watch' has done and is doing."""
    from dataclasses import asdict

    from pipelines.watching.service import check_alive, read_status

    status = read_status(output)
    if as_json:
        say(json.dumps(asdict(status), indent=2))
    else:
        age = "" if status.beat_age_s is None else f", last sign of life {status.beat_age_s:.0f} s ago"
        say(f"{'running' if status.is_running else 'not running'}{age}")
        if status.is_running and status.now.get("in_hand"):
            say(f"in hand: {status.now['in_hand']}")
        say(", ".join(f"{number} {name.replace('_', ' ')}" for name, number in status.counts.items()))
        if status.mean_seconds is not None:
            say(f"{status.mean_seconds:.1f} s a study lately")
        if status.now.get("problem"):
            say(f"DICOMweb: {status.now['problem']}")
        for row in status.waiting:
            say(f"to be tried again: {row['folder']}, try {row['tries']}: {row['reason']}")
        for row in status.quarantined:
            say(f"in quarantine: {row['folder']}: {row['reason']}")
    if check:
        check_alive(status, output)


def demo(
    output: opt.Output = Path("runs/demo"),
    data: opt.OwnCohort = None,
    minutes: Annotated[float, typer.Option(help="Time for the training.")] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of cohort, split and training.")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds, to see that all works.")] = False,
) -> None:
    """Do the whole job: data, training, evaluation, a new cine, a report."""
    from pipelines.cli.demo import run_demo

    run_demo(output, data=data, minutes=minutes, seed=seed, smoke=smoke, console=console)
