"""Measures a cohort of studies on a Ray cluster, so that it can be stopped, or lose machines, and go on."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from pipelines.cohort.worker import (
    BEGUN_NAME,
    MASKS_NAME,
    RESULTS_NAME,
    CohortStudy,
    CohortWorker,
    ModelSource,
    Task,
    attempts_of,
    forget_failed,
    list_studies,
    read_results,
    write_table,
)
from pipelines.core.errors import ConfigError, OutputError, expecting
from pipelines.core.files import (
    exclusive_lock,
    output_folder,
    read_json,
    write_csv,
    write_json,
    write_manifest,
)
from pipelines.core.install import ray_session
from pipelines.core.progress import show_progress
from pipelines.core.records import Problem

COHORT_NAME: Final = "cohort.json"
"""What the cohort began with."""

PROBLEMS_NAME: Final = "problems.csv"
"""Files below the folder that belong to no study."""

TASKS_A_WORKER: Final = 4  # or more, so that none waits long for the others at the end

IN_FLIGHT: Final = 2
"""Tasks that a worker has or that wait at it; no more are sent."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CohortOptions:
    """Where a cohort is measured, and by how many.

    Attributes:
        address: Existing Ray cluster, such as `"auto"` or `"ray://host:10001"`, whose machines all
            see the same folders; None starts Ray on this machine.
        workers: Processes with a model each; 0 for as many as there are cores for, or GPUs.
        threads: Cores, and CPU threads, of each worker.
        gpus: GPUs of each worker; a half lets two share one.
        part: Most studies that are written as one part; those of an unfinished part are lost with a worker.
        retry_failed: Try studies again that failed before.
    """

    address: str | None = None
    workers: int = 0
    threads: int = 1
    gpus: float = 0.0
    part: int = 8
    retry_failed: bool = False


@dataclass(frozen=True, slots=True)
class CohortReport:
    """Outcome of a cohort.

    Attributes:
        output: Its folder.
        table: A row for each study, as `pipelines.cohort.worker.SCHEMA` has it.
        measured: Studies that this run measured; the others were finished before.
        problems: Files that belong to no study.
    """

    output: Path
    table: pa.Table
    measured: int
    problems: list[Problem]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Name and reason of each study that failed."""
        rows = self.table.select(["study", "error"]).to_pylist()
        return [(row["study"], row["error"]) for row in rows if row["error"]]


def run_cohort(
    source: Path, output: Path, model: ModelSource, options: CohortOptions, *, resume: bool = False
) -> CohortReport:
    """Masks and one row of results for each study of a cohort.

    The folder gets `results.parquet`, `masks/`, and `parts/` with what each worker finished. A
    study that cannot be measured has a row with the reason. What is in a part is finished: after
    an interruption, or the loss of machines, only the other studies are done.

    Args:
        source: Manifest, or folder of studies, as for `list_studies`.
        output: Folder of the cohort, which all machines see.
        model: Where each worker gets the model.
        options: Where, and by how many.
        resume: Go on with the cohort in `output`.

    Raises:
        ConfigError: If Ray is missing, `output` does not fit `resume`, the cohort began with another
            model, or no worker can start.
        DataError: If no study is found.
        OutputError: If a worker cannot go on: it has no model, or cannot write.
        KeyboardInterrupt: If it was interrupted; it can be resumed.
    """
    studies, problems = list_studies(source)
    record = dict(model.record())
    output = output_folder(output).resolve()
    with exclusive_lock(output / ".lock", "cohort"):
        _begin(output, source, record, resume=resume)
        for half in (output / MASKS_NAME).glob("*/.part-*"):  # what killed workers left
            half.unlink(missing_ok=True)
        write_csv(output / PROBLEMS_NAME, ("patient", "path", "reason"), [asdict(one) for one in problems])
        if options.retry_failed:
            forget_failed(output)
        finished = _finished(output, studies)
        pending = [study for study in studies if study.name not in finished]
        if pending:
            try:
                with _ray_data(options) as workers:
                    _measure(pending, output, (model, record), options, workers, len(studies))
            except KeyboardInterrupt:
                logger.warning("interrupted; go on with --resume")
                raise
        table = read_results(output, [study.name for study in studies])
        write_table(output / RESULTS_NAME, table)
        report = CohortReport(output, table, len(pending), problems)
        write_manifest(
            output,
            source=source.resolve(),
            model=record,
            options=asdict(options),
            studies=len(studies),
            failed=len(report.failures),
            outputs=[RESULTS_NAME, MASKS_NAME],
        )
    return report


def _begin(output: Path, source: Path, record: Mapping[str, str], *, resume: bool) -> None:
    """See that the folder fits what is wanted of it."""
    path = output / COHORT_NAME
    if path.exists() and not resume:
        raise ConfigError(
            f"expected an empty folder, found the cohort {path}; go on with it by --resume, "
            "or choose another folder by --output"
        )
    if resume and not path.exists():
        raise ConfigError(f"expected a cohort to go on with in {output}, found none; start without --resume")
    if not resume:
        write_json(path, {"source": source.resolve(), "model": record})
        return
    with expecting(f"how a cohort began in {path}", ConfigError):
        began = read_json(path)["model"]
    if began != record:
        other = [name for name in record if record[name] != began.get(name)]
        raise ConfigError(
            f"expected the model that the cohort in {output} began with, found another ({', '.join(other)}); "
            "its results would be mixed: choose another folder by --output"
        )


def _finished(output: Path, studies: Sequence[CohortStudy]) -> set[str]:
    """Names of the studies that are in finished parts.

    Raises:
        ConfigError: If a study has the name of another one that is finished.
    """
    table = read_results(output)
    wanted = {study.name: list(study.paths) for study in studies}
    names = set()
    for row in table.select(["study", "paths"]).to_pylist():
        name, paths = row["study"], row["paths"]
        if name in wanted and wanted[name] != paths:
            raise ConfigError(
                f"expected {name} at {'; '.join(paths[:2])} as before, found it at "
                f"{'; '.join(wanted[name][:2])}; choose another folder by --output"
            )
        names.add(name)
    return names


@contextmanager
def _ray_data(options: CohortOptions) -> Iterator[int]:
    """Ray Data, set so that a lost worker costs its tasks and no more; the number of workers."""
    with ray_session(options.address, cpus=options.workers * options.threads, part="ray.data"):
        import ray

        context = ray.data.DataContext.get_current()
        before = context.max_errored_blocks, context.enable_progress_bars
        level = logging.getLogger("ray.data").level
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # lost workers are told of below
        context.max_errored_blocks, context.enable_progress_bars = -1, False
        try:
            yield options.workers or _most_workers(ray.cluster_resources(), options)
        finally:
            context.max_errored_blocks, context.enable_progress_bars = before
            logging.getLogger("ray.data").setLevel(level)


def _most_workers(resources: Mapping[str, float], options: CohortOptions) -> int:
    """Workers for which a cluster has cores and GPUs."""
    most = int(resources.get("CPU", 0) // options.threads)
    if options.gpus:
        most = min(most, int(resources.get("GPU", 0) / options.gpus))
    if most < 1:
        raise ConfigError(
            f"expected {options.threads} cores and {options.gpus:g} GPUs for a worker, found a cluster of "
            f"{resources.get('CPU', 0):g} cores and {resources.get('GPU', 0):g} GPUs; ask for less"
        )
    return most


def _measure(
    studies: Sequence[CohortStudy],
    output: Path,
    model: tuple[ModelSource, Mapping[str, str]],
    options: CohortOptions,
    workers: int,
    total: int,
) -> None:
    """Measure studies in rounds, each with what lost workers left undone, until all have a row."""
    left, size = list(studies), max(1, min(options.part, len(studies) // (workers * TASKS_A_WORKER)))
    while left:
        begun = _attempts(output)
        tasks = [_task(left[first : first + size]) for first in range(0, len(left), size)]
        done = total - len(left)
        for answer in _round(tasks, output, model, options, workers):
            if answer["fault"]:
                raise OutputError(f"a worker cannot go on: {answer['fault']}")
            done += int(answer["studies"])
            show_progress(done, total)
        names = _finished(output, left)
        remaining = [study for study in left if study.name not in names]
        if len(remaining) == len(left) and _attempts(output) == begun:
            raise ConfigError(
                f"expected workers to begin one of {len(left)} studies, found that none could; "
                "see the state of the cluster with 'ray status' and the logs of its machines"
            )
        if remaining:
            logger.warning("%d studies were lost with their workers and are done again", len(remaining))
        left, size = remaining, 1  # by itself, a study that kills its worker takes no other with it


def _round(
    tasks: Sequence[Task],
    output: Path,
    model: tuple[ModelSource, Mapping[str, str]],
    options: CohortOptions,
    workers: int,
) -> Iterator[Mapping[str, Any]]:
    """Answers of workers to tasks, as they come; those of lost workers are missing."""
    import ray

    source, record = model
    rows = ray.data.from_items([task.as_row() for task in tasks], override_num_blocks=len(tasks))
    answers = rows.map_batches(
        CohortWorker,
        fn_constructor_args=(source, str(output), options.threads, record),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            size=min(workers, len(tasks)), max_tasks_in_flight_per_actor=IN_FLIGHT
        ),
        num_cpus=options.threads,
        num_gpus=options.gpus,
        max_restarts=-1,
        max_task_retries=0,  # a task that waits for a lost machine would wait for ever
    )
    try:
        yield from answers.iter_rows()
    except ray.exceptions.RayError as error:
        logger.warning("Ray ended a round early: %s", error)


def _task(studies: Sequence[CohortStudy]) -> Task:
    names = "\n".join(study.name for study in studies)
    return Task(sha256(names.encode()).hexdigest()[:16], tuple(studies))


def _attempts(output: Path) -> int:
    """How often studies were begun that are in no part yet."""
    return sum(attempts_of(path) for path in (output / BEGUN_NAME).glob("[!.]*"))
