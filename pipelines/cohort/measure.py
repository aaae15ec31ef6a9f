"""Measures one study of a cohort: mask, indices, plausibility, seconds and bytes, or the reason why not."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from pipelines.cohort.listing import CohortStudy
from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.records import Problem
from pipelines.core.volume import Volume
from pipelines.inference.inputs import Study, StudyImage, find_studies
from pipelines.inference.segment import MaskPrediction, MaskPredictor, Tools, segment_study
from pipelines.inference.study_result import StudyResult


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
    """The study with the names of the cohort, whose images count their reading; and files put aside."""
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
