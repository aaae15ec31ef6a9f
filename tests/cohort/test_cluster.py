"""Cohorts on Ray itself: workers that die, and a machine that goes down."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohort_stand_ins
import intensity_hearts
import pytest
from cohort_stand_ins import StandInModel, write_hearts

from pipelines.cohort.run import CohortOptions, run_cohort
from pipelines.cohort.worker import MAX_ATTEMPTS, PARTS_NAME
from pipelines.core.install import set_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ray = pytest.importorskip("ray", reason="the extra 'cluster' is not installed")


@pytest.fixture(autouse=True)
def models_travel_by_value() -> Iterator[None]:
    """Workers do not have the folder of the tests on their path."""
    for module in (cohort_stand_ins, intensity_hearts):
        ray.cloudpickle.register_pickle_by_value(module)
    yield
    for module in (cohort_stand_ins, intensity_hearts):
        ray.cloudpickle.unregister_pickle_by_value(module)


def test_study_that_kills_its_worker_is_skipped_and_the_others_are_measured(tmp_path: Path) -> None:
    write_hearts(tmp_path / "in", 6, deadly=(1,), broken=(3,))
    (tmp_path / "loads").mkdir()
    model = StandInModel(loads=str(tmp_path / "loads"))
    report = run_cohort(tmp_path / "in", tmp_path / "out", model, CohortOptions(workers=1))
    rows = {row["study"]: row for row in report.table.to_pylist()}
    assert len(rows) == 6
    assert [name for name, _ in report.failures] == ["heart001", "heart003"]
    assert (rows["heart001"]["error_type"], rows["heart001"]["attempts"]) == ("WorkerDied", MAX_ATTEMPTS)
    assert all((tmp_path / "out" / mask).is_file() for row in rows.values() for mask in row["masks"] or ())
    # One load at the start, and one after each death: not one for each of the studies.
    assert MAX_ATTEMPTS + 1 <= len(list((tmp_path / "loads").iterdir())) <= 2 * MAX_ATTEMPTS + 1


def test_machine_that_goes_down_loses_nothing(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    write_hearts(tmp_path / "in", 24)
    set_environment()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = cluster.add_node(num_cpus=1)
        killed: list[int] = []

        def kill_in_the_middle() -> None:
            parts = tmp_path / "out" / PARTS_NAME
            until = time.monotonic() + 600
            while time.monotonic() < until:
                done = len(list(parts.glob("[!.]*.parquet"))) if parts.is_dir() else 0
                if done >= 3:
                    cluster.remove_node(other, allow_graceful=False)
                    killed.append(done)
                    return
                time.sleep(0.05)

        thread = threading.Thread(target=kill_in_the_middle, daemon=True)
        thread.start()
        options = CohortOptions(address=cluster.address, workers=2, part=2)
        report = run_cohort(tmp_path / "in", tmp_path / "out", StandInModel(seconds=0.5), options)
        thread.join()
    finally:
        cluster.shutdown()
    rows: list[dict[str, Any]] = report.table.to_pylist()
    assert killed
    assert killed[0] < 12
    assert [row["study"] for row in rows] == [f"heart{number:03d}" for number in range(24)]
    assert report.failures == []
    masks = [mask for row in rows for mask in row["masks"]]
    assert len(set(masks)) == 24
    assert all(
        (tmp_path / "out" / mask).stat().st_size == row["bytes_written"]
        for row, mask in zip(rows, masks, strict=True)
    )
