"""Cohorts on many machines: measured on local clusters, and simulated from that."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pipelines.benchmarks.cohorts import BENCH_NAME
from pipelines.benchmarks.speed import Measured
from pipelines.cohort.scale import (
    MACHINE_TYPES,
    MB,
    UKB_FRAMES,
    UKB_SLICES,
    UKB_STUDIES,
    Fleet,
    MachineType,
    Outcome,
    crossing,
    on_machines,
    reproduce,
    study_cost,
)
from pipelines.reporting.document import Cell, Document, Section, Table
from pipelines.reporting.results.speed import targets_table
from pipelines.reporting.source import Context, Kind, Source

Content = Mapping[str, Any]

MAX_OVERHEAD: Final = 0.10
"""Largest share by which Ray may lengthen 200 volumes against a plain loop."""

MAX_ERROR: Final = 0.10
"""Largest relative error of a simulation that counts as a reproduction."""

COUNTS: Final = (1, 10, 100, 1000)
"""Numbers of machines of the tables."""

STORAGES_MB_S: Final = (250.0, 1000.0, 10_000.0)
"""Speeds of the shared storage of the tables, MB a second: a disk array, a file server, an object store."""

OUTCOME_HEADER: Final = (
    "machines", "cores", "hours", "core-hours", "machine-hours", "TB moved", "busy", "limit",
)  # fmt: skip


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of benchmarks of cohorts, and of simulations from them.

    Args:
        sources: Folders of `thorax cohort benchmark`.
        context: Not used: the tables are in English.
    """
    del context
    sections = [section for source in sources for section in _sections(source.content)]
    return Document("Cohorts at scale", "", sections)


KIND: Final = Kind("scale", BENCH_NAME, "thorax cohort benchmark", "results", document)


def cohort_values(content: Content) -> list[Measured]:
    """Values of a benchmark of cohorts, with their targets.

    Args:
        content: Content of `cohort_bench.json`.
    """
    plain, one, two, lost = content["plain"], content["ray"]["1"], content["ray"]["2"], content["lost_node"]
    cost, cine = one["cost"], content["cine"]
    overhead, with_start = (100 * content[name] for name in ("overhead", "overhead_with_start"))
    return [
        Measured(f"plain loop, {plain['studies']} volumes", plain["loop_s"], " s", 1),
        Measured("one worker on Ray", one["working_s"], " s", 1),
        Measured("overhead of Ray", overhead, "%", 1, 100 * MAX_OVERHEAD),
        Measured("the same with the start of Ray and models", with_start, "%", 1),
        Measured("two workers on two nodes", two["working_s"], " s", 1),
        Measured("efficiency of two workers", 100 * content["efficiency"], "%", 1),
        Measured(f"studies lost with a node of {lost['studies']}", lost["lost"], "", 0, 0.0),
        Measured("studies done again after it", lost["done_again"], "", 0),
        Measured("a volume: read and decode", cost["read_s"], " s", 3),
        Measured("a volume: network", cost["compute_s"], " s", 3),
        Measured("a volume: everything else", cost["other_s"], " s", 3),
        Measured("a volume: read", cost["bytes_read"] / MB, " MB", 2),
        Measured("a volume: written", cost["bytes_written"] / MB, " MB", 2),
        Measured(f"a cine of {cine['shape'][3]} frames, {cine['shape'][2]} slices", cine["study_s"], " s", 1),
        Measured("of it read and decode", cine["cost"]["read_s"], " s", 2),
        Measured("read it when it is not packed", cine["unpacked_read_s"], " s", 2),
        Measured("a cine: read", cine["cost"]["bytes_read"] / MB, " MB", 1),
        Measured("a cine: read when it is not packed", cine["unpacked_bytes"] / MB, " MB", 1),
    ]


def outcome_table(
    machine: MachineType, outcomes: Sequence[tuple[int, Outcome]], price: float | None = None
) -> Table:
    """Simulated cohorts, a row for each number of machines.

    Args:
        machine: Type of the machines.
        outcomes: As from `on_machines`.
        price: Of one machine for an hour, in any currency; None leaves the column out.
    """
    rows = [_outcome_cells(machine, count, outcome) for count, outcome in outcomes]
    if price is None:
        return Table(machine.name, OUTCOME_HEADER, rows)
    costs = [f"{count * outcome.wall_s / 3600 * price:.0f}" for count, outcome in outcomes]
    priced = [[*row, cost] for row, cost in zip(rows, costs, strict=True)]
    return Table(machine.name, [*OUTCOME_HEADER, "price"], priced)


def _sections(content: Content) -> Iterator[Section]:
    yield Section("Measured", tables=[targets_table(cohort_values(content))], block="measured")
    reproduced: list[list[Cell]] = [
        [
            f"{point.workers} worker{'s' * (point.workers > 1)}",
            f"{point.measured_s:.1f} s",
            f"{point.simulated_s:.1f} s",
            f"{100 * point.error:+.1f}%",
            "yes" if abs(point.error) <= MAX_ERROR else "no",
        ]
        for point in reproduce(content)
    ]
    header = ["run", "measured", "simulated", "error", "within 10%"]
    yield Section("Reproduced", tables=[Table("", header, reproduced)], block="reproduced")
    yield Section("Cost of the UK Biobank", listing=_cost(content), block="cost")
    machines: list[list[Cell]] = [
        [machine.name, str(machine.vcpus), *_outcome_cells(machine, count, outcome)]
        for machine in MACHINE_TYPES
        for count, outcome in on_machines(content, machine, (10,))
    ]
    table = Table("", ["machine", "vCPUs", *OUTCOME_HEADER], machines)
    yield Section("Machines", tables=[table], block="machines")
    yield _bottleneck(content)


def _cost(content: Content) -> str:
    cost, cine = study_cost(content, UKB_FRAMES, UKB_SLICES), content["cine"]
    core_hours = UKB_STUDIES * cost.core_s / 3600
    moved_tb = UKB_STUDIES * (cost.bytes_read + cost.bytes_written) / 1e12
    planes, measured = UKB_FRAMES * UKB_SLICES, cine["shape"][3] * cine["shape"][2]
    seconds = (
        f"{cost.read_s:.2f} s read and decode + {cost.compute_s:.2f} s network + {cost.other_s:.2f} s rest"
    )
    moved_mb = (cost.bytes_read + cost.bytes_written) / MB
    scale = planes / measured
    lines = [
        f"scale    = {UKB_FRAMES} frames x {UKB_SLICES} slices / {measured} measured = {scale:.2f}",
        f"a study  = {seconds} = {cost.core_s:.2f} core-seconds",
        f"a study  = {cost.bytes_read / MB:.1f} MB read + {cost.bytes_written / MB:.2f} MB written",
        f"cohort   = {UKB_STUDIES:,} x {cost.core_s:.2f} s / 3600 = {core_hours:,.0f} core-hours",
        f"cohort   = {UKB_STUDIES:,} x {moved_mb:.1f} MB = {moved_tb:.2f} TB",
        f"one core = {core_hours / 24:,.0f} days",
    ]
    return "\n".join(lines)


def _bottleneck(content: Content) -> Section:
    machine = MACHINE_TYPES[0]
    rows: list[list[Cell]] = [
        [f"{storage:,.0f} MB/s", *_outcome_cells(machine, count, outcome)]
        for storage in STORAGES_MB_S
        for count, outcome in on_machines(content, machine, COUNTS, storage_mb_s=storage)
    ]
    cost = study_cost(content, UKB_FRAMES, UKB_SLICES)
    limits = ", ".join(
        f"{crossing(cost, Fleet(1, machine.cores, storage_mb_s=storage)):,} at {storage:,.0f} MB/s"
        for storage in STORAGES_MB_S
    )
    words = f"The storage is the limit from so many machines on: {limits}."
    table = Table("", ["storage", *OUTCOME_HEADER], rows)
    return Section("Bottleneck", [words], tables=[table], block="bottleneck")


def _outcome_cells(machine: MachineType, count: int, outcome: Outcome) -> list[Cell]:
    hours = outcome.wall_s / 3600
    return [
        f"{count:,}",
        f"{count * machine.cores:,}",
        f"{hours:,.1f}",
        f"{outcome.core_hours:,.0f}",
        f"{count * hours:,.0f}",
        f"{outcome.gigabytes / 1000:.2f}",
        f"{100 * outcome.busy:.0f}%",
        outcome.bottleneck,
    ]
