"""The page of an error analysis on hearts: tables, plots, gallery of failures, uncertainty maps."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.core.files import atomic_path, output_folder, write_csv, write_json
from pipelines.core.progress import Progress
from pipelines.core.records import PatientRecord
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.loading import load_pair, without_unlabelled
from pipelines.evaluation.evaluate import OVERLAYS
from pipelines.evaluation.failure_reasons import in_words
from pipelines.evaluation.heart_error_tables import error_tables
from pipelines.evaluation.heart_errors import (
    HeartErrors,
    HeartPredictor,
    HeartVolume,
    analyse_hearts,
    stack_of,
)
from pipelines.evaluation.uncertainty_maps import entropy, flip_disagreement
from pipelines.figures.overlay import overlay_figure
from pipelines.reporting.agreement_figures import INDEX_TITLES, agreement_figure
from pipelines.reporting.error_figures import factor_figure, level_figure, reliability_figure
from pipelines.reporting.error_tables import (
    LOW_CONTRAST_PERCENT,
    OBSERVER_NOTE,
    agreement_table,
    calibration_table,
    correlation_table,
    findings,
    level_tables,
    observer_table,
    one_sided_table,
    source_table,
)
from pipelines.reporting.html import Picture, Section, write_report
from pipelines.reporting.uncertainty_figure import SliceMaps, uncertainty_figure

PAGE_NAME: Final = "errors.html"
ERRORS_NAME: Final = "errors.json"
SLICES_NAME: Final = "slices.csv"
PICTURES: Final = "pictures"
OF_PATIENTS: Final = ("failure_*.png", "uncertainty.png")
"""Those of the pictures that show patients; the others are plots."""

LV_NAMES: Final = tuple(name for name in INDEX_TITLES if "rv" not in name)
RV_NAMES: Final = tuple(name for name in INDEX_TITLES if "rv" in name)

WORST_SLICES: Final = 4
"""Slices with the largest errors whose uncertainty is shown."""


def explore_heart_errors(
    root: Path,
    output: Path,
    predictor: HeartPredictor,
    *,
    records: Sequence[PatientRecord] | None = None,
    reader: str = "acdc",
    count: int = OVERLAYS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Analyse the errors of a network on hearts and write page, pictures, JSON and slices.

    Args:
        root: Existing folder in the layout of `reader`.
        output: Folder for `errors.html`, `errors.json`, `slices.csv` and `pictures/`; made if it
            does not exist.
        predictor: Segments volumes and gives probabilities.
        records: Patients to measure in place of all in `root`.
        reader: Dataset that `root` holds, a name in `READERS`.
        count: Worst volumes in the gallery.
        progress: Called with volumes done, volumes in all and the volume's name.

    Returns:
        Content of `errors.json`.

    Raises:
        ConfigError: If there is no such reader.
        DataError: If there is no labelled volume, or none that can be measured.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    found = analyse_hearts(root, predictor, records=records, reader=reader, progress=progress)
    write_json(output / ERRORS_NAME, error_tables(found))
    # As a reader of the file has it: names are text, what is not known is None.
    content: dict[str, Any] = json.loads((output / ERRORS_NAME).read_text(encoding="utf-8"))
    rows = [part.as_row() for volume in found.volumes for part in volume.slices]
    if rows:
        write_csv(output / SLICES_NAME, rows[0], rows)
    with atomic_path(output / PICTURES) as folder:
        folder.mkdir()
        plots = write_plots(content, folder)
        gallery = _draw_gallery(found, predictor, folder, count)
        maps = _draw_uncertainty(found, predictor, folder)
        write_report(
            output / PAGE_NAME,
            title="Error analysis",
            lead=f"{len(found.volumes)} volumes of {content['patients']} patients. " + findings(content)[0],
            sections=_sections(content, plots, gallery, maps),
        )
    return content


def write_plots(content: Mapping[str, Any], folder: Path, *, prefix: str = "") -> list[Picture]:
    """Draw the plots that hold no picture of a patient.

    Args:
        content: Content of `errors.json`.
        folder: Existing folder to write PNGs into.
        prefix: What their names start with.

    Returns:
        The plots: by level, by factor, agreement of LV and of RV, reliability.

    Raises:
        OutputError: If a file cannot be written.
    """
    names = ("levels", "factors", "agreement_lv", "agreement_rv", "reliability")
    paths = {name: folder / f"{prefix}{name}.png" for name in names}
    level_figure(content["levels"], paths["levels"])
    factor_figure(content["volumes"], content["correlations"], paths["factors"])
    agreement_figure(content["agreement"], LV_NAMES, paths["agreement_lv"])
    agreement_figure(content["agreement"], RV_NAMES, paths["agreement_rv"])
    reliability_figure(content["calibration"], paths["reliability"])
    words = (
        "Mean Dice with 95% intervals over patients by third of the ventricle, phase and group.",
        "Dice of each volume against spacing, contrast and heart size.",
        "LV: differences against means with bias and limits (bands: 95% confidence), and measured against "
        "true. Dotted: limits between people.",
        "RV: the same. Dotted lines are missing where no limits were found published.",
        "How often a voxel near the heart is what its probability says, and how many voxels there are.",
    )
    return [Picture(paths[name], alt=text, caption=text) for name, text in zip(names, words, strict=True)]


def _sections(
    content: Mapping[str, Any],
    plots: Sequence[Picture],
    gallery: Sequence[Picture],
    maps: Sequence[Picture],
) -> list[Section]:
    by_level, by_factor, lv, rv, reliability = plots
    position, *others = level_tables(content)
    sections = [
        Section("What stands out", paragraphs=findings(content)),
        Section(
            "Where in the heart",
            paragraphs=[
                "Base, mid and apex are equal thirds of the labelled left ventricle along its long axis "
                "(doi:10.1161/hc0402.102975). Dice of a third is over all its pixels in a volume."
            ],
            tables=[position, one_sided_table(content)],
            pictures=[by_level],
        ),
        Section(
            "Phase, group, image and heart",
            paragraphs=[
                "Each factor by itself: groups differ in heart size, phases in both. Contrast is that of "
                "the LV's blood against the myocardium, in standard deviations within them."
            ],
            tables=[*others, correlation_table(content)],
            pictures=[by_factor],
        ),
        Section(
            "Agreement of the indices",
            paragraphs=[OBSERVER_NOTE],
            tables=[agreement_table(content), observer_table(content), source_table(content)],
            pictures=[lv, rv],
        ),
        Section("Gallery of failures", paragraphs=["Lowest mean Dice first."], pictures=gallery),
        Section(
            "Probabilities and uncertainty",
            tables=[calibration_table(content)],
            pictures=[reliability, *maps],
        ),
    ]
    problems = [f"{one['patient']}: {one['reason']}" for one in content["problems"]]
    return [*sections, Section("Put aside", paragraphs=problems)] if problems else sections


def _draw_gallery(found: HeartErrors, predictor: HeartPredictor, folder: Path, count: int) -> list[Picture]:
    contrasts = [volume.factors["contrast"] for volume in found.volumes]
    known = [contrast for contrast in contrasts if np.isfinite(contrast)]
    edge = float(np.percentile(known, LOW_CONTRAST_PERCENT)) if known else float("-inf")
    pictures = []
    for rank, volume in enumerate(found.worst[:count], start=1):
        case = volume.case
        image, mask, truth = _masks(volume, predictor)
        path = folder / f"failure_{rank:02d}_{case.name}.png"
        title = f"{case.patient} {case.phase}, {case.group}: mean Dice {case.mean('dice'):.3f}"
        overlay_figure(image.array, mask, path, truth=truth, title=title, spacing_mm=image.spacing_mm)
        words = f"{title}. {in_words(volume.reasons)}"
        if volume.factors["contrast"] <= edge:
            words += (
                f" Little contrast: blood and myocardium differ by {volume.factors['contrast']:.1f} standard "
                f"deviations, among the lowest {LOW_CONTRAST_PERCENT:.0f}% of these volumes."
            )
        pictures.append(Picture(path, alt=title, caption=words))
    return pictures


def _worst_slices(found: HeartErrors) -> list[tuple[HeartVolume, int]]:
    """Volumes with the largest error in one slice, and the index of that slice, one a patient."""
    worst: dict[str, tuple[float, HeartVolume, int]] = {}
    for volume in found.volumes:
        per_slice: dict[int, float] = {}
        for part in volume.slices:
            per_slice[part.slice] = per_slice.get(part.slice, 0.0) + part.error_ml
        if per_slice:
            number, ml = max(per_slice.items(), key=lambda pair: pair[1])
            if ml > worst.get(volume.case.patient, (0.0,))[0]:
                worst[volume.case.patient] = (ml, volume, number - 1)
    ordered = sorted(worst.values(), key=lambda entry: -entry[0])[:WORST_SLICES]
    return [(volume, index) for _, volume, index in ordered]


def _draw_uncertainty(found: HeartErrors, predictor: HeartPredictor, folder: Path) -> list[Picture]:
    maps = []
    for volume, index in _worst_slices(found):
        original = load_pair(volume.record)[0]
        image, mask, truth = _masks(volume, predictor)
        probabilities = np.stack(
            [stack_of(channel, original) for channel in predictor.probabilities(original)]
        )
        maps.append(
            SliceMaps(
                title=f"{volume.case.patient} {volume.case.phase}",
                index=index,
                image=image.array,
                mask=mask,
                truth=truth,
                heart=probabilities[1:].sum(axis=0),
                entropy=entropy(probabilities),
                disagreement=stack_of(flip_disagreement(predictor, original), original),
                spacing_mm=image.spacing_mm,
            )
        )
    if not maps:
        return []
    path = folder / "uncertainty.png"
    uncertainty_figure(maps, path)
    words = "Slices with the largest errors: contours, probability, entropy, votes of flipped copies."
    return [Picture(path, alt=words, caption=words)]


def _masks(volume: HeartVolume, predictor: HeartPredictor) -> tuple[Volume, Any, Any]:
    """Image, prediction and truth with slices last; segmented again, since masks are not kept."""
    image, label = load_pair(volume.record)
    mask, truth = without_unlabelled(predictor.predict(image).mask, label.array)
    moved = slices_last(image)[0]
    return moved, stack_of(mask, image), stack_of(truth, image)
