"""The commands of `thorax` about datasets: which there are, generated ones, and models across them."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import (
    Device,
    Output,
    Overwrite,
    PhantomContrast,
    Tta,
    console,
    refuse_results,
    say,
)
from pipelines.core.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.evaluation.cross_dataset import Model
    from pipelines.models.heart import Predictor


def phantom(
    output: Output,
    patients: Annotated[int, typer.Option(help="Number of patients, dealt over five groups.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same hearts.")] = 0,
    contrast: PhantomContrast = "cine",
    overwrite: Overwrite = False,
) -> None:
    """Write a cohort of generated beating hearts with known volumes, in ACDC's layout."""
    from pipelines.datasets.phantom.cohort import write_phantom_cohort

    refuse_results(output, ["truth.csv"], overwrite=overwrite)
    if (output / "truth.csv").exists():  # then the patients are generated ones
        shutil.rmtree(output / "training", ignore_errors=True)
    truth = write_phantom_cohort(output, patients=patients, seed=seed, contrast=contrast)
    say(f"{len(truth)} patients in {output / 'training'}, their volumes in {output / 'truth.csv'}")


def datasets(
    name: Annotated[
        str | None, typer.Argument(help="Dataset to describe; without it, all in a table.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Markdown page to fill with all of them, between its marks.")
    ] = None,
) -> None:
    """List the datasets that can be read; with a name, its labels, licence and layout."""
    from pipelines.datasets.readers import READERS, find_reader
    from pipelines.reporting.terminal import datasets_table, fill_readers_page, reader_lines

    if page is not None:
        say(f"datasets in {fill_readers_page(page)}")
        return
    if name is None:
        console.print(datasets_table(READERS.values()))
        return
    for line in reader_lines(find_reader(name)):
        say(line)


def cross_evaluate(
    output: Output,
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="READER=ROOT or NAME:READER=ROOT; of a prepared folder the test set."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="NAME=WEIGHTS or NAME=NETWORK:WEIGHTS, a file or a run; may be repeated."),
    ] = None,
    phantoms: Annotated[
        int, typer.Option(help="Patients of the phantom in each contrast; 0 leaves the phantom out.", min=0)
    ] = 10,
    tta: Tta = False,
    device: Device = "auto",
) -> None:
    """Measure every model on every dataset and on the phantom at several contrasts; resumable."""
    from pipelines.core.manifest import write_manifest
    from pipelines.evaluation import cross_dataset as cross
    from pipelines.models.bundle import NETWORKS
    from pipelines.models.heart import Predictor
    from pipelines.reporting.document import DEFAULT, read_language
    from pipelines.reporting.report import write_result_page
    from pipelines.reporting.results.cross_dataset import dice_table
    from pipelines.reporting.terminal import render

    def load(row: "Model") -> "Predictor":
        return Predictor.load(row.network, weights=row.weights, tta=row.tta, device=device)

    models = [cross.parse_model(text, tta=tta) for text in model or []]
    models = models or [cross.Model("bundle", NETWORKS[0], None, tta)]
    targets = [cross.parse_target(text) for text in datasets or []]
    if phantoms:
        targets += cross.phantom_targets(output / "phantom", patients=phantoms)
    with progress_bar("Evaluating", console) as tell:
        content = cross.cross_evaluate(models, targets, output, load, progress=tell)
    write_manifest(output, tta=tta, outputs=[cross.CONTENT_NAME, cross.TABLE_NAME, "cells"])
    page = write_result_page(output, output / "cross-dataset.md")
    console.print(render(dice_table(content, read_language(DEFAULT))))
    for cell in content["cells"]:
        if cell["error"]:
            say(f"failed {cell['model']} on {cell['dataset']}: {cell['error']}")
    say(f"table in {output / cross.TABLE_NAME}, page in {page}")
