"""Evaluations on labelled radiographs: scores with intervals, ROC, and recipes compared over seeds."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from pipelines.core.files import output_folder
from pipelines.evaluation.classification import METRICS_NAME, PairedScore, compare_recipes, read_cases
from pipelines.figures.overlay import save_png
from pipelines.figures.xray_figures import draw_figures
from pipelines.reporting.document import (
    DEFAULT,
    Cell,
    Document,
    Language,
    Picture,
    Section,
    Table,
    estimate,
    number,
    p_text,
    read_language,
)
from pipelines.reporting.results.evaluation import parameters
from pipelines.reporting.source import Context, Kind, Source

PICTURES: Final = {
    "roc": "ROC curve with the threshold",
    "confusion": "confusion matrix",
    "calibration": "calibration curve",
}
SCORES: Final = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}
DECISIVE: Final = ("accuracy", "auroc")
"""Scores in which a recipe must be better to be called so."""

MAX_PICTURED: Final = 4
"""Evaluations up to which a page describes each; more, such as a curve of labels, are rows of a table."""


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of evaluations of radiographs.

    Evaluations that share a given name are seeds of one recipe; recipes are compared in pairs.

    Args:
        sources: Folders of `thorax evaluate`.
        context: Language and folder for pictures.
    """
    pictures = []
    described = sources if len(sources) <= MAX_PICTURED else ()
    for index, source in enumerate(described):
        folder = source.folder
        if context.words.phrases:  # the command drew them in English
            folder = output_folder(context.pictures / str(index))
            for name, figure in draw_figures(source.content).items():
                save_png(figure, folder / f"{name}.png")
        pictures += [
            Picture(folder / f"{name}.png", alt, f"{source.name}: {alt}") for name, alt in PICTURES.items()
        ]
    sections = [
        Section(
            "Accuracy",
            list(map(_threshold_line, described)),
            list(map(_point, described)),
            tables=[_overview(sources, context.words)],
            pictures=pictures,
            block="accuracy",
        )
    ]
    recipes: dict[str, list[Source]] = {}
    for source in sources:
        if source.label:
            recipes.setdefault(source.label, []).append(source)
    for first, second in combinations(recipes, 2):
        folders = ([read_cases(one.folder) for one in recipes[name]] for name in (first, second))
        scores = compare_recipes(*folders)
        sections.append(
            Section(
                f"{second} against {first}",
                [verdict(scores, first, second)],
                tables=[_recipes_table(scores, first, second)],
                block="comparison",
            )
        )
    title = f"Evaluation on chest X-rays, {', '.join(dict.fromkeys(source.name for source in sources))}"
    return Document(title, "", sections)


KIND: Final = Kind(
    "classification",
    METRICS_NAME,
    "thorax evaluate",
    "results",
    document,
    has=lambda content: "accuracy" in content.get("summary", {}),
)


def scores_table(metrics: Mapping[str, Any], words: Language | None = None) -> Table:
    """Scores of one evaluation with their intervals.

    Args:
        metrics: Content of `metrics.json`.
        words: Language of the intervals; English without it.
    """
    summary = metrics["summary"]
    rows: list[list[Cell]] = [
        [title, _score(metrics, name, words or read_language(DEFAULT))] for name, title in SCORES.items()
    ]
    rows.append(["expected calibration error", number(summary["ece"], 3)])
    counts = f"{summary['patients']} patients, {summary['images']} images"
    return Table(f"{counts}, threshold {summary['threshold']:.3f}", ["", "value (95% interval)"], rows)


def verdict(scores: Sequence[PairedScore], first: str, second: str) -> str:
    """Whether the second recipe beats the first, in a sentence for each decisive score.

    Args:
        scores: As from `compare_recipes`.
        first: Name of the first recipe.
        second: Name of the second.
    """
    found = {score.name: score for score in scores}
    return " ".join(_sentence(found[name], first, second) for name in DECISIVE)


def _sentence(score: PairedScore, first: str, second: str) -> str:
    name = SCORES[score.name]
    if score.interval is None:
        return f"Whether {second} beats {first} in {name} is not known."
    low, high = score.interval
    if low > 0:
        return f"{second} **beats** {first} in {name}."
    if high < 0:
        return f"{first} beats {second} in {name}."
    how = "better" if score.difference > 0 else "worse" if score.difference < 0 else "level"
    return f"In {name}, {second} is {how} on average, but **not significantly**: the interval holds zero."


def _overview(sources: Sequence[Source], words: Language) -> Table:
    summaries = [source.content["summary"] for source in sources]
    rows: list[list[Cell]] = [
        ["network", *(", ".join(source.networks) for source in sources)],
        ["parameters", *map(parameters, sources)],
    ]
    rows += [
        [title, *(_score(one.content, name, words) for one in sources)] for name, title in SCORES.items()
    ]
    rows += [
        ["expected calibration error", *(number(summary["ece"], 3) for summary in summaries)],
        ["threshold", *(number(summary["threshold"], 3) for summary in summaries)],
    ]
    rows += [[name, *(str(summary[name]) for summary in summaries)] for name in ("images", "patients")]
    header: list[Cell] = ["", *map(_title, sources)]
    if len(sources) > MAX_PICTURED:
        header, *rows = (list(row) for row in zip(header, *rows, strict=True))
    return Table("Scores with 95% intervals", [str(cell) for cell in header], rows)


def _title(source: Source) -> str:
    leaks = ", split by image: leaks patients" if source.manifest.get("leaks_patients") else ""
    return f"{source.name}{leaks}"


def _score(metrics: Mapping[str, Any], name: str, words: Language) -> str | None:
    return estimate(metrics["summary"][name], metrics["intervals"][name], 3, words)


def _point(source: Source) -> str:
    summary = source.content["summary"]
    accuracy, auroc = (number(summary[name], 3) for name in DECISIVE)
    return f"{source.name}: accuracy {accuracy}, AUROC {auroc} on {summary['patients']} patients."


def _threshold_line(source: Source) -> str:
    (normal, false_alarms), (missed, found) = source.content["summary"]["confusion_matrix"]
    return (
        f"{source.name}, at the threshold chosen on validation: {found} of {found + missed} images with "
        f"pneumonia were found, {false_alarms} of {normal + false_alarms} normal ones called pneumonia."
    )


def _recipes_table(scores: Sequence[PairedScore], first: str, second: str) -> Table:
    rows: list[list[Cell]] = []
    for score in scores:
        low, high = score.interval or (float("nan"), float("nan"))
        rows.append(
            [
                score.name.replace("_", " "),
                ", ".join(f"{value:.4f}" for value in score.first),
                ", ".join(f"{value:.4f}" for value in score.second),
                f"{score.difference:+.4f} ({low:+.4f} to {high:+.4f})",
                p_text(score.p_value),
            ]
        )
    header = [
        "",
        f"{first}, a seed each",
        f"{second}, a seed each",
        "difference of means (95% interval)",
        "p",
    ]
    return Table(f"{second} against {first}", header, rows)
