"""The commands of `thorax` that use networks: hearts, radiographs, the watched folder."""

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from pipelines.cli.options import (
    Anonymous,
    BundleFolder,
    Device,
    Engine,
    Fhir,
    HeartNetwork,
    LungsNetwork,
    Output,
    PageLanguage,
    Quality,
    Section,
    StudyPage,
    TrustBundle,
    Weights,
    console,
    keeps_results,
    say,
)
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.models.xray import XrayModel
    from pipelines.quality.model import QualityEstimator
    from pipelines.watching.service import Status


DATES: Final = 2
"""Studies that a comparison is of."""


@partial(keeps_results, marks=("indices.csv",))
def segment(
    inputs: Annotated[list[Path], typer.Argument(help="NIfTI files, DICOM series, or folders of them.")],
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
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
    follow_up: Annotated[
        bool,
        typer.Option("--follow-up", help="The two inputs are dates of one patient: compare them on a page."),
    ] = False,
    fhir: Fhir = False,
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
    from pipelines.reporting.document import read_language
    from pipelines.reporting.html import require_pdf
    from pipelines.reporting.study_page import StudyPages, model_words
    from pipelines.reporting.terminal import study_tables, warning_lines

    facts = PatientFacts(height, weight, Sex(sex) if sex else None, age, heart_rate)
    texts = texts_by(read_language(language).translated)
    if page or follow_up:
        require_pdf()
    bundle = known_bundle(bundle, trust)
    estimator = quality_estimator(network, weights, device, thorough=quality, bundle=bundle)
    predictor = Predictor.load(network, weights=weights, engine=engine, device=device, bundle=bundle)
    with progress_bar("Segmenting", console), texts:
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


def quality_estimator(
    network: str, weights: Path | None, device: str, *, thorough: bool, bundle: Path
) -> "QualityEstimator | None":
    """What judges the masks of a network, None where nothing can: the score is of a single network.

    Raises:
        ConfigError: If `thorough` is asked for and cannot be, or a quality model is damaged.
    """
    from pipelines.quality.model import QualityEstimator

    return QualityEstimator.load(network, weights=weights, thorough=thorough, device=device, bundle=bundle)


def known_bundle(bundle: Path | None, trusted: bool) -> Path:
    """The bundle that a command was given, vouched for if it says so; the package's own without one."""
    from pipelines.models.bundle import ACDC_BUNDLE, trust

    if bundle is None:
        return ACDC_BUNDLE
    if trusted:
        trust(bundle)
    return bundle


Method = Literal["integrated_gradients", "grad_cam", "occlusion"]
Threshold = Annotated[
    float | None,
    typer.Option(help="Probability from which pneumonia is decided; by default the one next to the weights."),
]


def explore_chest_xray(root: Path, output: Path, seed: int) -> None:
    """Explore radiographs: sizes, brightness, counts, samples, duplicates; an HTML page."""
    from pipelines.core.files import write_manifest
    from pipelines.exploration.files import CONTENT_NAME, explore_xrays
    from pipelines.reporting.report import write_result_page

    with progress_bar("Measuring", console):
        survey = explore_xrays(root, output, seed=seed)
    page = output / "eda.html"
    write_manifest(output, seed=seed, outputs=[page.name, CONTENT_NAME])
    write_result_page(output, page)
    say(
        f"{len(survey.images)} images of {len(survey.images_per_patient())} patients, "
        f"{len(survey.copies)} exact copies, {len(survey.near)} further near duplicates"
    )
    say(f"page in {page}; tensorboard --logdir {output / 'tensorboard'}")


@partial(keeps_results, marks=("classification.csv",))
def classify(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Pictures (JPEG, PNG, TIFF, BMP, WebP) or DICOM files, or folders of them."),
    ],
    output: Output,
    network: LungsNetwork = "efficientnet_lite0",
    weights: Weights = None,
    engine: Annotated[
        Literal["pytorch", "int8"], typer.Option(help="int8 is smaller and faster, on CPUs only.")
    ] = "pytorch",
    model: Annotated[Literal["float", "int8"], typer.Option(hidden=True)] = "float",
    threshold: Threshold = None,
    device: Device = "auto",
) -> None:
    """Classify chest X-rays as normal or pneumonia; write a table."""
    from pipelines.inference.classify import classify as classify_images
    from pipelines.inference.classify import find_xrays

    find_xrays(inputs)
    from pipelines.reporting.terminal import classification_table, warning_lines

    classifier = _xray_model(
        network, int8="int8" in (engine, model), weights=weights, threshold=threshold, device=device
    )
    with progress_bar("Classifying", console):
        report = classify_images(inputs, output, classifier)
    console.print(classification_table(report.results))
    for line in warning_lines((one.image.name, text) for one in report.results for text in one.warnings):
        say(line)
    for problem in report.problems:
        say(f"skipped {problem.path}: {problem.reason}")
    say(f"table in {report.table}")


def explain_radiographs(
    inputs: list[Path],
    output: Path,
    method: Method,
    network: str,
    weights: Path | None,
    threshold: float | None,
    device: str,
) -> None:
    """Show which pixels spoke for pneumonia, and which against it."""
    from pipelines.inference.classify import find_xrays

    find_xrays(inputs)
    from pipelines.explanation.explain import explain as explain_images
    from pipelines.models.xray import Classifier

    classifier = Classifier.load(network, weights=weights, threshold=threshold, device=device)
    with progress_bar("Explaining", console):
        report = explain_images(inputs, output, classifier, method=method)
    for problem in report.problems:
        say(f"skipped {problem.path}: {problem.reason}")
    say(f"{len(report.overlays)} overlays in {output}, values in {report.table}")


def evaluate_radiographs(
    root: Path,
    output: Path,
    network: str,
    weights: Path | None,
    threshold: float | None,
    section: Section,
    *,
    unseen_only: bool,
    device: str,
) -> None:
    """Measure a network on labelled radiographs: accuracy, sensitivity, AUROC, calibration."""
    from pipelines.core.files import write_manifest
    from pipelines.datasets.prepare import DATALIST_NAME, read_datalist
    from pipelines.datasets.prepare_xray import select, xray_records
    from pipelines.evaluation.classification import evaluate_xray as evaluate_images
    from pipelines.evaluation.comparison import described_weights
    from pipelines.models.bundle import XRAY_BUNDLE
    from pipelines.models.weights import seen_note
    from pipelines.models.xray import Classifier
    from pipelines.reporting.results.classification import scores_table
    from pipelines.reporting.terminal import render

    records, leaks = None, False
    if root.name == DATALIST_NAME or (root / DATALIST_NAME).is_file():
        datalist = read_datalist(root, kind="images")
        records, leaks = xray_records(select(datalist, section)), datalist["leaks_patients"]
    classifier = Classifier.load(network, weights=weights, threshold=threshold, device=device)
    with progress_bar("Evaluating", console):
        metrics = evaluate_images(
            root, output, classifier, records=records, seen=classifier.seen, unseen_only=unseen_only
        )
    write_manifest(
        output,
        **described_weights([network], weights, XRAY_BUNDLE),
        leaks_patients=leaks,
        outputs=["metrics.json", "metrics.csv", "tensorboard"],
    )
    console.print(render(scores_table(metrics)))
    for problem in metrics["problems"]:
        say(f"{problem['path'].name}: {problem['reason']}")
    if note := seen_note(metrics["seen_patients"], unseen_only=unseen_only):
        say(note)
    if leaks:
        say("The split of this datalist leaks patients between training and test.")
    say(f"values and pictures in {output}")


def study_explanations(
    evaluation: Path, output: Path, network: str, weights: Path | None, of_each: int, seed: int
) -> None:
    """Explain wrong and right images of an evaluation, and check that the explanations can be trusted."""
    from pipelines.explanation.study import STUDY_NAME, study_explanations
    from pipelines.models.xray import Classifier

    classifier = Classifier.load(network, weights=weights, device="cpu")
    with progress_bar("Explaining", console):
        content = study_explanations(evaluation, output, classifier, of_each=of_each, seed=seed)
    say(f"{len(content['cases'])} overlays in {output}, values in {output / STUDY_NAME}")


def analyse_radiographs(evaluation: Path, output: Path) -> None:
    """Show the misclassified radiographs and what they have in common."""
    from pipelines.core.files import write_manifest
    from pipelines.evaluation.error_files import CASES_NAME, ERRORS_NAME, PICTURES, explore_xray_errors
    from pipelines.reporting.report import write_result_page

    with progress_bar("Measuring", console):
        found = explore_xray_errors(evaluation, output)
    page = output / "errors.html"
    write_manifest(output, outputs=[page.name, ERRORS_NAME, CASES_NAME, PICTURES])
    write_result_page(output, page)
    say(f"{len(found.wrong)} of {len(found.cases)} images misclassified, see {page}")


def _xray_model(
    network: str, *, int8: bool, weights: Path | None, threshold: float | None, device: str
) -> "XrayModel":
    from pipelines.models.xray import Classifier, Int8Classifier

    if int8:
        if device not in ("auto", "cpu"):
            raise ConfigError(f"expected the CPU for an int8 model, found device {device!r}")
        return Int8Classifier.load(network, model=weights, threshold=threshold)
    return Classifier.load(network, weights=weights, threshold=threshold, device=device)


def watch(
    incoming: Annotated[Path, typer.Argument(help="Folder in which images arrive; only read.")],
    output: Annotated[Path, typer.Argument(help="Folder for the results; made if it does not exist.")],
    network: HeartNetwork = "unet",
    weights: Weights = None,
    xray_network: LungsNetwork = "efficientnet_lite0",
    xray_weights: Annotated[
        Path | None, typer.Option(help="Weights for radiographs instead of the bundle's own.")
    ] = None,
    quality: Quality = False,
    seg: Annotated[
        bool,
        typer.Option(
            "--seg", help="Write DICOM SEG of DICOM series, SR of cines, the page too with --report."
        ),
    ] = False,
    page: StudyPage = False,
    language: PageLanguage = "en",
    anonymous: Anonymous = False,
    fhir: Fhir = False,
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
        float, typer.Option(help="After SIGTERM the study in hand gets so long; then it is left.", min=0)
    ] = 20,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there is done.")] = False,
    engine: Engine = "pytorch",
    device: Device = "auto",
) -> None:
    """Process what arrives in a folder, each study once, until stopped."""
    from functools import partial

    from pipelines.inference.fhir import write_fhir
    from pipelines.reporting.document import read_language
    from pipelines.reporting.study_page import StudyPages, model_words
    from pipelines.watching.dicomweb import DicomWeb
    from pipelines.watching.processing import ProcessorSettings, StudyProcessor
    from pipelines.watching.service import WatchSettings
    from pipelines.watching.service import watch as watch_folder
    from pipelines.watching.units import Waits
    from pipelines.watching.worker import Limits

    words = read_language(language)
    pages = None
    if page:
        from pipelines.reporting.html import require_pdf

        require_pdf()
        pages = StudyPages(model_words([network]), language, anonymous)
    processor = ProcessorSettings(
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
    settings = WatchSettings(
        waits=Waits(settle_seconds, max(settle_seconds, quiet_seconds)),
        limits=Limits(study_s=minutes * 60, memory_mb=memory_mb),
        poll_s=poll_seconds,
        tries=tries,
        grace_s=grace_seconds,
        series=_pattern(series),
    )
    exchange = None
    if fetch_from is not None or send_to is not None:
        exchange = DicomWeb(fetch_from, send_to, days=fetch_days, quiet_s=quiet_seconds)
    factory = partial(StudyProcessor, processor)
    watch_folder(incoming, output, factory, settings, once=once, exchange=exchange, say=say)


def watch_status(
    output: Annotated[Path, typer.Argument(help="Folder that 'thorax watch' writes to.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Fail unless a watcher is running and gives signs of life.")
    ] = False,
) -> None:
    """Report what 'thorax watch' has done and is doing."""
    from pipelines.watching.service import check_alive, read_status

    status = read_status(output)
    if as_json:
        say(json.dumps(status.as_json(), indent=2))
    else:
        _show(status)
    if check:
        check_alive(status, output)


def _show(status: "Status") -> None:
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


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise ConfigError(f"expected a regular expression for --series, found {text!r}: {error}") from error
