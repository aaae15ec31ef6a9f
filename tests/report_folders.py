"""Small folders of every kind that a report reads, as their commands write them."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.core.files import output_folder, write_json
from pipelines.core.records import FOREGROUND, LABEL_NAMES, AcdcLabel, Phase
from pipelines.evaluation.comparison import compare_models
from pipelines.evaluation.segmentation import INDEX_FIELDS, Case, StructureMetrics, summarise
from pipelines.exploration.heart import FEATURES
from pipelines.reporting.report import write_report

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
HISTORY = """epoch,iteration,train_loss,learning_rate,val_mean_dice,val_dice_rv,val_dice_myo,val_dice_loss
1,10,2.0,0.001,,,,
2,20,1.0,0.0005,0.8,0.7,0.8,0.3
3,30,0.5,0.0,0.75,0.65,0.75,0.35
"""
VERSIONS = {"thorax": "0.0.9", "python": "3.11.7", "packages": {"torch": "2.0.0", "numpy": "2.3.5"}}


def write_training(folder: Path, *, fold: int = 0, network: str = "unet") -> Path:
    command = ["/bin/thorax", "train", network, "--output", str(folder)]
    manifest = VERSIONS | {"name": folder.name, "command": command, "network": network, "batch_size": 12}
    manifest |= {"fold": fold, "precision": "torch.bfloat16", "threads": 1}
    _write(
        folder / "manifest.json", manifest | {"seconds": 90.0, "seed": 0, "split_hash": "d2ca6160d7a3af2a"}
    )
    (folder / "history.csv").write_text(HISTORY, encoding="utf-8")
    (folder / "best.pt").write_bytes(b"weights")
    return folder


def write_evaluation(
    folder: Path,
    *,
    weights: bytes | None = None,
    networks: tuple[str, ...] = ("unet",),
    tta: bool = False,
    content: dict[str, Any] | None = None,
) -> Path:
    """An evaluation of weights with these bytes, or of the bundle's own."""
    content = content or summarise(list(cases()), resamples=20)
    _write(folder / "metrics.json", {"problems": []} | content)
    command = ["/bin/thorax", "evaluate", "/data/prepared", "--output", str(folder)]
    manifest = VERSIONS | {"name": folder.name, "command": command, "networks": list(networks), "tta": tta}
    digest = hashlib.sha256(weights or b"").hexdigest()[:16]
    manifest |= {"weights": [digest], "bundle_weights": weights is None, "parameters": 8_800_000}
    _write(folder / "manifest.json", manifest)
    (folder / "overlays").mkdir(exist_ok=True)
    for rank in range(1, 6):
        (folder / "overlays" / f"{rank:02d}_low_p_{rank}_ES.png").write_bytes(PNG)
    return folder


def write_exploration(folder: Path) -> Path:
    finding = {"urgency": "before training", "found": "Pixel spacing from 1.00 to 2.00 mm, median 1.50 mm."}
    finding["decide"] = "Resample to square pixels."
    values = {"volumes": 4, "least": 6.0, "p5": 6.0, "median": 9.0, "p95": 14.05, "most": 18.0}
    shift = {"first": "training", "second": "test", "median_first": 9.0, "median_second": 8.0}
    shift |= {"distance_sd": -0.5, "ks": 0.4, "p_value": 0.001}
    content = {
        "dataset": "ACDC",
        "patients": 2,
        "volumes": 4,
        "labels": {"read": 3, "held out": 1},
        "groups": {"NOR": 1, "DCM": 1},
        "sections": {"NOR": {"training": 1}, "DCM": {"test": 1}},
        "findings": [finding],
        "label_findings": {},
        "features": {"slices": values},
        "outliers": [],
        "shifts": [
            shift | {"feature": "snr_image", "p_holm": 0.01},
            shift | {"feature": "slices", "p_holm": 1.0},
        ],
        "implausible_phases": [],
        "copies": [["a ED", "b ED"]],
        "near_duplicates": [],
        "most_alike": 0.5,
        "nearly_same_from": 0.9,
        "put_aside": [],
        "plots": [],
        "pictures": [],
        "overlays": [],
    }
    _write(folder / "eda.json", content)
    rows = [
        {
            "patient": patient,
            "group": group,
            "phase": phase,
            "section": section,
            "label": "held out" if section == "test" else "read",
            "label_findings": "",
            "orientation": "RAS",
            "is_oblique": False,
            "has_position": True,
            **{feature.name: 9.0 for feature in FEATURES},
            **{f"{name}_voxels": 10.0 for name in LABEL_NAMES.values()},
        }
        for patient, group, section in (("a", "NOR", "training"), ("b", "DCM", "test"))
        for phase in ("ED", "ES")
    ]
    pd.DataFrame(rows).to_csv(folder / "survey.csv", index=False)
    return folder


def write_recipe(folder: Path) -> Path:
    step = {
        "title": "The data",
        "passed": True,
        "figure": 0.97,
        "seconds": 12.0,
        "measures": "share of other patients' labels that fit worse than the own",
        "details": {},
        "expectation": "above 0.750, that of the early evaluation",
        "finding": "images have contrast, and labels belong to their images",
    }
    failed = step | {
        "title": "Overfit a small batch",
        "passed": False,
        "finding": "12 slices are memorised in 40 steps",
    }
    content = {
        "network": "unet",
        "minutes": 30.0,
        "fold": 0,
        "settings": {},
        "smoke": False,
        "finished": True,
        "steps": {"data": step, "overfit": failed},
    }
    _write(folder / "recipe.json", content)
    return folder


def write_comparison(folder: Path, *, p_holm: float = 0.2) -> Path:
    """The small model takes 0.5 s a volume, the large one 2 s and has more Dice."""
    models = {"small": list(cases()), "large": list(cases(gain=0.01, seconds=2.0))}
    content: dict[str, Any] = compare_models(models) | {"measured_on": "split test of the datalist"}
    for model in content["models"].values():
        model["cost"] = {"parameters": 8_800_000}
    for pair in content["pairs"]:
        pair["p_holm"] = p_holm
    _write(folder / "comparison.json", content)
    return folder


def write_folds(folder: Path) -> Path:
    content = summarise(list(cases()), resamples=20)
    dice = content["summary"]["dice"]
    fold = {"fold": 0, "patients": 2, "volumes": 4, "dice": dice, "ef_lv_mae": 2.0, "seconds": 60.0}
    spread = dict.fromkeys(dice, 0.02)
    content |= {"network": "unet", "settings": {}, "weights": "last", "problems": []}
    _write(folder / "cross_validation.json", content | {"folds": [fold | {"epochs": 3}], "fold_sd": spread})
    return folder


def write_cross(folder: Path) -> Path:
    def cell(dataset: str, mean: float | None) -> dict[str, Any]:
        if mean is None:
            return {"model": "A", "dataset": dataset, "error": "DataError: none"}
        names = ("rv", "myo", "lv", "mean")
        counts = {"patients": 2, "volumes": 4, "put_aside": 0, "seconds": 60.0, "hd95_mm": 3.0}
        values = {"dice": dict.fromkeys(names, mean), "ef_lv_mae": 2.0, "error": None}
        values["interval"] = {name: [mean - 0.01, mean + 0.01] for name in names}
        return {"model": "A", "dataset": dataset, **counts, **values}

    names = {"here": 0.9, "there": 0.6, "nowhere": None}
    content = {
        "models": [{"name": "A"}],
        "datasets": [{"name": name, "reader": "acdc"} for name in names],
        "cells": [cell(name, mean) for name, mean in names.items()],
    }
    _write(folder / "cross.json", content)
    return folder


def write_errors(folder: Path) -> Path:
    level = {"factor": "position", "level": "base", "structure": "rv", "count": 6, "patients": 6}
    level |= {"dice": 0.7, "interval": [0.6, 0.8]}
    few = level | {"level": "below the apex", "dice": 0.0, "count": 1, "patients": 1}
    figures = {"pairs": 2, "bias": 1.0, "bias_interval": [0.0, 2.0], "lower": -3.0, "upper": 5.0}
    figures |= {"lower_interval": [-4.0, -2.0], "upper_interval": [4.0, 6.0], "sd": 2.0}
    figures |= {"pearson": 0.9, "icc": None, "variability_percent": 3.0}
    unknown = {"figures": None, "measured": [], "truth": [], "groups": [], "observers": []}
    known = unknown | {"figures": figures, "measured": [51.0], "truth": [50.0], "groups": ["NOR"]}
    factors = {"pixel spacing": 1.5, "slice spacing": 10.0, "contrast": 2.0, "heart size": 300.0}
    volume = {"patient": "a", "phase": "ED", "group": "NOR", "reasons": ["RV missed"], "factors": factors}
    volume |= {"dice": dict.fromkeys(("rv", "myo", "lv", "mean"), 0.7), "entropy_auroc": None}
    correlation = {"factor": "contrast", "structure": "rv", "patients": 9, "rho": 0.8, "p_holm": 0.01}
    nothing = {"ece": None, "voxels": 0, "curve": []}
    picture = {"picture": "failure_01_p1.png", "alt": "p1 ED", "caption": "p1 ED, RV missed."}
    content = {
        "patients": 2,
        "levels": [level, level | {"level": "apex", "dice": 0.5}, few],
        "correlations": [correlation | {"p_value": 0.005}],
        "agreement": {name: known if name == "ef_lv" else unknown for name in INDEX_FIELDS},
        "volumes": [volume],
        "one_sided": [],
        "calibration": dict.fromkeys(("rv", "myo", "lv"), nothing),
        "problems": [],
        "gallery": [picture],
    }
    _write(folder / "errors.json", content)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "failure_01_p1.png").write_bytes(PNG)
    return folder


def write_quality(folder: Path) -> Path:
    figure = {"value": 0.6, "interval": [0.4, 0.8]}
    names = ("pearson", "spearman", "mae", "auroc", "sensitivity", "specificity")
    part = {"images": 4, "bad": 1} | dict.fromkeys(names, figure)
    points = [{"fault": "none", "predicted": 0.8, "dice": 0.9}]
    measured = {"clean": part, "all": part, "threshold": 0.7, "predictions": points}
    fitted = {"features": ["certainty"], "threshold": 0.7}
    head = {"network": "unet", "images": 4, "patients": ["a", "b"], "section": "test"}
    _write(folder / "quality_evaluation.json", head | {"quick": measured})
    _write(folder / "fit.json", head | {"quick": fitted | {"cross_validation": {"clean": part}}})
    return folder


def write_disease(folder: Path) -> Path:
    figures = {"patients": 3, "right": 2, "accuracy": 2 / 3, "interval": [0.2, 0.9]}
    figures |= {"groups": ["DCM", "NOR"], "confusion": [[1, 1], [0, 1]]}
    importance = [{"feature": "lv_ef_percent", "mean": 0.1, "std": 0.02}]
    inner = {"truth": figures, "masks": None, "importance": importance}
    _write(folder / "disease.json", {"cross_validation": inner, "hold_out": None, "problems": []})
    return folder


def write_all(root: Path) -> list[Path]:
    """A folder of every kind."""
    run = write_training(root / "unet")
    return [
        run,
        write_evaluation(root / "test_unet", weights=b"weights"),
        write_exploration(root / "eda"),
        write_recipe(root / "recipe"),
        write_comparison(root / "compare"),
        write_folds(root / "folds"),
        write_cross(root / "cross"),
        write_errors(root / "errors"),
        write_quality(root / "quality"),
        write_disease(root / "disease"),
    ]


def cases(*, gain: float = 0.0, seconds: float = 0.5) -> list[Case]:
    """Two patients at ED and ES: RV 0.8, MYO 0.85, LV 0.9 at ED, and 0.1 less at ES."""
    found = []
    for patient, group in (("a", "NOR"), ("b", "DCM")):
        for phase, loss, volume in ((Phase.ED, -gain, 100.0), (Phase.ES, 0.1 - gain, 40.0)):
            scores = {AcdcLabel.RV: 0.8 - loss, AcdcLabel.MYO: 0.85 - loss, AcdcLabel.LV: 0.9 - loss}
            metrics = {
                label: StructureMetrics(dice, dice, dice, dice, dice, 3.0, 1.0)
                for label, dice in scores.items()
            }
            truth = dict.fromkeys(FOREGROUND, volume)
            predicted = dict.fromkeys(FOREGROUND, volume + 10.0)
            found.append(Case(patient, group, phase, 1, metrics, predicted, truth, seconds))
    return found


def page_of(output: Path, *folders: Path, labels: dict[Path, str] | None = None) -> str:
    """The Markdown page of some folders; its pictures stand next to it in `output`."""
    write_report(folders, output / "page.md", labels=labels)
    return (output / "page.md").read_text(encoding="utf-8")


def rows_of(page: str) -> dict[str, list[str]]:
    """Cells of the tables of a page by the first cell of their row."""
    lines = [line[2:-2].split(" | ") for line in page.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def _write(path: Path, content: dict[str, Any]) -> None:
    write_json(output_folder(path.parent) / path.name, content)
