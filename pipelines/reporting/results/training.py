"""Training runs: length, best validation, and curves."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes

from pipelines.core.records import FOREGROUND, LABEL_COLORS, LABEL_NAMES
from pipelines.figures.overlay import panels, save_png
from pipelines.models.bundle import XRAY_NETWORKS
from pipelines.reporting.document import Cell, Document, Language, Picture, Section, Table, duration, number
from pipelines.reporting.results.evaluation import TITLES
from pipelines.reporting.source import Context, Kind, Source
from pipelines.training.handlers import HISTORY_NAME
from pipelines.training.run_record import RunRecord, history_figure

FALL: Final = 0.01
"""Fall of validation Dice after its best from which a report warns of it."""

XRAY_HEADER: Final = (
    "run", "network", "epochs", "images seen", "time", "threads", "precision", "best validation AUROC",
)  # fmt: skip


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of training runs.

    Args:
        sources: Folders of `thorax train`, in the order they were done.
        context: Language and folder for pictures.
    """
    words = context.words
    records = [(source, source.run) for source in sources]
    hearts = [run for _, run in records if not is_of_xrays(run)]
    xrays = [run for _, run in records if is_of_xrays(run)]
    tables = [_hearts_table(hearts, words)] if hearts else []
    tables += [_xrays_table(xrays, words)] if xrays else []
    pictures = []
    if hearts:
        path = _curves(hearts, context.pictures / "curves.png")
        pictures = [Picture(path, words("training.overview_alt"), words("training.overview_curves"))]
    sections = [
        Section(
            words("training.overview"),
            tables=tables,
            pictures=pictures,
            listing="\n".join(dict.fromkeys(run.command for _, run in records)),
            block="runs",
            is_detail=True,
        )
    ]
    for index, (source, run) in enumerate(records):
        sections.append(_section(run, source, context, index))
    limits = [words("training.all_patients", name=run.name) for _, run in records if run.all_patients]
    suggestions = [one for _, run in records for one in _suggestions(run, words)]
    title = words("training.title", name=", ".join(run.name for _, run in records))
    return Document(title, "", sections, limits, suggestions)


KIND: Final = Kind("training", HISTORY_NAME, "thorax train", "recipe", document, is_usual=True)


def is_of_xrays(run: RunRecord) -> bool:
    """Whether a run trained a network for radiographs."""
    return run.network in XRAY_NETWORKS


def _hearts_table(runs: Sequence[RunRecord], words: Language) -> Table:
    keys = ["table.run", "table.network", "training.data", "training.epochs", "training.samples"]
    keys += ["training.time", "training.threads_alone", "training.precision", "training.best"]
    rows: list[list[Cell]] = [
        [
            run.name,
            TITLES.get(run.network, run.network),
            _data(run, words),
            *_effort(run),
            # The validation patients are among the training patients of these: the values say nothing.
            None if run.all_patients else number(run.best("val_mean_dice"), 3),
            None if run.all_patients else number(run.last("val_dice_loss"), 3),
        ]
        for run in runs
    ]
    return Table(words("training.overview"), words.titles(*keys, "training.last_loss"), rows)


def _xrays_table(runs: Sequence[RunRecord], words: Language) -> Table:
    rows: list[list[Cell]] = [
        [run.name, run.network, *_effort(run), number(run.best("val_auroc"), 4)] for run in runs
    ]
    return Table(words("training.overview"), list(XRAY_HEADER), rows)


def _effort(run: RunRecord) -> list[Cell]:
    """Epochs, samples, time, threads and precision."""
    return [str(run.epochs), f"{run.samples:,}", duration(run.seconds), str(run.threads), run.precision]


def _data(run: RunRecord, words: Language) -> str | None:
    if run.all_patients:
        return words("training.fold_all")
    return None if run.fold is None else words("training.fold", fold=run.fold)


def _section(run: RunRecord, source: Source, context: Context, index: int) -> Section:
    words = context.words
    point = words("training.point", network=run.network, epochs=run.epochs)
    best = run.best("val_mean_dice")
    if best is not None and not run.all_patients:
        dice = number(best, 3)
        point = words("training.point_dice", network=run.network, epochs=run.epochs, dice=dice)
    curves = context.pictures / f"run{index}.png"
    history_figure(source.folder / HISTORY_NAME, curves)
    pictures = [Picture(curves, words("training.curves_alt"), words("training.curves", name=run.name))]
    header = words.titles("table.fact", "table.value")
    facts = Table(words("training.facts"), header, list(_facts(run, source, words)))
    return Section(words("training.title", name=run.name), (), [point], [facts], pictures, (), run.command)


def _facts(run: RunRecord, source: Source, words: Language) -> Iterator[tuple[str, Cell]]:
    manifest = source.manifest
    yield words("table.network"), run.network
    if data := _data(run, words):
        yield words("training.data"), data
    yield words("training.epochs"), str(run.epochs)
    yield words("training.samples"), f"{run.samples:,}"
    if run.seconds is not None:
        yield words("training.time"), duration(run.seconds)
    yield words("training.threads"), f"{run.threads}, {manifest.get('device', 'cpu')}, {run.precision}"
    if not run.all_patients and not is_of_xrays(run):
        yield words("training.best"), number(run.best("val_mean_dice"), 3)
        yield words("training.last_loss"), number(run.last("val_dice_loss"), 3)
    for key in ("seed", "split_hash", "fingerprint"):
        if manifest.get(key) is not None:
            yield words(f"training.{key}"), str(manifest[key])


def _suggestions(run: RunRecord, words: Language) -> Iterator[str]:
    best, last = run.best("val_mean_dice"), run.last("val_mean_dice")
    _, values = run.history.get("val_mean_dice", ([], []))
    if run.all_patients or best is None or last is None or len(values) < 2:
        return
    if last == best:
        yield words("suggest.longer", name=run.name, dice=number(best, 3))
    elif best - last >= FALL:
        yield words("suggest.fell", name=run.name, best=number(best, 3), last=number(last, 3))


def _curves(runs: Sequence[RunRecord], path: Path) -> Path:
    """Losses above, validation Dice below, a column a network; runs of one follow each other."""
    networks = list(dict.fromkeys(run.network for run in runs))
    count = len(networks)
    figure, axes = panels(count, 2, width=4.6, height=2.8, sharey="row", sharex="col")
    for network, losses, dice in zip(networks, axes[:count], axes[count:], strict=True):
        chain = [run for run in runs if run.network == network]
        losses.set_title(f"{network}: {', '.join(run.name for run in chain)}", fontsize=10)
        first = 0
        for run in chain:
            _draw_run(run, first, losses, dice)
            first += run.epochs
            for axis in (losses, dice) if run is not chain[-1] else ():
                axis.axvline(first + 0.5, color="0.7", linewidth=1)
        losses.set_yscale("log")
        losses.axhline(0.1, color="0.6", linestyle=":", linewidth=1)
        dice.set_ylim(0.5, 1)
        dice.set_xlabel("epoch")
        for axis in (losses, dice):
            axis.grid(alpha=0.3)
    for axis, label in ((axes[0], "loss"), (axes[count], "validation Dice")):
        axis.set_ylabel(label)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    return save_png(figure, path)


def _draw_run(run: RunRecord, first: int, losses: Axes, dice: Axes) -> None:
    """Draw a run whose epochs follow `first` earlier ones; only the first run of a column has labels."""
    curves = [
        (losses, "train_loss", "training loss", "C0"),
        (losses, "val_dice_loss", "validation Dice loss", "C1"),
    ]
    curves += [
        (dice, f"val_dice_{LABEL_NAMES[structure]}", structure.name, LABEL_COLORS[structure])
        for structure in FOREGROUND
    ]
    for axis, name, label, color in curves:
        if name in run.history:
            epochs, values = run.history[name]
            axis.plot(
                [first + epoch for epoch in epochs],
                values,
                color=color,
                label=label if first == 0 else None,
                marker="." if name.startswith("val") else None,
            )
