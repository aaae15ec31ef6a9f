"""The commands of `thorax` that measure, compare, explain and predict quality."""

import inspect
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import (
    AcdcNetwork,
    BundleFolder,
    Data,
    Device,
    Engine,
    Fold,
    HeartNetwork,
    ImageNetwork,
    Labelled,
    LabelMeaning,
    Output,
    Prepared,
    ReaderName,
    Resume,
    Smoke,
    SplitPart,
    TrustBundle,
    UnseenOnly,
    Weights,
    console,
    keeps_results,
    refuse,
    say,
    with_default,
)
from pipelines.cli.training import Setting
from pipelines.cli.use import (
    Method,
    Threshold,
    analyse_radiographs,
    evaluate_radiographs,
    explain_radiographs,
    known_bundle,
    study_explanations,
)
from pipelines.core.errors import ConfigError
from pipelines.core.files import MANIFEST_NAME
from pipelines.core.progress import progress_bar
from pipelines.core.tasks import HEART, XRAY, task_of


def show_features(
    image: Path,
    output: Path,
    network: str,
    weights: Path | None,
    layer: list[str] | None,
    slice_number: int | None,
    device: str,
) -> None:
    """Draw what layers of a network answer to a slice, and its attention gates."""
    from pipelines.models.heart import Predictor
    from pipelines.reporting.results.explanation import show_features as draw_features

    predictor = Predictor.load(network, weights=weights, device=device)
    written = draw_features(image, output, predictor, layers=layer, slice_number=slice_number)
    for path in written:
        say(str(path))


EVALUATION_MARK = "metrics.json"
"""File that tells the folder of an evaluation from one with images."""


@keeps_results
def evaluate(
    data: Labelled,
    output: Output,
    network: ImageNetwork = "unet",
    weights: Weights = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    reader: ReaderName = "acdc",
    label_values: LabelMeaning = None,
    engine: Engine = "pytorch",
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], typer.Option(help="auto is bf16 where the machine has it.")
    ] = "auto",
    threshold: Threshold = None,
    unseen_only: UnseenOnly = False,
    keep_masks: Annotated[
        Path | None, typer.Option(help="Folder that takes the label map of each volume, named as its image.")
    ] = None,
    device: Device = "auto",
    bundle: BundleFolder = None,
    trust: TrustBundle = False,
) -> None:
    """Measure a network: Dice, volumes and EF of hearts, accuracy, AUROC and calibration of radiographs."""
    if task_of(network) is XRAY:
        refuse(
            f"a network of hearts, found {network}",
            fold=fold,
            reader=reader != "acdc",
            label_values=label_values,
            engine=engine != "pytorch",
            precision=precision != "auto",
            keep_masks=keep_masks,
            bundle=bundle,
            trust=trust,
        )
        evaluate_radiographs(
            data, output, network, weights, threshold, section, unseen_only=unseen_only, device=device
        )
        return
    refuse(f"a network of radiographs, found {network}", threshold=threshold)
    from pipelines.core.files import write_manifest
    from pipelines.datasets.loading import parse_values
    from pipelines.datasets.prepare import section_records
    from pipelines.datasets.readers import find_reader

    records = section_records(data, section, fold)
    if records is None:
        find_reader(reader).read(data)  # a wrong folder is told of before the network is loaded
    from pipelines.evaluation.comparison import described_weights
    from pipelines.evaluation.segmentation import evaluate as evaluate_volumes
    from pipelines.models.heart import Predictor
    from pipelines.models.weights import seen_note
    from pipelines.reporting.results.evaluation import accuracy_table, agreement_table
    from pipelines.reporting.terminal import render

    values = parse_values(label_values) if label_values else None
    bundle = known_bundle(bundle, trust)
    predictor = Predictor.load(
        network, weights=weights, engine=engine, precision=precision, device=device, bundle=bundle
    )
    with progress_bar("Evaluating", console):
        metrics = evaluate_volumes(
            data,
            output,
            predictor,
            records=records,
            reader=reader,
            label_values=values,
            masks=keep_masks,
            seen=predictor.seen,
            unseen_only=unseen_only,
        )
    write_manifest(
        output,
        **described_weights(predictor.networks, weights, bundle),
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
    say(f"values and pictures in {output}")


@keeps_results
def analyse(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Of hearts: folder of 'thorax prepare', or the labelled folder of a dataset. Of "
            "radiographs: folder of 'thorax evaluate'.",
        ),
    ],
    output: Output,
    network: ImageNetwork = "unet",
    weights: Weights = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    reader: ReaderName = "acdc",
    worst: Annotated[int, typer.Option(help="Volumes in the gallery of failures.", min=1)] = 5,
    device: Device = "auto",
) -> None:
    """Show where a network fails: slices, factors, uncertainty of hearts, or misclassified radiographs."""
    if (data / EVALUATION_MARK).is_file():
        what = "a labelled folder, found an evaluation"
        refuse(what, weights=weights, fold=fold, reader=reader != "acdc")
        analyse_radiographs(data, output)
        return
    if task_of(network) is XRAY:
        raise ConfigError(
            f"expected a folder of 'thorax evaluate' on radiographs, found no {EVALUATION_MARK} in {data}"
        )
    from pipelines.core.files import write_manifest
    from pipelines.datasets.prepare import section_records
    from pipelines.datasets.readers import find_reader

    records = section_records(data, section, fold)
    if records is None:
        find_reader(reader).read(data)  # a wrong folder is told of before the network is loaded
    from pipelines.evaluation.error_files import ERRORS_NAME, PICTURES, SLICES_NAME, explore_heart_errors
    from pipelines.models.heart import Predictor
    from pipelines.reporting.report import write_result_page
    from pipelines.reporting.results.errors import findings

    page = output / "errors.html"
    predictor = Predictor.load(network, weights=weights, device=device)
    with progress_bar("Analysing", console):
        content = explore_heart_errors(data, output, predictor, records=records, reader=reader, count=worst)
    write_manifest(
        output,
        networks=predictor.networks,
        section=section if records is not None else None,
        outputs=[page.name, ERRORS_NAME, SLICES_NAME, PICTURES],
    )
    write_result_page(output, page)
    for sentence in findings(content):
        say(sentence)
    for problem in content["problems"]:
        say(f"skipped {problem['patient']}: {problem['reason']}")
    say(f"page in {page}")


@partial(keeps_results, marks=(MANIFEST_NAME, "0*1_*.png"))
def explain(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Radiographs (JPEG, PNG, TIFF, BMP, WebP, DICOM) or folders of them; the folder of their "
            "'thorax evaluate'; or, with a network of hearts, a NIfTI file of one frame."
        ),
    ],
    output: Output,
    method: Annotated[Method, typer.Option(help="Attribution method.")] = "integrated_gradients",
    network: ImageNetwork = "efficientnet_lite0",
    weights: Weights = None,
    threshold: Threshold = None,
    of_each: Annotated[int, typer.Option(help="Of an evaluation: wrong images, and right ones.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Of an evaluation: seed of the right images drawn.")] = 0,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Of hearts: layer to show, repeatable; by default the last of each resolution."),
    ] = None,
    slice_number: Annotated[
        int | None,
        typer.Option("--slice", help="Of hearts: slice to show, counted from 1; by default the middle one."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Show which pixels count for pneumonia; wrong and right images of an evaluation; layers of a network."""
    of_hearts = task_of(network) is HEART
    is_evaluation = (inputs[0] / EVALUATION_MARK).is_file()
    if (of_hearts or is_evaluation) and len(inputs) > 1:
        raise ConfigError(f"expected one input, found {len(inputs)}; explain them one by one")
    if not of_hearts:
        refuse(f"a network of hearts, found {network}", layer=layer, slice=slice_number)
    if of_hearts:
        show_features(inputs[0], output, network, weights, layer, slice_number, device)
    elif is_evaluation:
        study_explanations(inputs[0], output, network, weights, of_each, seed)
    else:
        explain_radiographs(inputs, output, method, network, weights, threshold, device)


def cross_validate(
    network: Annotated[AcdcNetwork, typer.Argument(help="Network of the ACDC bundle.")],
    data: Data,
    output: Output,
    folds: Annotated[
        str | None, typer.Option(help="Folds to do, e.g. 0,3; all without it. Processes may share the work.")
    ] = None,
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="Measure the best validation, which those measured chose, not the end of the run."
        ),
    ] = False,
    resume: Resume = False,
    smoke: Smoke = False,
    settings: Annotated[Path | None, typer.Option(help="YAML file of settings; --set overrides it.")] = None,
    setting: Setting = None,
    halves: Annotated[
        bool,
        typer.Option(
            "--unseen-masks",
            help="Segment each half of the training patients by a network trained on the other, instead: to "
            "train the corrector.",
        ),
    ] = False,
    fold: Annotated[int, typer.Option(help="Of --unseen-masks: fold that is left out.")] = 0,
) -> None:
    """Train a network for each fold; measure each patient by the one that has not learned from it."""
    if halves:
        refuse("folds, found --unseen-masks", folds=folds, best=best, settings=settings)
        unseen_masks(network, data, output, fold, resume, smoke, setting)
        return
    refuse("--unseen-masks", fold=fold)
    from pipelines.reporting.results.evaluation import accuracy_table
    from pipelines.reporting.terminal import render
    from pipelines.training.cross_validation import CONTENT_NAME, parse_folds
    from pipelines.training.cross_validation import cross_validate as run_cross_validation
    from pipelines.training.launch import parse_settings, read_settings

    values = (read_settings(settings) if settings else {}) | parse_settings(setting or [])
    with progress_bar("Cross-validating", console):
        content = run_cross_validation(
            network,
            data,
            output,
            folds=parse_folds(folds) if folds is not None else None,
            which="best" if best else "last",
            resume=resume,
            overlays=("smoke",) if smoke else (),
            **values,
        )
    if content is None:
        say(f"folds in {output}; the process that does the last missing one writes {CONTENT_NAME}")
        return
    console.print(render(accuracy_table(content)))
    say(f"values over all folds in {output / CONTENT_NAME}")


def compare(
    output: Output,
    evaluations: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of 'thorax evaluate' or 'thorax cross-validate', named as their models."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=NETWORK[:WEIGHTS][+NETWORK[:WEIGHTS]...], measured if not there; repeatable."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of 'thorax prepare', to measure models on.")
    ] = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    trials: Annotated[
        Path | None, typer.Option(help="Folder of 'thorax tune' or of training runs: effect of settings.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="READER=ROOT or NAME:READER=ROOT to measure every model on, of a prepared folder the test "
            "set; repeatable, resumable."
        ),
    ] = None,
    phantoms: Annotated[
        int, typer.Option(help="Patients of the phantom in each contrast, as further datasets.", min=0)
    ] = 0,
    device: Device = "auto",
) -> None:
    """Compare models on the same patients, by paired tests, ranks and cost; or across datasets."""
    if dataset or phantoms:
        refuse(
            "models on one dataset",
            evaluations=evaluations,
            data=data,
            trials=trials,
            fold=fold,
            split=section != "test",
        )
        cross_evaluate(output, dataset, model, phantoms, device)
        return
    from pipelines.core.files import write_manifest
    from pipelines.evaluation.comparison import Model, write_comparison
    from pipelines.evaluation.comparison import compare as compare_all
    from pipelines.reporting.report import write_result_page
    from pipelines.reporting.results.comparison import findings
    from pipelines.training.search import read_scored_settings

    models = [Model.parse(text) for text in model or []]
    with progress_bar("Evaluating", console):
        content = compare_all(
            evaluations or [],
            models,
            output,
            dataset_dir=data,
            section=section,
            fold=fold,
            trials=read_scored_settings(trials) if trials else None,
            device=device,
        )
    outputs = write_comparison(content, output)
    pages = [output / "comparison.md", output / "comparison.html"]
    write_manifest(
        output,
        models=list(content["models"]),
        section=section,
        fold=fold,
        outputs=[*outputs, *(page.name for page in pages)],
    )
    for page in pages:
        write_result_page(output, page)
    for sentence in findings(content):
        say(sentence)
    say(f"values, tests and pictures in {pages[0]}")


def cross_evaluate(
    output: Output,
    datasets: Annotated[list[str] | None, typer.Argument(help="READER=ROOT or NAME:READER=ROOT.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="As of 'thorax compare'.")] = None,
    phantoms: Annotated[int, typer.Option(help="Patients of the phantom in each contrast.", min=0)] = 10,
    device: Device = "auto",
) -> None:
    """Measure every model on every dataset and on the phantom at several contrasts; resumable."""
    from pipelines.core.files import write_manifest
    from pipelines.evaluation import cross_dataset as cross
    from pipelines.evaluation.comparison import Model
    from pipelines.models.bundle import NETWORKS
    from pipelines.reporting.document import DEFAULT, read_language
    from pipelines.reporting.report import write_result_page
    from pipelines.reporting.results.cross_dataset import dice_table
    from pipelines.reporting.terminal import render

    models = [Model.parse(text) for text in model or [f"bundle={NETWORKS[0]}"]]
    targets = [cross.parse_target(text) for text in datasets or []]
    if phantoms:
        targets += cross.phantom_targets(output / "phantom", patients=phantoms)
    with progress_bar("Evaluating", console):
        content = cross.cross_evaluate(models, targets, output, lambda one: one.predictor(device=device))
    write_manifest(output, outputs=[cross.CONTENT_NAME, cross.TABLE_NAME, "cells"])
    page = write_result_page(output, output / "cross-dataset.md")
    console.print(render(dice_table(content, read_language(DEFAULT))))
    for cell in content["cells"]:
        if cell["error"]:
            say(f"failed {cell['model']} on {cell['dataset']}: {cell['error']}")
    say(f"table in {output / cross.TABLE_NAME}, page in {page}")


def unseen_masks(
    network: Annotated[AcdcNetwork, typer.Argument(help="Network of the ACDC bundle.")],
    data: Data,
    output: Output,
    fold: Annotated[int, typer.Option(help="Fold that is left out, as the corrector validates on it.")] = 0,
    resume: Resume = False,
    smoke: Smoke = False,
    setting: Setting = None,
) -> None:
    """Segment each half of the training patients with a network trained on the other."""
    from pipelines.core.files import write_manifest
    from pipelines.interaction.simulation import write_unseen_masks
    from pipelines.training.launch import parse_settings

    values = parse_settings(setting or [])
    with progress_bar("Training", console):
        masks = write_unseen_masks(
            network, data, output, fold=fold, resume=resume, overlays=("smoke",) if smoke else (), **values
        )
    write_manifest(output, network=network, fold=fold, outputs=[path.name for path in masks])
    say(f"{len(masks)} masks in {output}")
    say(f"train with them: thorax train corrector --set unseen_masks={output.resolve()} ...")


@keeps_results
def quality(
    data: Prepared,
    output: Output,
    quality: Annotated[Path | None, typer.Argument(help="The quality.json to measure.")] = None,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    partner: Annotated[
        AcdcNetwork | None, typer.Option(help="Second network, whose agreement counts too.")
    ] = None,
    partner_weights: Annotated[Path | None, typer.Option(help="Weights of the second network.")] = None,
    section: SplitPart = "validation",
    fold: Fold = 0,
    faults: Annotated[
        int, typer.Option(help="Images with a fault put in that are made of each volume.", min=0)
    ] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    images: Annotated[
        Path | None, typer.Option(help="images.csv of an earlier run: measure none again.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Fit the score that predicts Dice without a label, or measure one on unseen patients."""
    from pipelines.core.files import output_folder, write_manifest
    from pipelines.datasets.prepare import read_datalist, select
    from pipelines.models.heart import Predictor
    from pipelines.quality.measure import measure_images, read_measured
    from pipelines.quality.model import read_quality
    from pipelines.quality.study import EVALUATION_NAME, FIT_NAME, MASKS_NAME, evaluate_study, fit_study
    from pipelines.reporting.results.quality import quality_table
    from pipelines.reporting.terminal import render

    models = read_quality(quality) if quality else None
    content = read_datalist(data)
    items = select(content, section, fold)
    split_hash = content["split_hash"]
    details = {"section": section, "fold": fold, "split_hash": split_hash, "faults": faults, "seed": seed}
    if images is not None:
        found = read_measured(images)
    else:
        predictor = Predictor.load(network, weights=weights, device=device)
        second = Predictor.load(partner, weights=partner_weights, device=device) if partner else None
        masks = output_folder(output / MASKS_NAME)
        with progress_bar("Segmenting", console):
            found = measure_images(items, predictor, second, faults=faults, seed=seed, masks=masks)
    name = EVALUATION_NAME if models else FIT_NAME
    if models:
        content = evaluate_study(found, models, output, details={"network": network, **details})
    else:
        content = fit_study(found, output, network=network, partner=partner or "", details=details)
    write_manifest(output, split_hash=content["split_hash"], outputs=[name, "images.csv"])
    console.print(render(quality_table(content)))
    say(f"values in {output / name}")
    if not quality:
        say(f"put {output / 'quality.json'} next to the weights of {network} to use it")


fit_quality = with_default(
    quality, "Fit the score that predicts Dice without a label; write quality.json.", without="quality"
)
evaluate_quality = with_default(
    quality,
    "Measure a quality score: predicted against true Dice on unseen patients.",
    quality=inspect.Parameter.empty,
    section="test",
)


@keeps_results
def disease(
    data: Prepared,
    output: Output,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of predicted masks, by networks that had not seen the patients."),
    ] = None,
    hold_out: Annotated[
        bool,
        typer.Option("--test-set", help="Measure on the test set as well: once, at the end."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of folds and forests.")] = 0,
) -> None:
    """Disease group from the segmentation: how often it is right. For research, no diagnosis."""
    from pipelines.core.files import write_manifest
    from pipelines.datasets.prepare import read_datalist
    from pipelines.disease.study import CONTENT_NAME, study_disease
    from pipelines.reporting.results.disease import accuracy_table
    from pipelines.reporting.terminal import render

    with progress_bar("Measuring", console):
        content = study_disease(read_datalist(data), output, masks=masks, hold_out=hold_out, seed=seed)
    write_manifest(
        output, seed=seed, split_hash=content["split_hash"], outputs=[CONTENT_NAME, "features.csv"]
    )
    console.print(render(accuracy_table(content)))
    for problem in content["problems"]:
        say(f"skipped {problem['patient']} ({problem['source']}): {problem['reason']}")
    say(f"values in {output / CONTENT_NAME}; for research, not for diagnosis")
