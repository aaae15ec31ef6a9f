"""The page of the disease group from the segmentation."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from rich.table import Table

from pipelines.core.files import atomic_path, output_folder, write_text
from pipelines.disease.study import CONTENT_NAME
from pipelines.reporting.markdown import markdown_table
from pipelines.reporting.measured import page_with_command

PAGE_NAME: Final = "disease.md"
CONFUSION_NAME: Final = "disease_confusion.png"
IMPORTANCE_NAME: Final = "disease_importance.png"
MOST_FEATURES: Final = 12
HEADER: Final = ("", "patients", "right", "accuracy", "95% interval")

Content = dict[str, Any]


def disease_table(content: Content) -> Table:
    """Accuracies for the terminal.

    Args:
        content: Of `disease.json`.
    """
    table = Table(*HEADER)
    for row in _rows(content):
        table.add_row(*row)
    return table


def write_disease_results(study: Path, output: Path) -> Path:
    """Write `disease.md`, the confusion matrices and the importance of features.

    Args:
        study: Folder of `thorax disease`.
        output: Folder that takes the page; made if it does not exist.

    Raises:
        DataError: If the folder lacks what the command writes.
        OutputError: If a file cannot be written.
    """
    content, text = page_with_command(study, CONTENT_NAME, "thorax disease", _lines)
    output_folder(output)
    _write_confusion(content, output / CONFUSION_NAME)
    _write_importance(content, output / IMPORTANCE_NAME)
    page = output / PAGE_NAME
    write_text(page, text)
    return page


def _lines(content: Content) -> list[str]:
    inner = content["cross_validation"]
    choices = "; ".join(f"{name} in {count}" for name, count in Counter(inner["chosen"]).most_common())
    held = content["hold_out"]
    final = f" The one measured on the hold-out is a {held['chosen']}." if held else ""
    problems = content["problems"]
    aside = [
        f"- {problem['patient']}: {problem['reason']}" for problem in problems if problem["source"] == "truth"
    ]
    without = sum(problem["source"] == "masks" for problem in problems)
    if without:
        aside.append(f"- {without} patients had no predicted masks of ED and ES that could be measured.")
    return [
        "# Disease group",
        "",
        "Made by `thorax results disease` from `thorax disease`. For research: this is no diagnosis.",
        "[What is measured and how](../how-to/disease.md).",
        "",
        "## Accuracy",
        "",
        markdown_table(HEADER, _rows(content)),
        "",
        "Classifiers are fitted on true label maps. Cross-validation is nested and over patients; the",
        "hold-out is measured once by the classifier of all other patients. Intervals are Wilson's. Entries",
        "of the ACDC challenge had an accuracy of 0.92 to 0.96 on its 50 test patients, after training on",
        "100 (Bernard et al., doi:10.1109/TMI.2018.2837502).",
        "",
        f"![Confusion matrices]({CONFUSION_NAME})",
        "",
        f"Chosen in the outer folds: {choices}.{final}",
        "",
        *(["Put aside:", "", *aside, ""] if aside else []),
        "## Which features decide",
        "",
        "Loss of accuracy on unseen folds when one feature is shuffled. Features that tell the same share",
        "their weight, so a small loss does not mean that what it measures is of no use.",
        "",
        f"![Loss of accuracy by feature]({IMPORTANCE_NAME})",
        "",
        markdown_table(
            ("feature", "loss of accuracy", "standard deviation"),
            [
                [f"`{row['feature']}`", f"{row['mean']:.3f}", f"{row['std']:.3f}"]
                for row in inner["importance"][:MOST_FEATURES]
            ],
        ),
        "",
    ]


def _parts(content: Content) -> list[tuple[str, Content]]:
    """What was measured, in words, with its figures."""
    found = []
    for key, words in (("cross_validation", "cross-validation"), ("hold_out", "hold-out")):
        for source, maps in (("truth", "true masks"), ("masks", "predicted masks")):
            figures = (content[key] or {}).get(source)
            if figures:
                found.append((f"{words}, {maps}", figures))
    return found


def _rows(content: Content) -> list[list[str]]:
    return [
        [
            words,
            str(figures["patients"]),
            str(figures["right"]),
            f"{figures['accuracy']:.3f}",
            f"{figures['interval'][0]:.2f} to {figures['interval'][1]:.2f}",
        ]
        for words, figures in _parts(content)
    ]


def _write_confusion(content: Content, path: Path) -> None:
    parts = _parts(content)
    figure = Figure(figsize=(3.4 * len(parts), 3.7), layout="constrained")
    for axis, (words, figures) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        counts, groups = figures["confusion"], figures["groups"]
        axis.imshow(counts, cmap="Blues")
        darkest = max(max(row) for row in counts)
        for row, values in enumerate(counts):
            for column, value in enumerate(values):
                color = "white" if value > darkest / 2 else "black"
                axis.text(column, row, str(value), ha="center", va="center", color=color)
        axis.set_xticks(range(len(groups)), groups, fontsize=8)
        axis.set_yticks(range(len(groups)), groups, fontsize=8)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true group")
        axis.set_title(words, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _write_importance(content: Content, path: Path) -> None:
    rows = content["cross_validation"]["importance"][:MOST_FEATURES][::-1]
    figure = Figure(figsize=(6.4, 0.32 * len(rows) + 1), layout="constrained")
    axis = figure.subplots()
    axis.barh(
        [row["feature"] for row in rows],
        [row["mean"] for row in rows],
        xerr=[row["std"] for row in rows],
        color="tab:blue",
        ecolor="0.6",
    )
    axis.axvline(0, color="0.5", linewidth=1)
    axis.set_xlabel("loss of accuracy when shuffled")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
