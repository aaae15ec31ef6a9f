"""The figures of a benchmark: as a table for the terminal and as a results page."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from pipelines.benchmarks.cohorts import BENCH_NAME as COHORT_NAME
from pipelines.core.files import output_folder, write_text
from pipelines.reporting.engine_tables import dice_lines, engine_lines, size_lines
from pipelines.reporting.markdown import markdown_table
from pipelines.reporting.measured import HEADER, BenchFigure, page_of_measured

BENCH_NAME: Final = "bench.json"
PAGE_NAME: Final = "speed.md"

MOST: Final = {
    "pipeline_over_in_memory": 1.15,
    "segment_s": 0.3,
    "training_mb": 6000.0,
    "cine_mb": 3000.0,
    "request_over_bare": 1.3,
    "start_s": 20.0,
}
"""Largest figures that are good: ratios of times, seconds on two cores, MB (1e6 bytes)."""

LEAST: Final = {"throughput_over_plain": 2.2, "engine_ratio": 2.0}
"""Smallest figures that are good."""


def bench_figures(content: dict[str, Any]) -> Iterator[BenchFigure]:
    """Figures of the content of `bench.json`, in the order they are shown."""
    for network, figures in content["training"].items():
        ratio, most = figures["pipeline_over_in_memory"], MOST["pipeline_over_in_memory"]
        yield BenchFigure(f"{network}: step with data pipeline / in memory", ratio, "", 2, most)
        yield BenchFigure(f"{network}: step in bf16 / fp32", figures["bf16_over_fp32"], "", 2)
        peak, most = figures["peak_mb"], MOST["training_mb"]
        yield BenchFigure(f"{network}: peak memory in training", peak, " MB", 0, most)
    times, least = content["radiographs"], LEAST["throughput_over_plain"]
    words = "resnet18: images a second with data pipeline / plain PyTorch in memory"
    yield BenchFigure(words, times["throughput_over_plain"], "", 2, least=least)
    found = content["segmentation"]
    words = f"segment a volume ({found['weights']} weights)"
    yield BenchFigure(words, found["segment_s"], " s", 2, MOST["segment_s"])
    for stage, seconds in found["stages_s"].items():
        yield BenchFigure(f"of it {stage}", seconds, " s", 2)
    yield BenchFigure("read it", found["read_s"], " s", 2)
    yield BenchFigure("write its label map", found["write_s"], " s", 2)
    words = f"peak memory, cine of {found['cine_frames']}"
    yield BenchFigure(words, found["cine_peak_mb"], " MB", 0, MOST["cine_mb"])
    for network, ways in content["engines"].items():
        fastest = max(ways, key=lambda way: ways[way]["cine_ratio"])
        words = f"{network}: {fastest} / PyTorch fp32, cines a second"
        yield BenchFigure(words, ways[fastest]["cine_ratio"], "", 2, least=LEAST["engine_ratio"])
    served = content["serving"]
    yield BenchFigure("request a label map of the server", served["request_s"], " s", 2)
    yield BenchFigure("95th percentile of it", served["request_p95_s"], " s", 2)
    ratio, most = served["request_over_bare"], MOST["request_over_bare"]
    yield BenchFigure("request / read and segment without server", ratio, "", 2, most)
    yield BenchFigure("start of the server", served["start_s"], " s", 0, MOST["start_s"])


def bench_table(content: dict[str, Any]) -> Table:
    """Figures of a benchmark with the most that is asked, a row each.

    Args:
        content: Content of `bench.json`.
    """
    table = Table(*HEADER, title=_machine_line(content), title_justify="left")
    for figure in bench_figures(content):
        table.add_row(*figure.cells)
    return table


def write_bench_results(
    bench: Path, output: Path, *, evaluations: Sequence[Path] = (), cohort: Path | None = None
) -> Path:
    """Write the page of speed and memory.

    Args:
        bench: Folder of `thorax bench`.
        output: Folder that takes `speed.md`; made if it does not exist.
        evaluations: Folders of `thorax evaluate` with different engines, for what these cost in Dice.
        cohort: Folder of `thorax cohort-benchmark`, for the throughput of cohorts.

    Returns:
        Path of the page.

    Raises:
        DataError: If what a command measured is missing or of another version, or no evaluation of a
            network is one in PyTorch's float32.
        OutputError: If the page cannot be written.
    """
    _, lines = page_of_measured(bench / BENCH_NAME, "thorax bench", _page)
    if evaluations:
        lines += dice_lines(evaluations)
    if cohort is not None:
        lines += page_of_measured(cohort / COHORT_NAME, "thorax cohort-benchmark", _cohort_lines)[1]
    output_folder(output)
    page = output / PAGE_NAME
    write_text(page, "\n".join(lines))
    return page


def _page(content: dict[str, Any]) -> list[str]:
    return [
        "# Speed and memory",
        "",
        "Made by `thorax results bench` from what `thorax bench` measured in one run.",
        "",
        f"Machine: {_machine_line(content)}. "
        f"Medians of {content['rounds']} rounds in which what is compared took turns.",
        "A volume has 256 x 216 x 10 voxels; reading and writing it are apart.",
        "",
        markdown_table(HEADER, [figure.cells for figure in bench_figures(content)]),
        "",
        *engine_lines(content["engines"]),
        *size_lines(content["exports"]),
    ]


def _cohort_lines(content: dict[str, Any]) -> list[str]:
    plain, one, two = content["plain"], content["ray"]["1"], content["ray"]["2"]
    figures = [
        BenchFigure(
            f"one worker on Ray / plain loop, {plain['studies']} volumes",
            plain["loop_s"] / one["working_s"],
            "",
            2,
        ),
        BenchFigure("two workers on two nodes / one worker", one["working_s"] / two["working_s"], "", 2),
    ]
    return [
        "## Cohorts",
        "",
        "Volumes a second by `thorax cohort-benchmark`; more of it on [Scale](../concepts/scale.md).",
        "",
        markdown_table(HEADER, [figure.cells for figure in figures]),
        "",
    ]


def _machine_line(content: dict[str, Any]) -> str:
    return f"{content['device']}, {content['threads']} threads, precision auto is {content['precision']}"
