"""How much the networks disagree on a volume, found while nobody waits for the server."""

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from monailabel.interfaces.tasks.strategy import Strategy

from pipelines.core.errors import DataError
from pipelines.core.files import write_json
from pipelines.core.volume import read_volume
from pipelines.interaction.active_learning import disagreement
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.images import WORK_FOLDER
from pipelines.server.predictors import ENSEMBLE, Predictors
from pipelines.server.tasks import half_done

logger = logging.getLogger(__name__)

SCORES_FILE: Final = "uncertainty.json"


class Uncertainty:
    """Disagreement of the networks on each volume without an accepted label.

    Scores are kept in the studies folder, for the version of the weights that they are of.

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
        self._version: str = known.get("version", "")
        self._scores: dict[str, float] = dict(known.get("scores", {}))

    def score(self, image_id: str) -> float | None:
        """Disagreement on an image, None if it is not known yet."""
        self._forget_outdated()
        return self._scores.get(image_id)

    def find(self, image_id: str) -> float:
        """Disagreement on an image, which is looked at now if it was not before.

        Raises:
            DataError: If the image is unknown or cannot be segmented.
            ConfigError: If weights are missing or do not fit.
            OutputError: If the score cannot be kept.
        """
        known = self.score(image_id)
        if known is not None:
            return known
        volume = read_volume(self._datastore.image(image_id).path)
        masks = [self._predictors.predict(name, volume).mask for name in self._predictors.networks]
        self._scores[image_id] = disagreement(masks)
        write_json(self._path, {"version": self._version, "scores": self._scores})
        return self._scores[image_id]

    def find_one(self) -> bool:
        """Find the disagreement on one more volume.

        Returns:
            Whether there was one to find.

        Raises:
            ConfigError: If weights are missing or do not fit.
            OutputError: If the score cannot be kept.
        """
        self._forget_outdated()
        done = self._failed | set(self._scores)
        image_id = next((name for name in self._datastore.get_unlabeled_images() if name not in done), None)
        if image_id is None:
            return False
        try:
            self.find(image_id)
        except DataError as error:
            logger.warning("no uncertainty of %s: %s", image_id, error)
            self._failed.add(image_id)
        return True

    def _forget_outdated(self) -> None:
        """Drop the scores of weights that are not served any more."""
        version = self._predictors.latest(ENSEMBLE)
        if version != self._version:
            self._version, self._scores = version, {}


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
