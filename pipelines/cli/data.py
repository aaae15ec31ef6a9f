"""The commands of `thorax` about datasets: which there are, generated ones, and what is in one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import Device, Fold, Output, PhantomContrast, console, keeps_results, say
from pipelines.cli.use import explore_chest_xray
from pipelines.core.errors import ConfigError
from pipelines.core.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.core.records import Dataset
    from pipelines.evaluation.cross_dataset import Model
    from pipelines.models.heart import Predictor


def phantom(
    output: Output,
    patients: Annotated[int, typer.Option(help="Number of patients, dealt over five groups.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same hearts.")] = 0,
    contrast: PhantomContrast = "cine",
) -> None:
    """Write a cohort of generated beating hearts with known volumes, in ACDC's layout."""
    from pipelines.datasets.phantom.cohort import write_phantom_cohort

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
    device: Device = "auto",
) -> None:
    """Measure every model on every dataset and on the phantom at several contrasts; resumable."""
    from pipelines.core.files import write_manifest
    from pipelines.evaluation import cross_dataset as cross
    from pipelines.models.bundle import NETWORKS
    from pipelines.models.heart import Predictor
    from pipelines.reporting.document import DEFAULT, read_language
    from pipelines.reporting.report import write_result_page
    from pipelines.reporting.results.cross_dataset import dice_table
    from pipelines.reporting.terminal import render

    def load(row: "Model") -> "Predictor":
        return Predictor.load(row.network, weights=row.weights, device=device)

    models = [cross.parse_model(text) for text in model or []]
    models = models or [cross.Model("bundle", NETWORKS[0], None)]
    targets = [cross.parse_target(text) for text in datasets or []]
    if phantoms:
        targets += cross.phantom_targets(output / "phantom", patients=phantoms)
    with progress_bar("Evaluating", console) as tell:
        content = cross.cross_evaluate(models, targets, output, load, progress=tell)
    write_manifest(output, outputs=[cross.CONTENT_NAME, cross.TABLE_NAME, "cells"])
    page = write_result_page(output, output / "cross-dataset.md")
    console.print(render(dice_table(content, read_language(DEFAULT))))
    for cell in content["cells"]:
        if cell["error"]:
            say(f"failed {cell['model']} on {cell['dataset']}: {cell['error']}")
    say(f"table in {output / cross.TABLE_NAME}, page in {page}")


MAX_REPORTED = 5
"""Findings that the terminal shows."""


@keeps_results
def explore(
    name: Annotated[
        str, typer.Argument(metavar="DATASET", help="'thorax datasets' lists them; or chest-xray.")
    ],
    root: Annotated[
        Path, typer.Argument(help="Folder in the dataset's layout, or a datalist of 'thorax prepare'.")
    ],
    output: Output,
    dataset_dir: Annotated[
        Path | None,
        typer.Option(help="Prepared folder: compares its sections, and keeps labels of the test closed."),
    ] = None,
    fold: Fold = 0,
    seed: Annotated[int, typer.Option(help="Seed of the sample images.")] = 0,
) -> None:
    """Explore a dataset before training on it: an HTML page, a table, TensorBoard."""
    if name != "chest-xray":
        _explore(name, root, output, dataset_dir, fold, seed)
    elif dataset_dir or fold:
        raise ConfigError(
            "expected --dataset-dir and --fold for hearts only, found chest-xray; leave them out"
        )
    else:
        explore_chest_xray(root, output, seed)


def _explore(name: str, root: Path, output: Path, dataset_dir: Path | None, fold: int, seed: int) -> None:
    from pipelines.core.files import write_manifest
    from pipelines.datasets.prepare import DATALIST_NAME, read_datalist
    from pipelines.datasets.readers import find_reader
    from pipelines.exploration.files import CONTENT_NAME, TABLE_NAME, explore_hearts
    from pipelines.exploration.findings import sections_of
    from pipelines.reporting.report import write_result_page

    is_datalist = root.name == DATALIST_NAME or (root / DATALIST_NAME).is_file()
    split = dataset_dir or (root if is_datalist else None)
    sections = sections_of(read_datalist(split), fold) if split else None
    dataset = _listed(read_datalist(root)) if is_datalist else find_reader(name).read(root)
    with progress_bar("Measuring", console) as tell:
        found = explore_hearts(
            dataset, output, name=find_reader(name).title, sections=sections, seed=seed, progress=tell
        )
    page = output / "eda.html"
    outputs = [page.name, TABLE_NAME, CONTENT_NAME]
    write_manifest(output, seed=seed, fold=fold if split else None, outputs=outputs)
    write_result_page(output, page)
    say(
        f"{len(found.frame)} volumes of {found.frame.patient.nunique()} patients, "
        f"{len(found.findings)} findings that need a decision"
    )
    for finding in found.findings[:MAX_REPORTED]:
        say(f"{finding.urgency}: {finding.found}")
    if len(found.findings) > MAX_REPORTED:
        say(f"{len(found.findings) - MAX_REPORTED} more on the page")
    say(f"page in {page}; tensorboard --logdir {output / 'tensorboard'}")


def _listed(datalist: dict[str, Any]) -> "Dataset":
    """The volumes of a datalist, and what was skipped when it was made."""
    from pipelines.core.records import Dataset, Problem
    from pipelines.datasets.prepare import patient_records

    aside = [
        Problem(item["patient"], Path(item["path"]), item["reason"]) for item in datalist.get("put_aside", [])
    ]
    return Dataset(patient_records(datalist["volumes"]), aside)
