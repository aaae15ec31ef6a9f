"""How a cohort begins, is interrupted, loses workers and goes on; a stand-in takes the place of Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cohort_stand_ins import ONE, StandInModel, write_hearts

from pipelines.cohort import run
from pipelines.cohort.run import CohortOptions, CohortReport, run_cohort
from pipelines.cohort.worker import RESULTS_NAME, CohortWorker, Task
from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.progress import progress_to

MODEL = StandInModel()
Before = Callable[[int], str | None]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> "InProcess":
    stand_in = InProcess()
    monkeypatch.setattr(run, "_ray_data", stand_in.session)
    monkeypatch.setattr(run, "_round", stand_in.round)
    return stand_in


class InProcess:
    """Does tasks here. `before` is called with the number of each task and may say `"lose"`."""

    def __init__(self) -> None:
        self.before: Before = lambda number: None
        self.sizes: list[list[int]] = []
        self.number = 0

    @contextmanager
    def session(self, options: CohortOptions) -> Iterator[int]:
        yield options.workers

    def round(
        self, tasks: Sequence[Task], output: Path, model: Any, options: CohortOptions, workers: int
    ) -> Iterator[Mapping[str, Any]]:
        worker = CohortWorker(model[0], str(output), options.threads, model[1])
        self.sizes.append([len(task.studies) for task in tasks])
        for task in tasks:
            self.number += 1
            if self.before(self.number) == "lose":
                continue
            with progress_to(None):  # as in a process of its own
                answers = worker({name: [value] for name, value in task.as_row().items()})
            yield {name: values[0] for name, values in answers.items()}


def cohort(tmp_path: Path, model: StandInModel = MODEL, **more: Any) -> CohortReport:
    return run_cohort(tmp_path / "in", tmp_path / "out", model, more.pop("options", ONE), **more)


def test_results_have_a_row_a_study_and_progress_reaches_the_end(tmp_path: Path, ray: InProcess) -> None:
    write_hearts(tmp_path / "in", 9, broken=(4,))
    told: list[tuple[int, int]] = []
    with progress_to(lambda done, total, _: told.append((done, total))):
        report = cohort(tmp_path)
    assert report.failures == [("heart004", "unexpected RuntimeError: no such heart")]
    assert (report.measured, report.table.num_rows) == (9, 9)
    assert ray.sizes == [[2, 2, 2, 2, 1]]
    assert told == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]
    table = pq.read_table(tmp_path / "out" / RESULTS_NAME)
    assert table.column("study").to_pylist() == [f"heart{number:03d}" for number in range(9)]
    assert all((tmp_path / "out" / mask[0]).is_file() for mask in table.column("masks").to_pylist() if mask)


def test_interrupted_cohort_goes_on_with_what_is_not_in_a_part(tmp_path: Path, ray: InProcess) -> None:
    write_hearts(tmp_path / "in", 8)

    def interrupt(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    ray.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        cohort(tmp_path)
    left = tmp_path / "out" / "masks" / "00" / ".part-1-heart.nii.gz"
    left.parent.mkdir(exist_ok=True)
    left.write_text("half a mask", encoding="utf-8")
    report = cohort(tmp_path, resume=True)
    assert (report.measured, report.table.num_rows) == (4, 8)
    assert not left.exists()
    assert cohort(tmp_path, resume=True).measured == 0


def test_lost_tasks_are_done_again_one_study_each(tmp_path: Path, ray: InProcess) -> None:
    write_hearts(tmp_path / "in", 8)
    ray.before = lambda number: "lose" if number == 2 else None
    report = cohort(tmp_path)
    assert ray.sizes == [[2, 2, 2, 2], [1, 1]]
    assert (report.failures, report.table.num_rows) == ([], 8)


def test_cluster_on_which_nothing_begins_ends_with_a_message(tmp_path: Path, ray: InProcess) -> None:
    write_hearts(tmp_path / "in", 2)
    ray.before = lambda number: "lose"
    with pytest.raises(ConfigError, match="none could"):
        cohort(tmp_path)


def test_worker_that_cannot_go_on_stops_the_cohort(tmp_path: Path, ray: InProcess) -> None:
    write_hearts(tmp_path / "in", 2)
    with pytest.raises(OutputError, match="expected weights, found none"):
        cohort(tmp_path, StandInModel(missing=True))


def test_failed_studies_are_tried_again_when_asked(tmp_path: Path, ray: InProcess) -> None:
    write_hearts(tmp_path / "in", 4, broken=(2,))
    assert len(cohort(tmp_path).failures) == 1
    write_hearts(tmp_path / "in", 4)
    assert cohort(tmp_path, resume=True).measured == 0
    report = cohort(tmp_path, resume=True, options=CohortOptions(workers=1, retry_failed=True))
    assert (report.measured, report.failures, report.table.num_rows) == (1, [], 4)


def test_folder_that_does_not_fit_is_refused(tmp_path: Path, ray: InProcess) -> None:
    write_hearts(tmp_path / "in", 1)
    with pytest.raises(ConfigError, match="found none; start without --resume"):
        cohort(tmp_path, resume=True)
    cohort(tmp_path)
    with pytest.raises(ConfigError, match="go on with it by --resume"):
        cohort(tmp_path)
    with pytest.raises(ConfigError, match=r"found another \(networks\)"):
        cohort(tmp_path, StandInModel(name="other"), resume=True)


def test_study_that_lies_elsewhere_now_is_refused(tmp_path: Path, ray: InProcess) -> None:
    write_hearts(tmp_path / "in", 1)
    cohort(tmp_path)
    (tmp_path / "in" / "heart000.nii").rename(tmp_path / "heart000.nii")
    with pytest.raises(ConfigError, match="expected heart000 at"):
        run_cohort(tmp_path / "heart000.nii", tmp_path / "out", StandInModel(), ONE, resume=True)


def test_source_without_studies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="found none"):
        cohort(tmp_path)


def test_workers_follow_from_cores_and_gpus() -> None:
    most = run._most_workers
    assert most({"CPU": 9.0}, CohortOptions(threads=2)) == 4
    assert most({"CPU": 16.0, "GPU": 2.0}, CohortOptions(gpus=0.5)) == 4
    with pytest.raises(ConfigError, match="found a cluster of 1 cores and 0 GPUs"):
        most({"CPU": 1.0}, CohortOptions(threads=2))
