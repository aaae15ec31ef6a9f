"""Automatic segmentation and the choice of the next case, as MONAI Label's tasks."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.strategy import Strategy

from pipelines.core.volume import read_volume
from pipelines.server.answers import LABELS, Laps, answer
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.history import Automatic
from pipelines.server.predictors import Predictors


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
            What `answer` gives.

        Raises:
            DataError: If the image is not one 3-D volume, or another format is asked for.
            ConfigError: If weights are missing or do not fit.
        """
        laps = Laps()
        path = Path(request["image"])
        image = read_volume(path)
        laps.end("read")
        prediction = self._predictors.predict(self.name, image)
        laps.add(prediction.seconds)
        base = self._datastore.label_number(path)
        self._datastore.drafts.begin(path, request.get("caller", ""), prediction.mask, base=base)
        contour = Automatic(prediction.mask, self.name, self._predictors.version_of(self.name))
        return answer(request, image, contour, self._datastore, laps)


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
