"""The commands of `thorax` about the quality score and the disease group."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import (
    AcdcNetwork,
    Device,
    Fold,
    HeartNetwork,
    Output,
    Section,
    SplitPart,
    Weights,
    console,
    keeps_results,
    say,
)
from pipelines.core.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.quality.measure import Measured
    from pipelines.quality.model import QualityEstimator

Datalist = Annotated[Path, typer.Argument(help="Folder of 'thorax prepare', or its datalist.")]
Partner = Annotated[AcdcNetwork | None, typer.Option(help="Second network, whose agreement counts too.")]
PartnerWeights = Annotated[Path | None, typer.Option(help="Weights of the second network.")]
Faults = Annotated[int, typer.Option(help="Images with a fault put in that are made of each volume.", min=0)]
Images = Annotated[Path | None, typer.Option(help="images.csv of an earlier run: measure none again.")]


@keeps_results
def fit_quality(
    datalist: Datalist,
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    partner: Partner = None,
    partner_weights: PartnerWeights = None,
    section: SplitPart = "validation",
    fold: Fold = 0,
    faults: Faults = 2,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    images: Images = None,
    device: Device = "auto",
) -> None:
    """Fit the score that predicts Dice without a label; write quality.json."""
    from pipelines.quality.study import FIT_NAME, fit_study

    found, details = _measured(
        datalist,
        output,
        network,
        weights,
        partner,
        partner_weights,
        section,
        fold,
        faults,
        seed,
        images,
        device,
    )
    content = fit_study(found, output, network=network, partner=partner or "", details=details)
    _write(output, content, FIT_NAME)
    say(f"put {output / 'quality.json'} next to the weights of {network} to use it")


@keeps_results
def evaluate_quality(
    datalist: Datalist,
    quality: Annotated[Path, typer.Argument(help="The quality.json to measure.")],
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    partner: Partner = None,
    partner_weights: PartnerWeights = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    faults: Faults = 2,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    images: Images = None,
    device: Device = "auto",
) -> None:
    """Measure a quality score: predicted against true Dice on unseen patients."""
    from pipelines.quality.model import read_quality
    from pipelines.quality.study import EVALUATION_NAME, evaluate_study

    models = read_quality(quality)
    found, details = _measured(
        datalist,
        output,
        network,
        weights,
        partner,
        partner_weights,
        section,
        fold,
        faults,
        seed,
        images,
        device,
    )
    content = evaluate_study(found, models, output, details={"network": network, **details})
    _write(output, content, EVALUATION_NAME)


@keeps_results
def disease(
    datalist: Datalist,
    output: Output,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of predicted masks, by networks that had not seen the patients."),
    ] = None,
    hold_out: Annotated[
        bool,
        typer.Option("--test-set", "--hold-out", help="Measure on the test set as well: once, at the end."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of folds and forests.")] = 0,
) -> None:
    """Disease group from the segmentation: how often it is right. For research, no diagnosis."""
    from pipelines.core.files import write_manifest
    from pipelines.datasets.prepare import read_datalist
    from pipelines.disease.study import CONTENT_NAME, study_disease
    from pipelines.reporting.results.disease import accuracy_table
    from pipelines.reporting.terminal import render

    with progress_bar("Measuring", console) as tell:
        content = study_disease(
            read_datalist(datalist), output, masks=masks, hold_out=hold_out, seed=seed, progress=tell
        )
    write_manifest(
        output, seed=seed, split_hash=content["split_hash"], outputs=[CONTENT_NAME, "features.csv"]
    )
    console.print(render(accuracy_table(content)))
    for problem in content["problems"]:
        say(f"skipped {problem['patient']} ({problem['source']}): {problem['reason']}")
    say(f"figures in {output / CONTENT_NAME}; for research, not for diagnosis")


def quality_estimator(
    network: str, weights: Path | None, device: str, *, thorough: bool, bundle: Path
) -> "QualityEstimator | None":
    """What judges the masks of a network, None where nothing can: the score is of a single network.

    Raises:
        ConfigError: If `thorough` is asked for and cannot be, or a quality model is damaged.
    """
    from pipelines.quality.model import QualityEstimator

    return QualityEstimator.load(network, weights=weights, thorough=thorough, device=device, bundle=bundle)


def _measured(
    datalist: Path,
    output: Path,
    network: str,
    weights: Path | None,
    partner: str | None,
    partner_weights: Path | None,
    section: Section,
    fold: int,
    faults: int,
    seed: int,
    images: Path | None,
    device: str,
) -> tuple[list["Measured"], dict[str, object]]:
    from pipelines.core.files import output_folder
    from pipelines.datasets.prepare import read_datalist, select
    from pipelines.models.heart import Predictor
    from pipelines.quality.measure import measure_images, read_measured
    from pipelines.quality.study import MASKS_NAME

    content = read_datalist(datalist)
    items = select(content, section, fold)
    details: dict[str, object] = {
        "section": section,
        "fold": fold,
        "split_hash": content["split_hash"],
        "faults": faults,
        "seed": seed,
    }
    if images is not None:
        return read_measured(images), details
    predictor = Predictor.load(network, weights=weights, device=device)
    second = Predictor.load(partner, weights=partner_weights, device=device) if partner else None
    masks = output_folder(output / MASKS_NAME)
    with progress_bar("Segmenting", console) as tell:
        found = measure_images(items, predictor, second, faults=faults, seed=seed, masks=masks, progress=tell)
    return found, details


def _write(output: Path, content: dict[str, object], name: str) -> None:
    from pipelines.core.files import write_manifest
    from pipelines.reporting.results.quality import quality_table
    from pipelines.reporting.terminal import render

    write_manifest(output, split_hash=content["split_hash"], outputs=[name, "images.csv"])
    console.print(render(quality_table(content)))
    say(f"figures in {output / name}")
