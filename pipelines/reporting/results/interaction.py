"""Simulated correction by clicks and scribbles: Dice against clicks, and times."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes

from pipelines.benchmarks.speed import Measured
from pipelines.core.records import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.figures.overlay import panels, save_png
from pipelines.interaction.benchmark import CONTENT_NAME
from pipelines.reporting.document import Cell, Document, Picture, Section, Table, number
from pipelines.reporting.results.speed import targets_table
from pipelines.reporting.source import Context, Kind, Source, each

Content = Mapping[str, Any]

MIN_GAIN_AFTER_3: Final = 0.015
"""Least gain of mean Dice by three clicks on a volume that is good."""

MIN_DICE_AFTER_10: Final = 0.945
"""Least mean Dice after ten clicks on a volume that is good."""

MAX_LOWERED: Final = 3.0
"""Largest share of volumes whose mean Dice a click lowers that is good, percent."""

MIN_SLICE_DICE_AFTER_3: Final = 0.92
"""Least mean Dice of a slice by itself after three clicks that is good."""

MAX_LOWERED_SLICES: Final = 5.0
"""Largest share of slices by themselves whose mean Dice a click lowers that is good, percent."""

MAX_CLICK_S: Final = 0.6
"""Longest time of a click that is good, s."""

MIN_SCRIBBLED_LV: Final = 0.93
"""Least Dice of the LV after strokes along the rims that is good."""


def document(source: Source, context: Context) -> Document:
    """Document of simulated corrections; the context has the folder for the plot."""
    plot = write_plot(source.content, context.picture("clicks"))
    return Document("", "", _sections(source.content, plot))


TITLE: Final = "Correction by clicks and scribbles"
KIND: Final = Kind("interaction", CONTENT_NAME, "thorax benchmark clicks", "results", each(TITLE, document))


def interaction_values(content: Content) -> Iterator[Measured]:
    """Values of the correction, with their targets.

    Args:
        content: Content of `interaction.json`.
    """
    volume, one_slice, scribbles = (content[name] for name in ("volume", "one_slice", "scribbles"))
    mean = volume["dice"]["mean"]
    yield Measured("mean Dice, automatic", mean[0], "", 3)
    if len(mean) > 3:
        yield Measured("gain of mean Dice by 3 clicks", mean[3] - mean[0], "", 3, least=MIN_GAIN_AFTER_3)
    if len(mean) > 10:
        yield Measured("mean Dice after 10 clicks", mean[10], "", 3, least=MIN_DICE_AFTER_10)
    worst = 100 * max(volume["lowered"])
    yield Measured("volumes that a click lowers, worst of the clicks", worst, " %", 1, most=MAX_LOWERED)
    if volume["lowered_of_all_clicks"] is not None:
        share = 100 * volume["lowered_of_all_clicks"]
        yield Measured("clicks that lower the mean Dice of their volume", share, " %", 1)
    for after_3 in one_slice["dice"]["mean"][3:4]:
        words = "one slice: mean Dice after 3 clicks"
        yield Measured(words, after_3, "", 3, least=MIN_SLICE_DICE_AFTER_3)
    words = "one slice: slices that a click lowers, worst of the clicks"
    yield Measured(words, 100 * max(one_slice["lowered"]), " %", 1, most=MAX_LOWERED_SLICES)
    for curve, words in ((volume, "a click"), (one_slice, "a click on one slice")):
        for name, how in (("median", "median"), ("p95", "95th percentile")):
            if curve["seconds"][name] is not None:
                most = MAX_CLICK_S if curve is volume else None
                yield Measured(f"{words}, {how}", curve["seconds"][name], " s", 2, most=most)
    yield Measured("opening a volume, once", content["open_seconds"], " s", 2)
    if scribbles["dice"]["lv"] is not None:
        words = "LV Dice by strokes along the rims"
        yield Measured(words, scribbles["dice"]["lv"], "", 3, least=MIN_SCRIBBLED_LV)
    yield Measured("strokes, a slice", scribbles["seconds"], " s", 2)


def interaction_table(content: Content) -> Table:
    """Values with their targets, a row each."""
    caption = f"{len(content['patients'])} patients, {content['volumes']} volumes"
    return targets_table(list(interaction_values(content)), caption)


def write_plot(content: Content, path: Path) -> Path:
    """Draw Dice against clicks, by structure, on whole volumes and on single slices.

    Args:
        content: Content of `interaction.json`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure, axes = panels(2, width=4.6, height=3.8)
    _draw(axes[0], content["volume"], "clicks anywhere in a volume")
    _draw(axes[1], content["one_slice"], "clicks on one slice, each by itself")
    axes[0].set_ylabel("Dice")
    axes[0].legend(fontsize=8)
    return save_png(figure, path)


def _sections(content: Content, plot: Path) -> list[Section]:
    scribbles = content["scribbles"]["dice"]
    words = "Dice against clicks, by structure, on whole volumes and on single slices"
    strokes: list[list[Cell]] = [["Dice", *(number(value, 3) for value in scribbles.values())]]
    return [
        Section(
            TITLE,
            [
                f"A simulated user corrects the automatic masks of {content['volumes']} volumes of "
                f"{len(content['patients'])} patients ({content['section']}): "
                f"{', '.join(content['patients'])}. The masks are those of "
                f"`{content['automatic_network']}` with {content['automatic_weights']}. Each click falls on "
                "the innermost pixel of the largest connected region of a slice that has the wrong label, "
                "and gives the right one. Times are from the click to the mask, CPU threads: "
                f"{content['threads']}."
            ],
            tables=[interaction_table(content)],
            pictures=[Picture(plot, words)],
        ),
        Section(
            "Clicks anywhere in a volume",
            ["Mean over volumes; *lowered*: share of volumes whose mean Dice the click lowers."],
            list(_goals(content["volume"], "volumes")),
            [_curve(content["volume"])],
        ),
        Section(
            "One slice by itself",
            ["Each slice from its automatic mask, the others untouched; mean over slices with it."],
            list(_goals(content["one_slice"], "slices")),
            [_curve(content["one_slice"])],
        ),
        Section(
            "Scribbles",
            [
                "From an empty mask, in every slice with a structure a stroke 3 mm within each border of the "
                "label."
            ],
            tables=[Table("", ["", *(name.upper() for name in scribbles)], strokes)],
        ),
    ]


def _draw(axes: Axes, curve: Content, title: str) -> None:
    lines = [(LABEL_NAMES[label], label.name, LABEL_COLORS[label]) for label in FOREGROUND]
    for name, label, color in [*lines, ("mean", "mean", "black")]:
        values = curve["dice"][name]
        axes.plot(range(len(values)), values, marker=".", color=color, label=label)
    axes.set_xlabel("clicks")
    axes.set_title(f"{title} ({curve['cases']})", fontsize=10)
    axes.grid(alpha=0.3)


def _curve(curve: Content) -> Table:
    names = list(curve["dice"])
    rows: list[list[Cell]] = []
    for clicks in range(len(curve["dice"]["mean"])):
        lowered = None if clicks == 0 else 100 * curve["lowered"][clicks - 1]
        dice = (number(curve["dice"][name][clicks], 3) for name in names)
        rows.append([str(clicks), *dice, number(lowered, 1)])
    titles = (name if name == "mean" else name.upper() for name in names)
    return Table("", ["clicks", *titles, "lowered, %"], rows)


def _goals(curve: Content, what: str) -> Iterator[str]:
    for name, found in curve["clicks_to"].items():
        if found["reached"] is None:
            continue
        median = (
            "more than half do not" if found["median"] is None else f"the median needs {found['median']:g}"
        )
        yield (
            f"{name.upper()} Dice {found['dice']:.2f}: {100 * found['reached']:.0f} % of the {what} "
            f"reach it with {len(curve['lowered'])} clicks at most, {median}."
        )
