"""The commands of `thorax` for chest radiographs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options import (
    Device,
    LungsNetwork,
    Output,
    Section,
    SplitPart,
    Weights,
    XrayNetwork,
    console,
    keeps_results,
    say,
)
from pipelines.core.errors import ConfigError
from pipelines.core.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.models.xray import XrayModel

Method = Literal["integrated_gradients", "grad_cam", "occlusion"]
Threshold = Annotated[
    float | None,
    typer.Option(help="Probability from which pneumonia is decided; by default the one next to the weights."),
]


@partial(keeps_results, marks=("datalist.json",))
def prepare_chest_xray(
    root: Annotated[Path, typer.Argument(help="Folder with NORMAL and PNEUMONIA at any depth.")],
    output: Output,
    split: Annotated[
        Literal["patient", "image"],
        typer.Option(help="'image' is the plain random split, which leaks patients into the test."),
    ] = "patient",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
) -> None:
    """Check every radiograph, list what is skipped, and write the datalist with its split."""
    from pipelines.datasets import prepare_xray

    with progress_bar("Checking", console) as tell:
        result = prepare_xray.prepare_chest_xray(root, output, split=split, seed=seed, progress=tell)
    for problem in result.problems:
        say(f"{problem.path.name}: {problem.reason}")
    say(f"{result.patients} patients, {result.images} images in {result.datalist}")
    if split == "image":
        say("This split leaks patients: some have images in training and in test. Report it as such.")


def explore_chest_xray(root: Path, output: Path, seed: int) -> None:
    """Explore radiographs: sizes, brightness, counts, samples, duplicates; an HTML page."""
    from pipelines.core.manifest import write_manifest
    from pipelines.exploration.files import CONTENT_NAME, explore_xrays
    from pipelines.reporting.report import write_result_page

    with progress_bar("Measuring", console) as tell:
        survey = explore_xrays(root, output, seed=seed, progress=tell)
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
    model: Annotated[
        Literal["float", "int8"], typer.Option(help="int8 is smaller and faster, on CPUs only.")
    ] = "float",
    threshold: Threshold = None,
    device: Device = "auto",
) -> None:
    """Classify chest X-rays as normal or pneumonia; write a table."""
    from pipelines.inference.classify import classify as classify_images
    from pipelines.inference.classify import find_xrays

    find_xrays(inputs)
    from pipelines.reporting.terminal import classification_table, warning_lines

    classifier = _xray_model(network, model, weights=weights, threshold=threshold, device=device)
    with progress_bar("Classifying", console) as tell:
        report = classify_images(inputs, output, classifier, progress=tell)
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
    with progress_bar("Explaining", console) as tell:
        report = explain_images(inputs, output, classifier, method=method, progress=tell)
    for problem in report.problems:
        say(f"skipped {problem.path}: {problem.reason}")
    say(f"{len(report.overlays)} overlays in {output}, figures in {report.table}")


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
    from pipelines.core.manifest import write_manifest
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
    with progress_bar("Evaluating", console) as tell:
        metrics = evaluate_images(
            root,
            output,
            classifier,
            records=records,
            seen=classifier.seen,
            unseen_only=unseen_only,
            progress=tell,
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
    say(f"figures and pictures in {output}")


def study_explanations(
    evaluation: Path, output: Path, network: str, weights: Path | None, of_each: int, seed: int
) -> None:
    """Explain wrong and right images of an evaluation, and check that the explanations can be trusted."""
    from pipelines.explanation.study import STUDY_NAME, study_explanations
    from pipelines.models.xray import Classifier

    classifier = Classifier.load(network, weights=weights, device="cpu")
    with progress_bar("Explaining", console) as tell:
        content = study_explanations(
            evaluation, output, classifier, of_each=of_each, seed=seed, progress=tell
        )
    say(f"{len(content['cases'])} overlays in {output}, figures in {output / STUDY_NAME}")


def analyse_radiographs(evaluation: Path, output: Path) -> None:
    """Show the misclassified radiographs and what they have in common."""
    from pipelines.core.manifest import write_manifest
    from pipelines.evaluation.error_files import CASES_NAME, ERRORS_NAME, PICTURES, explore_xray_errors
    from pipelines.reporting.report import write_result_page

    with progress_bar("Measuring", console) as tell:
        found = explore_xray_errors(evaluation, output, progress=tell)
    page = output / "errors.html"
    write_manifest(output, outputs=[page.name, ERRORS_NAME, CASES_NAME, PICTURES])
    write_result_page(output, page)
    say(f"{len(found.wrong)} of {len(found.cases)} images misclassified, see {page}")


@keeps_results
def quantize(
    network: Annotated[XrayNetwork, typer.Argument(help="Network of the chest X-ray bundle.")],
    dataset_dir: Annotated[
        Path, typer.Option(help="Folder of 'thorax prepare chest-xray': calibration and test images.")
    ],
    output: Output,
    weights: Weights = None,
    section: SplitPart = "test",
    rounds: Annotated[int, typer.Option(help="Rounds of the time measurement.", min=1)] = 60,
) -> None:
    """Make the int8 model of a network and measure it against the float one."""
    from pipelines.export.quantize import quantize_and_compare
    from pipelines.reporting.results.speed import runtimes_table
    from pipelines.reporting.terminal import render

    with progress_bar("Measuring", console) as tell:
        model, content = quantize_and_compare(
            network, dataset_dir, output, weights=weights, section=section, rounds=rounds, progress=tell
        )
    console.print(render(runtimes_table(content)))
    say(f"model in {model}, figures in {output}")


def _xray_model(
    network: str, model: str, *, weights: Path | None, threshold: float | None, device: str
) -> "XrayModel":
    from pipelines.models.xray import Classifier, Int8Classifier

    if model == "int8":
        if device not in ("auto", "cpu"):
            raise ConfigError(f"expected the CPU for an int8 model, found device {device!r}")
        return Int8Classifier.load(network, model=weights, threshold=threshold)
    return Classifier.load(network, weights=weights, threshold=threshold, device=device)
