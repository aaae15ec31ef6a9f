"""Automatic segmentation and the choice of the next case, as MONAI Label's tasks."""

import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.strategy import Strategy

from pipelines.datasets.nifti import read_volume, write_label
from pipelines.errors import DataError
from pipelines.labelling.datastore import StudiesDatastore
from pipelines.labelling.history import Automatic
from pipelines.labelling.label_file import write_nrrd
from pipelines.labelling.measurements import measure
from pipelines.labelling.predictors import Predictors
from pipelines.labels import FOREGROUND, LABEL_NAMES

LABELS: Final = {LABEL_NAMES[label]: int(label) for label in FOREGROUND}
"""Names and voxel values that clients are told: rv 1, myo 2, lv 3."""

RESULT_SUFFIXES: Final = (".nrrd", ".nii.gz", ".nii")
"""Formats in which a client may ask for a label map."""


class AutomaticSegmentation(InferTask):
    """Segments a volume with one network or the mean of all.

    Args:
        name: A name that `predictors` knows.
        predictors: Networks.
        datastore: Images and their other phases.
    """

    def __init__(self, name: str, predictors: Predictors, datastore: StudiesDatastore) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=dict(LABELS),
            dimension=3,
            description=f"RV, myocardium and LV of a short-axis stack: {name}",
        )
        self.name = name
        self._predictors = predictors
        self._datastore = datastore

    def is_valid(self) -> bool:
        """Whether the weights are there."""
        return self._predictors.has_weights(self.name)

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Label map of `request["image"]`, an existing NIfTI file, and what was measured.

        Returns:
            A file in the format of `request["result_extension"]`, which the caller removes, and
            `label_names`, `model`, `version`, `latencies` in seconds, and what `measure` tells.

        Raises:
            DataError: If the image is not one 3-D volume, or another format is asked for.
            ConfigError: If weights are missing or do not fit.
        """
        start = time.perf_counter()
        suffix = request.get("result_extension") or ".nrrd"
        if suffix not in RESULT_SUFFIXES:
            raise DataError(f"expected a result as {', '.join(RESULT_SUFFIXES)}, found another format")
        path = Path(request["image"])
        image = read_volume(path)
        seconds = {"read": time.perf_counter() - start}
        prediction = self._predictors.predict(self.name, image)
        seconds |= prediction.seconds
        mark = time.perf_counter()
        served = next((one for one in self._datastore.images.all() if one.path == path), None)
        version = self._predictors.version_of(self.name)
        if served is not None:
            self._datastore.remember(served.id, Automatic(prediction.mask, self.name, version))
        partner_ml = (
            self._datastore.volumes_ml(served.partner) if served is not None and served.partner else None
        )
        told = measure(prediction.mask, image, served.phase if served else None, partner_ml)
        seconds["measure"] = time.perf_counter() - mark
        mark = time.perf_counter()
        with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as stream:
            result = Path(stream.name)
        if suffix == ".nrrd":
            write_nrrd(result, prediction.mask, image.affine)
        else:
            write_label(result, prediction.mask, image.affine)
        seconds["write"] = time.perf_counter() - mark
        seconds["total"] = time.perf_counter() - start
        return str(result), {
            "label_names": dict(LABELS),
            "model": self.name,
            "version": version,
            **told,
            "latencies": {name: round(value, 4) for name, value in seconds.items()},
        }


class FirstUnlabelled(Strategy):
    """The first volume without an accepted label, patient by patient, ED before ES."""

    def __init__(self) -> None:
        super().__init__("First volume without a label")

    def __call__(self, request: Mapping[str, Any], datastore: StudiesDatastore) -> dict[str, Any] | None:
        """`{"id": ...}`, or None if every volume has a label."""
        names = half_done(datastore) or datastore.get_unlabeled_images()
        return {"id": names[0]} if names else None


class RandomPatient(Strategy):
    """A random patient, after the other phase of every patient that was begun."""

    def __init__(self) -> None:
        super().__init__("Random patient, both phases one after the other")

    def __call__(self, request: Mapping[str, Any], datastore: StudiesDatastore) -> dict[str, Any] | None:
        """`{"id": ...}`, or None if every volume has a label."""
        begun = half_done(datastore)
        open_ids = begun or datastore.get_unlabeled_images()
        if not open_ids:
            return None
        chosen = datastore.image(open_ids[0] if begun else random.choice(open_ids))
        pair = [name for name in open_ids if name in (chosen.id, chosen.partner)]
        return {"id": pair[0]}


def half_done(datastore: StudiesDatastore) -> list[str]:
    """Volumes without a label whose other phase has one."""
    return [
        name
        for name in datastore.get_unlabeled_images()
        if (partner := datastore.image(name).partner) and datastore.labels.has(partner)
    ]
