"""What one process does for a cohort: loads the model once, then measures study by study."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from zlib import crc32

import pipelines
from pipelines.cohort.listing import CohortStudy
from pipelines.cohort.results import read_results, write_part
from pipelines.core.errors import ConfigError, DataError, OutputError, ThoraxError
from pipelines.core.files import write_text
from pipelines.core.manifest import package_versions
from pipelines.core.records import Problem
from pipelines.core.volume import Volume
from pipelines.inference.inputs import Study, StudyImage, find_studies
from pipelines.inference.segment import MaskPrediction, MaskPredictor, Tools, segment_study
from pipelines.inference.study_result import StudyResult
from pipelines.models.bundle import NETWORKS, load_config

if TYPE_CHECKING:
    from pipelines.models.engines import Engine


class ModelSource(Protocol):
    """Anything that another process can make a predictor of; it is pickled."""

    def load(self) -> MaskPredictor:
        """The predictor, loaded here."""

    def record(self) -> Mapping[str, str]:
        """What the results say of it: `networks`, `weights_sha256` and `settings`."""


@dataclass(frozen=True, slots=True)
class BundleModel:
    """Networks of the ACDC bundle.

    Attributes:
        networks: Their names; the probabilities of several are averaged.
        weights: File that each worker can read instead of the bundle's own; only with one network.
        tta: Average over in-plane flips.
        device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
        precision: `"auto"`, `"bf16"` or `"fp32"`.
        engine: What runs the networks; all but PyTorch are for CPUs.
    """

    networks: tuple[str, ...] = NETWORKS[:1]
    weights: Path | None = None
    tta: bool = False
    device: str = "auto"
    precision: str = "auto"
    engine: "Engine" = "pytorch"

    def load(self) -> MaskPredictor:
        """The predictor.

        Raises:
            ConfigError: If a network is unknown, weights are missing or do not fit, or the engine cannot
                run them.
        """
        from pipelines.models.heart import Predictor

        return Predictor.load(
            self.networks,
            weights=self.weights,
            tta=self.tta,
            device=self.device,
            precision=self.precision,
            engine=self.engine,
        )

    def record(self) -> dict[str, str]:
        """Names, checksums of the weight files in that order, and what else changes a mask.

        Raises:
            ConfigError: If weights are missing.
        """
        files = [
            self.weights or Path(load_config(network).get_parsed_content("weights"))
            for network in self.networks
        ]
        return {
            "networks": " ".join(self.networks),
            "weights_sha256": " ".join(_sha256(path) for path in files),
            "settings": json.dumps({"tta": self.tta, "precision": self.precision, "engine": self.engine}),
        }


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"expected weights at {path}, found {error.strerror}; train or fetch them"
        ) from error


def measure_study(study: CohortStudy, predictor: MaskPredictor, masks: Path) -> dict[str, Any]:
    """Segment a study and write its masks; a row of the results, also if the study is bad.

    Args:
        study: Where it lies.
        predictor: Segments one volume.
        masks: Folder of the masks. They go into one of 256 folders in it, since file systems
            that machines share are slow with many files in one.

    Returns:
        Columns of `pipelines.cohort.results.SCHEMA` that depend on the study. Of a study that
        failed, `error` has the reason and nothing was measured.

    Raises:
        ConfigError: If the model does not fit, which is no study's fault.
        OutputError: If a mask cannot be written.
    """
    spent = _Spent()
    start = time.perf_counter()
    row: dict[str, Any] = {"study": study.name, "patient": study.patient, "paths": list(study.paths)}
    try:
        opened, problems = _open(study, spent)
        folder = masks / shard(study.name)
        folder.mkdir(parents=True, exist_ok=True)
        result, faults = segment_study(opened, folder, Tools(_Timed(predictor, spent), pictures=False))
    except (ConfigError, OutputError):
        raise
    except DataError as error:
        row |= {"error": str(error), "error_type": "DataError"}
    except Exception as error:  # one study that nobody foresaw must not cost the whole cohort
        row |= {"error": f"unexpected {type(error).__name__}: {error}", "error_type": type(error).__name__}
    else:
        row |= _measured(result, [*problems, *faults], masks.parent)
    return row | {
        "seconds": time.perf_counter() - start,
        "read_s": spent.read_s,
        "predict_s": spent.predict_s,
        "bytes_read": sum(_size(Path(path)) for path in study.paths),
        "bytes_decoded": spent.decoded,
    }


def finished_study(folder: Path, name: str) -> tuple[Study, list[Path], list[str]]:
    """A study of a cohort by its name: its images, its label maps, and the networks that made them.

    Args:
        folder: Folder of the cohort.
        name: Value of the column `study`.

    Raises:
        DataError: If the cohort has no such study, it failed, or its images are gone.
    """
    rows = read_results(folder, [name]).to_pylist()
    if not rows:
        raise DataError(f"expected a study of {folder}, found none of the name {name!r}; see results.parquet")
    (row,) = rows
    if row["error"]:
        raise DataError(f"expected a study that was measured, found that {name} failed: {row['error']}")
    study, _ = _open(CohortStudy(name, row["patient"], tuple(row["paths"])), _Spent())
    return study, [folder / path for path in row["masks"]], row["networks"].split()


def shard(name: str) -> str:
    """Folder of a study's masks, two hexadecimal digits that its name decides."""
    return f"{crc32(name.encode()) & 0xFF:02x}"


@dataclass(slots=True)
class _Spent:
    """Time and memory of one study.

    Attributes:
        read_s: Seconds of reading and decoding.
        predict_s: Seconds of the predictor.
        decoded: Bytes of the voxels in memory.
    """

    read_s: float = 0.0
    predict_s: float = 0.0
    decoded: int = 0


class _Timed:
    """A predictor whose time is counted."""

    def __init__(self, predictor: MaskPredictor, spent: _Spent) -> None:
        self.predictor, self.spent = predictor, spent

    def predict(self, volume: Volume, /) -> MaskPrediction:
        start = time.perf_counter()
        try:
            return self.predictor.predict(volume)
        finally:
            self.spent.predict_s += time.perf_counter() - start


def _open(study: CohortStudy, spent: _Spent) -> tuple[Study, list[Problem]]:
    """The study with the names of the cohort, whose images count their reading; and files skipped."""
    start = time.perf_counter()
    found, problems = find_studies([Path(path) for path in study.paths])
    spent.read_s += time.perf_counter() - start
    if len(found) != 1:
        names = ", ".join(one.name for one in found[:5])
        raise DataError(
            f"expected one study at {'; '.join(study.paths[:3])}, found {len(found)} ({names}); "
            "give each a row of its own"
        )
    images = tuple(
        replace(
            image,
            name=study.name if image.phase is None else f"{study.name}_{image.phase}",
            load=_counting(image, spent),
        )
        for image in found[0].images
    )
    return replace(found[0], name=study.name, patient=study.patient, images=images), problems


def _counting(image: StudyImage, spent: _Spent) -> Callable[[], tuple[Volume, list[str]]]:
    def load() -> tuple[Volume, list[str]]:
        start = time.perf_counter()
        volume, warnings = image.load()
        spent.read_s += time.perf_counter() - start
        spent.decoded += volume.array.nbytes
        return volume, warnings

    return load


def _measured(result: StudyResult, problems: list[Problem], output: Path) -> dict[str, Any]:
    return result.as_row() | {
        "masks": [path.relative_to(output).as_posix() for path in result.files],
        "bytes_written": sum(path.stat().st_size for path in result.files),
        "warnings": result.warnings,
        "plausible": not result.warnings,
        "problems": [f"{problem.path}: {problem.reason}" for problem in problems],
    }


def _size(path: Path) -> int:
    """Bytes of a file or of all files below a folder, 0 if there is none."""
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return path.stat().st_size
    except OSError:
        return 0


MASKS_NAME: Final = "masks"
BEGUN_NAME: Final = "begun"
"""Folder with a file for each study that was begun and is in no part yet: how often."""

MAX_ATTEMPTS: Final = 3
"""A study whose worker died so often is skipped: it may be what kills the worker."""


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
        if attempts > MAX_ATTEMPTS:
            measured: dict[str, Any] = {
                "study": study.name,
                "patient": study.patient,
                "paths": list(study.paths),
                "error": f"expected a result, found that its worker died {MAX_ATTEMPTS} times; "
                "see whether its memory is enough, then use --retry-failed",
                "error_type": "WorkerDied",
            }
        else:
            measured = measure_study(study, predictor, self.output / MASKS_NAME)
        stamp = datetime.now(UTC).isoformat(timespec="microseconds")
        return measured | self._constants | {"attempts": min(attempts, MAX_ATTEMPTS), "finished": stamp}

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
