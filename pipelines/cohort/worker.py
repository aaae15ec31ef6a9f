"""What one process does for a cohort: loads the model once, then measures parts of it."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pipelines
from pipelines.cohort.listing import CohortStudy
from pipelines.cohort.measure import measure_study
from pipelines.cohort.model import ModelSource
from pipelines.cohort.results import write_part
from pipelines.core.errors import ConfigError, ThoraxError
from pipelines.core.files import write_text
from pipelines.core.manifest import package_versions
from pipelines.inference.segment import MaskPredictor

MASKS_NAME: Final = "masks"
BEGUN_NAME: Final = "begun"
"""Folder with a file for each study that was begun and is in no part yet: how often."""

MOST_ATTEMPTS: Final = 3
"""A study whose worker died so often is put aside: it may be what kills the worker."""


@dataclass(frozen=True, slots=True)
class Task:
    """Some studies that are measured in one go and written as one part.

    Attributes:
        part: Name of the part.
        studies: Studies of it.
    """

    part: str
    studies: tuple[CohortStudy, ...]

    def as_row(self) -> dict[str, Any]:
        """The task as a row of a Ray dataset."""
        return {"part": self.part, "studies": json.dumps([study.as_json() for study in self.studies])}

    @classmethod
    def from_row(cls, part: str, studies: str) -> "Task":
        """The task that `as_row` made."""
        return cls(part, tuple(CohortStudy.from_json(text) for text in json.loads(studies)))


class CohortWorker:
    """Measures the studies of tasks with a model that is loaded once.

    Args:
        model: Where the model comes from.
        output: Folder of the cohort, which all machines see.
        threads: CPU threads of the network.
        record: What each row says of the model, as from `model.record()`.
    """

    def __init__(self, model: ModelSource, output: str, threads: int, record: Mapping[str, str]) -> None:
        import torch

        torch.set_num_threads(threads)
        self.output = Path(output)
        self.fault = ""
        self._predictor: MaskPredictor | None = None
        self._constants = dict(record) | {
            "node": platform.node(),
            "thorax": pipelines.__version__,
            "packages": json.dumps(package_versions()),
        }
        try:
            self._predictor = model.load()
        except ThoraxError as error:  # as an answer: Ray would only start other workers that fail, too
            self.fault = str(error)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Do the tasks of a batch, as Ray Data's `map_batches` asks for it.

        Args:
            batch: Columns of `Task.as_row`.

        Returns:
            Columns `studies` and `failed`, their numbers, and `fault`: what stops the whole cohort, or `""`.
        """
        answers: dict[str, list[Any]] = {"studies": [], "failed": [], "fault": []}
        for part, studies in zip(batch["part"], batch["studies"], strict=True):
            failed, task = 0, Task.from_row(str(part), str(studies))
            try:
                failed = self.measure(task)
            except ThoraxError as error:
                self.fault = str(error)
            except Exception as error:  # as an answer, since Ray Data is told to pass over lost tasks
                self.fault = f"unexpected {type(error).__name__}: {error}"
            for name, value in (("studies", len(task.studies)), ("failed", failed), ("fault", self.fault)):
                answers[name].append(value)
        return answers

    def measure(self, task: Task) -> int:
        """Measure the studies of a task and write its part; the number of studies that failed.

        Raises:
            ConfigError: If the model could not be loaded, or does not fit.
            OutputError: If a result cannot be written.
        """
        if self._predictor is None:
            raise ConfigError(self.fault)
        rows = [self._row(study, self._predictor) for study in task.studies]
        write_part(self.output, task.part, rows)
        for study in task.studies:
            self._begun(study).unlink(missing_ok=True)
        return sum(bool(row.get("error")) for row in rows)

    def _row(self, study: CohortStudy, predictor: MaskPredictor) -> dict[str, Any]:
        attempts = self._begin(study)
        if attempts > MOST_ATTEMPTS:
            measured: dict[str, Any] = {
                "study": study.name,
                "patient": study.patient,
                "paths": list(study.paths),
                "error": f"expected a result, found that its worker died {MOST_ATTEMPTS} times; "
                "see whether its memory is enough, then use --retry-failed",
                "error_type": "WorkerDied",
            }
        else:
            measured = measure_study(study, predictor, self.output / MASKS_NAME)
        stamp = datetime.now(UTC).isoformat(timespec="microseconds")
        return measured | self._constants | {"attempts": min(attempts, MOST_ATTEMPTS), "finished": stamp}

    def _begin(self, study: CohortStudy) -> int:
        """Note that the study is begun; how often that was."""
        path = self._begun(study)
        attempts = attempts_of(path) + 1
        write_text(path, str(attempts))
        return attempts

    def _begun(self, study: CohortStudy) -> Path:
        return self.output / BEGUN_NAME / study.name


def attempts_of(path: Path) -> int:
    """How often a study was begun, from its file; 0 if there is none."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
