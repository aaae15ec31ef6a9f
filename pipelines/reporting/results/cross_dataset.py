"""Every model on every dataset."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pipelines.datasets.phantom.image import CONTRASTS
from pipelines.datasets.readers import READERS
from pipelines.evaluation.cross_dataset import CONTENT_NAME
from pipelines.reporting.document import Cell, Document, Language, Section, Table, duration, estimate, number
from pipelines.reporting.source import Context, Kind, Source, each

DATASET_GAP: Final = 0.05
"""Loss of mean Dice from a model's best dataset to its worst from which a report warns of it."""


def document(source: Source, context: Context) -> Document:
    """Document of a table of models on datasets; the context has the language."""
    words, cells = context.words, source.content["cells"]
    failed = [{key: cell[key] for key in ("model", "dataset", "error")} for cell in cells if cell["error"]]
    limits = [words("cross.failed", **cell) for cell in failed]
    return Document("", "", [_section(source, words)], limits, [*_gaps(cells, words)])


KIND: Final = Kind(
    "cross",
    CONTENT_NAME,
    "thorax compare --dataset",
    "results",
    each("cross.title", document),
    is_usual=True,
)


def dice_table(content: Mapping[str, Any], words: Language) -> Table:
    """Mean Dice of each model, a row, on each dataset, a column."""
    cells = {(cell["model"], cell["dataset"]): cell for cell in content["cells"]}
    datasets = [dataset["name"] for dataset in content["datasets"]]
    rows: list[list[Cell]] = [
        [model["name"], *(_dice(cells[model["name"], name], "mean", words) for name in datasets)]
        for model in content["models"]
    ]
    return Table(words("cross.table"), [words("table.model"), *datasets], rows)


def _section(source: Source, words: Language) -> Section:
    content = source.content
    cells = content["cells"]
    measured = [cell for cell in cells if not cell["error"]]
    structures: list[list[Cell]] = [
        [
            f"{cell['model']}, {cell['dataset']}",
            *(_dice(cell, name, words) for name in ("rv", "myo", "lv")),
            number(cell["hd95_mm"], 1),
            number(cell["ef_lv_mae"], 1),
        ]
        for cell in measured
    ]
    time, volumes = (sum(cell[name] for cell in measured) for name in ("seconds", "volumes"))
    return Section(
        words("cross.title", name=source.name),
        [
            "A prepared dataset is measured on its test set. Phantom datasets show the same hearts in other "
            "contrasts. HD95 is the mean over volumes with the structure in both masks: where a model finds "
            "nothing, Dice shows more. An EF error far beyond 100 points comes of predictions with hardly "
            "any LV at ED.",
        ],
        [
            words(
                "cross.point",
                models=len(content["models"]),
                datasets=len(content["datasets"]),
                failed=len(cells) - len(measured),
            ),
            f"Measured in {duration(time)} for {volumes} volumes.",
        ],
        [
            dice_table(content, words),
            Table(
                "Structures",
                ["model, dataset", "RV", "MYO", "LV", "HD95 mean, mm", words("table.ef_error")],
                structures,
            ),
            Table(
                "Datasets",
                ["measured on", words("table.patients"), words("table.volumes"), "skipped", "content"],
                [_dataset_row(dataset, measured) for dataset in content["datasets"]],
            ),
        ],
    )


def _dice(cell: Mapping[str, Any], name: str, words: Language) -> str | None:
    if cell["error"]:
        return words("cross.no_figure")
    return estimate(cell["dice"][name], cell["interval"][name], 3, words) or "not labelled"


def _dataset_row(dataset: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> list[Cell]:
    name = dataset["name"]
    cell = next((cell for cell in measured if cell["dataset"] == name), {})
    contrast = CONTRASTS.get(name.removeprefix("phantom-")) if name.startswith("phantom-") else None
    what = contrast.description if contrast else READERS[dataset["reader"]].title
    return [name, *(cell.get(key) for key in ("patients", "volumes", "put_aside")), what]


def _gaps(cells: Sequence[Mapping[str, Any]], words: Language) -> Iterator[str]:
    for model in dict.fromkeys(cell["model"] for cell in cells):
        scores = {
            cell["dataset"]: cell["dice"]["mean"]
            for cell in cells
            if cell["model"] == model and not cell["error"] and cell["dice"]["mean"] is not None
        }
        if len(scores) > 1 and max(scores.values()) - min(scores.values()) >= DATASET_GAP:
            worst, best = min(scores, key=scores.__getitem__), max(scores, key=scores.__getitem__)
            yield words(
                "suggest.dataset",
                model=model,
                best=best,
                high=number(scores[best], 3),
                worst=worst,
                low=number(scores[worst], 3),
            )
