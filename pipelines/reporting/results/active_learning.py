"""Learning curves of labelling strategies, and whether uncertainty pays."""

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats

from pipelines.evaluation.segmentation import MEAN, STRUCTURES
from pipelines.figures.overlay import panels, save_png
from pipelines.interaction.active_learning import CONTENT_NAME
from pipelines.reporting.document import Cell, Document, Picture, Section, Table, number
from pipelines.reporting.source import Context, Kind, Source, each

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
        """Differences of values of the same seeds in the same order."""
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
    """Uncertainty less random: area under the curve, last round, and test set.

    Args:
        content: Content of `active_learning.json`.
    """
    by_strategy = {name: _of(content, name) for name in (BASELINE, CHALLENGER)}
    measures = {
        "area under the curve": curve_area,
        "last round": lambda curve: float(curve["rounds"][-1]["dice"][MEAN]),
        "last round, test set": lambda curve: float(curve["hold_out"][MEAN]),
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


def document(source: Source, context: Context) -> Document:
    """Document of a benchmark of active learning; the context has the folder for the plot."""
    content = source.content
    plan, network = content["plan"], content["network"]
    plot = write_plot(content, context.picture("learning"))
    last = len(content["curves"][0]["rounds"][-1]["labelled"])
    compared: list[list[Cell]] = [[words, paired.text] for words, paired in compare(content).items()]
    sections = [
        Section(
            "Active learning",
            [
                f"Of {len(content['pool'])} patients, {plan['start']} drawn at random are labelled at first, "
                f"the same for both strategies, and {plan['add']} more in each round: at random, or those on "
                "which the network is least certain. Uncertainty is one minus the mean Dice of the network's "
                "own masks of the four in-plane flips of a volume with one another, the mean over ED and ES. "
                "Labels of patients that were not chosen yet are not used. A small "
                f"`{network['name']}` on pixels of {network['spacing_mm']:g} mm is trained for "
                f"{plan['first_steps']} batches in the first round, from random weights, and for "
                f"{plan['steps']} in each later one, from the weights of the round before, so that curves "
                "rise with the batches as well as with the patients. That is short: the values compare "
                f"strategies, and are far below those of a whole training. Seeds: "
                f"{len(_of(content, BASELINE))}; each has its own start and first weights.",
                f"**{verdict(content)}**",
                "Differences are uncertainty less random, in brackets the 95% t interval over seeds.",
            ],
            tables=[rounds_table(content)],
            pictures=[Picture(plot, "Dice against labelled patients, by strategy")],
        ),
        Section(
            "By seed",
            [
                f"Area under the curve, over its span of patients; Dice with {last} patients on validation; "
                f"and on the {len(content['hold_out'])} patients of the test set, which nothing was chosen "
                "on. The same patients are measured with each seed: the intervals show how far the draw of "
                "the start matters, not how far other patients would."
            ],
            tables=[
                Table(
                    "By seed",
                    [
                        "seed",
                        *(f"{what}, {name}" for what in ("area", "last", "test set") for name in COLORS),
                    ],
                    _seed_rows(content),
                ),
                Table("Uncertainty less random", ["uncertainty less random", "mean of seeds"], compared),
                Table(
                    f"Dice on the test set with {last} patients, by structure, the mean over seeds",
                    ["", *(name.upper() for name in STRUCTURES), MEAN],
                    _structure_rows(content),
                ),
            ],
        ),
    ]
    return Document("", "", sections)


KIND: Final = Kind(
    "active_learning",
    CONTENT_NAME,
    "thorax benchmark active-learning",
    "results",
    each("Active learning", document),
)


def rounds_table(content: dict[str, Any]) -> Table:
    """Mean Dice of each round, the mean over seeds, a column a strategy."""
    columns = [
        [[step["dice"][MEAN] for step in curve["rounds"]] for curve in _of(content, strategy)]
        for strategy in (BASELINE, CHALLENGER)
    ]
    rows: list[list[Cell]] = []
    for index, step in enumerate(content["curves"][0]["rounds"]):
        baseline, challenger = ([curve[index] for curve in curves] for curves in columns)
        means = (number(statistics.fmean(values), 3) for values in (baseline, challenger))
        difference = Paired.of(baseline, challenger).text if index else None
        rows.append([str(len(step["labelled"])), *means, difference])
    caption = f"Mean Dice on {len(content['validation'])} validation patients, the mean over seeds"
    return Table(caption, ["patients", BASELINE, CHALLENGER, "difference"], rows)


def write_plot(content: dict[str, Any], path: Path) -> Path:
    """Draw Dice against labelled patients: a thin line a seed, a thick one for their mean.

    Args:
        content: Content of `active_learning.json`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure, (axes,) = panels(width=6.4, height=4.0)
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
    return save_png(figure, path)


def _of(content: dict[str, Any], strategy: str) -> list[Curve]:
    """Curves of a strategy, by seed."""
    found = [curve for curve in content["curves"] if curve["strategy"] == strategy]
    return sorted(found, key=lambda curve: int(curve["seed"]))


def _seed_rows(content: dict[str, Any]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for before, after in zip(_of(content, BASELINE), _of(content, CHALLENGER), strict=True):
        areas = [curve_area(curve) for curve in (before, after)]
        last = [curve["rounds"][-1]["dice"][MEAN] for curve in (before, after)]
        test = [curve["hold_out"][MEAN] for curve in (before, after)]
        rows.append([str(before["seed"]), *(number(value, 3) for value in (*areas, *last, *test))])
    return rows


def _structure_rows(content: dict[str, Any]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for strategy in (BASELINE, CHALLENGER):
        dice = [curve["hold_out"] for curve in _of(content, strategy)]
        means = (statistics.fmean(one[name] for one in dice) for name in (*STRUCTURES, MEAN))
        rows.append([strategy, *(number(mean, 3) for mean in means)])
    return rows
