"""Error analyses written to a folder: what was found as JSON and CSV, and pictures of the failures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import atomic_path, output_folder, read_json, write_csv, write_json
from pipelines.core.records import PatientRecord
from pipelines.datasets.loading import load_pair
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.classification import read_cases
from pipelines.evaluation.heart_error_tables import error_tables
from pipelines.evaluation.heart_errors import (
    HeartErrors,
    HeartPredictor,
    HeartVolume,
    analyse_hearts,
    entropy,
    flip_disagreement,
    in_words,
)
from pipelines.evaluation.segmentation import OVERLAYS, segmented_again, stack_of
from pipelines.evaluation.xray_errors import ErrorAnalysis, analyse_errors
from pipelines.figures.overlay import SliceMaps, overlay_figure, panels, save_png, uncertainty_figure

ERRORS_NAME: Final = "errors.json"
SLICES_NAME: Final = "slices.csv"
CASES_NAME: Final = "errors.csv"
PICTURES: Final = "pictures"
"""Folder with pictures of the failures, which show patients."""

LOW_CONTRAST_PERCENT: Final = 10.0
"""A volume has little contrast if it is among so many percent with the least."""

WORST_SLICES: Final = 4
"""Slices with the largest errors whose uncertainty is shown."""

GALLERY_COLUMNS, GALLERY_ROWS = 4, 3


def explore_heart_errors(
    root: Path,
    output: Path,
    predictor: HeartPredictor,
    *,
    records: Sequence[PatientRecord] | None = None,
    reader: str = "acdc",
    count: int = OVERLAYS,
) -> dict[str, Any]:
    """Analyse the errors of a network on hearts; write JSON, slices and pictures of the failures.

    Args:
        root: Existing folder in the layout of `reader`.
        output: Folder for `errors.json`, `slices.csv` and `pictures/`; made if it does not exist.
        predictor: Segments volumes and gives probabilities.
        records: Patients to measure in place of all in `root`.
        reader: Dataset that `root` holds, a name in `READERS`.
        count: Worst volumes in the gallery.

    Returns:
        Content of `errors.json`: that of `error_tables`, and `gallery` with the pictures' texts.

    Raises:
        ConfigError: If there is no such reader.
        DataError: If there is no labelled volume, or none that can be measured.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    found = analyse_hearts(root, predictor, records=records, reader=reader)
    with atomic_path(output / PICTURES) as folder:
        folder.mkdir()
        gallery = [*_gallery(found, predictor, folder, count), *_uncertainty(found, predictor, folder)]
    write_json(output / ERRORS_NAME, error_tables(found) | {"gallery": gallery})
    rows = [part.as_row() for volume in found.volumes for part in volume.slices]
    if rows:
        write_csv(output / SLICES_NAME, rows[0], rows)
    # As a reader of the file has it: names are text, what is not known is None.
    content: dict[str, Any] = read_json(output / ERRORS_NAME)
    return content


def explore_xray_errors(evaluation: Path, output: Path) -> ErrorAnalysis:
    """Analyse the errors of an evaluation of radiographs; write JSON, CSV, pictures and TensorBoard.

    Args:
        evaluation: Folder of `thorax evaluate`.
        output: Folder for the results; made if it does not exist.

    Raises:
        DataError: If there is no evaluation, or one of its images cannot be read.
        OutputError: If the results cannot be written.
    """
    cases = read_cases(evaluation)
    output_folder(output)
    found = analyse_errors(cases)
    size = GALLERY_COLUMNS * GALLERY_ROWS
    sheets = [_sheet(found.wrong[first : first + size]) for first in range(0, len(found.wrong), size)]
    with (
        SummaryWriter(str(output / "tensorboard")) as writer,
        atomic_path(output / PICTURES) as folder,
    ):
        folder.mkdir()
        for number, sheet in enumerate(sheets):
            save_png(sheet, folder / f"misclassified_{number + 1:02d}.png")
            writer.add_figure("test/misclassified", sheet, number)
    names = list(found.cases[0]["attributes"])
    rows = [
        {"image": case["image"], "is_correct": case["is_correct"], "seen": "; ".join(case["seen"])}
        | case["attributes"]
        for case in found.cases
    ]
    write_csv(output / CASES_NAME, ["image", "is_correct", "seen", *names], rows)
    write_json(output / ERRORS_NAME, found.as_dict())
    return found


def _gallery(
    found: HeartErrors, predictor: HeartPredictor, folder: Path, count: int
) -> Iterator[dict[str, str]]:
    contrasts = [volume.factors["contrast"] for volume in found.volumes]
    known = [contrast for contrast in contrasts if np.isfinite(contrast)]
    edge = float(np.percentile(known, LOW_CONTRAST_PERCENT)) if known else float("-inf")
    for rank, volume in enumerate(found.worst[:count], start=1):
        case = volume.case
        image, mask, truth = segmented_again(volume.record, predictor)
        path = folder / f"failure_{rank:02d}_{case.name}.png"
        title = f"{case.patient} {case.phase}, {case.group}: mean Dice {case.mean('dice'):.3f}"
        overlay_figure(image.array, mask, path, truth=truth, title=title, spacing_mm=image.spacing_mm)
        words = f"{title}. {in_words(volume.reasons)}"
        if volume.factors["contrast"] <= edge:
            words += (
                f" Little contrast: blood and myocardium differ by {volume.factors['contrast']:.1f} standard "
                f"deviations, among the lowest {LOW_CONTRAST_PERCENT:.0f}% of these volumes."
            )
        yield {"picture": path.name, "alt": title, "caption": words}


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


def _uncertainty(found: HeartErrors, predictor: HeartPredictor, folder: Path) -> Iterator[dict[str, str]]:
    maps = []
    for volume, index in _worst_slices(found):
        original = load_pair(volume.record)[0]
        image, mask, truth = segmented_again(volume.record, predictor)
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
    if maps:
        path = folder / "uncertainty.png"
        uncertainty_figure(maps, path)
        words = "Slices with the largest errors: contours, probability, entropy, votes of flipped copies."
        yield {"picture": path.name, "alt": words, "caption": words}


def _sheet(cases: Sequence[dict[str, Any]]) -> Figure:
    figure, grid = panels(GALLERY_COLUMNS, GALLERY_ROWS, width=2.9, height=3.3)
    for axes, case in zip(grid, cases, strict=False):
        axes.imshow(read_xray(Path(case["image"])).pixels, cmap="gray", vmin=0, vmax=1)
        truth = f"{case['finding'].lower()} {case['agent']}".strip()
        axes.set_title(
            f"{Path(case['image']).name}\n{truth}, pneumonia {case['probability']:.2f}", fontsize=8
        )
    for axes in grid:
        axes.set_axis_off()
    return figure
