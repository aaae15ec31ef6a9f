"""Simulates a cohort on many machines from what a study was measured to cost, and finds the bottleneck."""

import heapq
from dataclasses import dataclass, replace
from typing import Final

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
        return StudyCost(
            bytes_read=self.bytes_read * voxels,
            read_s=self.read_s * voxels,
            compute_s=self.compute_s * voxels,
            other_s=self.other_s * voxels,
            bytes_written=self.bytes_written * voxels,
        )


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


def limits_s(cost: StudyCost, fleet: Fleet, studies: int) -> dict[str, float]:
    """Seconds that cores, network and storage each need at least, by themselves.

    No simulation can be faster than the largest of them, and a long one comes close to it.
    """
    moved = studies * (cost.bytes_read + cost.bytes_written) / MB
    return {
        "cores": studies * cost.core_s * fleet.slower / fleet.workers,
        "network": moved / (fleet.network_mb_s * fleet.machines) if fleet.network_mb_s else 0.0,
        "storage": moved / fleet.storage_mb_s if fleet.storage_mb_s else 0.0,
    }


def crossing(cost: StudyCost, fleet: Fleet) -> int | None:
    """Fewest machines at which the shared storage, not the cores, decides; None if it has no limit."""
    if not fleet.storage_mb_s:
        return None
    moved_mb = (cost.bytes_read + cost.bytes_written) / MB
    one = replace(fleet, machines=1)
    return int(fleet.storage_mb_s / moved_mb * cost.core_s * one.slower / fleet.cores) + 1
