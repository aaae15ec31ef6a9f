"""The commands of `thorax` that show where a segmentation network fails, and what it looks at."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import (
    Device,
    Ensemble,
    HeartNetwork,
    Output,
    ReaderName,
    Tta,
    Weights,
    console,
    say,
)
from pipelines.core.progress import progress_bar


def analyse_errors(
    root: Annotated[
        Path, typer.Argument(help="Labelled folder of a dataset, or a datalist of 'thorax prepare'.")
    ],
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    section: Annotated[
        Literal["training", "validation", "test"],
        typer.Option(help="Of a datalist: the patients to measure."),
    ] = "test",
    fold: Annotated[int, typer.Option(help="Of a datalist: the fold that validation stands for.")] = 0,
    reader: ReaderName = "acdc",
    worst: Annotated[int, typer.Option(help="Volumes in the gallery of failures.", min=1)] = 5,
    tta: Tta = False,
    ensemble: Ensemble = False,
    device: Device = "auto",
) -> None:
    """Show where a network fails: slices, factors, agreement, failures, uncertainty."""
    from pipelines.core.manifest import write_manifest
    from pipelines.datasets.prepare import section_records
    from pipelines.evaluation.error_files import ERRORS_NAME, PICTURES, SLICES_NAME, explore_heart_errors
    from pipelines.models.bundle import NETWORKS
    from pipelines.models.predictor import Predictor
    from pipelines.reporting.report import write_result_page
    from pipelines.reporting.results.errors import findings

    page = output / "errors.html"
    records = section_records(root, section, fold)
    predictor = Predictor.load(NETWORKS if ensemble else network, weights=weights, tta=tta, device=device)
    with progress_bar("Analysing", console) as tell:
        content = explore_heart_errors(
            root, output, predictor, records=records, reader=reader, count=worst, progress=tell
        )
    write_manifest(
        output,
        networks=predictor.networks,
        tta=tta,
        section=section if records is not None else None,
        outputs=[page.name, ERRORS_NAME, SLICES_NAME, PICTURES],
    )
    write_result_page(output, page)
    for sentence in findings(content):
        say(sentence)
    for problem in content["problems"]:
        say(f"put aside {problem['patient']}: {problem['reason']}")
    say(f"page in {page}")


def show_features(
    image: Annotated[Path, typer.Argument(help="NIfTI file of one frame, 3-D.")],
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Layer to show, repeatable; the last of each resolution without it."),
    ] = None,
    slice_number: Annotated[
        int | None, typer.Option("--slice", help="Slice to show, counted from 1; the middle one without it.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Draw what layers of a network answer to a slice, and its attention gates."""
    from pipelines.models.predictor import Predictor
    from pipelines.reporting.feature_figures import show_features as draw_features

    predictor = Predictor.load(network, weights=weights, device=device)
    written = draw_features(image, output, predictor, layers=layer, slice_number=slice_number)
    for path in written:
        say(str(path))
