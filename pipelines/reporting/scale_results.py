"""The figures of cohorts on many machines: tables for the terminal and for the page on scale."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from pipelines.benchmarks.cohorts import BENCH_NAME
from pipelines.cohort.extrapolate import (
    MACHINE_TYPES,
    UKB_FRAMES,
    UKB_SLICES,
    UKB_STUDIES,
    MachineType,
    on_machines,
    reproduce,
    study_cost,
)
from pipelines.cohort.scale import MB, Fleet, Outcome, crossing
from pipelines.core.files import write_text
from pipelines.reporting.markdown import fill_blocks, markdown_table
from pipelines.reporting.measured import HEADER, BenchFigure, page_of_measured

PAGE_NAME: Final = "scale.md"

MOST_OVERHEAD: Final = 0.10
"""Largest share by which Ray may lengthen 200 volumes against a plain loop."""

LARGEST_ERROR: Final = 0.10
"""Largest relative error of a simulation that counts as a reproduction."""

COUNTS: Final = (1, 10, 100, 1000)
"""Numbers of machines of the tables."""

STORAGES_MB_S: Final = (250.0, 1000.0, 10_000.0)
"""Speeds of the shared storage of the tables, MB a second: a disk array, a file server, an object store."""

BLOCKS: Final = ("measured", "reproduced", "cost", "machines", "bottleneck")
"""Parts of the page that are written here; the words around them are kept."""

OUTCOME_HEADER: Final = (
    "machines",
    "cores",
    "hours",
    "core-hours",
    "machine-hours",
    "TB moved",
    "busy",
    "limit",
)


def cohort_figures(content: Mapping[str, Any]) -> list[BenchFigure]:
    """What is asked of cohorts on Ray, with what was measured.

    Args:
        content: Content of `cohort_bench.json`.
    """
    plain, one, two, lost = content["plain"], content["ray"]["1"], content["ray"]["2"], content["lost_node"]
    cost, cine = one["cost"], content["cine"]
    return [
        BenchFigure(f"plain loop, {plain['studies']} volumes", plain["loop_s"], " s", 1),
        BenchFigure("one worker on Ray", one["working_s"], " s", 1),
        BenchFigure("overhead of Ray", 100 * content["overhead"], "%", 1, 100 * MOST_OVERHEAD),
        BenchFigure(
            "the same with the start of Ray and models", 100 * content["overhead_with_start"], "%", 1
        ),
        BenchFigure("two workers on two nodes", two["working_s"], " s", 1),
        BenchFigure("efficiency of two workers", 100 * content["efficiency"], "%", 1),
        BenchFigure(f"studies lost with a node of {lost['studies']}", lost["lost"], "", 0, 0.0),
        BenchFigure("studies done again after it", lost["done_again"], "", 0),
        BenchFigure("a volume: read and decode", cost["read_s"], " s", 3),
        BenchFigure("a volume: network", cost["compute_s"], " s", 3),
        BenchFigure("a volume: everything else", cost["other_s"], " s", 3),
        BenchFigure("a volume: read", cost["bytes_read"] / MB, " MB", 2),
        BenchFigure("a volume: written", cost["bytes_written"] / MB, " MB", 2),
        BenchFigure(
            f"a cine of {cine['shape'][3]} frames, {cine['shape'][2]} slices", cine["study_s"], " s", 1
        ),
        BenchFigure("of it read and decode", cine["cost"]["read_s"], " s", 2),
        BenchFigure("read it when it is not packed", cine["unpacked_read_s"], " s", 2),
        BenchFigure("a cine: read", cine["cost"]["bytes_read"] / MB, " MB", 1),
        BenchFigure("a cine: read when it is not packed", cine["unpacked_bytes"] / MB, " MB", 1),
    ]


def cohort_table(content: Mapping[str, Any]) -> Table:
    """Figures of a benchmark of cohorts with the most that is asked, a row each."""
    table = Table(*HEADER)
    for figure in cohort_figures(content):
        table.add_row(*figure.cells)
    return table


def outcome_table(
    machine: MachineType, outcomes: Sequence[tuple[int, Outcome]], price: float | None = None
) -> Table:
    """Simulated cohorts, a row for each number of machines.

    Args:
        machine: Type of the machines.
        outcomes: As from `on_machines`.
        price: Of one machine for an hour, in any currency; None leaves the column out.
    """
    table = Table(*OUTCOME_HEADER, *(["price"] if price is not None else []), title=machine.name)
    for count, outcome in outcomes:
        cells = _outcome_cells(machine, count, outcome)
        table.add_row(
            *cells, *([f"{count * outcome.wall_s / 3600 * price:.0f}"] if price is not None else [])
        )
    return table


def write_scale_results(bench: Path, output: Path) -> Path:
    """Write the figures of the page on scale into it.

    Args:
        bench: Folder of `thorax cohort-benchmark`.
        output: Folder with `scale.md`, whose words stay.

    Returns:
        Path of the page.

    Raises:
        DataError: If there is no `cohort_bench.json` of this version, or the page lacks the marks.
        OutputError: If the page cannot be written.
    """
    _, blocks = page_of_measured(bench / BENCH_NAME, "thorax cohort-benchmark", _blocks)
    page = output / PAGE_NAME
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    write_text(page, fill_blocks(page, text, blocks))
    return page


def _blocks(content: dict[str, Any]) -> dict[str, str]:
    figures = [figure.cells for figure in cohort_figures(content)]
    parts = (
        markdown_table(HEADER, figures),
        _reproduced(content),
        _cost(content),
        _machines(content),
        _bottleneck(content),
    )
    return dict(zip(BLOCKS, parts, strict=True))


def _reproduced(content: dict[str, Any]) -> str:
    rows = [
        [
            f"{point.workers} worker{'s' * (point.workers > 1)}",
            f"{point.measured_s:.1f} s",
            f"{point.simulated_s:.1f} s",
            f"{100 * point.error:+.1f}%",
            "yes" if abs(point.error) <= LARGEST_ERROR else "no",
        ]
        for point in reproduce(content)
    ]
    return markdown_table(("run", "measured", "simulated", "error", "within 10%"), rows)


def _cost(content: dict[str, Any]) -> str:
    cost, cine = study_cost(content, UKB_FRAMES, UKB_SLICES), content["cine"]
    core_hours = UKB_STUDIES * cost.core_s / 3600
    moved_tb = UKB_STUDIES * (cost.bytes_read + cost.bytes_written) / 1e12
    planes, measured = UKB_FRAMES * UKB_SLICES, cine["shape"][3] * cine["shape"][2]
    seconds = " + ".join(
        f"{value:.2f} s {words}"
        for value, words in (
            (cost.read_s, "read and decode"),
            (cost.compute_s, "network"),
            (cost.other_s, "rest"),
        )
    )
    scale = planes / measured
    moved_mb = (cost.bytes_read + cost.bytes_written) / MB
    lines = [
        f"scale    = {UKB_FRAMES} frames x {UKB_SLICES} slices / {measured} measured = {scale:.2f}",
        f"a study  = {seconds} = {cost.core_s:.2f} core-seconds",
        f"a study  = {cost.bytes_read / MB:.1f} MB read + {cost.bytes_written / MB:.2f} MB written",
        f"cohort   = {UKB_STUDIES:,} x {cost.core_s:.2f} s / 3600 = {core_hours:,.0f} core-hours",
        f"cohort   = {UKB_STUDIES:,} x {moved_mb:.1f} MB = {moved_tb:.2f} TB",
        f"one core = {core_hours / 24:,.0f} days",
    ]
    return "\n".join(["```text", *lines, "```"])


def _machines(content: dict[str, Any]) -> str:
    rows = []
    for machine in MACHINE_TYPES:
        for count, outcome in on_machines(content, machine, (10,)):
            rows.append([machine.name, str(machine.vcpus), *_outcome_cells(machine, count, outcome)])
    return markdown_table(("machine", "vCPUs", *OUTCOME_HEADER), rows)


def _bottleneck(content: dict[str, Any]) -> str:
    machine = MACHINE_TYPES[0]
    rows = []
    for storage in STORAGES_MB_S:
        for count, outcome in on_machines(content, machine, COUNTS, storage_mb_s=storage):
            rows.append([f"{storage:,.0f} MB/s", *_outcome_cells(machine, count, outcome)])
    table = markdown_table(("storage", *OUTCOME_HEADER), rows)
    cost = study_cost(content, UKB_FRAMES, UKB_SLICES)
    limits = ", ".join(
        f"{crossing(cost, Fleet(1, machine.cores, storage_mb_s=storage)):,} at {storage:,.0f} MB/s"
        for storage in STORAGES_MB_S
    )
    return f"{table}\n\nBy the formula above the storage is the limit from so many machines on: {limits}."


def _outcome_cells(machine: MachineType, count: int, outcome: Outcome) -> list[str]:
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
