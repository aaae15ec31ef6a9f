"""From evaluations, or models that have none yet, to the content of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.progress import Progress
from pipelines.datasets.prepare import Section, patient_records, read_datalist, select
from pipelines.evaluation.comparison import STRUCTURES, compare_models
from pipelines.evaluation.metrics import METRIC_NAMES
from pipelines.evaluation.models import Model, evaluate_models, read_evaluation
from pipelines.evaluation.setting_effects import setting_effects
from pipelines.evaluation.summary import INDEX_FIELDS

MODELS_FOLDER: Final = "models"
CONTENT_NAME: Final = "comparison.json"
TABLE_NAME: Final = "comparison.csv"


def write_comparison(content: dict[str, Any], output: Path) -> list[str]:
    """Write `comparison.json` and `comparison.csv`; returns their names.

    Args:
        content: As from `compare`.
        output: Folder that takes them; made if it does not exist.

    Raises:
        OutputError: If a file cannot be written.
    """
    rows = long_rows(content)
    write_csv(output_folder(output) / TABLE_NAME, rows[0], rows)
    write_json(output / CONTENT_NAME, content)
    return [CONTENT_NAME, TABLE_NAME]


def long_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each metric and index of each model: over all, by phase and by group.

    Args:
        content: Content of `comparison.json`.

    Returns:
        Rows with `model`, `part`, `figure`, `structure`, `value`, `low`, `high` and `patients`.
    """
    rows = []
    for model, found in content["models"].items():
        parts = {"all": found["summary"], **found["by_phase"], **found["by_group"]}
        for part, summary in parts.items():
            intervals = found["intervals"] if part == "all" else {}
            keys = [(metric, name) for metric in METRIC_NAMES for name in STRUCTURES]
            keys += [(index, "mae") for index in INDEX_FIELDS if index in summary]
            for figure, name in keys:
                low, high = (intervals.get(figure) or {}).get(name) or (None, None)
                rows.append(
                    {
                        "model": model,
                        "part": part,
                        "figure": figure,
                        "structure": "" if name == "mae" else name,
                        "value": summary[figure][name],
                        "low": low,
                        "high": high,
                        "patients": summary["patients"],
                    }
                )
    return rows


def compare(
    evaluations: Sequence[Path],
    models: Sequence[Model],
    output: Path,
    *,
    dataset_dir: Path | None = None,
    section: Section = "test",
    fold: int = 0,
    trials: Sequence[tuple[Mapping[str, Any], float]] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare models on the same patients; those given as networks are measured first.

    Args:
        evaluations: Folders of `thorax evaluate` or `thorax cross-validate`, named as their models.
        models: Networks to measure on a section of the datalist, into `models/NAME` of `output`, unless
            they are there.
        output: Folder of the comparison.
        dataset_dir: Folder of `thorax prepare acdc`, for `models`.
        section: Part of the datalist to measure on.
        fold: Fold that validation stands for.
        trials: Settings and score of each trial of a search, if their effects are of interest.
        device: `"auto"`, or a torch device, for `models`.
        progress: Told of the volumes.

    Returns:
        As from `compare_models`; also `cost` of each model, `measured_on` in words, and `effects` of
        the settings if there are trials.

    Raises:
        ConfigError: If there are models but no `dataset_dir`, or two have one name; as for
            `evaluate_models`.
        DataError: If the evaluations are not about the same patients, or something cannot be read.
        OutputError: If a result cannot be written.
    """
    folders = {folder.resolve().name: folder for folder in evaluations}
    repeated = len(folders) < len(evaluations) or any(model.name in folders for model in models)
    if repeated:
        raise ConfigError("expected models of different names, found one twice; rename a folder or a model")
    measured_on = "those of the evaluations given"
    if models:
        if dataset_dir is None:
            raise ConfigError("expected the patients to measure models on, found none; give --dataset-dir")
        datalist = read_datalist(dataset_dir)
        folders |= evaluate_models(
            models,
            patient_records(select(datalist, section, fold)),
            output / MODELS_FOLDER,
            root=Path(datalist["root"]),
            device=device,
            progress=progress,
        )
        measured_on = f"section {section}" + (f" of fold {fold}" if section != "test" else " of the datalist")
    found = {name: read_evaluation(folder) for name, folder in folders.items()}
    content = compare_models({name: cases for name, (cases, _) in found.items()})
    for name, (_, cost) in found.items():
        content["models"][name]["cost"] = cost
    content["measured_on"] = measured_on
    if trials is not None:
        content["effects"] = [asdict(effect) for effect in setting_effects(trials)]
        content["definitions"]["effects"] = (
            "association of a setting with the score within the trials, not its effect by itself: settings "
            "vary together, and a search with early stopping gives good trials more epochs"
        )
    return content
