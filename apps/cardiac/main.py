"""MONAI Label app for the heart: lists the networks of the ACDC bundle and plugs them in."""

from pathlib import Path
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask

import pipelines
from pipelines.core.records import LABEL_NAMES, AcdcLabel
from pipelines.models.bundle import NETWORKS
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.learning import FineTuning, Trainings
from pipelines.server.predictors import PublishedWeights, WorkerPredictors
from pipelines.server.scoring import (
    DiceScore,
    MostUncertain,
    PlausibilityScore,
    Scorings,
    Uncertainty,
    UncertaintyScore,
)
from pipelines.server.tasks import (
    CORRECTIONS,
    LABELS,
    AutomaticSegmentation,
    CorrectByClicks,
    FirstUnlabelled,
    RandomPatient,
    RefineByScribbles,
)


class CardiacApp(MONAILabelApp):
    """Short-axis segmentation with the networks of the ACDC bundle.

    Args:
        app_dir: This folder.
        studies: Folder with the studies.
        conf: `device`: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        device = conf.get("device", "auto")
        published = PublishedWeights(Path(studies).resolve())
        self.predictors = WorkerPredictors(NETWORKS, device=device, published=published)
        self.trainings = Trainings(Path(studies).resolve(), NETWORKS, device=device)
        self.scorings = Scorings()
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="Thorax: short-axis cine MRI",
            description="RV, myocardium and LV of short-axis stacks, with volumes and ejection fraction",
            version=pipelines.__version__,
            # The module makes a segment of each and sends its clicks; background is where no structure is.
            labels=[*LABELS, LABEL_NAMES[AcdcLabel.BACKGROUND]],
        )

    def init_datastore(self) -> StudiesDatastore:
        """The studies folder."""
        return StudiesDatastore(Path(self.studies).resolve(), self.predictors.find_phases)

    def init_infers(self) -> dict[str, InferTask]:
        """Each network, and what corrects contours."""
        tasks = [AutomaticSegmentation(name, self.predictors, self._datastore) for name in NETWORKS]
        tasks += [CorrectByClicks(name, self.predictors, self._datastore) for name in CORRECTIONS]
        tasks.append(RefineByScribbles(self._datastore, self.predictors.version))
        return {task.name: task for task in tasks}

    def init_strategies(self) -> dict[str, Any]:
        """Ways to choose the next case; the first is the default."""
        self.uncertainty = Uncertainty(self._datastore, self.predictors)
        return {
            "first": FirstUnlabelled(),
            "random": RandomPatient(),
            "uncertainty": MostUncertain(self.uncertainty),
        }

    def init_trainers(self) -> dict[str, FineTuning]:
        """Each network can be trained on the accepted labels."""
        return {name: FineTuning(name, self.trainings) for name in NETWORKS}

    def init_scoring_methods(self) -> dict[str, Any]:
        """What can be told of all images."""
        return {
            "dice": DiceScore(self.predictors),
            "uncertainty": UncertaintyScore(self.uncertainty),
            "plausibility": PlausibilityScore(self.predictors),
        }

    def info(self) -> dict[str, Any]:
        """What clients show; the statistics of the latest training come first."""
        found: dict[str, Any] = super().info()
        found["train_stats"] = self.trainings.latest_first(found["train_stats"])
        return found
