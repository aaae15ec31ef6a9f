"""Small folders of every kind that a report reads, as their commands write them."""

import base64
import json
from pathlib import Path
from typing import Any

from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.core.records import Phase
from pipelines.evaluation.cases import Case
from pipelines.evaluation.metrics import StructureMetrics
from pipelines.evaluation.summary import summarise

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
    manifest = VERSIONS | {"command": command, "fold": fold, "precision": "torch.bfloat16", "threads": 1}
    _write(
        folder / "manifest.json", manifest | {"seconds": 90.0, "seed": 0, "split_hash": "d2ca6160d7a3af2a"}
    )
    (folder / "history.csv").write_text(HISTORY)
    (folder / "best.pt").write_bytes(b"weights")
    return folder


def write_evaluation(folder: Path, *, weights: Path | None = None) -> Path:
    content = summarise(list(_cases()), resamples=20) | {"problems": []}
    _write(folder / "metrics.json", content)
    command = ["/bin/thorax", "evaluate", "/data/prepared", "--output", str(folder)]
    command += ["--weights", str(weights)] if weights else []
    _write(folder / "manifest.json", VERSIONS | {"command": command, "networks": ["unet"], "tta": False})
    (folder / "overlays").mkdir()
    for rank in range(1, 6):
        (folder / "overlays" / f"{rank:02d}_low_p{rank}_ES.png").write_bytes(PNG)
    return folder


def write_exploration(folder: Path) -> Path:
    finding = {"urgency": "before training", "found": "2 images are the same.", "decide": "Keep one."}
    figures = {"volumes": 4, "least": 6.0, "p5": 6.0, "median": 9.0, "p95": 14.05, "most": 18.0}
    content = {
        "dataset": "ACDC",
        "patients": 2,
        "volumes": 4,
        "labels": {"read": 3, "held out": 1},
        "groups": {"NOR": 1, "DCM": 1},
        "sections": {"NOR": {"training": 1}, "DCM": {"test": 1}},
        "findings": [finding],
        "features": {"slices": figures},
        "outliers": [],
        "shifts": [{"feature": "snr_image", "p_holm": 0.01}, {"feature": "slices", "p_holm": 1.0}],
    }
    _write(folder / "eda.json", content)
    return folder


def write_recipe(folder: Path) -> Path:
    step = {
        "title": "The data",
        "passed": True,
        "figure": 0.97,
        "expectation": "at least 0.75",
        "finding": "good",
    }
    failed = step | {"title": "A handful by heart", "passed": False, "finding": "the rate is too high"}
    content = {
        "network": "unet",
        "smoke": False,
        "finished": True,
        "steps": {"data": step, "overfit": failed},
    }
    _write(folder / "recipe.json", content)
    return folder


def write_comparison(folder: Path, *, p_holm: float = 0.2) -> Path:
    summary = summarise(list(_cases()), resamples=20)
    slow = summary["summary"] | {"seconds_per_volume": 2.0}
    shown = {"intervals": summary["intervals"], "cost": {"parameters": 8_800_000}}
    pair = {"figure": "dice", "structure": "mean", "first": "small", "second": "large"}
    pair |= {"difference": 0.01, "interval": [-0.01, 0.03], "better": 1, "worse": 1, "p_value": 0.1}
    content = {
        "models": {"small": shown | {"summary": summary["summary"]}, "large": shown | {"summary": slow}},
        "patients": [{"patient": "a", "group": "NOR"}, {"patient": "b", "group": "DCM"}],
        "pairs": [pair | {"p_holm": p_holm}],
    }
    _write(folder / "comparison.json", content)
    return folder


def write_folds(folder: Path) -> Path:
    content = summarise(list(_cases()), resamples=20)
    dice = content["summary"]["dice"]
    fold = {"fold": 0, "patients": 2, "volumes": 4, "dice": dice, "ef_lv_mae": 2.0, "seconds": 60.0}
    spread = dict.fromkeys(dice, 0.02)
    _write(
        folder / "cross_validation.json",
        content | {"network": "unet", "folds": [fold], "fold_sd": spread, "problems": []},
    )
    return folder


def write_cross(folder: Path) -> Path:
    def cell(dataset: str, mean: float | None) -> dict[str, Any]:
        if mean is None:
            return {"model": "A", "dataset": dataset, "error": "DataError: none"}
        interval = {"mean": [mean - 0.01, mean + 0.01]}
        return {"model": "A", "dataset": dataset, "error": None, "dice": {"mean": mean}, "interval": interval}

    names = {"here": 0.9, "there": 0.6, "nowhere": None}
    content = {
        "models": [{"name": "A"}],
        "datasets": [{"name": name} for name in names],
        "cells": [cell(name, mean) for name, mean in names.items()],
    }
    _write(folder / "cross.json", content)
    return folder


def write_errors(folder: Path) -> Path:
    level = {"factor": "position", "level": "base", "structure": "rv", "count": 6, "patients": 6}
    level |= {"dice": 0.7, "interval": [0.6, 0.8]}
    few = level | {"level": "below the apex", "dice": 0.0, "count": 1, "patients": 1}
    figures = {
        "bias": 1.0,
        "bias_interval": [0.0, 2.0],
        "lower": -3.0,
        "upper": 5.0,
        "pearson": 0.9,
        "icc": None,
    }
    volume = {"patient": "a", "phase": "ED", "group": "NOR", "dice": {"mean": 0.7}, "reasons": ["RV missed"]}
    correlation = {"factor": "contrast", "structure": "rv", "patients": 9, "rho": 0.8, "p_holm": 0.01}
    content = {
        "patients": 2,
        "levels": [level, level | {"level": "apex", "dice": 0.5}, few],
        "correlations": [correlation],
        "agreement": {"ef_lv": {"figures": figures}, "mass_g": {"figures": None}},
        "volumes": [volume],
    }
    _write(folder / "errors.json", content)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "agreement_lv.png").write_bytes(PNG)
    return folder


def write_quality(folder: Path) -> Path:
    figure = {"value": 0.6, "interval": [0.4, 0.8]}
    names = ("pearson", "spearman", "mae", "auroc", "sensitivity", "specificity")
    part = {"images": 4} | dict.fromkeys(names, figure)
    head = {"network": "unet", "images": 4, "patients": ["a", "b"], "section": "test"}
    _write(folder / "quality_evaluation.json", head | {"quick": {"clean": part, "all": part}})
    _write(folder / "fit.json", head | {"quick": {"cross_validation": {"clean": part}}})
    return folder


def write_disease(folder: Path) -> Path:
    figures = {"patients": 3, "right": 2, "accuracy": 2 / 3, "interval": [0.2, 0.9]}
    figures |= {"groups": ["DCM", "NOR"], "confusion": [[1, 1], [0, 1]]}
    importance = [{"feature": "lv_ef_percent", "mean": 0.1, "std": 0.02}]
    inner = {"truth": figures, "masks": None, "importance": importance}
    _write(folder / "disease.json", {"cross_validation": inner, "hold_out": None})
    return folder


def write_all(root: Path) -> list[Path]:
    """A folder of every kind."""
    run = write_training(root / "unet")
    return [
        run,
        write_evaluation(root / "test_unet", weights=run / "best.pt"),
        write_exploration(root / "eda"),
        write_recipe(root / "recipe"),
        write_comparison(root / "compare"),
        write_folds(root / "folds"),
        write_cross(root / "cross"),
        write_errors(root / "errors"),
        write_quality(root / "quality"),
        write_disease(root / "disease"),
    ]


def _cases() -> list[Case]:
    """Two patients at ED and ES: RV 0.8, MYO 0.85, LV 0.9 at ED, and 0.1 less at ES."""
    cases = []
    for patient, group in (("a", "NOR"), ("b", "DCM")):
        for phase, loss, volume in ((Phase.ED, 0.0, 100.0), (Phase.ES, 0.1, 40.0)):
            scores = {AcdcLabel.RV: 0.8 - loss, AcdcLabel.MYO: 0.85 - loss, AcdcLabel.LV: 0.9 - loss}
            metrics = {
                label: StructureMetrics(dice, dice, dice, dice, dice, 3.0, 1.0)
                for label, dice in scores.items()
            }
            truth = dict.fromkeys(FOREGROUND, volume)
            predicted = dict.fromkeys(FOREGROUND, volume + 10.0)
            cases.append(Case(patient, group, phase, 1, metrics, predicted, truth, 0.5))
    return cases


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
