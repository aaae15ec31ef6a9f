"""Scores of all images: Dice against accepted labels, and how much the networks disagree."""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from pipelines.core.errors import DataError, ThoraxError
from pipelines.core.files import read_json, write_json
from pipelines.core.volume import read_volume
from pipelines.evaluation.segmentation import structure_dice
from pipelines.interaction.active_learning import disagreement
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.images import WORK_FOLDER
from pipelines.server.measurements import measure
from pipelines.server.predictors import Predictors
from pipelines.server.tasks import half_done
from pipelines.server.work_queue import job_time

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
        known = read_json(self._path) if self._path.is_file() else {}
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
        version = self._predictors.latest(*self._predictors.networks)
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


class ImageScore(ScoringMethod):
    """A score of each image by itself, noted in its information under `scores`."""

    name: str
    images: Callable[[StudiesDatastore], list[str]] = staticmethod(StudiesDatastore.list_images)
    """Ids of the images that have this score."""

    def score(self, image_id: str, datastore: StudiesDatastore) -> dict[str, Any]:
        """The score of an image, ready for JSON."""
        raise NotImplementedError

    def __call__(self, request: Mapping[str, Any], datastore: StudiesDatastore) -> dict[str, Any]:
        """Score all images one after the other.

        Args:
            request: `stop`: an event that ends it early, if it is there.
            datastore: Images and labels.

        Returns:
            `scored` and `failed`: numbers of images.
        """
        scored = failed = 0
        for image_id in self.images(datastore):
            if "stop" in request and request["stop"].is_set():
                break
            try:
                found = self.score(image_id, datastore)
            except ThoraxError as error:
                logger.warning("no %s score of %s: %s", self.name, image_id, error)
                failed += 1
                continue
            known = datastore.get_image_info(image_id).get("scores", {})
            datastore.update_image_info(image_id, {"scores": {**known, self.name: found}})
            scored += 1
        return {"scored": scored, "failed": failed}


class DiceScore(ImageScore):
    """Dice of the automatic contour of now against the accepted label."""

    name = "dice"
    images = staticmethod(StudiesDatastore.get_labeled_images)

    def __init__(self, predictors: Predictors) -> None:
        super().__init__("Dice of the automatic contour against the accepted label, by structure")
        self._predictors = predictors

    def score(self, image_id: str, datastore: StudiesDatastore) -> dict[str, Any]:
        """`rv`, `myo`, `lv` and `mean`, None where neither has the structure; `model` and `version`."""
        network = self._predictors.networks[0]
        mask = self._predictors.predict(network, read_volume(datastore.image(image_id).path)).mask
        label = datastore.labels.read(image_id)
        if label is None:
            raise DataError(f"expected an accepted label of {image_id}, found none any more")
        about = {"model": network, "version": self._predictors.version_of(network)}
        return structure_dice(mask, label.array) | about


class UncertaintyScore(ImageScore):
    """How much the networks disagree."""

    name = "uncertainty"
    images = staticmethod(StudiesDatastore.get_unlabeled_images)

    def __init__(self, uncertainty: Uncertainty) -> None:
        super().__init__("Disagreement of the networks, 0 to 1, of images without an accepted label")
        self._uncertainty = uncertainty

    def score(self, image_id: str, datastore: StudiesDatastore) -> dict[str, Any]:
        """`disagreement`."""
        return {"disagreement": round(self._uncertainty.find(image_id), 4)}


class PlausibilityScore(ImageScore):
    """What in a contour a heart cannot have."""

    name = "plausibility"

    def __init__(self, predictors: Predictors) -> None:
        super().__init__("Warnings about the accepted label, or the automatic contour where there is none")
        self._predictors = predictors

    def score(self, image_id: str, datastore: StudiesDatastore) -> dict[str, Any]:
        """`of`: `label` or the network; `warnings`: a sentence each; `count` of them."""
        image = read_volume(datastore.image(image_id).path)
        label = datastore.labels.read(image_id)
        network = self._predictors.networks[0]
        mask = label.array if label else self._predictors.predict(network, image).mask
        warnings = measure(mask, image, datastore.image(image_id).phase)["warnings"]
        return {"of": "label" if label else network, "warnings": warnings, "count": len(warnings)}


class Scorings:
    """Runs scoring methods one at a time beside the server's requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._task: dict[str, Any] | None = None

    @property
    def is_running(self) -> bool:
        """Whether one runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, name: str, method: ScoringMethod, datastore: StudiesDatastore) -> dict[str, Any] | None:
        """Begin to score all images; None if a scoring runs already."""
        with self._lock:
            if self.is_running:
                return None
            self._stop = threading.Event()
            task: dict[str, Any] = {
                "id": str(uuid.uuid4()),
                "status": "RUNNING",
                "method": name,
                "start_ts": job_time(),
                "details": [f"scoring by {name}"],
            }
            self._task = task

            def run(stop: threading.Event) -> None:
                try:
                    found = method({"stop": stop}, datastore)
                except Exception as error:
                    logger.exception("scoring by %s failed", name)
                    outcome = {"status": "ERROR", "details": [f"{type(error).__name__}; the log says more"]}
                else:
                    words = f"{found['scored']} images scored, {found['failed']} failed"
                    outcome = {"status": "STOPPED" if stop.is_set() else "DONE", "details": [words]}
                task.update({**outcome, "end_ts": job_time()})

            self._thread = threading.Thread(target=run, args=(self._stop,), name="scoring", daemon=True)
            self._thread.start()
        return self.status()

    def status(self) -> dict[str, Any] | None:
        """The latest scoring in MONAI Label's words, None if there was none."""
        return dict(self._task) if self._task is not None else None

    def stop(self) -> None:
        """End the scoring after the image in hand."""
        with self._lock:
            self._stop.set()
            if self._thread is not None:
                self._thread.join(timeout=60)
