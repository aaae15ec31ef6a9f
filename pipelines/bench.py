"""Speed and memory as ratios and peaks of one run, with what is asked of them."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

from pipelines.benchmarks.memory import peak_memory_of
from pipelines.benchmarks.steps import time_training_steps
from pipelines.benchmarks.volumes import time_segmentation, usable_weights
from pipelines.bundle import NETWORKS, load_config
from pipelines.datasets.phantom import write_phantom_cohort
from pipelines.datasets.prepare import prepare_acdc, read_datalist, select
from pipelines.files import output_folder, write_json
from pipelines.manifest import write_manifest
from pipelines.reporting.steps import Step, StepLog

BENCH_NAME: Final = "bench.json"

MOST: Final = {
    "pipeline_over_in_memory": 1.15,
    "segment_s": 0.3,
    "training_mb": 6000.0,
    "cine_mb": 3000.0,
}
"""Largest figures that are good: step time ratio, seconds a volume on two cores, MB (1e6 bytes)."""


def run_bench(
    output: Path,
    *,
    data: Path | None = None,
    networks: Sequence[str] = NETWORKS,
    rounds: int = 9,
    frames: int = 30,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure, show and write to `bench.json` the speed and memory on this machine.

    Kinds that are compared take turns, and medians over the rounds are reported.
    Nothing else should run meanwhile.

    Args:
        output: Folder for `bench.json` and the manifest; made if it does not exist.
        data: Existing folder in ACDC's layout to train on, or None for a phantom cohort.
        networks: Networks whose training is measured.
        rounds: Counted rounds of each measurement.
        frames: Frames of the cine whose memory is measured.
        console: Where progress and figures are shown; by default standard output.

    Returns:
        The content of `bench.json`.

    Raises:
        DataError: If `data` cannot be used.
        ConfigError: If a network is unknown or a measured process fails.
        OutputError: If `output` cannot be written.
    """
    console = console or Console()
    log = StepLog(console)
    output_folder(output)
    with tempfile.TemporaryDirectory(dir=output, prefix=".bench-") as folder:
        work = Path(folder)
        image, cine, slices = _make_data(log, work, data, frames)
        content: dict[str, Any] = {
            **_machine(),
            "data": str(data or "phantom"),
            "training_volumes": slices,
            "rounds": rounds,
            "training": {},
        }
        for network in networks:
            with log.step(f"Time training steps of {network}") as step:
                times = time_training_steps(
                    network,
                    work / "prepared",
                    work / "steps",
                    rounds=rounds,
                    progress=_rounds(step),
                )
                step.done(f"{times.pipeline_ms:.0f} ms with the data pipeline")
            with log.step(f"Memory of training {network}") as step:
                run = work / "runs" / network
                peak_mb = peak_memory_of(
                    "train", network, work / "prepared", run, result=work / "memory.json"
                )
                step.done(f"{peak_mb:.0f} MB at most")
            content["training"][network] = {
                **asdict(times),
                "pipeline_over_in_memory": times.pipeline_over_in_memory,
                "bf16_over_fp32": times.bf16_over_fp32,
                "peak_mb": peak_mb,
            }
        weights, is_trained = usable_weights(work)
        with log.step("Time the segmentation of a volume") as step:
            volume = time_segmentation(
                image,
                weights,
                work,
                rounds=rounds,
                progress=_rounds(step),
            )
            step.done(f"{volume.segment_s:.2f} s")
        with log.step(f"Memory of segmenting {frames} frames") as step:
            cine_mb = peak_memory_of(
                "segment", weights, cine, work / "segmented", result=work / "memory.json"
            )
            step.done(f"{cine_mb:.0f} MB at most")
        content["segmentation"] = {
            **asdict(volume),
            "weights": "trained" if is_trained else "random",
            "cine_frames": frames,
            "cine_peak_mb": cine_mb,
        }
    content["most"] = dict(MOST)
    content["is_within"] = _verdicts(content)
    write_json(output / BENCH_NAME, content)
    write_manifest(output, outputs=[BENCH_NAME])
    console.print(bench_table(content))
    console.print(f"Figures: {(output / BENCH_NAME).resolve()}", soft_wrap=True, highlight=False)
    return content


def bench_table(content: dict[str, Any]) -> Table:
    """Figures of a benchmark with the most that is asked, a row each.

    Args:
        content: Content of `bench.json`.
    """
    title = f"{content['device']}, {content['threads']} threads, precision auto is {content['precision']}"
    table = Table("figure", "", "at most", "", title=title, title_justify="left")
    for network, figures in content["training"].items():
        rows = (
            (
                "step with data pipeline / in memory",
                "pipeline_over_in_memory",
                "pipeline_over_in_memory",
                2,
                "",
            ),
            ("step in bf16 / fp32", "bf16_over_fp32", None, 2, ""),
            ("peak memory in training", "peak_mb", "training_mb", 0, " MB"),
        )
        for words, name, limit, digits, unit in rows:
            _add_row(table, f"{network}: {words}", figures[name], limit, digits, unit)
    found = content["segmentation"]
    _add_row(
        table, f"segment a volume ({found['weights']} weights)", found["segment_s"], "segment_s", 2, " s"
    )
    _add_row(table, "read it", found["read_s"], None, 2, " s")
    _add_row(table, "write its label map", found["write_s"], None, 2, " s")
    _add_row(
        table, f"peak memory, cine of {found['cine_frames']}", found["cine_peak_mb"], "cine_mb", 0, " MB"
    )
    return table


def _add_row(table: Table, words: str, value: float, limit: str | None, digits: int, unit: str) -> None:
    most = MOST[limit] if limit else None
    verdict = "" if most is None else "yes" if value <= most else "no"
    table.add_row(
        words, f"{value:.{digits}f}{unit}", "" if most is None else f"{most:.{digits}f}{unit}", verdict
    )


def _verdicts(content: dict[str, Any]) -> dict[str, bool]:
    training, found = content["training"].values(), content["segmentation"]
    return {
        "pipeline_over_in_memory": all(
            figures["pipeline_over_in_memory"] <= MOST["pipeline_over_in_memory"] for figures in training
        ),
        "segment_s": found["segment_s"] <= MOST["segment_s"],
        "training_mb": all(figures["peak_mb"] <= MOST["training_mb"] for figures in training),
        "cine_mb": found["cine_peak_mb"] <= MOST["cine_mb"],
    }


def _make_data(log: StepLog, work: Path, data: Path | None, frames: int) -> tuple[Path, Path, int]:
    """An image, a cine, and the number of training volumes in `work/prepared`."""
    with log.step("Make the data") as step:
        if data is None:
            write_phantom_cohort(work / "cohort", patients=5, cine=False)
        write_phantom_cohort(work / "new", patients=1, seed=1, frames=frames)
        patient = work / "new" / "training" / "patient001"
        prepare_acdc(data or work / "cohort", work / "prepared", progress=step.tell)
        volumes = len(select(read_datalist(work / "prepared"), "training", 0))
        step.done(f"{volumes} training volumes, a cine of {frames} frames")
    return patient / "patient001_frame01.nii.gz", patient / "patient001_4d.nii.gz", volumes


def _rounds(step: Step) -> Callable[[int, int], None]:
    return lambda done, total: step.tell(done, total, f"round {done}")


def _machine() -> dict[str, Any]:
    get = load_config(NETWORKS[0]).get_parsed_content
    dtype = get("autocast_dtype")
    return {
        "device": str(get("device")),
        "threads": torch.get_num_threads(),
        "precision": "fp32" if dtype is None else str(dtype).removeprefix("torch."),
    }
