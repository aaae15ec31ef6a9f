"""The commands of `thorax` that measure, compare, explain and predict quality."""

import inspect
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipelines.cli import options as opt
from pipelines.cli.options import bar, keeps_results, refuse, say, show, write_results
from pipelines.core.errors import ConfigError
from pipelines.core.files import MANIFEST_NAME, output_folder, write_manifest
from pipelines.core.tasks import HEART, XRAY, task_of
from pipelines.datasets.readers import find_reader
from pipelines.models.bundle import NETWORKS, XRAY_BUNDLE

EVALUATION_MARK = "metrics.json"
"""File that tells the folder of an evaluation from one with images."""


@keeps_results
def evaluate(
    data: opt.Labelled,
    output: opt.Output,
    network: opt.ImageNetwork = "unet",
    weights: opt.Weights = None,
    section: opt.SplitPart = "test",
    fold: opt.Fold = 0,
    reader: opt.ReaderName = "acdc",
    label_values: opt.LabelMeaning = None,
    engine: opt.Engine = "pytorch",
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], typer.Option(help="auto is bf16 where the machine has it.")
    ] = "auto",
    threshold: opt.Threshold = None,
    unseen_only: opt.UnseenOnly = False,
    keep_masks: Annotated[
        Path | None, typer.Option(help="Folder that takes the label map of each volume, named as its image.")
    ] = None,
    device: opt.Device = "auto",
    bundle: opt.BundleFolder = None,
    trust: opt.TrustBundle = False,
) -> None:
    """Measure a network: Dice, volumes and EF of hearts, accuracy, AUROC and calibration of radiographs."""
    task = task_of(network)
    if task is HEART:
        refuse(f"a network of radiographs, found {network}", threshold=threshold)
    else:
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
    from pipelines.datasets.loading import parse_values

    records = task.find("records")(data, section, fold)
    if task is HEART and records is None:
        find_reader(reader).read(data)  # a wrong folder is told of before the network is loaded
    from pipelines.datasets.prepare import read_datalist
    from pipelines.evaluation.comparison import described_weights
    from pipelines.models.weights import seen_note
    from pipelines.reporting.results.classification import scores_table
    from pipelines.reporting.results.evaluation import accuracy_table, agreement_table

    details: dict[str, Any]
    how: dict[str, Any] = {"unseen_only": unseen_only}
    if task is HEART:
        bundle = opt.known_bundle(bundle, trust)
        details = {"engine": engine, "precision": precision}
        given = details | {"bundle": bundle}
        values = parse_values(label_values) if label_values else None
        how |= {"reader": reader, "label_values": values, "masks": keep_masks}
        tables, pictures = [accuracy_table, agreement_table], "overlays"
    else:
        bundle, given = XRAY_BUNDLE, {"threshold": threshold}
        content = {"leaks_patients": False} if records is None else read_datalist(data, kind="images")
        details = {"leaks_patients": content["leaks_patients"], "source": content.get("source", "")}
        tables, pictures = [scores_table], "tensorboard"
    model = task.find("model").load(network, weights=weights, device=device, **given)
    with bar("Evaluating"):
        metrics = task.find("evaluate")(data, output, model, records=records, seen=model.seen, **how)
    outputs = ["metrics.json", "metrics.csv", pictures]
    write_manifest(output, **described_weights([network], weights, bundle), **details, outputs=outputs)
    show(*(table(metrics) for table in tables))
    for problem in metrics["problems"]:
        name = f"skipped {problem['patient']}" if task is HEART else problem["path"].name
        say(f"{name}: {problem['reason']}")
    if note := seen_note(metrics["seen_patients"], unseen_only=unseen_only):
        say(note)
    if details.get("leaks_patients"):
        say("The split of this datalist leaks patients between training and test.")
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
    output: opt.Output,
    network: opt.ImageNetwork = "unet",
    weights: opt.Weights = None,
    section: opt.SplitPart = "test",
    fold: opt.Fold = 0,
    reader: opt.ReaderName = "acdc",
    worst: Annotated[int, typer.Option(help="Volumes in the gallery of failures.", min=1)] = 5,
    device: opt.Device = "auto",
) -> None:
    """Show where a network fails: slices, factors, uncertainty of hearts, or misclassified radiographs."""
    if (data / EVALUATION_MARK).is_file():
        what = "a labelled folder, found an evaluation"
        refuse(what, weights=weights, fold=fold, reader=reader != "acdc")
        from pipelines.evaluation.error_files import CASES_NAME, ERRORS_NAME, PICTURES, explore_xray_errors

        with bar("Measuring"):
            found = explore_xray_errors(data, output)
        (page,) = write_results(output, ["errors.html"], [ERRORS_NAME, CASES_NAME, PICTURES])
        say(f"{len(found.wrong)} of {len(found.cases)} images misclassified, see {page}")
        return
    if task_of(network) is XRAY:
        raise ConfigError(
            f"expected a folder of 'thorax evaluate' on radiographs, found no {EVALUATION_MARK} in {data}"
        )
    from pipelines.datasets.prepare import section_records

    records = section_records(data, section, fold)
    if records is None:
        find_reader(reader).read(data)  # a wrong folder is told of before the network is loaded
    from pipelines.evaluation.error_files import ERRORS_NAME, PICTURES, SLICES_NAME, explore_heart_errors
    from pipelines.models.heart import Predictor
    from pipelines.reporting.results.errors import findings

    predictor = Predictor.load(network, weights=weights, device=device)
    with bar("Analysing"):
        content = explore_heart_errors(data, output, predictor, records=records, reader=reader, count=worst)
    (page,) = write_results(
        output,
        ["errors.html"],
        [ERRORS_NAME, SLICES_NAME, PICTURES],
        networks=predictor.networks,
        section=section if records is not None else None,
    )
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
    output: opt.Output,
    method: Annotated[opt.Method, typer.Option(help="Attribution method.")] = "integrated_gradients",
    network: opt.ImageNetwork = "efficientnet_lite0",
    weights: opt.Weights = None,
    threshold: opt.Threshold = None,
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
    device: opt.Device = "auto",
) -> None:
    """Show which pixels count for pneumonia; wrong and right images of an evaluation; layers of a network."""
    of_hearts = task_of(network) is HEART
    is_evaluation = (inputs[0] / EVALUATION_MARK).is_file()
    if (of_hearts or is_evaluation) and len(inputs) > 1:
        raise ConfigError(f"expected one input, found {len(inputs)}; explain them one by one")
    if not of_hearts:
        refuse(f"a network of hearts, found {network}", layer=layer, slice=slice_number)
    if of_hearts:
        from pipelines.models.heart import Predictor
        from pipelines.reporting.results.explanation import show_features

        predictor = Predictor.load(network, weights=weights, device=device)
        for path in show_features(inputs[0], output, predictor, layers=layer, slice_number=slice_number):
            say(str(path))
        return
    from pipelines.inference.classify import find_xrays

    if not is_evaluation:
        find_xrays(inputs)
    from pipelines.explanation.explain import explain as explain_images
    from pipelines.explanation.study import STUDY_NAME, study_explanations
    from pipelines.models.xray import Classifier

    if is_evaluation:
        classifier = Classifier.load(network, weights=weights, device="cpu")
        with bar("Explaining"):
            content = study_explanations(inputs[0], output, classifier, of_each=of_each, seed=seed)
        say(f"{len(content['cases'])} overlays in {output}, values in {output / STUDY_NAME}")
        return
    classifier = Classifier.load(network, weights=weights, threshold=threshold, device=device)
    with bar("Explaining"):
        report = explain_images(inputs, output, classifier, method=method)
    for problem in report.problems:
        say(f"skipped {problem.path}: {problem.reason}")
    say(f"{len(report.overlays)} overlays in {output}, values in {report.table}")


def cross_validate(
    network: Annotated[opt.AcdcNetwork, typer.Argument(help="Network of the ACDC bundle.")],
    data: opt.Data,
    output: opt.Output,
    folds: Annotated[
        str | None, typer.Option(help="Folds to do, e.g. 0,3; all without it. Processes may share the work.")
    ] = None,
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="Measure the best validation, which those measured chose, not the end of the run."
        ),
    ] = False,
    resume: opt.Resume = False,
    smoke: opt.Smoke = False,
    settings: Annotated[Path | None, typer.Option(help="YAML file of settings; --set overrides it.")] = None,
    setting: opt.Setting = None,
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
    from pipelines.training.launch import parse_settings, read_settings

    values = (read_settings(settings) if settings else {}) | parse_settings(setting or [])
    overlays = ("smoke",) if smoke else ()
    if halves:
        refuse("folds, found --unseen-masks", folds=folds, best=best, settings=settings)
        from pipelines.interaction.simulation import write_unseen_masks

        with bar("Training"):
            masks = write_unseen_masks(
                network, data, output, fold=fold, resume=resume, overlays=overlays, **values
            )
        write_manifest(output, network=network, fold=fold, outputs=[path.name for path in masks])
        say(f"{len(masks)} masks in {output}")
        say(f"train with them: thorax train corrector --set unseen_masks={output.resolve()} ...")
        return
    refuse("--unseen-masks", fold=fold)
    from pipelines.reporting.results.evaluation import accuracy_table
    from pipelines.training.cross_validation import CONTENT_NAME, parse_folds
    from pipelines.training.cross_validation import cross_validate as run_cross_validation

    with bar("Cross-validating"):
        content = run_cross_validation(
            network,
            data,
            output,
            folds=parse_folds(folds) if folds is not None else None,
            which="best" if best else "last",
            resume=resume,
            overlays=overlays,
            **values,
        )
    if content is None:
        say(f"folds in {output}; the process that does the last missing one writes {CONTENT_NAME}")
        return
    show(accuracy_table(content))
    say(f"values over all folds in {output / CONTENT_NAME}")


def compare(
    output: opt.Output,
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
    section: opt.SplitPart = "test",
    fold: opt.Fold = 0,
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
    device: opt.Device = "auto",
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
        _compare_across_datasets(output, dataset or [], model or [], phantoms, device)
        return
    from pipelines.evaluation.comparison import Model, write_comparison
    from pipelines.evaluation.comparison import compare as compare_all
    from pipelines.reporting.results.comparison import findings
    from pipelines.training.search import read_scored_settings

    models = [Model.parse(text) for text in model or []]
    with bar("Evaluating"):
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
    pages = write_results(
        output,
        ["comparison.md", "comparison.html"],
        outputs,
        models=list(content["models"]),
        section=section,
        fold=fold,
    )
    for sentence in findings(content):
        say(sentence)
    say(f"values, tests and pictures in {pages[0]}")


def _compare_across_datasets(
    output: Path, datasets: list[str], model: list[str], phantoms: int, device: str
) -> None:
    """Measure every model on every dataset and on the phantom at several contrasts; resumable."""
    from pipelines.evaluation import cross_dataset as cross
    from pipelines.evaluation.comparison import Model
    from pipelines.reporting.document import DEFAULT, read_language
    from pipelines.reporting.results.cross_dataset import dice_table

    models = [Model.parse(text) for text in model or [f"bundle={NETWORKS[0]}"]]
    targets = [cross.parse_target(text) for text in datasets]
    if phantoms:
        targets += cross.phantom_targets(output / "phantom", patients=phantoms)
    with bar("Evaluating"):
        content = cross.cross_evaluate(models, targets, output, lambda one: one.predictor(device=device))
    outputs = [cross.CONTENT_NAME, cross.TABLE_NAME, "cells"]
    (page,) = write_results(output, ["cross-dataset.md"], outputs)
    show(dice_table(content, read_language(DEFAULT)))
    for cell in content["cells"]:
        if cell["error"]:
            say(f"failed {cell['model']} on {cell['dataset']}: {cell['error']}")
    say(f"table in {output / cross.TABLE_NAME}, page in {page}")


@keeps_results
def quality(
    data: opt.Prepared,
    output: opt.Output,
    quality: Annotated[Path | None, typer.Argument(help="The quality.json to measure.")] = None,
    network: opt.HeartNetwork = "unet",
    weights: opt.Weights = None,
    partner: Annotated[
        opt.AcdcNetwork | None, typer.Option(help="Second network, whose agreement counts too.")
    ] = None,
    partner_weights: Annotated[Path | None, typer.Option(help="Weights of the second network.")] = None,
    section: opt.SplitPart = "validation",
    fold: opt.Fold = 0,
    faults: Annotated[
        int, typer.Option(help="Images with a fault put in that are made of each volume.", min=0)
    ] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="images.csv of an earlier run, also several: measure none again."),
    ] = None,
    device: opt.Device = "auto",
) -> None:
    """Fit the score that predicts Dice without a label, or measure one on unseen patients."""
    from pipelines.datasets.prepare import read_datalist, select
    from pipelines.models.heart import Predictor
    from pipelines.quality.measure import measure_images, read_measured
    from pipelines.quality.model import read_quality
    from pipelines.quality.study import EVALUATION_NAME, FIT_NAME, MASKS_NAME, evaluate_study, fit_study
    from pipelines.reporting.results.quality import quality_table

    models = read_quality(quality) if quality else None
    content = read_datalist(data)
    items = select(content, section, fold)
    details = {"section": section, "fold": fold, "split_hash": content["split_hash"]}
    details |= {"faults": faults, "seed": seed}
    if images:
        found = [image for path in images for image in read_measured(path)]
    else:
        predictor = Predictor.load(network, weights=weights, device=device)
        second = Predictor.load(partner, weights=partner_weights, device=device) if partner else None
        masks = output_folder(output / MASKS_NAME)
        with bar("Segmenting"):
            found = measure_images(items, predictor, second, faults=faults, seed=seed, masks=masks)
    name = EVALUATION_NAME if models else FIT_NAME
    if models:
        content = evaluate_study(found, models, output, details={"network": network, **details})
    else:
        content = fit_study(found, output, network=network, partner=partner or "", details=details)
    write_manifest(output, split_hash=content["split_hash"], outputs=[name, "images.csv"])
    show(quality_table(content))
    say(f"values in {output / name}")
    if not quality:
        say(f"put {output / 'quality.json'} next to the weights of {network} to use it")


fit_quality = opt.with_default(
    quality, "Fit the score that predicts Dice without a label; write quality.json.", without="quality"
)
evaluate_quality = opt.with_default(
    quality,
    "Measure a quality score: predicted against true Dice on unseen patients.",
    quality=inspect.Parameter.empty,
    section="test",
)


@keeps_results
def disease(
    data: opt.Prepared,
    output: opt.Output,
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
    from pipelines.datasets.prepare import read_datalist
    from pipelines.disease.study import CONTENT_NAME, study_disease
    from pipelines.reporting.results.disease import accuracy_table

    with bar("Measuring"):
        content = study_disease(read_datalist(data), output, masks=masks, hold_out=hold_out, seed=seed)
    outputs = [CONTENT_NAME, "features.csv"]
    write_manifest(output, seed=seed, split_hash=content["split_hash"], outputs=outputs)
    show(accuracy_table(content))
    for problem in content["problems"]:
        say(f"skipped {problem['patient']} ({problem['source']}): {problem['reason']}")
    say(f"values in {output / CONTENT_NAME}; for research, not for diagnosis")
