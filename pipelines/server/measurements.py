"""What a client is told beside a label map: volumes, ejection fraction, warnings."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.indices import CardiacIndices, indices_from_volumes, structure_volumes_ml
from pipelines.core.labels import LABEL_NAMES, AcdcLabel
from pipelines.core.plausibility import check_indices, check_mask
from pipelines.core.records import Phase
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.coverage import check_coverage


def measure(
    mask: npt.NDArray[np.uint8],
    image: Volume,
    phase: Phase | None = None,
    partner_ml: Mapping[AcdcLabel, float] | None = None,
) -> dict[str, Any]:
    """Volumes in mL, indices of the patient and warnings, ready for JSON.

    Args:
        mask: `(X, Y, Z)` label map on the image's grid, slices along any axis.
        image: Image `(X, Y, Z)`.
        phase: Moment of the cardiac cycle, or None where it is unknown.
        partner_ml: Volumes of the other phase in mL, or None where they are not known.

    Returns:
        `volumes_ml` by structure; `phase`; `indices` as in `CardiacIndices`, with None for what needs
        the other phase and `reason` for why; `warnings`, one sentence each, and those of them that are
        about the indices again as `index_warnings`.
    """
    stack, _ = slices_last(replace(image, array=mask))
    own_ml = structure_volumes_ml(stack.array, stack.spacing_mm)
    warnings = [*image_warnings(image), *check_mask(stack.array, stack.spacing_mm)]
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


def rounded_indices(indices: CardiacIndices) -> dict[str, Any]:
    """Indices of a patient by name, to two decimals, ready for JSON."""
    return {
        name: round(value, 2) if isinstance(value, float) else value
        for name, value in asdict(indices).items()
    }
