"""Listing of a cohort's studies, the worker that measures one, and the parts of its results."""

import json
import platform
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from zlib import crc32

import pandas as pd

import pipelines
from pipelines.core.errors import ConfigError, DataError, OutputError, ThoraxError, expecting
from pipelines.core.files import atomic_path, file_sha256, package_versions, write_text
from pipelines.core.install import import_extra
from pipelines.core.records import Problem
from pipelines.core.volume import Volume
from pipelines.inference.inputs import (
    MAX_NAME,
    Study,
    StudyImage,
    StudyKind,
    find_studies,
    unique_name,
)
from pipelines.inference.segment import MaskPrediction, MaskPredictor, StudyResult, Tools, segment_study
from pipelines.models.bundle import NETWORKS, load_config

if TYPE_CHECKING:
    from pipelines.models.engines import Engine

MANIFEST_SUFFIXES: Final = (".csv", ".parquet")

PATH_COLUMNS: Final = ("paths", "path")
"""Columns that may hold the files of a study; the first that is there counts."""

SEPARATOR: Final = ";"
"""Between several paths in one cell."""


@dataclass(frozen=True, slots=True)
class CohortStudy:
    """Where a study lies; nothing of it has been read.

    Attributes:
        name: Unique in the cohort, safe for file names.
        patient: Identifier as the source gives it.
        paths: NIfTI or DICOM files, or folders of them.
    """

    name: str
    patient: str
    paths: tuple[str, ...]


def list_studies(source: Path) -> tuple[list[CohortStudy], list[Problem]]:
    """Studies of a manifest, or those below a folder.

    A manifest is a table with a row a study and the column `paths` (or `path`): files or a
    folder, several with `;` between them or, in Parquet, as a list. They may be relative to the
    manifest's folder. `study` and `patient` name it; without them it is called after its first
    path. Nothing in a manifest is opened here, so that a missing file is that study's failure.

    Args:
        source: Existing CSV or Parquet file, or a folder or file as for `thorax segment`.

    Returns:
        Studies with unique names, and files below a folder that cannot be used or are passed over.

    Raises:
        DataError: If there is no such source, it names no study, or a name or path is missing or doubled.
    """
    if source.suffix.lower() in MANIFEST_SUFFIXES and source.is_file():
        return _listed(source), []
    found = find_studies([source])
    names: set[str] = set()
    owners = _owners(found.studies)
    studies = [
        CohortStudy(
            unique_name(study.patient if study.kind is StudyKind.PHASES else study.name, names),
            study.patient,
            tuple(str(path) for path in _shortest(study, owners)),
        )
        for study in found.studies
    ]
    return studies, [*found.problems, *found.passed_over]


def _owners(studies: Sequence[Study]) -> dict[Path, set[str]]:
    """Names of the studies with a file below each folder."""
    owners: dict[Path, set[str]] = {}
    for study in studies:
        for folder in {path.resolve().parent for image in study.images for path in image.files}:
            for place in (folder, *folder.parents):
                owners.setdefault(place, set()).add(study.name)
    return owners


def _shortest(study: Study, owners: Mapping[Path, set[str]]) -> list[Path]:
    """The files of a study, or the folder of a DICOM series that has no other: a series has hundreds."""
    folder = study.images[0].path.resolve()
    if study.kind is StudyKind.DICOM and owners.get(folder) == {study.name}:
        return [folder]
    return [path.resolve() for image in study.images for path in image.files]


def _listed(manifest: Path) -> list[CohortStudy]:
    table = _read_table(manifest)
    column = next((name for name in PATH_COLUMNS if name in table.columns), None)
    if column is None:
        raise DataError(f"expected a column 'paths' in {manifest}, found {', '.join(table.columns)}")
    folder = manifest.resolve().parent
    names: set[str] = set()
    given: set[str] = set()
    studies = []
    for number, row in enumerate(table.to_dict("records"), start=1):
        paths = tuple(str(folder / path) for path in _paths(row[column]))
        if not paths:
            raise DataError(f"expected files in column '{column}' of {manifest}, found none in row {number}")
        wanted = _text(row.get("study"))
        if wanted in given:
            raise DataError(f"expected each study once in {manifest}, found {wanted} again in row {number}")
        if wanted:
            given.add(wanted)
        stem = Path(paths[0]).name.removesuffix(".gz").removesuffix(".nii").removesuffix(".dcm")
        name = unique_name(wanted or stem, names)
        if wanted and name != wanted:
            raise DataError(
                f"expected study names of at most {MAX_NAME} letters, digits, dots and dashes that differ "
                f"not only in case in {manifest}, found {wanted!r} in row {number}; rename it"
            )
        studies.append(CohortStudy(name, _text(row.get("patient")) or name, paths))
    if not studies:
        raise DataError(f"expected a row for each study in {manifest}, found none")
    return studies


def _read_table(manifest: Path) -> pd.DataFrame:
    with expecting(f"a table of studies in {manifest}"):  # pandas and pyarrow raise kinds of ValueError
        if manifest.suffix.lower() == ".parquet":
            return pd.read_parquet(manifest)
        with manifest.open(encoding="utf-8-sig") as stream:
            start = stream.readline()
        # Spreadsheets in many countries write semicolons; a comma in the first line has precedence.
        separator = ";" if ";" in start and "," not in start else ","
        return pd.read_csv(manifest, dtype=str, keep_default_na=False, sep=separator, encoding="utf-8-sig")


def _paths(cell: Any) -> list[str]:
    if isinstance(cell, str):
        return [part.strip() for part in cell.split(SEPARATOR) if part.strip()]
    return [str(part) for part in cell] if isinstance(cell, Iterable) else []


def _text(cell: Any) -> str:
    return "" if cell is None or cell != cell else str(cell)  # NaN is not itself


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
        device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
        precision: `"auto"`, `"bf16"` or `"fp32"`.
        engine: What runs the networks; all but PyTorch are for CPUs.
    """

    networks: tuple[str, ...] = NETWORKS[:1]
    weights: Path | None = None
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

        settings = {name: value for name, value in asdict(self).items() if name != "networks"}
        return Predictor.load(self.networks, **settings)

    def record(self) -> dict[str, str]:
        """Names, checksums of the weight files in that order, and what else changes a mask.

        Raises:
            ConfigError: If weights are missing.
        """
        files = [
            self.weights or Path(load_config(network).get_parsed_content("weights"))
            for network in self.networks
        ]
        try:
            sums = " ".join(file_sha256(path) for path in files)
        except OSError as error:
            raise ConfigError(
                f"expected weights at {error.filename}, found {error.strerror}; train or fetch them"
            ) from error
        return {
            "networks": " ".join(self.networks),
            "weights_sha256": sums,
            "settings": json.dumps({"precision": self.precision, "engine": self.engine}),
        }


def measure_study(study: CohortStudy, predictor: MaskPredictor, masks: Path) -> dict[str, Any]:
    """Segment a study and write its masks; a row of the results, also if the study is bad.

    Args:
        study: Where it lies.
        predictor: Segments one volume.
        masks: Folder of the masks. They go into one of 256 folders in it, since file systems
            that machines share are slow with many files in one.

    Returns:
        Columns of `pipelines.cohort.worker.SCHEMA` that depend on the study. Of a study that
        failed, `error` has the reason and nothing was measured.

    Raises:
        ConfigError: If the model does not fit, which is no study's fault.
        OutputError: If a mask cannot be written.
    """
    spent, start = _Spent(), time.perf_counter()
    row: dict[str, Any] = {"study": study.name, "patient": study.patient, "paths": list(study.paths)}
    try:
        opened, problems = _open(study, spent)
        folder = masks / f"{crc32(study.name.encode()) & 0xFF:02x}"
        folder.mkdir(parents=True, exist_ok=True)
        result, faults = segment_study(opened, folder, Tools(_Timed(predictor, spent), pictures=False))
    except (ConfigError, OutputError):
        raise
    except DataError as error:
        row |= {"error": str(error), "error_type": "DataError"}
    except Exception as error:  # one study that nobody foresaw must not cost the whole cohort
        row |= {"error": f"unexpected {type(error).__name__}: {error}", "error_type": type(error).__name__}
    else:
        row |= result.as_row() | {
            "masks": [path.relative_to(masks.parent).as_posix() for path in result.files],
            "bytes_written": sum(path.stat().st_size for path in result.files),
            "warnings": result.warnings,
            "plausible": not result.warnings,
            "problems": [f"{one.path}: {one.reason}" for one in (*problems, *faults)],
        }
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


@dataclass(frozen=True, slots=True)
class _Timed:
    """A predictor whose time is counted."""

    predictor: MaskPredictor
    spent: _Spent

    def predict(self, volume: Volume, /) -> MaskPrediction:
        start = time.perf_counter()
        try:
            return self.predictor.predict(volume)
        finally:
            self.spent.predict_s += time.perf_counter() - start


def _open(study: CohortStudy, spent: _Spent) -> tuple[Study, list[Problem]]:
    """The study with the names of the cohort, whose images count their reading; and files skipped."""
    start = time.perf_counter()
    looked = find_studies([Path(path) for path in study.paths])
    found = looked.studies
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
    return replace(found[0], name=study.name, patient=study.patient, images=images), looked.problems


def _counting(image: StudyImage, spent: _Spent) -> Callable[[], Volume]:
    def load() -> Volume:
        start = time.perf_counter()
        volume = image.load()
        spent.read_s += time.perf_counter() - start
        spent.decoded += volume.array.nbytes
        return volume

    return load


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
        return {"part": self.part, "studies": json.dumps([asdict(study) for study in self.studies])}

    @classmethod
    def from_row(cls, part: str, studies: str) -> "Task":
        """The task that `as_row` made."""
        found = json.loads(studies)
        return cls(part, tuple(CohortStudy(**one | {"paths": tuple(one["paths"])}) for one in found))


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
        begun = self._begun(study)
        attempts = attempts_of(begun) + 1
        write_text(begun, str(attempts))
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

    def _begun(self, study: CohortStudy) -> Path:
        return self.output / BEGUN_NAME / study.name


def attempts_of(path: Path) -> int:
    """How often a study was begun, from its file; 0 if there is none."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


import_extra("pyarrow", "cluster", "pyarrow for a cohort")
import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

PARTS_NAME: Final = "parts"
"""Folder of the parts; a study in one of them is finished."""

RESULTS_NAME: Final = "results.parquet"
"""All parts in one table, written when the cohort is through."""

_WORDS: Final = (
    *("patient", "study", "path", "heart_rate_source"),
    *("outside_normal", "normal_reason", "wall_reason", "reason"),
)
_FRAMES: Final = ("frame_ed", "frame_es")

_OWN: Final = {
    "paths": pa.list_(pa.string()),
    "masks": pa.list_(pa.string()),
    "plausible": pa.bool_(),
    "warnings": pa.list_(pa.string()),
    "problems": pa.list_(pa.string()),
    "error": pa.string(),
    "error_type": pa.string(),
    "seconds": pa.float64(),
    "read_s": pa.float64(),
    "predict_s": pa.float64(),
    "bytes_read": pa.int64(),
    "bytes_decoded": pa.int64(),
    "bytes_written": pa.int64(),
    "attempts": pa.int32(),
    "node": pa.string(),
    "finished": pa.string(),
    "thorax": pa.string(),
    "packages": pa.string(),
    "networks": pa.string(),
    "weights_sha256": pa.string(),
    "settings": pa.string(),
}


_KINDS: Final = dict.fromkeys(_WORDS, pa.string()) | dict.fromkeys(_FRAMES, pa.int32())

SCHEMA: Final = pa.schema(
    {name: _KINDS.get(name, pa.float64()) for name in StudyResult("", "").as_row() if name not in _OWN} | _OWN
)
"""Columns of the results: those of `indices.csv`, and what a run over many machines adds.

`masks` are relative to the cohort's folder. `plausible` is null where `error` has a text. `packages`
is JSON, `finished` a time in ISO 8601 (UTC), `attempts` counts how often the study was begun.
"""


def write_part(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write some rows as a part, whole or not at all.

    Args:
        folder: Folder of the cohort.
        name: Name of the part; one of that name is replaced.
        rows: Values by column; what is missing is null.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / PARTS_NAME / f"{name}.parquet"
    write_table(path, pa.Table.from_pylist(list(rows), schema=SCHEMA))
    return path


def read_results(folder: Path, studies: Collection[str] | None = None) -> pa.Table:
    """Studies in finished parts, one row each, sorted by name.

    A study that is in several parts, since a worker that was thought lost went on, has the row
    that was written last.

    Args:
        folder: Folder of a cohort.
        studies: Names of the studies that are wanted, or None for all.

    Raises:
        DataError: If a part cannot be read.
    """
    table = pa.concat_tables([SCHEMA.empty_table(), *(_read(path) for path in _parts(folder))])
    stamps = table.column("finished").to_pylist()
    last: dict[str, int] = {}
    for index, name in enumerate(table.column("study").to_pylist()):
        if name not in last or stamps[index] >= stamps[last[name]]:
            last[name] = index
    wanted = sorted(last if studies is None else last.keys() & set(studies))
    return table.take(pa.array([last[name] for name in wanted], pa.int64()))


def forget_failed(folder: Path) -> None:
    """Take studies that failed out of the parts, so that they are done again.

    Args:
        folder: Folder of a cohort.

    Raises:
        DataError: If a part cannot be read.
        OutputError: If one cannot be written.
    """
    for path in _parts(folder):
        table = _read(path)
        good = table.filter(pc.is_null(table.column("error")))
        if not good.num_rows:
            path.unlink()
        elif good.num_rows < table.num_rows:
            write_table(path, good)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / PARTS_NAME).glob("[!.]*.parquet"))


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, schema=SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"expected results of a cohort in {path}, found {error}; remove it to do its studies again"
        ) from error
