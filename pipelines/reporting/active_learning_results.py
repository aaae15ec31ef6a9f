"""Learning curves of strategies: a plot, a table for the terminal, and a results page with its verdict."""

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from scipy import stats

from pipelines.core.files import atomic_path, output_folder, write_text
from pipelines.evaluation.dice import MEAN, STRUCTURES
from pipelines.interaction.active_learning import CONTENT_NAME
from pipelines.reporting.markdown import markdown_table, number
from pipelines.reporting.measured import page_of_measured

PAGE_NAME: Final = "active-learning.md"
PLOT_NAME: Final = "active-learning.png"

BASELINE: Final = "random"
CHALLENGER: Final = "uncertainty"

COLORS: Final = {BASELINE: "0.35", CHALLENGER: "#d97706"}

Curve = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Paired:
    """Differences between two strategies, uncertainty less random, a pair a seed.

    Attributes:
        differences: One of each seed.
        mean: Their mean.
        half_width: Half of the 95% t interval of the mean, None for a single seed.
    """

    differences: tuple[float, ...]
    mean: float
    half_width: float | None

    @classmethod
    def of(cls, baseline: list[float], challenger: list[float]) -> "Paired":
        """Differences of figures of the same seeds in the same order."""
        differences = tuple(after - before for before, after in zip(baseline, challenger, strict=True))
        count = len(differences)
        half_width = None
        if count > 1:
            error = statistics.stdev(differences) / count**0.5
            half_width = float(stats.t.ppf(0.975, count - 1)) * error
        return cls(differences, statistics.fmean(differences), half_width)

    @property
    def text(self) -> str:
        """Mean with its interval."""
        if self.half_width is None:
            return f"{self.mean:+.3f}"
        low, high = self.mean - self.half_width, self.mean + self.half_width
        return f"{self.mean:+.3f} ({low:+.3f} to {high:+.3f})"


def curve_area(curve: Curve) -> float:
    """Mean Dice over a learning curve: its area by trapezia over the span of patients, 0 to 1."""
    sizes = [len(step["labelled"]) for step in curve["rounds"]]
    dice = [step["dice"][MEAN] for step in curve["rounds"]]
    if len(sizes) == 1:
        return float(dice[0])
    steps = zip(itertools.pairwise(sizes), itertools.pairwise(dice), strict=True)
    area = sum((after - before) * (first + second) / 2 for (before, after), (first, second) in steps)
    return float(area / (sizes[-1] - sizes[0]))


def compare(content: dict[str, Any]) -> dict[str, Paired]:
    """Uncertainty less random: area under the curve, last round, and hold-out.

    Args:
        content: Content of `active_learning.json`.
    """
    by_strategy = {name: _of(content, name) for name in (BASELINE, CHALLENGER)}
    measures = {
        "area under the curve": curve_area,
        "last round": lambda curve: float(curve["rounds"][-1]["dice"][MEAN]),
        "last round, hold-out": lambda curve: float(curve["hold_out"][MEAN]),
    }
    return {
        words: Paired.of(*([measure(curve) for curve in curves] for curves in by_strategy.values()))
        for words, measure in measures.items()
    }


def verdict(content: dict[str, Any]) -> str:
    """What the areas under the curves say, in one or two sentences."""
    area = compare(content)["area under the curve"]
    seeds = len(area.differences)
    if area.half_width is None:
        return (
            f"With one seed nothing can be said: the areas under the two curves differ by {area.mean:+.3f}, "
            "and by how much another seed would change that is not known."
        )
    better = sum(difference > 0 for difference in area.differences)
    seen = (
        f"the area under the curve differs by {area.text}, in favour of uncertainty with "
        f"{better} of {seeds} seeds"
    )
    if abs(area.mean) > area.half_width:
        how = "better" if area.mean > 0 else "worse"
        return f"Choosing by uncertainty was {how} than choosing at random: {seen}."
    return (
        f"No advantage of either strategy was shown: {seen}. With so few seeds a difference below "
        f"{area.half_width:.3f} would not have been seen."
    )


def curves_table(content: dict[str, Any]) -> Table:
    """Mean Dice of each round, the mean over seeds, a column a strategy."""
    table = Table("patients", BASELINE, CHALLENGER, title=verdict(content), title_justify="left")
    for row in _round_rows(content):
        table.add_row(*row[:3])
    return table


def write_plot(content: dict[str, Any], path: Path) -> None:
    """Draw Dice against labelled patients: a thin line a seed, a thick one for their mean.

    Args:
        content: Content of `active_learning.json`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for strategy, color in COLORS.items():
        curves = _of(content, strategy)
        sizes = [len(step["labelled"]) for step in curves[0]["rounds"]]
        dice = np.array([[step["dice"][MEAN] for step in curve["rounds"]] for curve in curves], dtype=float)
        for line in dice:
            axes.plot(sizes, line, color=color, linewidth=0.8, alpha=0.5)
        axes.plot(sizes, dice.mean(axis=0), color=color, linewidth=2.2, marker="o", label=strategy)
    axes.set(xlabel="labelled patients", ylabel="mean Dice, validation", xticks=sizes)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def write_active_learning_results(benchmark: Path, output: Path) -> Path:
    """Write the page of active learning, and its plot.

    Args:
        benchmark: Folder of `thorax active-learning-benchmark`.
        output: Folder that takes `active-learning.md` and `active-learning.png`; made if it does not exist.

    Returns:
        Path of the page.

    Raises:
        DataError: If there is no `active_learning.json` of this version.
        OutputError: If the page cannot be written.
    """
    content, page = page_of_measured(benchmark / CONTENT_NAME, "thorax active-learning-benchmark", _page)
    output_folder(output)
    write_plot(content, output / PLOT_NAME)
    write_text(output / PAGE_NAME, page)
    return output / PAGE_NAME


def _of(content: dict[str, Any], strategy: str) -> list[Curve]:
    """Curves of a strategy, by seed."""
    found = [curve for curve in content["curves"] if curve["strategy"] == strategy]
    return sorted(found, key=lambda curve: int(curve["seed"]))


def _round_rows(content: dict[str, Any]) -> list[list[str]]:
    columns = [
        [[step["dice"][MEAN] for step in curve["rounds"]] for curve in _of(content, strategy)]
        for strategy in (BASELINE, CHALLENGER)
    ]
    sizes = [len(step["labelled"]) for step in content["curves"][0]["rounds"]]
    rows = []
    for index, size in enumerate(sizes):
        baseline, challenger = ([curve[index] for curve in curves] for curves in columns)
        row = [str(size), number(statistics.fmean(baseline), 3), number(statistics.fmean(challenger), 3)]
        rows.append([*row, Paired.of(baseline, challenger).text if index else ""])
    return rows


def _seed_rows(content: dict[str, Any]) -> list[list[str]]:
    rows = []
    for before, after in zip(_of(content, BASELINE), _of(content, CHALLENGER), strict=True):
        row = [str(before["seed"]), number(curve_area(before), 3), number(curve_area(after), 3)]
        for part in (lambda curve: curve["rounds"][-1]["dice"], lambda curve: curve["hold_out"]):
            row += [number(part(curve)[MEAN], 3) for curve in (before, after)]
        rows.append(row)
    return rows


def _structure_rows(content: dict[str, Any]) -> list[list[str]]:
    rows = []
    for strategy in (BASELINE, CHALLENGER):
        dice = [curve["hold_out"] for curve in _of(content, strategy)]
        means = (statistics.fmean(one[name] for one in dice) for name in (*STRUCTURES, MEAN))
        rows.append([strategy, *(number(mean, 3) for mean in means)])
    return rows


def _page(content: dict[str, Any]) -> str:
    plan, network = content["plan"], content["network"]
    last = len(content["curves"][0]["rounds"][-1]["labelled"])
    lines = [
        "# Active learning",
        "",
        "Made by `thorax results active-learning` from what `thorax active-learning-benchmark` measured.",
        "",
        f"Of {len(content['pool'])} patients, {plan['start']} drawn at random are labelled at first, the "
        f"same for both strategies, and {plan['add']} more in each round: at random, or those on which the "
        "network is least sure. How sure it is, is told by its own masks of the four in-plane flips of a "
        "volume: one minus their mean Dice with one another, the mean over ED and ES. Labels of patients "
        f"that were not chosen yet are not looked at. A small `{network['name']}` on pixels of "
        f"{network['spacing_mm']:g} mm learns {plan['first_steps']} batches in the first round, from random "
        f"weights, and {plan['steps']} in each later one, from the weights of the round before, so that "
        "curves rise with the batches as well as with the patients. That is short: the figures are for "
        f"comparing strategies, and far below those of the [whole training](acdc.md). Seeds: "
        f"{len(_of(content, BASELINE))}; each has its own start and first weights.",
        "",
        f"**{verdict(content)}**",
        "",
        f"![Dice against labelled patients, by strategy]({PLOT_NAME})",
        "",
        f"Mean Dice on {len(content['validation'])} validation patients, the mean over seeds. Differences "
        "are uncertainty less random, in brackets the 95% t interval over seeds.",
        "",
        markdown_table(["patients", BASELINE, CHALLENGER, "difference"], _round_rows(content)),
        "",
        "## By seed",
        "",
        f"Area under the curve, over its span of patients; Dice with {last} patients on validation; and on "
        f"the {len(content['hold_out'])} patients of the hold-out, which nothing was chosen on.",
        "",
        markdown_table(
            ["seed", *(f"{what}, {name}" for what in ("area", "last", "hold-out") for name in COLORS)],
            _seed_rows(content),
        ),
        "",
        markdown_table(
            ["uncertainty less random", "mean of seeds"],
            [[words, paired.text] for words, paired in compare(content).items()],
        ),
        "",
        f"Dice on the hold-out with {last} patients, by structure, the mean over seeds:",
        "",
        markdown_table(["", *(name.upper() for name in STRUCTURES), MEAN], _structure_rows(content)),
        "",
        "The same patients are measured with each seed, so that the intervals say how far the draw of the "
        "start matters, not how far other patients would.",
        "",
    ]
    return "\n".join(lines)
