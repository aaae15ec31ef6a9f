"""What a client is told beside a label map: volumes, ejection fraction, warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.core.cardiac import CardiacIndices, indices_from_volumes, structure_volumes_ml
from pipelines.core.errors import DataError
from pipelines.core.files import read_json, write_json
from pipelines.core.plausibility import check_ends, check_indices, check_mask
from pipelines.core.records import LABEL_NAMES, AcdcLabel, Phase
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.duplicates import check_coverage


def measure(
    mask: npt.NDArray[np.uint8],
    image: Volume,
    phase: Phase | None = None,
    partner_ml: Mapping[AcdcLabel, float] | None = None,
) -> dict[str, Any]:
    """Volumes in mL, indices of the patient and warnings, ready for JSON.

    Args:
        mask: `(X, Y, Z)` label map on the image's grid, slices along any axis.
        image: Image `(X, Y, Z)`; what `note_warnings` noted of its file is told too.
        phase: Moment of the cardiac cycle, or None where it is unknown.
        partner_ml: Volumes of the other phase in mL, or None where they are not known.

    Returns:
        `volumes_ml` by structure; `phase`; `indices` as in `CardiacIndices`, with None for what needs
        the other phase and `reason` for why; `warnings`, one sentence each, and those of them that are
        about the indices again as `index_warnings`.
    """
    stack, _ = slices_last(replace(image, array=mask))
    own_ml = structure_volumes_ml(stack.array, stack.spacing_mm)
    doubts = [*noted_warnings(image.path), *image_warnings(image)]
    warnings = [*doubts, *check_mask(stack.array, stack.spacing_mm), *check_ends(stack.array)]
    ed_ml = own_ml if phase is Phase.ED else partner_ml if phase is Phase.ES else None
    es_ml = own_ml if phase is Phase.ES else partner_ml if phase is Phase.ED else None
    indices = indices_from_volumes(ed_ml, es_ml)
    rounded = rounded_indices(indices)
    if phase is None:
        rounded["reason"] = "one volume of unknown phase, EF needs ED and ES"
    about_indices = check_indices(indices)
    return {
        "volumes_ml": {LABEL_NAMES[label]: round(value, 2) for label, value in own_ml.items()},
        "phase": phase.value if phase else None,
        "indices": rounded,
        "warnings": warnings + about_indices,
        "index_warnings": about_indices,
    }


def image_warnings(image: Volume) -> list[str]:
    """What is doubtful about an image itself: its header, and what it covers."""
    try:
        return [*image.warnings, *check_coverage(image)]
    except DataError as error:
        return [*image.warnings, str(error)]


def note_warnings(image: Path, warnings: Sequence[str]) -> None:
    """Keep what the reader of the source warned of, beside the NIfTI file that an image was converted to."""
    if warnings:
        write_json(_note_path(image), list(warnings))


def noted_warnings(image: Path | None) -> list[str]:
    """What was noted of an image, empty if nothing was."""
    if image is None or not _note_path(image).is_file():
        return []
    return [str(warning) for warning in read_json(_note_path(image))]


def _note_path(image: Path) -> Path:
    return image.with_name(f"{image.name}.warnings.json")


def rounded_indices(indices: CardiacIndices) -> dict[str, Any]:
    """Indices of a patient by name, to two decimals, ready for JSON."""
    return {
        name: round(value, 2) if isinstance(value, float) else value
        for name, value in asdict(indices).items()
    }
