"""Results of a cohort as Parquet: parts that workers write whole, and one table of them all."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path
from pipelines.core.install import missing_extra
from pipelines.inference.study_result import StudyResult

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as error:
    raise missing_extra("pyarrow for a cohort", "cluster", error) from error

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


def _schema() -> pa.Schema:
    fields = [
        (name, pa.string() if name in _WORDS else pa.int32() if name in _FRAMES else pa.float64())
        for name in StudyResult("", "").as_row()
        if name not in _OWN
    ]
    return pa.schema([*fields, *_OWN.items()])


SCHEMA: Final = _schema()
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
    _write(path, pa.Table.from_pylist(list(rows), schema=SCHEMA))
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
            _write(path, good)


def write_results(folder: Path, table: pa.Table) -> Path:
    """Write `results.parquet`, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / RESULTS_NAME
    _write(path, table)
    return path


def _write(path: Path, table: pa.Table) -> None:
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
