"""Cross-validation: a network for each fold, measured on the patients it has not learned from."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from pipelines.core.errors import ConfigError
from pipelines.core.files import (
    MANIFEST_NAME,
    exclusive_lock,
    output_folder,
    read_json,
    write_csv,
    write_json,
    write_manifest,
)
from pipelines.core.progress import progress_of
from pipelines.datasets.prepare import patient_records, read_datalist, select
from pipelines.evaluation.segmentation import Case, evaluate, read_cases, summarise
from pipelines.models.bundle import ACDC_BUNDLE, load_config
from pipelines.models.heart import Member, Predictor
from pipelines.models.weights import BEST_NAME, LAST_NAME, load_average, save_weights
from pipelines.training.launch import check_settings, train_network
from pipelines.training.run_record import training_seconds

CONTENT_NAME: Final = "cross_validation.json"
TABLE_NAME: Final = "cross_validation.csv"
SETTINGS_NAME: Final = "settings.json"
"""What all folds were trained with: a later call must say the same."""

EVALUATION_NAME: Final = "evaluation"
FINAL_NAME: Final = "final.pt"
"""Averaged weights of the end of a fold's training, in its folder."""

MASKS_NAME: Final = "masks"
LOCK_NAME: Final = "running"

Which = Literal["last", "best"]


logger = logging.getLogger(__name__)


def cross_validate(
    network: str,
    dataset_dir: Path,
    output: Path,
    *,
    folds: Sequence[int] | None = None,
    which: Which = "last",
    resume: bool = False,
    overlays: Sequence[str] = (),
    bundle: Path = ACDC_BUNDLE,
    **settings: Any,
) -> dict[str, Any] | None:
    """Train a network for each fold and measure it on the patients of that fold.

    Fold N is trained into `foldN` by the bundle's own workflow and measured into
    `foldN/evaluation`. When the last missing fold is there, all patients are
    summarised: each was measured once, by the network that did not learn from
    it. The test set takes no part.

    The end of each run is measured, since the best validation would be chosen on
    the very patients that are measured.

    Args:
        network: Network of the ACDC bundle.
        dataset_dir: Folder of `thorax prepare acdc`.
        output: Folder for the folds, the masks of all patients in `masks`, `cross_validation.json`,
            `cross_validation.csv` and a manifest; made if it does not exist. Several processes
            may work on different folds in it.
        folds: Folds to do now; all of the datalist without it.
        which: `"last"` measures the end of a run, `"best"` the best validation.
        resume: Go on in `output`: finished folds stay, begun ones go on from their last epoch.
        overlays: Further configuration files of the training, without `.yaml`.
        bundle: Root folder of the bundle.
        **settings: Values that replace those of the training's configuration.

    Returns:
        Content of `cross_validation.json`, see `summarise_folds`; None while a fold is missing.

    Raises:
        ConfigError: As for `train_network`; if there is no such fold, `fold` is among the settings,
            `output` was begun otherwise, or another process is at a fold.
        DataError: If the folder is not prepared or its data cannot be used.
        OutputError: If `output` cannot be written.
    """
    if "fold" in settings:
        raise ConfigError("expected settings without fold, found fold; choose folds by --folds")
    check_settings(settings, network, overlays, bundle=bundle)
    datalist = read_datalist(dataset_dir)
    known = folds_of(datalist)
    wanted = known if folds is None else list(dict.fromkeys(folds))
    if strange := [fold for fold in wanted if fold not in known]:
        raise ConfigError(f"expected folds among {known}, found {strange}; see the parts in the datalist")
    output_folder(output)
    common = {
        "network": network,
        "weights": which,
        "overlays": list(overlays),
        "settings": settings,
        "split_hash": datalist["split_hash"],
        "fingerprint": datalist["fingerprint"],
    }
    _check_common(output / SETTINGS_NAME, common)
    for fold in wanted:
        folder = output_folder(output / f"fold{fold}")
        lock = exclusive_lock(folder / LOCK_NAME, f"training of fold {fold}")
        with lock, progress_of(f"fold {fold}: "):
            if not (resume and _manifest(folder).get("finished")):
                begun = resume and (folder / LAST_NAME).is_file()
                how = {"overlays": overlays, "bundle": bundle, "fold": fold, **settings}
                train_network(network, dataset_dir, folder, resume=begun, **how)
            if not _is_measured(folder):
                weights, predictor = _trained(network, folder, which, bundle, settings)
                evaluate(
                    Path(datalist["root"]),
                    folder / EVALUATION_NAME,
                    predictor,
                    records=patient_records(select(datalist, "validation", fold)),
                    seen=predictor.seen,
                    masks=output / MASKS_NAME,
                )
                write_manifest(
                    folder / EVALUATION_NAME,
                    networks=[network],
                    fold=fold,
                    weights=weights.name,
                    outputs=["metrics.json", "metrics.csv", "overlays"],
                )
    missing = [fold for fold in known if not _is_measured(output / f"fold{fold}")]
    if missing:
        logger.warning("folds %s are still missing; the last one writes the summary", missing)
        return None
    content = summarise_folds(output, known) | common
    rows = [case.as_row() for case in _cases(output, known)]
    write_csv(output / TABLE_NAME, rows[0], rows)
    write_json(output / CONTENT_NAME, content)
    write_manifest(output, **common, folds=known, outputs=[CONTENT_NAME, TABLE_NAME])
    return content


def parse_folds(text: str) -> list[int]:
    """Numbers of folds from a text such as `"0,3"`.

    Raises:
        ConfigError: If it is something else.
    """
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"expected folds such as 0,3, found {text!r}") from error


def folds_of(datalist: Mapping[str, Any]) -> list[int]:
    """Numbers of the folds that hold a volume, in order."""
    return sorted({item["part"] for item in datalist["volumes"] if item["part"] != "test"})


def summarise_folds(output: Path, folds: Sequence[int]) -> dict[str, Any]:
    """Summary of all patients of some folds, and of each fold.

    Args:
        output: Folder of a cross-validation whose `folds` were measured.
        folds: Their numbers.

    Returns:
        As from `summarise`, with intervals by bootstrap of patients; `folds`, a list of
        `fold`, `patients`, `volumes`, `dice` by structure, `ef_lv_mae`, `epochs` and training
        `seconds`; `fold_sd`, the sample standard deviation of Dice between folds by structure,
        None for a single fold; and `problems`, the volumes skipped.

    Raises:
        ConfigError: If a patient is in several folds.
        DataError: If the evaluation of a fold cannot be read.
    """
    rows: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    for fold in folds:
        folder = output / f"fold{fold}"
        own = summarise(read_cases(_metrics(folder)), resamples=1)["summary"]
        run = _manifest(folder)
        problems += read_json(_metrics(folder))["problems"]
        rows.append(
            {
                "fold": fold,
                "patients": own["patients"],
                "volumes": own["volumes"],
                "dice": own["dice"],
                "ef_lv_mae": own["ef_lv"]["mae"],
                "epochs": run.get("epochs"),
                "seconds": training_seconds(folder) or run.get("seconds"),
            }
        )
    content = summarise(_cases(output, folds))
    if sum(row["patients"] for row in rows) != content["summary"]["patients"]:
        raise ConfigError(f"expected each patient in one fold, found some in several of {output}")
    spread = _fold_sd([row["dice"] for row in rows])
    return content | {"folds": rows, "fold_sd": spread, "problems": problems}


def _fold_sd(dice: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    spread: dict[str, float | None] = {}
    for name in dice[0]:
        values = [row[name] for row in dice if row[name] is not None]
        spread[name] = float(np.std(np.array(values, dtype=float), ddof=1)) if len(values) > 1 else None
    return spread


def _cases(output: Path, folds: Sequence[int]) -> list[Case]:
    return [case for fold in folds for case in read_cases(_metrics(output / f"fold{fold}"))]


def _metrics(folder: Path) -> Path:
    return folder / EVALUATION_NAME / "metrics.json"


def _check_common(path: Path, common: dict[str, Any]) -> None:
    """Folds that were not trained alike are no cross-validation."""
    current = json.loads(json.dumps(common, default=str))
    if path.is_file():
        began = read_json(path)
        other = [name for name in current if began.get(name) != current[name]]
        if other:
            raise ConfigError(
                f"expected the {', '.join(other)} that {path} was begun with, "
                f"{[began.get(name) for name in other]}, found {[current[name] for name in other]}; "
                "say the same again, or choose another folder by --output"
            )
    else:
        write_json(path, common)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    content: dict[str, Any] = read_json(path) if path.is_file() else {}
    return content


def _is_measured(folder: Path) -> bool:
    # The manifest is the last file that an evaluation writes.
    return (folder / EVALUATION_NAME / MANIFEST_NAME).is_file()


def _trained(
    network: str, folder: Path, which: Which, bundle: Path, settings: Mapping[str, Any]
) -> tuple[Path, Predictor]:
    """Weights of a fold and its network, with the settings that both have: spacing, field of view, widths."""
    known = load_config(network, bundle=bundle)
    settings = {name: value for name, value in settings.items() if name in known}
    weights = folder / BEST_NAME
    if which == "last":
        module = load_config(network, bundle=bundle, **settings).get_parsed_content("network_def")
        load_average(module, folder / LAST_NAME)
        weights = folder / FINAL_NAME
        save_weights(module, weights)
    return weights, Predictor({network: Member.load(network, bundle=bundle, weights=weights, **settings)})
