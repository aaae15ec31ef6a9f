"""Cohorts on many machines, simulated from what was measured here, and extrapolated."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from pipelines.core.errors import ConfigError

MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class StudyCost:
    """What one study costs on one core of a machine that does nothing else.

    Attributes:
        bytes_read: Bytes of the study's files.
        read_s: Seconds to read and decode them from memory or a local disk.
        compute_s: Seconds of the network with its resampling and clean-up.
        other_s: Seconds of everything else that is done for the study: measuring, writing, handing out tasks.
        bytes_written: Bytes of its masks.
    """

    bytes_read: float
    read_s: float
    compute_s: float
    other_s: float
    bytes_written: float

    @property
    def core_s(self) -> float:
        """Seconds of a core, s."""
        return self.read_s + self.compute_s + self.other_s

    def for_size(self, voxels: float) -> "StudyCost":
        """The cost of a study with so many times the voxels; everything grows with them."""
        return StudyCost(**{name: value * voxels for name, value in asdict(self).items()})


@dataclass(frozen=True, slots=True)
class Fleet:
    """Machines that share one storage.

    Attributes:
        machines: Their number.
        cores: Physical cores of each; each core has a worker.
        network_mb_s: What the network of one machine moves, MB (1e6 bytes) a second; 0 has no limit.
        storage_mb_s: What the storage gives all machines together, MB a second; 0 has no limit.
        start_s: Seconds from start to a loaded model.
        slowdown: Share by which each further worker on a machine slows all its workers down.
    """

    machines: int
    cores: int
    network_mb_s: float = 0.0
    storage_mb_s: float = 0.0
    start_s: float = 0.0
    slowdown: float = 0.0

    @property
    def workers(self) -> int:
        """Workers of all machines."""
        return self.machines * self.cores

    @property
    def slower(self) -> float:
        """How many times longer a study takes beside the machine's other workers, from 1."""
        return 1.0 + self.slowdown * (self.cores - 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation gave.

    Attributes:
        wall_s: Seconds from start to the last mask.
        working_s: The same without the start of the workers.
        core_hours: Hours of all cores that were held.
        gigabytes: GB (1e9 bytes) read and written.
        busy: Share of the workers' time in which they computed, 0 to 1.
        bottleneck: `"cores"`, `"network"` or `"storage"`: what is busy for the largest share of the time.
    """

    wall_s: float
    working_s: float
    core_hours: float
    gigabytes: float
    busy: float
    bottleneck: str


def simulate(cost: StudyCost, fleet: Fleet, studies: int) -> Outcome:
    """Hand out studies one by one to workers that read, compute and write.

    Files go through the machine's network and the shared storage one after the other, which takes as
    long in all as if they shared them. A worker waits for its study, then computes. The order of events
    is that of a queue: who is free first gets the next study.

    Args:
        cost: Of one study.
        fleet: Machines.
        studies: Their number, at least 1.
    """
    free = [(0.0, worker) for worker in range(min(fleet.workers, studies))]
    heapq.heapify(free)
    network = [0.0] * fleet.machines
    storage = 0.0
    moved = (cost.bytes_read + cost.bytes_written) / MB
    on_network = moved / fleet.network_mb_s if fleet.network_mb_s else 0.0
    on_storage = moved / fleet.storage_mb_s if fleet.storage_mb_s else 0.0
    computing, end = cost.core_s * fleet.slower, 0.0
    for _ in range(studies):
        now, worker = heapq.heappop(free)
        machine = worker % fleet.machines
        network[machine] = max(network[machine], now) + on_network
        storage = max(storage, now) + on_storage
        done = max(now, network[machine] if on_network else now, storage if on_storage else now) + computing
        end = max(end, done)
        heapq.heappush(free, (done, worker))
    wall_s = fleet.start_s + end
    busy = {
        "cores": studies * computing / (fleet.workers * end),
        "network": studies * on_network / (fleet.machines * end),
        "storage": studies * on_storage / end,
    }
    return Outcome(
        wall_s=wall_s,
        working_s=end,
        core_hours=wall_s * fleet.workers / 3600,
        gigabytes=studies * moved / 1000,
        busy=busy["cores"],
        bottleneck=max(busy, key=lambda part: busy[part]),
    )


def crossing(cost: StudyCost, fleet: Fleet) -> int | None:
    """Fewest machines at which the shared storage, not the cores, decides; None if it has no limit."""
    if not fleet.storage_mb_s:
        return None
    moved_mb = (cost.bytes_read + cost.bytes_written) / MB
    return int(fleet.storage_mb_s / moved_mb * cost.core_s * fleet.slower / fleet.cores) + 1


MB_A_GBIT: Final = 125.0
"""MB (1e6 bytes) in a gigabit (1e9 bits)."""


@dataclass(frozen=True, slots=True)
class MachineType:
    """A machine that can be rented, as its provider describes it.

    Attributes:
        name: The provider's name of it.
        vcpus: Hardware threads.
        network_gbit: What its network moves for hours, gigabits (1e9) a second.
    """

    name: str
    vcpus: int
    network_gbit: float

    @property
    def cores(self) -> int:
        """Physical cores: two hardware threads share one, and a network gains little from the second."""
        return max(1, self.vcpus // 2)


MACHINE_TYPES: Final = (
    MachineType("c7i.4xlarge", 16, 6.25),
    MachineType("c7i.24xlarge", 96, 37.5),
    MachineType("c3-highcpu-88", 88, 62.0),
)
"""Machine types of the tables. Sizes and networks are assumptions that change: see the providers' lists.

References:
    Amazon EC2 C7i instances, aws.amazon.com/ec2/instance-types/c7i, with the baseline of the network (small
    ones move twice as much for minutes) as DescribeInstanceTypes tells it; Google Compute Engine C3
    machine series, cloud.google.com/compute/docs/general-purpose-machines. As listed in 2025.
"""

UKB_STUDIES, UKB_FRAMES, UKB_SLICES = 100_000, 50, 10
"""The cohort of the tables: UK Biobank's short-axis cines have 50 frames in about 10 slices.

References:
    Petersen et al., JCMR 18:8, 2016, doi:10.1186/s12968-016-0227-4.
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A measured run beside its simulation.

    Attributes:
        workers: Number of workers.
        measured_s: Seconds from the first study to the last.
        simulated_s: The same, simulated.
    """

    workers: int
    measured_s: float
    simulated_s: float

    @property
    def error(self) -> float:
        """Relative error of the simulation."""
        return self.simulated_s / self.measured_s - 1


def machine_type(text: str) -> MachineType:
    """A machine type of the table by its name, or `NAME=VCPUS:GBIT`.

    Raises:
        ConfigError: If it is neither.
    """
    for known in MACHINE_TYPES:
        if known.name == text:
            return known
    name, _, rest = text.partition("=")
    vcpus, _, gbit = rest.partition(":")
    try:
        return MachineType(name, int(vcpus), float(gbit))
    except ValueError as error:
        names = ", ".join(known.name for known in MACHINE_TYPES)
        raise ConfigError(
            f"expected a machine among {names}, or NAME=VCPUS:GBIT such as mine=64:25, found {text!r}"
        ) from error


def reproduce(content: Mapping[str, Any]) -> list[Point]:
    """The measured runs of one and two workers, simulated.

    Of the run of one worker, the cost of a study and of handing it out are taken; what two workers
    take follows from that and from how much longer a study took beside another.

    Args:
        content: Content of `cohort_bench.json`.
    """
    one, two = content["ray"]["1"], content["ray"]["2"]
    handed_out_s = (one["working_s"] - one["studies"] * one["study_s"]) / one["studies"]
    cost = StudyCost(**one["cost"])
    cost = replace(cost, other_s=cost.other_s + handed_out_s)
    slowdown = two["study_s"] / one["study_s"] - 1
    points = []
    for workers, run in ((1, one), (2, two)):
        fleet = Fleet(machines=1, cores=workers, slowdown=slowdown)
        simulated = simulate(cost, fleet, run["studies"]).working_s
        points.append(Point(workers, run["working_s"], simulated))
    return points


def study_cost(content: Mapping[str, Any], frames: int, slices: int) -> StudyCost:
    """Cost of a cine of so many frames and slices, from the measured cines.

    Args:
        content: Content of `cohort_bench.json`.
        frames: Frames of a cine.
        slices: Slices of a frame.
    """
    cine = content["cine"]
    _, _, measured_slices, measured_frames = cine["shape"]
    return StudyCost(**cine["cost"]).for_size(frames * slices / (measured_frames * measured_slices))


def on_machines(
    content: Mapping[str, Any],
    machine: MachineType,
    counts: Sequence[int],
    *,
    studies: int = UKB_STUDIES,
    frames: int = UKB_FRAMES,
    slices: int = UKB_SLICES,
    storage_mb_s: float = 1000.0,
    speed: float = 1.0,
) -> list[tuple[int, Outcome]]:
    """What a cohort takes on so many machines of a type.

    Args:
        content: Content of `cohort_bench.json`.
        machine: Type of all machines.
        counts: Numbers of machines.
        studies: Number of cines.
        frames: Frames of each.
        slices: Slices of each.
        storage_mb_s: What the storage gives all machines together, MB a second; 0 has no limit.
        speed: Speed of a core against the measured one.

    Returns:
        Number of machines and outcome of each simulation.
    """
    start_s = max(content["ray"]["1"]["total_s"] - content["ray"]["1"]["working_s"], 0.0)
    cost = study_cost(content, frames, slices)
    faster = {name: getattr(cost, name) / speed for name in ("read_s", "compute_s", "other_s")}
    network_mb_s = machine.network_gbit * MB_A_GBIT
    fleets = [Fleet(count, machine.cores, network_mb_s, storage_mb_s, start_s) for count in counts]
    return [(fleet.machines, simulate(replace(cost, **faster), fleet, studies)) for fleet in fleets]
