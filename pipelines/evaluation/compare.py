"""From evaluations, or models that have none yet, to the content of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError
from pipelines.core.progress import Progress
from pipelines.datasets.prepare import Section, patient_records, read_datalist, select
from pipelines.evaluation.comparison import compare_models
from pipelines.evaluation.models import Model, evaluate_models, read_evaluation
from pipelines.evaluation.setting_effects import setting_effects

MODELS_FOLDER: Final = "models"


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
