import pytest
from bench_content import bench_content

from pipelines.cohort.scale import (
    Fleet,
    MachineType,
    StudyCost,
    crossing,
    machine_type,
    on_machines,
    reproduce,
    simulate,
    study_cost,
)
from pipelines.core.errors import ConfigError

COST = StudyCost(bytes_read=9e6, read_s=1.0, compute_s=8.0, other_s=1.0, bytes_written=1e6)
"""10 MB and 10 s."""


def test_one_core_does_one_study_after_the_other() -> None:
    found = simulate(COST, Fleet(machines=1, cores=1, start_s=5.0), 7)
    assert found.working_s == pytest.approx(70.0)
    assert found.wall_s == pytest.approx(75.0)
    assert found.core_hours == pytest.approx(75 / 3600)
    assert found.gigabytes == pytest.approx(0.07)
    assert (found.busy, found.bottleneck) == (pytest.approx(1.0), "cores")


def test_last_studies_leave_workers_idle() -> None:
    found = simulate(COST, Fleet(machines=2, cores=2), 5)
    assert found.working_s == pytest.approx(20.0)
    assert found.busy == pytest.approx(5 / 8)


def test_more_workers_than_studies_do_not_help() -> None:
    assert simulate(COST, Fleet(machines=100, cores=8), 3).working_s == pytest.approx(10.0)


def test_neighbours_slow_a_worker_down() -> None:
    found = simulate(COST, Fleet(machines=1, cores=3, slowdown=0.1), 3)
    assert found.working_s == pytest.approx(12.0)


def test_shared_storage_becomes_the_bottleneck_where_arithmetic_says() -> None:
    # 4 cores need 10 MB each in 10 s, 4 MB/s; 100 MB/s feed 25 such machines.
    fleet = Fleet(machines=1, cores=4, storage_mb_s=100.0)
    assert crossing(COST, fleet) == 26
    few = simulate(COST, Fleet(machines=20, cores=4, storage_mb_s=100.0), 4000)
    many = simulate(COST, Fleet(machines=60, cores=4, storage_mb_s=100.0), 4000)
    assert (few.bottleneck, many.bottleneck) == ("cores", "storage")
    # 4000 studies of 10 MB take 400 s at 100 MB/s, and the last one is computed after that.
    assert many.working_s == pytest.approx(410.0, abs=0.5)


def test_network_of_each_machine_is_its_own() -> None:
    fleet = Fleet(machines=2, cores=50, network_mb_s=20.0)
    found = simulate(COST, fleet, 400)
    assert found.bottleneck == "network"
    assert found.working_s == pytest.approx(200 * 0.5 + 10.0, abs=0.5)


@pytest.mark.parametrize("machines", [1, 3, 20, 200])
@pytest.mark.parametrize("storage", [0.0, 50.0])
def test_simulation_lies_between_the_slowest_part_and_all_parts_in_turn(
    machines: int, storage: float
) -> None:
    fleet = Fleet(machines, cores=4, network_mb_s=30.0, storage_mb_s=storage)
    found = simulate(COST, fleet, 3000)
    moved_mb = 3000 * 10
    limits = (
        3000 * 10.0 / (fleet.workers / fleet.slower),
        moved_mb / (30.0 * machines),
        moved_mb / storage if storage else 0.0,
    )
    assert max(limits) <= found.working_s * (1 + 1e-9)
    assert found.working_s <= sum(limits) + 2 * COST.core_s


def test_cost_grows_with_the_voxels() -> None:
    large = COST.for_size(2.5)
    assert (large.bytes_read, large.core_s, large.bytes_written) == (22.5e6, 25.0, 2.5e6)


def test_storage_without_a_limit_never_decides() -> None:
    assert crossing(COST, Fleet(machines=1, cores=4)) is None


def test_two_workers_follow_from_one_and_from_how_they_slow_each_other() -> None:
    one, two = reproduce(bench_content())
    assert one.simulated_s == pytest.approx(202.0)
    # 20 studies on two workers: ten after one another, each 10.1 s and 5% more.
    assert two.simulated_s == pytest.approx(10 * 10.1 * 1.05)
    assert two.error == pytest.approx(0.0, abs=1e-9)


def test_error_is_reported_where_the_simulation_is_off() -> None:
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
