"""How much the networks disagree on a volume, found while nobody waits for the server."""

import itertools
import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from monailabel.interfaces.tasks.strategy import Strategy

from pipelines.datasets.nifti import read_volume
from pipelines.errors import DataError
from pipelines.evaluation.metrics import dice_coefficient
from pipelines.files import write_json
from pipelines.labelling.datastore import StudiesDatastore
from pipelines.labelling.images import WORK_FOLDER
from pipelines.labelling.predictors import Predictors
from pipelines.labelling.tasks import half_done
from pipelines.labels import FOREGROUND

logger = logging.getLogger(__name__)

SCORES_FILE: Final = "uncertainty.json"


def disagreement(masks: Sequence[npt.NDArray[np.uint8]]) -> float:
    """One minus the mean Dice of every two label maps over the structures, 0 to 1.

    Args:
        masks: At least two label maps `(X, Y, Z)` of one volume.

    Returns:
        0.0 if all agree; a structure that neither of two has counts as agreement.
    """
    scores = [
        dice_coefficient(one == label, other == label)
        for one, other in itertools.combinations(masks, 2)
        for label in FOREGROUND
    ]
    return 1.0 - statistics.fmean(1.0 if score is None else score for score in scores)


class Uncertainty:
    """Disagreement of the networks on each volume without an accepted label.

    Scores are kept in the studies folder, for the version of the bundle that they are of.

    Args:
        datastore: Images and labels.
        predictors: Networks, at least two.
    """

    def __init__(self, datastore: StudiesDatastore, predictors: Predictors) -> None:
        self._datastore = datastore
        self._predictors = predictors
        self._path = datastore.root / WORK_FOLDER / SCORES_FILE
        self._failed: set[str] = set()
        known = json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        self._scores: dict[str, float] = (
            dict(known["scores"]) if known.get("version") == predictors.version else {}
        )

    def score(self, image_id: str) -> float | None:
        """Disagreement on an image, None if it is not known yet."""
        return self._scores.get(image_id)

    def find_one(self) -> bool:
        """Find the disagreement on one more volume.

        Returns:
            Whether there was one to find.

        Raises:
            ConfigError: If weights are missing or do not fit.
            OutputError: If the score cannot be kept.
        """
        done = self._failed | set(self._scores)
        image_id = next((name for name in self._datastore.get_unlabeled_images() if name not in done), None)
        if image_id is None:
            return False
        try:
            volume = read_volume(self._datastore.image(image_id).path)
            masks = [self._predictors.predict(name, volume).mask for name in self._predictors.networks]
        except DataError as error:
            logger.warning("no uncertainty of %s: %s", image_id, error)
            self._failed.add(image_id)
            return True
        self._scores[image_id] = disagreement(masks)
        write_json(self._path, {"version": self._predictors.version, "scores": self._scores})
        return True


class MostUncertain(Strategy):
    """The volume on which the networks disagree most, after patients that were begun."""

    def __init__(self, uncertainty: Uncertainty) -> None:
        super().__init__("Volume on which the networks disagree most")
        self._uncertainty = uncertainty

    def __call__(self, request: Mapping[str, Any], datastore: StudiesDatastore) -> dict[str, Any] | None:
        """`{"id": ..., "uncertainty": ...}`, or None if every volume has a label.

        Volumes whose score is not known yet come last, in the order of the folder.
        """
        candidates = half_done(datastore) or datastore.get_unlabeled_images()
        if not candidates:
            return None
        scores = {name: self._uncertainty.score(name) for name in candidates}
        chosen = max(candidates, key=lambda name: -1.0 if scores[name] is None else scores[name] or 0.0)
        return {"id": chosen, "uncertainty": scores[chosen]}
