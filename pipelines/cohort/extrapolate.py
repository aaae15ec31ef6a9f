"""From what `thorax cohort benchmark` measured to cohorts that nobody has run yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pipelines.cohort.scale import Fleet, Outcome, StudyCost, simulate
from pipelines.core.errors import ConfigError

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
    cost = replace(
        cost,
        read_s=cost.read_s / speed,
        compute_s=cost.compute_s / speed,
        other_s=cost.other_s / speed,
    )
    found = []
    for count in counts:
        fleet = Fleet(
            count,
            machine.cores,
            network_mb_s=machine.network_gbit * MB_A_GBIT,
            storage_mb_s=storage_mb_s,
            start_s=start_s,
        )
        found.append((count, simulate(cost, fleet, studies)))
    return found
