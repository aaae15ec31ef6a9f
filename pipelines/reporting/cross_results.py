"""The page of every model on every dataset: Markdown beside the run, and in the documentation."""

from pathlib import Path
from typing import Any, Final

from rich.table import Table

from pipelines.core.files import output_folder, write_text
from pipelines.datasets.phantom.contrast import CONTRASTS
from pipelines.datasets.readers import READERS
from pipelines.evaluation.cross_dataset import CONTENT_NAME
from pipelines.reporting.markdown import duration, markdown_table, number
from pipelines.reporting.measured import page_of_measured

PAGE_NAME: Final = "cross-dataset.md"

Cell = dict[str, Any]


def write_cross_results(cross: Path, output: Path) -> Path:
    """Write the page of `thorax cross-evaluate`; returns its path.

    Args:
        cross: Folder of `thorax cross-evaluate`.
        output: Folder that takes `cross-dataset.md`; made if it does not exist.

    Raises:
        DataError: If there is no result of the command.
        OutputError: If the page cannot be written.
    """
    _, page = page_of_measured(cross / CONTENT_NAME, "thorax cross-evaluate", cross_page)
    path = output_folder(output) / PAGE_NAME
    write_text(path, page)
    return path


def cross_page(content: dict[str, Any]) -> str:
    """The page in Markdown.

    Args:
        content: Content of `cross.json`.
    """
    cells = {(cell["model"], cell["dataset"]): cell for cell in content["cells"]}
    models = [model["name"] for model in content["models"]]
    datasets = [dataset["name"] for dataset in content["datasets"]]
    measured = [cell for cell in content["cells"] if not cell["error"]]
    table = [[model, *(_text(cells[model, dataset], "mean") for dataset in datasets)] for model in models]
    lines = [
        "# Across datasets",
        "",
        "Made by `thorax cross-evaluate` and `thorax results cross-dataset`. A row is a model, named after",
        "what it was trained on; a column is what it was measured on. A prepared dataset is measured on its",
        "hold-out. Phantom columns show the same hearts in other contrasts.",
        "",
        "## Mean Dice",
        "",
        "Over the structures that the dataset labels, with 95% bootstrap intervals over patients.",
        "",
        markdown_table(["trained on", *datasets], table),
        "",
        "## Structures",
        "",
        markdown_table(
            ["trained on, measured on", "RV", "MYO", "LV", "HD95 mean, mm", "LV EF error, points"],
            [
                [
                    f"{cell['model']}, {cell['dataset']}",
                    *(_text(cell, name) for name in ("rv", "myo", "lv")),
                    number(cell["hd95_mm"], 1),
                    number(cell["ef_lv_mae"], 1),
                ]
                for cell in measured
            ],
        ),
        "",
        "HD95 is the mean over volumes with the structure in both masks: where a model finds nothing, it",
        "says less than Dice does. An EF error far beyond 100 points comes of predictions with hardly any LV",
        "at ED.",
        "",
        "## Datasets",
        "",
        markdown_table(
            ["measured on", "patients", "volumes", "put aside", "what it is"],
            [_dataset_row(dataset, measured) for dataset in content["datasets"]],
        ),
        "",
        f"Measured in {duration(sum(cell['seconds'] for cell in measured))} for "
        f"{sum(cell['volumes'] for cell in measured)} volumes segmented.",
        "",
        *_failures(content["cells"]),
        *_commands(content),
    ]
    return "\n".join(lines)


def cross_table(content: dict[str, Any]) -> Table:
    """Mean Dice for the terminal.

    Args:
        content: Content of `cross.json`.
    """
    table = Table("trained on", "measured on", title="mean Dice, 95% interval", title_justify="left")
    table.add_column("Dice", justify="right")
    for cell in content["cells"]:
        table.add_row(cell["model"], cell["dataset"], _text(cell, "mean"))
    return table


def _text(cell: Cell, name: str) -> str:
    if cell["error"]:
        return "failed"
    value = cell["dice"][name]
    if value is None:
        return "not labelled"
    interval = cell["interval"][name]
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f"{value:.3f}"


def _dataset_row(dataset: dict[str, Any], measured: list[Cell]) -> list[str]:
    name = dataset["name"]
    cell = next((cell for cell in measured if cell["dataset"] == name), None)
    contrast = CONTRASTS.get(name.removeprefix("phantom-")) if name.startswith("phantom-") else None
    what = contrast.description if contrast else READERS[dataset["reader"]].title
    counts = [str(cell[key]) if cell else "" for key in ("patients", "volumes", "put_aside")]
    return [name, *counts, what]


def _failures(cells: list[Cell]) -> list[str]:
    failed = [cell for cell in cells if cell["error"]]
    if not failed:
        return []
    listed = [f"- {cell['model']} on {cell['dataset']}: {cell['error']}" for cell in failed]
    return ["## Failed", "", *listed, ""]


def _commands(content: dict[str, Any]) -> list[str]:
    words = ["thorax cross-evaluate"]
    for dataset in content["datasets"]:
        name, reader = dataset["name"], dataset["reader"]
        if not name.startswith("phantom-"):
            words.append(f"{'' if name == reader else f'{name}:'}{reader}=/path/to/{reader}")
    for model in content["models"]:
        weights = model["weights"]
        shown = f"runs/{Path(weights).parent.name}/{Path(weights).name}" if weights else "models"
        words.append(f'--model "{model["name"]}={model["network"]}:{shown}"')
    return [
        "## Command",
        "",
        "Paths stand for your own.",
        "",
        "```text",
        " ".join([*words, "--output runs/cross"]),
        "```",
        "",
    ]
