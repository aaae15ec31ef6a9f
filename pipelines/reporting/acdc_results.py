"""The results page of the ACDC bundle, made from training runs and evaluations."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_text
from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.models.bundle import ACDC_BUNDLE, load_config
from pipelines.reporting.curves import curves_figure
from pipelines.reporting.markdown import duration, fill_card, markdown_table, number
from pipelines.training.run_record import RunRecord, network_in, read_run, shown_command

PAGE_NAME = "acdc.md"
CURVES_NAME = "acdc_curves.png"
MODEL_CARD = ACDC_BUNDLE / "docs" / "README.md"
TITLES = {"unet": "UNet", "attention_unet": "AttentionUnet", "vnet": "VNet"}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation and the network it is of.

    Attributes:
        name: Name of its folder.
        network: Network that the folder's name speaks of; None for the mean of all networks.
        metrics: Content of `metrics.json`.
        command: Shell command, if the folder holds a manifest.
    """

    name: str
    network: str | None
    metrics: dict[str, Any]
    command: str | None

    @property
    def title(self) -> str:
        """Heading of the evaluation's column."""
        title = TITLES[self.network] if self.network else "Mean of all networks"
        return f"{title}, flips averaged" if "tta" in self.name else title


def read_evaluation(path: Path) -> Evaluation:
    """Evaluation from its folder, or from the `metrics.json` in it.

    Args:
        path: Existing folder whose name holds the network's (`test_unet`), or `ensemble`;
            with `tta` in it if flips were averaged.

    Raises:
        DataError: If there are no metrics, or the name speaks of no network.
    """
    folder = path if path.is_dir() else path.parent
    try:
        metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"expected metrics.json of 'thorax evaluate' in {folder}, found {error!r}") from error
    missing = {"summary", "intervals", "patients"} - metrics.keys()
    if missing:
        raise DataError(f"expected metrics of 'thorax evaluate' in {folder}, found none of {sorted(missing)}")
    network = network_in(folder.name)
    if network is None and "ensemble" not in folder.name:
        raise DataError(
            f"expected a folder named after its network (test_unet) or test_ensemble, found {folder.name}"
        )
    manifest = folder / MANIFEST_NAME
    told = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    command = shown_command(told["command"]) if told else None
    return Evaluation(folder.name, network, metrics, command)


def write_acdc_results(
    runs: Sequence[Path], evaluations: Sequence[Path], output: Path, *, card: Path = MODEL_CARD
) -> Path:
    """Write the results page, its curves, and the figures of the model card.

    Args:
        runs: Folders of training runs. Those on all patients are listed, and
            do not count as training of the figures.
        evaluations: Folders of `thorax evaluate`, as `read_evaluation` reads them.
        output: Folder that takes `acdc.md` and `acdc_curves.png`; made if it does not exist.
        card: Existing model card, whose lines between `START` and `END` of `markdown` are replaced.

    Returns:
        Path of the page.

    Raises:
        DataError: If a run or an evaluation cannot be read, there is none, or the card has no
            place for figures.
        OutputError: If a file cannot be written.
    """
    if not runs or not evaluations:
        raise DataError(
            f"expected at least one run and one evaluation, found {len(runs)} and {len(evaluations)}"
        )
    records = [read_run(folder) for folder in runs]
    measured = [read_evaluation(folder) for folder in evaluations]
    figures = _figures_table(records, measured)
    filled = fill_card(card, f"{figures}\n\n{_patients_line(measured)}\n\n{_all_patients_line(records)}\n")
    output_folder(output)
    curves_figure(records, output / CURVES_NAME)
    page = output / PAGE_NAME
    write_text(page, _page(records, measured, figures))
    write_text(card, filled)
    return page


def _page(runs: Sequence[RunRecord], evaluations: Sequence[Evaluation], figures: str) -> str:
    commands = [run.command for run in runs]
    commands += [evaluation.command for evaluation in evaluations if evaluation.command]
    return "\n".join(
        [
            "# ACDC",
            "",
            "Made by `thorax results acdc` from the runs and evaluations listed below.",
            "[What the figures mean](../concepts/figures.md) has the definitions.",
            "",
            "## Accuracy",
            "",
            "`thorax evaluate` measures a prepared folder on its hold-out: patients that take no part in",
            "training or in choosing a checkpoint.",
            "",
            figures,
            "",
            _patients_line(evaluations),
            "",
            "## Runs",
            "",
            _runs_table(runs),
            "",
            _all_patients_line(runs),
            "",
            f"![Losses and validation Dice over epochs]({CURVES_NAME})",
            "",
            "Dotted: validation Dice loss of 0.1. Validation is on whole volumes on their native grid.",
            "",
            "## Commands",
            "",
            "`python -m monai.bundle` runs in `bundles/acdc_segmentation`. Paths stand for your own.",
            "`models/` had the weights that `thorax publish` took from the run before.",
            "",
            "```text",
            *dict.fromkeys(commands),
            "```",
            "",
        ]
    )


def _figures_table(runs: Sequence[RunRecord], evaluations: Sequence[Evaluation]) -> str:
    rows: list[tuple[str, Callable[[Evaluation], str]]] = [
        ("parameters", lambda evaluation: _parameters(evaluation.network)),
        ("training time", lambda evaluation: _training_time(_of(evaluation, runs))),
        ("samples seen", lambda evaluation: _samples(_of(evaluation, runs))),
    ]
    structures = [LABEL_NAMES[label] for label in FOREGROUND]
    for name in [*structures, "mean"]:
        rows.append((f"Dice {name.upper()}".replace("MEAN", "mean"), _figure("dice", name, 3)))
    rows += [(f"F1 {name.upper()}", _figure("f1", name, 3)) for name in structures]
    rows += [(f"HD95 {name.upper()}, mm", _figure("hd95_mm", name, 1)) for name in structures]
    rows += [
        ("HD95 mean, mm", _figure("hd95_mm", "mean", 1)),
        ("LV EF error, points", _figure("ef_lv", "mae", 1)),
        ("LV EDV error, mL", _figure("edv_lv_ml", "mae", 1)),
        ("LV ESV error, mL", _figure("esv_lv_ml", "mae", 1)),
        ("mass error, g", _figure("mass_g", "mae", 1)),
    ]
    table = [[name, *(cell(evaluation) for evaluation in evaluations)] for name, cell in rows]
    return markdown_table(["", *(evaluation.title for evaluation in evaluations)], table)


def _figure(metric: str, name: str, digits: int) -> Callable[[Evaluation], str]:
    def cell(evaluation: Evaluation) -> str:
        value = number(evaluation.metrics["summary"][metric][name], digits)
        interval = evaluation.metrics["intervals"][metric][name]
        return f"{value} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else value

    return cell


def _of(evaluation: Evaluation, runs: Sequence[RunRecord]) -> list[RunRecord]:
    return [run for run in runs if not run.all_patients and evaluation.network in (None, run.network)]


def _parameters(network: str | None) -> str:
    if network is None:
        return ""
    module = load_config(network).get_parsed_content("network_def")
    return f"{sum(weight.numel() for weight in module.parameters()) / 1e6:.1f} million"


def _training_time(runs: Sequence[RunRecord]) -> str:
    known = [run.seconds for run in runs if run.seconds is not None]
    return duration(sum(known)) if known and len(known) == len(runs) else ""


def _samples(runs: Sequence[RunRecord]) -> str:
    return f"{sum(run.samples for run in runs):,}" if runs else ""


def _runs_table(runs: Sequence[RunRecord]) -> str:
    header = ["run", "network", "trained on", "epochs", "samples", "time", "threads", "precision"]
    header += ["best validation Dice", "validation Dice loss at the end"]
    rows = [
        [
            run.name,
            TITLES[run.network],
            "all patients" if run.all_patients else f"all folds but {run.fold}",
            str(run.epochs),
            f"{run.samples:,}",
            duration(run.seconds) if run.seconds is not None else "",
            str(run.threads),
            run.precision,
            # Fold 0 is part of the training of these: their validation says nothing.
            "" if run.all_patients else number(run.best("val_mean_dice"), 3),
            "" if run.all_patients else number(run.last("val_dice_loss"), 3),
        ]
        for run in runs
    ]
    return markdown_table(header, rows)


def _patients_line(evaluations: Sequence[Evaluation]) -> str:
    lines = []
    for patients in dict.fromkeys(_patients(evaluation) for evaluation in evaluations):
        groups = ", ".join(
            f"{group} {count}" for group, count in sorted(Counter(g for _, g in patients).items())
        )
        names = ", ".join(name for name, _ in patients)
        lines.append(f"Measured on {len(patients)} patients ({groups}): {names}.")
    return "\n\n".join(lines)


def _patients(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    return tuple((patient["patient"], patient["group"]) for patient in evaluation.metrics["patients"])


def _all_patients_line(runs: Sequence[RunRecord]) -> str:
    names = [run.name for run in runs if run.all_patients]
    if not names:
        return "No run trained on the patients measured."
    networks = ", ".join(dict.fromkeys(TITLES[run.network] for run in runs if run.all_patients))
    return (
        "The figures are those of weights that never saw the patients measured. From these, "
        f"{', '.join(names)} went on with all patients, those measured included, by the last stage of the "
        f"same schedule: these weights are the ones shipped for {networks}, and of them no figure can be "
        "given here."
    )
