"""What every model answers: a label map in a file, and what was measured on it."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError
from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.core.volume import Volume, write_label
from pipelines.interaction.clicks import Mask
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.history import Automatic
from pipelines.server.measurements import measure
from pipelines.server.nrrd import write_nrrd

LABELS: Final = {LABEL_NAMES[label]: int(label) for label in FOREGROUND}
"""Names and voxel values that clients are told: rv 1, myo 2, lv 3."""

RESULT_SUFFIXES: Final = (".nrrd", ".nii.gz", ".nii")
"""Formats in which a client may ask for a label map."""


class Laps:
    """Seconds of each step of an answer."""

    def __init__(self) -> None:
        self._start = self._mark = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def end(self, step: str) -> None:
        """Note the time since the step before ended as that of this one."""
        now = time.perf_counter()
        self.seconds[step] = now - self._mark
        self._mark = now

    def add(self, seconds: Mapping[str, float]) -> None:
        """Note steps since the last one that were timed by who took them."""
        self.seconds |= seconds
        self._mark = time.perf_counter()

    def rounded(self) -> dict[str, float]:
        """Seconds by step and in `total`, to a tenth of a millisecond."""
        total = time.perf_counter() - self._start
        return {step: round(value, 4) for step, value in (self.seconds | {"total": total}).items()}


def answer(
    request: Mapping[str, Any],
    image: Volume,
    contour: Automatic,
    datastore: StudiesDatastore,
    laps: Laps,
    *,
    shown: Mask | None = None,
    names: Mapping[str, int] = LABELS,
) -> tuple[str, dict[str, Any]]:
    """Remember a contour, measure it and write it.

    Args:
        request: `image`, the path of an existing file, `caller`, the user's name, and `result_extension`.
        image: What is in that file.
        contour: Label map of all structures and where it comes from.
        datastore: Images and their other phases.
        laps: Seconds of the steps so far.
        shown: `(X, Y, Z)` label map to write, where it is not the whole contour.
        names: Names and values of what is written.

    Returns:
        A file in the format that is wanted, which the caller removes, and `label_names`, `model`,
        `version`, `latencies` in seconds, and what `measure` tells; of an image of the studies folder also
        `label_version`, the number of its newest label, and `contour`, a name for what was found.

    Raises:
        DataError: If another format is wanted than `RESULT_SUFFIXES`.
    """
    suffix: str = request.get("result_extension") or RESULT_SUFFIXES[0]
    if suffix not in RESULT_SUFFIXES:
        raise DataError(f"expected a result as {', '.join(RESULT_SUFFIXES)}, found another format")
    served, caller = datastore.image_at(Path(request["image"])), request.get("caller", "")
    known: dict[str, Any] = {}
    if served is not None:
        known["contour"] = datastore.remember(served.id, caller, contour)
        known["label_version"] = datastore.labels.number(served.id)
    partner_ml = datastore.volumes_ml(served.partner, caller) if served and served.partner else None
    told = measure(contour.mask, image, served.phase if served else None, partner_ml)
    laps.end("measure")
    written = contour.mask if shown is None else shown
    with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as stream:
        result = Path(stream.name)
    if suffix == ".nrrd":
        write_nrrd(result, written, image.affine)
    else:
        write_label(result, written, image.affine)
    laps.end("write")
    return str(result), {
        "label_names": dict(names),
        "model": contour.model,
        "version": contour.version,
        **known,
        **told,
        "latencies": laps.rounded(),
    }
