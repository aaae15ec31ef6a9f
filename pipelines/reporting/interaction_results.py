"""The figures of simulated correction: a plot, a table for the terminal, and a results page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from pipelines.core.files import atomic_path, output_folder, write_text
from pipelines.core.labels import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.interaction.benchmark import CONTENT_NAME
from pipelines.reporting.markdown import markdown_table, number
from pipelines.reporting.measured import HEADER, BenchFigure, page_of_measured

PAGE_NAME: Final = "interaction.md"
PLOT_NAME: Final = "interaction.png"

GAIN_AFTER_3: Final = 0.015
"""Least gain of mean Dice by three clicks on a volume that is good."""

DICE_AFTER_10: Final = 0.945
"""Least mean Dice after ten clicks on a volume that is good."""

LOWERED: Final = 5.0
"""Largest share of volumes whose mean Dice a click lowers that is good, percent."""

CLICK_S: Final = 0.6
"""Longest time of a click that is good, s."""

SCRIBBLED_LV: Final = 0.93
"""Least Dice of the LV after strokes along the rims that is good."""


def interaction_figures(content: dict[str, Any]) -> Iterator[BenchFigure]:
    """What is asked of the correction, with what was measured.

    Args:
        content: Content of `interaction.json`.
    """
    volume, one_slice, scribbles = (content[name] for name in ("volume", "one_slice", "scribbles"))
    mean = volume["dice"]["mean"]
    yield BenchFigure("mean Dice, automatic", mean[0], "", 3)
    if len(mean) > 3:
        yield BenchFigure("gain of mean Dice by 3 clicks", mean[3] - mean[0], "", 3, least=GAIN_AFTER_3)
    if len(mean) > 10:
        yield BenchFigure("mean Dice after 10 clicks", mean[10], "", 3, least=DICE_AFTER_10)
    worst = 100 * max(volume["lowered"])
    yield BenchFigure("volumes that a click lowers, worst of the clicks", worst, " %", 1, most=LOWERED)
    if volume["lowered_of_all_clicks"] is not None:
        share = 100 * volume["lowered_of_all_clicks"]
        yield BenchFigure("clicks that lower the mean Dice of their volume", share, " %", 1)
    for curve, words in ((volume, "a click"), (one_slice, "a click on one slice")):
        for name, how in (("median", "median"), ("p95", "95th percentile")):
            if curve["seconds"][name] is not None:
                most = CLICK_S if curve is volume else None
                yield BenchFigure(f"{words}, {how}", curve["seconds"][name], " s", 2, most=most)
    yield BenchFigure("opening a volume, once", content["open_seconds"], " s", 2)
    if scribbles["dice"]["lv"] is not None:
        words = "LV Dice by strokes along the rims"
        yield BenchFigure(words, scribbles["dice"]["lv"], "", 3, least=SCRIBBLED_LV)
    yield BenchFigure("strokes, a slice", scribbles["seconds"], " s", 2)


def interaction_table(content: dict[str, Any]) -> Table:
    """Figures with what is asked of them, a row each."""
    title = f"{len(content['patients'])} patients, {content['volumes']} volumes"
    table = Table(*HEADER, title=title, title_justify="left")
    for figure in interaction_figures(content):
        table.add_row(*figure.cells)
    return table


def write_plot(content: dict[str, Any], path: Path) -> None:
    """Draw Dice against clicks, by structure, on whole volumes and on single slices.

    Args:
        content: Content of `interaction.json`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(9.2, 3.8), layout="constrained")
    axes = figure.subplots(1, 2)
    _draw(axes[0], content["volume"], "clicks anywhere in a volume")
    _draw(axes[1], content["one_slice"], "clicks on one slice, each by itself")
    axes[0].set_ylabel("Dice")
    axes[0].legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def write_interaction_results(benchmark: Path, output: Path) -> Path:
    """Write the page of simulated correction, and its plot.

    Args:
        benchmark: Folder of `thorax interact-benchmark`.
        output: Folder that takes `interaction.md` and `interaction.png`; made if it does not exist.

    Returns:
        Path of the page.

    Raises:
        DataError: If there is no `interaction.json` of this version.
        OutputError: If the page cannot be written.
    """
    content, page = page_of_measured(benchmark / CONTENT_NAME, "thorax interact-benchmark", _page)
    output_folder(output)
    write_plot(content, output / PLOT_NAME)
    write_text(output / PAGE_NAME, page)
    return output / PAGE_NAME


def _draw(axes: Axes, curve: dict[str, Any], title: str) -> None:
    for structure in FOREGROUND:
        values = curve["dice"][LABEL_NAMES[structure]]
        color = LABEL_COLORS[structure]
        axes.plot(range(len(values)), values, marker=".", color=color, label=structure.name)
    mean = curve["dice"]["mean"]
    axes.plot(range(len(mean)), mean, marker=".", color="black", label="mean")
    axes.set_xlabel("clicks")
    axes.set_title(f"{title} ({curve['cases']})", fontsize=10)
    axes.grid(alpha=0.3)


def _page(content: dict[str, Any]) -> str:
    figures = [figure.cells for figure in interaction_figures(content)]
    patients = ", ".join(content["patients"])
    lines = [
        "# Correction by clicks and scribbles",
        "",
        "Made by `thorax results interaction` from what `thorax interact-benchmark` measured.",
        "",
        f"A simulated user corrects the automatic masks of {content['volumes']} volumes of "
        f"{len(content['patients'])} patients ({content['section']}): {patients}. The masks are those of "
        f"`{content['automatic_network']}` with {content['automatic_weights']}. Each click falls on the "
        "innermost pixel of the largest connected region of a slice that has the wrong label, and gives "
        "the right one.",
        "",
        markdown_table(HEADER, figures),
        "",
        f"Times are from the click to the mask, CPU threads: {content['threads']}.",
        "",
        f"![Dice against clicks, by structure, on whole volumes and on single slices]({PLOT_NAME})",
        "",
        "## Clicks anywhere in a volume",
        "",
        "Mean over volumes; of *lowered* the share of volumes whose mean Dice the click lowers.",
        "",
        _curve_table(content["volume"]),
        "",
        *_goal_lines(content["volume"], "volumes"),
        "",
        "## One slice by itself",
        "",
        "Each slice from its automatic mask, the others untouched; mean over the slices with the structure.",
        "",
        _curve_table(content["one_slice"]),
        "",
        *_goal_lines(content["one_slice"], "slices"),
        "",
        "## Scribbles",
        "",
        "From an empty mask, in every slice with a structure a stroke 3 mm within each border of the label.",
        "",
        markdown_table(
            ["", *(name.upper() for name in content["scribbles"]["dice"])],
            [["Dice", *(number(value, 3) for value in content["scribbles"]["dice"].values())]],
        ),
        "",
    ]
    return "\n".join(lines)


def _curve_table(curve: dict[str, Any]) -> str:
    names = list(curve["dice"])
    header = ["clicks", *(name if name == "mean" else name.upper() for name in names), "lowered, %"]
    rows = []
    for clicks in range(len(curve["dice"]["mean"])):
        lowered = None if clicks == 0 else 100 * curve["lowered"][clicks - 1]
        cells = (number(curve["dice"][name][clicks], 3) for name in names)
        rows.append([str(clicks), *cells, number(lowered, 1)])
    return markdown_table(header, rows)


def _goal_lines(curve: dict[str, Any], what: str) -> Iterator[str]:
    for name, found in curve["clicks_to"].items():
        if found["reached"] is None:
            continue
        most = len(curve["lowered"])
        median = (
            "more than half do not" if found["median"] is None else f"the median needs {found['median']:g}"
        )
        yield (
            f"- {name.upper()} Dice {found['dice']:.2f}: {100 * found['reached']:.0f} % of the {what} "
            f"reach it with {most} clicks at most, {median}."
        )
