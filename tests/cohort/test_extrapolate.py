"""Extrapolation from round figures, whose answers are worked out by hand."""

import pytest
from bench_content import bench_content

from pipelines.cohort.extrapolate import MachineType, machine_type, on_machines, reproduce, study_cost
from pipelines.core.errors import ConfigError


def test_two_workers_follow_from_one_and_from_how_they_slow_each_other() -> None:
    one, two = reproduce(bench_content())
    assert one.simulated_s == pytest.approx(202.0)
    # 20 studies on two workers: ten after one another, each 10.1 s and 5% more.
    assert two.simulated_s == pytest.approx(10 * 10.1 * 1.05)
    assert two.error == pytest.approx(0.0, abs=1e-9)


def test_error_is_told_where_the_simulation_is_off() -> None:
    content = bench_content()
    content["ray"]["2"]["working_s"] = 212.1
    assert reproduce(content)[1].error == pytest.approx(-0.5)


def test_cost_of_a_cine_grows_with_its_planes() -> None:
    # 20 frames of 5 slices were measured, 50 of 10 are five times as many planes.
    cost = study_cost(bench_content(), 50, 10)
    assert cost.core_s == pytest.approx(50.0)
    assert cost.bytes_read == pytest.approx(20e6)


def test_core_hours_are_studies_times_seconds() -> None:
    machine = MachineType("mine", 8, 0.0)
    ((count, found),) = on_machines(
        bench_content(), machine, [2], studies=8000, frames=20, slices=5, storage_mb_s=0.0
    )
    assert count == 2
    # 8 cores do 1000 studies of 10 s each, after 30 s of start.
    assert found.wall_s == pytest.approx(10_030.0)
    assert found.core_hours == pytest.approx(8 * 10_030 / 3600)
    assert found.gigabytes == pytest.approx(40.0)


def test_faster_cores_take_less_time() -> None:
    machine = MachineType("mine", 2, 0.0)
    arguments = {"studies": 10, "frames": 20, "slices": 5, "storage_mb_s": 0.0}
    ((_, found),) = on_machines(bench_content(), machine, [1], speed=2.0, **arguments)
    assert found.working_s == pytest.approx(50.0)


def test_machines_are_known_or_described() -> None:
    assert machine_type("c7i.4xlarge").cores == 8
    assert machine_type("mine=64:25") == MachineType("mine", 64, 25.0)
    with pytest.raises(ConfigError, match="NAME=VCPUS:GBIT"):
        machine_type("mine")
