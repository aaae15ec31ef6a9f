"""The page of the quality score, made from its fit and its measurement on unseen patients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from rich.table import Table

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path, output_folder, write_text
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.quality.model import FLAGGED_BELOW
from pipelines.quality.study import EVALUATION_NAME, FIT_NAME, KINDS
from pipelines.reporting.markdown import markdown_table
from pipelines.reporting.measured import page_of_measured
from pipelines.training.run_record import shown_command

PAGE_NAME: Final = "quality.md"
PLOT_NAME: Final = "quality.png"
ASKED: Final = 0.7
"""Correlation on unseen patients that is asked of the score."""

PARTS: Final = {"clean": "as acquired", "faulty": "with a fault put in", "all": "both"}
FIGURES: Final = (
    ("Pearson", "pearson"),
    ("Spearman", "spearman"),
    ("mean error of the predicted Dice", "mae"),
    ("AUROC of the flag", "auroc"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
)

Content = dict[str, Any]


def quality_table(content: Content) -> Table:
    """Correlations and the flag for the terminal, a row for each model and part.

    Args:
        content: Of `fit.json` or `quality_evaluation.json`.
    """
    table = Table("", "images", "bad", *(words for words, _ in FIGURES))
    for row in _rows(content):
        table.add_row(*row)
    return table


def write_quality_results(fits: Sequence[Path], evaluations: Sequence[Path], output: Path) -> Path:
    """Write `quality.md` and its plot.

    Args:
        fits: Folders of `thorax fit-quality`, one a network.
        evaluations: Folders of `thorax evaluate-quality` in the same order.
        output: Folder that takes the page; made if it does not exist.

    Raises:
        DataError: If the folders do not pair, or one lacks its file.
        OutputError: If a file cannot be written.
    """
    if not fits or len(fits) != len(evaluations):
        raise DataError(
            f"expected an evaluation for each fit, found {len(fits)} fits and {len(evaluations)} "
            "evaluations; give --fit and --evaluation as often"
        )
    pairs = []
    for fit, evaluation in zip(fits, evaluations, strict=True):
        told, chosen = page_of_measured(fit / FIT_NAME, "thorax fit-quality", _fit_section)
        found, measured = page_of_measured(
            evaluation / EVALUATION_NAME, "thorax evaluate-quality", _evaluation_section
        )
        if told["network"] != found["network"]:
            raise DataError(
                f"expected a fit and an evaluation of one network, found {told['network']} in {fit} and "
                f"{found['network']} in {evaluation}; give them in the same order"
            )
        pairs.append((told, found, [f"## {told['network']}", "", *chosen, "", *measured, ""]))
    commands = [_command(folder) for folder in (*fits, *evaluations)]
    output_folder(output)
    _write_plot([found for _, found, _ in pairs], output / PLOT_NAME)
    lines = [line for _, _, section in pairs for line in section]
    page = output / PAGE_NAME
    write_text(page, "\n".join([*_opening(pairs[0][0], pairs[0][1]), *lines, *_closing(commands)]))
    return page


def _opening(fit: Content, evaluation: Content) -> list[str]:
    return [
        "# Quality score",
        "",
        "Made by `thorax results quality`. The score predicts the mean Dice of a mask without a label.",
        "[How to use it, and its limits](../how-to/quality.md).",
        "",
        "The quick model takes the mask and the network's own probabilities; the thorough one also the",
        "agreement with a second network. Settings were chosen and models fitted on",
        f"{len(fit['patients'])} patients (section {fit['section']}) and measured once on",
        f"{len(evaluation['patients'])} others (section {evaluation['section']}); neither network had been",
        f"trained on any of them. Of each volume there are {evaluation['faults']} further images with a",
        "fault put in: noise, blur, uneven or wrong contrast, ringing, ghosts, moved or lost slices, a void.",
        f"*Bad* is a true mean Dice below {FLAGGED_BELOW}; intervals are 95%, bootstrap over patients.",
        "",
        f"![Predicted against true mean Dice on unseen patients]({PLOT_NAME})",
        "",
    ]


def _fit_section(content: Content) -> list[str]:
    lines = [
        f"Chosen by cross-validation over {len(content['patients'])} patients, second network "
        f"{content['partner'] or 'none'}:",
        "",
    ]
    for kind in _kinds(content):
        told = content[kind]
        scale = "log-odds" if told["log_odds"] else "Dice as it is"
        lines.append(
            f"- {kind}: {', '.join(told['features'])}; {scale}; ridge penalty {told['penalty']:g}; "
            f"flag below {told['threshold']:.3f}; {len(told['tried'])} settings tried."
        )
    parts = {kind: content[kind]["cross_validation"] for kind in _kinds(content)}
    return [*lines, "", "In cross-validation:", "", markdown_table(_header(), _rows(parts))]


def _evaluation_section(content: Content) -> list[str]:
    verdicts = []
    for kind in _kinds(content):
        for part in ("clean", "all"):
            if part in content[kind]:
                value = content[kind][part]["pearson"]["value"]
                reached = "reaches" if value >= ASKED else "does not reach"
                verdicts.append(
                    f"- The {kind} model {reached} a correlation of {ASKED} on images "
                    f"{'as acquired' if part == 'clean' else 'of both kinds together'}: {value:.2f}."
                )
    return [
        f"On {len(content['patients'])} unseen patients:",
        "",
        markdown_table(_header(), _rows(content)),
        "",
        *verdicts,
    ]


def _closing(commands: Sequence[str]) -> list[str]:
    return ["## Commands", "", "Paths stand for your own.", "", "```text", *commands, "```", ""]


def _kinds(content: Content) -> list[str]:
    return [kind for kind in KINDS if kind in content]


def _header() -> list[str]:
    return ["", "images", "bad", *(words for words, _ in FIGURES)]


def _rows(content: Content) -> list[list[str]]:
    rows = []
    for kind in _kinds(content):
        figures = content[kind].get("cross_validation", content[kind])
        for part, words in PARTS.items():
            if part in figures:
                found = figures[part]
                cells = [_cell(found[name]) for _, name in FIGURES]
                rows.append([f"{kind}, {words}", str(found["images"]), str(found["bad"]), *cells])
    return rows


def _cell(figure: Content) -> str:
    if figure["value"] is None or figure["value"] != figure["value"]:
        return ""
    interval = figure["interval"]
    between = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{figure['value']:.2f}{between}"


def _command(folder: Path) -> str:
    _, command = page_of_measured(
        folder / MANIFEST_NAME, "thorax", lambda content: shown_command(content["command"])
    )
    return command


def _write_plot(evaluations: Sequence[Content], path: Path) -> None:
    columns = max(len(_kinds(content)) for content in evaluations)
    figure = Figure(figsize=(4.4 * columns, 4.3 * len(evaluations)), layout="constrained")
    axes = figure.subplots(len(evaluations), columns, squeeze=False)
    for row, content in zip(axes, evaluations, strict=True):
        for axis in row[len(_kinds(content)) :]:
            axis.set_axis_off()
        for axis, kind in zip(row, _kinds(content), strict=False):
            told = content[kind]
            axis.plot([0, 1], [0, 1], color="0.8", linewidth=1)
            for is_clean, color, words in (
                (False, "tab:orange", "with a fault"),
                (True, "tab:blue", "as acquired"),
            ):
                points = [point for point in told["predictions"] if (point["fault"] == "none") == is_clean]
                axis.scatter(
                    [point["predicted"] for point in points],
                    [point["dice"] for point in points],
                    s=16,
                    color=color,
                    label=words,
                    alpha=0.8,
                )
            axis.axvline(told["threshold"], color="tab:red", linestyle=":", linewidth=1)
            axis.axhline(FLAGGED_BELOW, color="0.5", linestyle=":", linewidth=1)
            axis.set_title(f"{content['network']}, {kind}", fontsize=10)
            axis.set_xlabel("predicted mean Dice")
            axis.set_ylabel("true mean Dice")
            axis.set_xlim(-0.02, 1.02)
            axis.set_ylim(-0.02, 1.02)
            axis.legend(fontsize=8, loc="upper left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
