"""The command of `thorax` that explores a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import Fold, Output, console, keeps_results, say
from pipelines.cli.xray import explore_chest_xray
from pipelines.core.errors import ConfigError
from pipelines.core.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.core.records import Dataset

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
    from pipelines.core.manifest import write_manifest
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
