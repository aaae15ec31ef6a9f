"""Sections of the chest X-ray results page: comparison, search, errors, quantization, explanation."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.core.errors import DataError
from pipelines.evaluation.compare_xray import PairedScore, compare_recipes
from pipelines.evaluation.evaluate_xray import read_cases
from pipelines.evaluation.xray_errors import ErrorType
from pipelines.explanation.study import STUDY_NAME
from pipelines.export.int8_comparison import COMPARISON_NAME
from pipelines.export.runtimes import EAGER, INT8
from pipelines.reporting.markdown import duration, markdown_table, number, p_text
from pipelines.reporting.tables import quantization_rows
from pipelines.reporting.xray_errors_page import ERRORS_NAME, HEADER, type_cells
from pipelines.training.run_record import RunRecord
from pipelines.training.trials import TABLE_NAME

MOST_TRIALS = 10
NEEDED = {"over_eager_fp32": 8.0, "over_same_runtime_fp32": 2.5, "over_best_bf16": 1.3}
"""How many times faster int8 ought to be, for one image."""

NEEDED_SIZE = 3.9
MOST_LOST_POINTS = 0.3


def comparison_section(first: Sequence[Path], second: Sequence[Path]) -> str:
    """Scores of two recipes over seeds and their paired difference.

    Args:
        first: Folders of evaluations of the base recipe, one a seed.
        second: The same of the tuned recipe.

    Raises:
        DataError: If an evaluation cannot be read, or they are of other images.
    """
    return comparison_table(
        compare_recipes([read_cases(path) for path in first], [read_cases(path) for path in second]), "tuned"
    )


def comparison_table(scores: Sequence[PairedScore], name: str) -> str:
    """Scores of the base recipe and another over seeds, and their paired difference.

    Args:
        scores: As from `compare_recipes`.
        name: What the other recipe is called.
    """
    rows = []
    for score in scores:
        low, high = score.interval or (float("nan"), float("nan"))
        rows.append(
            [
                score.name.replace("_", " "),
                ", ".join(f"{value:.4f}" for value in score.first),
                ", ".join(f"{value:.4f}" for value in score.second),
                f"{score.difference:+.4f} ({low:+.4f} to {high:+.4f})",
                p_text(score.p_value),
            ]
        )
    header = ["", "base, a seed each", f"{name}, a seed each", "difference of means (95% interval)", "p"]
    return markdown_table(header, rows)


def search_section(search: Path) -> str:
    """The best trials of a search.

    Raises:
        DataError: If the folder holds no search.
    """
    try:
        with (search / TABLE_NAME).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        header = list(rows[0])
    except (OSError, IndexError) as error:
        raise DataError(f"expected a search of 'thorax tune' in {search}, found {error!r}") from error
    cells = [[_short(row[name]) for name in header] for row in rows[:MOST_TRIALS]]
    lead = f"The {len(cells)} best of {len(rows)} trials, by AUROC on validation."
    return f"{lead}\n\n{markdown_table([name.replace('_', ' ') for name in header], cells)}"


def runs_table(runs: Sequence[RunRecord]) -> str:
    """How long training runs were, and how well they did on validation."""
    header = [
        "run",
        "network",
        "epochs",
        "images seen",
        "time",
        "threads",
        "precision",
        "best validation AUROC",
    ]
    rows = [
        [
            run.name,
            run.network,
            str(run.epochs),
            f"{run.samples:,}",
            duration(run.seconds) if run.seconds is not None else "",
            str(run.threads),
            run.precision,
            number(run.best("val_auroc"), 4),
        ]
        for run in runs
    ]
    return markdown_table(header, rows)


def errors_section(errors: Path) -> str:
    """What goes with errors, without the images.

    Raises:
        DataError: If there is no error analysis.
    """
    content = _read(errors / ERRORS_NAME, "thorax errors")
    kinds = [ErrorType(**kind) for kind in content["types"]]
    wrong = sum(not case["is_correct"] for case in content["cases"])
    rows = [[*type_cells(kind), f"`{Path(kind.example).name}`" if kind.example else ""] for kind in kinds]
    lead = f"{wrong} of {len(content['cases'])} images are misclassified."
    return f"{lead}\n\n{markdown_table([*HEADER, 'example'], rows)}"


def quantization_section(folder: Path) -> str:
    """Size, time and accuracy of int8 against other ways, and what was asked.

    Raises:
        DataError: If there is no measurement.
    """
    content = _read(folder / COMPARISON_NAME, "thorax quantize")
    header, rows = quantization_rows(content)
    sizes = content["sizes"]
    smaller = sizes["fp32_bytes"] / sizes["int8_bytes"]
    accuracies = [content["runtimes"][name]["accuracy"] for name in (EAGER, INT8)]
    lost = 100 * (accuracies[0] - accuracies[1])
    asked: list[tuple[str, str, str, bool]] = [
        ("size, fp32 over int8", f"{smaller:.2f}", f"at least {NEEDED_SIZE}", smaller >= NEEDED_SIZE)
    ]
    words = {
        "over_eager_fp32": "one image, PyTorch fp32 over int8",
        "over_same_runtime_fp32": "one image, OpenVINO fp32 over int8",
        "over_best_bf16": "one image, fastest bf16 over int8",
    }
    for name, least in NEEDED.items():
        ratio = content["ratios"][name]
        asked.append((words[name], f"{ratio:.2f}", f"at least {least}", ratio >= least))
    most = f"at most {MOST_LOST_POINTS}"
    asked.append(("points of accuracy lost", f"{lost:.2f}", most, lost <= MOST_LOST_POINTS))
    verdicts = [[words, found, limit, "yes" if is_kept else "no"] for words, found, limit, is_kept in asked]
    megabytes = {name: sizes[f"{name}_bytes"] / 1e6 for name in ("fp32", "int8")}
    lead = (
        f"{content['size_px'][0]} x {content['size_px'][1]} pixels, {content['threads']} threads, "
        f"{content['rounds']} rounds in which all ways took turns, {content['images']} images; "
        f"{megabytes['fp32']:.1f} MB in fp32, {megabytes['int8']:.1f} MB in int8."
    )
    return "\n\n".join(
        (lead, markdown_table(header, rows), markdown_table(["asked", "found", "", ""], verdicts))
    )


def quantization_figure(folder: Path) -> Figure:
    """Time for one image, size and accuracy before and after, as bars.

    Raises:
        DataError: If there is no measurement.
    """
    content = _read(folder / COMPARISON_NAME, "thorax quantize")
    names = list(content["runtimes"])
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=(3, 1, 2))
    medians = [content["runtimes"][name]["batch_1_ms"]["median"] for name in names]
    panels[0].barh(names, medians, color=["tab:red" if name == INT8 else "0.6" for name in names])
    panels[0].invert_yaxis()
    panels[0].set_xlabel("one image, ms (median)")
    sizes = [content["sizes"][f"{kind}_bytes"] / 1e6 for kind in ("fp32", "int8")]
    panels[1].bar(["fp32", "int8"], sizes, color=["0.6", "tab:red"])
    panels[1].set_ylabel("file, MB")
    kinds = ("accuracy_normal", "accuracy_pneumonia", "accuracy")
    places = np.arange(len(kinds))
    for offset, name, color in ((-0.2, EAGER, "0.6"), (0.2, INT8, "tab:red")):
        shares = [100 * content["runtimes"][name][kind] for kind in kinds]
        panels[2].bar(places + offset, shares, width=0.4, color=color, label=name)
    panels[2].set_xticks(places, ["normal", "pneumonia", "both"])
    panels[2].set_ylim(80, 100)
    panels[2].set_ylabel("accuracy, %, from 80")
    panels[2].legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def explanation_section(folder: Path) -> str:
    """Completeness, sanity check, deletion and shares of the explanations.

    Raises:
        DataError: If there is no study.
    """
    content = _read(folder / STUDY_NAME, "thorax study-explanations")
    cases = content["cases"]
    methods = list(cases[0]["shares"])
    steps = list(cases[0]["completeness"]["black"])
    completeness = []
    for baseline in cases[0]["completeness"]:
        errors = [[case["completeness"][baseline][count] for case in cases] for count in steps]
        completeness.append([baseline, *(f"{100 * float(np.median(found)):.1f}" for found in errors)])
    methods_rows = []
    for method in methods:
        gains = [case["deletion"][method]["gain"] for case in cases]
        found = [case["shares"][method] for case in cases]
        shares = {kind: float(np.mean([share[kind] for share in found])) for kind in found[0]}
        methods_rows.append(
            [
                method.replace("_", " "),
                f"{np.mean(gains):+.2f}",
                f"{sum(gain > 0 for gain in gains)} of {len(gains)}",
                f"{100 * shares['chest']:.0f} (area {100 * shares['chest_area']:.0f})",
                f"{100 * shares['frame']:.0f} (area {100 * shares['frame_area']:.0f})",
            ]
        )
    stages = list(next(iter(content["randomised"].values())))
    randomised = [
        [method.replace("_", " "), *(number(found[stage], 2) for stage in stages)]
        for method, found in content["randomised"].items()
    ]
    listed = [
        [
            f"`{Path(case['image']).name}`",
            case["finding"].lower(),
            f"{case['probability']:.3f}",
            "right" if case["is_correct"] else "wrong",
            f"{100 * case['shares']['integrated_gradients']['chest']:.0f}",
            f"{100 * case['shares']['integrated_gradients']['frame']:.0f}",
            f"{case['deletion']['integrated_gradients']['gain']:+.2f}",
        ]
        for case in cases
    ]
    return "\n\n".join(
        (
            "Completeness error of Integrated Gradients, median over the images, in percent:",
            markdown_table(["baseline", *(f"{count} steps" for count in steps)], completeness),
            "Deletion and place of the attribution, means over the images:",
            markdown_table(
                ["method", "deletion gain", "above 0", "% inside the chest", "% in the frame"], methods_rows
            ),
            "Rank correlation with the trained network's map when stages are made random, the last first:",
            markdown_table(["method", *stages], randomised),
            "The images, with Integrated Gradients:",
            markdown_table(
                ["image", "label", "probability", "", "% chest", "% frame", "deletion gain"], listed
            ),
        )
    )


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"expected {path} of '{command}', found {error!r}") from error
    return content


def _short(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return text
    return text if value.is_integer() and "." not in text else f"{value:.4g}"
