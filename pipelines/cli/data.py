"""The commands of `thorax` about datasets: which there are, generated ones, and what is in one."""

import shutil
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipelines.cli import options as opt
from pipelines.cli.options import bar, console, keeps_results, refuse, refuse_results, say, write_results
from pipelines.core.errors import ConfigError
from pipelines.core.records import Dataset, Problem
from pipelines.datasets.readers import READERS, find_reader


def phantom(
    output: opt.Output,
    patients: Annotated[int, typer.Option(help="Number of patients, dealt over five groups.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same hearts.")] = 0,
    contrast: opt.PhantomContrast = "cine",
    overwrite: opt.Overwrite = False,
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
    from pipelines.reporting.terminal import datasets_table, fill_readers_page, reader_lines

    if page is not None:
        say(f"datasets in {fill_readers_page(page)}")
        return
    if name is None:
        console.print(datasets_table(READERS.values()))
        return
    for line in reader_lines(find_reader(name)):
        say(line)


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
    output: opt.Output,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of 'thorax prepare': compares its splits, and leaves labels of the test set alone."
        ),
    ] = None,
    fold: opt.Fold = 0,
    seed: Annotated[int, typer.Option(help="Seed of the sample images.")] = 0,
) -> None:
    """Explore a dataset before training on it: an HTML page, a table, TensorBoard."""
    if name == "chest-xray":
        if data or fold:
            raise ConfigError("expected --data and --fold for hearts only, found chest-xray; leave them out")
        from pipelines.exploration.files import CONTENT_NAME, explore_xrays

        with bar("Measuring"):
            survey = explore_xrays(root, output, seed=seed)
        (page,) = write_results(output, ["eda.html"], [CONTENT_NAME], seed=seed)
        say(
            f"{len(survey.images)} images of {len(survey.images_per_patient())} patients, "
            f"{len(survey.copies)} exact copies, {len(survey.near)} further near duplicates"
        )
        say(f"page in {page}; tensorboard --logdir {output / 'tensorboard'}")
        return
    from pipelines.datasets.prepare import is_datalist, read_datalist
    from pipelines.exploration.files import CONTENT_NAME, TABLE_NAME, explore_hearts
    from pipelines.exploration.findings import sections_of

    split = data or (root if is_datalist(root) else None)
    sections = sections_of(read_datalist(split), fold) if split else None
    dataset = _listed(read_datalist(root)) if is_datalist(root) else find_reader(name).read(root)
    with bar("Measuring"):
        found = explore_hearts(dataset, output, name=find_reader(name).title, sections=sections, seed=seed)
    outputs = [TABLE_NAME, CONTENT_NAME]
    (page,) = write_results(output, ["eda.html"], outputs, seed=seed, fold=fold if split else None)
    say(
        f"{len(found.frame)} volumes of {found.frame.patient.nunique()} patients, "
        f"{len(found.findings)} findings that need a decision"
    )
    for finding in found.findings[:MAX_REPORTED]:
        say(f"{finding.urgency}: {finding.found}")
    if len(found.findings) > MAX_REPORTED:
        say(f"{len(found.findings) - MAX_REPORTED} more on the page")
    say(f"page in {page}; tensorboard --logdir {output / 'tensorboard'}")


def _listed(datalist: dict[str, Any]) -> Dataset:
    """The volumes of a datalist, and what was skipped when it was made."""
    from pipelines.datasets.prepare import patient_records

    aside = [
        Problem(item["patient"], Path(item["path"]), item["reason"]) for item in datalist.get("put_aside", [])
    ]
    return Dataset(patient_records(datalist["volumes"]), aside)


@partial(keeps_results, marks=("datalist.json",))
def prepare(
    name: Annotated[
        Literal["acdc", "chest-xray"], typer.Argument(metavar="DATASET", help="acdc or chest-xray.")
    ],
    root: Annotated[
        Path, typer.Argument(help="Folder in ACDC's layout, or with NORMAL and PNEUMONIA at any depth.")
    ],
    output: opt.Output,
    test_patients: Annotated[
        Path | None, typer.Option(help="Of acdc: text file with the test patients, one a line.")
    ] = None,
    label_values: opt.LabelMeaning = None,
    split: Annotated[
        Literal["patient", "image"],
        typer.Option(help="Of chest-xray: 'image' is the plain random split, which leaks patients."),
    ] = "patient",
    source: Annotated[
        str, typer.Option(help="Of chest-xray: origin and licence of the films; reports name them.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
) -> None:
    """Check every image, list what is skipped, and write the datalist with its split by patient."""
    if name == "acdc":
        refuse("chest-xray, found acdc", split=split != "patient", source=source)
        from pipelines.datasets.loading import parse_values
        from pipelines.datasets.prepare import prepare_acdc, read_test_patients

        values = parse_values(label_values) if label_values else None
        names = read_test_patients(test_patients) if test_patients else None
        with bar("Checking"):
            hearts = prepare_acdc(root, output, seed=seed, test_patients=names, label_values=values)
        for problem in hearts.problems:
            say(f"skipped {problem.patient}: {problem.reason}")
        say(f"{hearts.patients} patients, {hearts.volumes} volumes in {hearts.datalist}")
        return
    refuse("acdc, found chest-xray", test_patients=test_patients, label_values=label_values)
    from pipelines.datasets.prepare_xray import prepare_chest_xray

    with bar("Checking"):
        films = prepare_chest_xray(root, output, split=split, seed=seed, source=source)
    for problem in films.problems:
        say(f"{problem.path.name}: {problem.reason}")
    say(f"{films.patients} patients, {films.images} images in {films.datalist}")
    if split == "image":
        say("This split leaks patients: some have images in training and in test. Report it as such.")
