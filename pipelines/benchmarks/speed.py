"""Speed and memory as ratios and peaks of one run, with the values that are good."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from pipelines.benchmarks.engines import (
    engines_of,
    export_sizes,
    time_engines,
    time_segmentation,
    usable_weights,
)
from pipelines.benchmarks.serving import time_serving
from pipelines.benchmarks.steps import StepTimes, time_training_steps
from pipelines.core.files import output_folder, write_json
from pipelines.core.manifest import write_manifest
from pipelines.core.progress import Step, StepLog
from pipelines.core.volume import read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import prepare_acdc, read_datalist, select
from pipelines.datasets.prepare_xray import prepare_chest_xray
from pipelines.evaluation.memory import peak_memory_of
from pipelines.models.bundle import NETWORKS, XRAY_NETWORKS, load_config

BENCH_NAME: Final = "bench.json"

MOST: Final = {
    "pipeline_over_in_memory": 1.15,
    "segment_s": 0.3,
    "training_mb": 6000.0,
    "cine_mb": 3000.0,
    "request_over_bare": 1.3,
    "start_s": 20.0,
}
"""Largest values that are good: ratios of times, seconds on two cores, MB (1e6 bytes)."""

LEAST: Final = {"throughput_over_plain": 2.2, "engine_ratio": 2.0}
"""Smallest values that are good."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured value.

    Attributes:
        words: What was measured.
        value: As measured.
        unit: With the space before it; empty for a ratio.
        digits: Digits after the point that are shown.
        most: Largest value that is good, or None if there is none.
        least: Smallest value that is good, or None if there is none.
    """

    words: str
    value: float
    unit: str
    digits: int
    most: float | None = None
    least: float | None = None

    @property
    def is_kept(self) -> bool | None:
        """Whether the value meets its target, None if there is no target."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    @property
    def cells(self) -> list[str]:
        """Words, value, target, and whether it is met."""
        target = "" if self.most is None else f"at most {self._shown(self.most)}"
        target = target if self.least is None else f"at least {self._shown(self.least)}"
        verdict = {None: "", True: "yes", False: "no"}[self.is_kept]
        return [self.words, self._shown(self.value), target, verdict]

    def _shown(self, value: float) -> str:
        return f"{value:z.{self.digits}f}{self.unit}"


def bench_values(content: Mapping[str, Any]) -> Iterator[Measured]:
    """Values of the content of `bench.json`, in the order they are shown."""
    for network, found in content["training"].items():
        ratio, most = found["pipeline_over_in_memory"], MOST["pipeline_over_in_memory"]
        yield Measured(f"{network}: step with data pipeline / in memory", ratio, "", 2, most)
        yield Measured(f"{network}: step in bf16 / fp32", found["bf16_over_fp32"], "", 2)
        peak, most = found["peak_mb"], MOST["training_mb"]
        yield Measured(f"{network}: peak memory in training", peak, " MB", 0, most)
    times, least = content["radiographs"], LEAST["throughput_over_plain"]
    words = "resnet18: images a second with data pipeline / plain PyTorch in memory"
    yield Measured(words, times["throughput_over_plain"], "", 2, least=least)
    found = content["segmentation"]
    words = f"segment a volume ({found['weights']} weights)"
    yield Measured(words, found["segment_s"], " s", 2, MOST["segment_s"])
    for stage, seconds in found["stages_s"].items():
        yield Measured(f"of it {stage}", seconds, " s", 2)
    yield Measured("read it", found["read_s"], " s", 2)
    yield Measured("write its label map", found["write_s"], " s", 2)
    words = f"peak memory, cine of {found['cine_frames']}"
    yield Measured(words, found["cine_peak_mb"], " MB", 0, MOST["cine_mb"])
    for network, ways in content["engines"].items():
        fastest = max(ways, key=lambda way: ways[way]["cine_ratio"])
        words = f"{network}: {fastest} / PyTorch fp32, cines a second"
        yield Measured(words, ways[fastest]["cine_ratio"], "", 2, least=LEAST["engine_ratio"])
    served = content["serving"]
    yield Measured("request a label map of the server", served["request_s"], " s", 2)
    yield Measured("95th percentile of it", served["request_p95_s"], " s", 2)
    ratio, most = served["request_over_bare"], MOST["request_over_bare"]
    yield Measured("request / read and segment without server", ratio, "", 2, most)
    yield Measured("start of the server", served["start_s"], " s", 0, MOST["start_s"])


TRAIN: Final = "pipelines.benchmarks.steps:train_a_little"
SEGMENT: Final = "pipelines.benchmarks.engines:segment_cine"
"""Jobs whose memory is measured."""

XRAY_NETWORK: Final = "resnet18"
XRAYS: Final = 160
"""Generated radiographs, enough for a whole batch of training."""


def run_bench(
    output: Path,
    *,
    data: Path | None = None,
    networks: Sequence[str] = NETWORKS,
    rounds: int = 9,
    frames: int = 30,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure the speed and memory on this machine, and write them to `bench.json`.

    Kinds that are compared take turns, and medians over the rounds are reported.
    Nothing else should run meanwhile.

    Args:
        output: Folder for `bench.json` and the manifest; made if it does not exist.
        data: Existing folder in ACDC's layout to train on, or None for a phantom cohort.
        networks: Networks whose training and engines are measured.
        rounds: Counted rounds of each measurement.
        frames: Frames of the cine whose memory is measured.
        console: Where progress is shown; by default standard output.

    Returns:
        The content of `bench.json`.

    Raises:
        DataError: If `data` cannot be used.
        ConfigError: If a network is unknown, a measured process fails, or the extra `label` is missing.
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
            times = _time_steps(log, network, work / "prepared", work / "steps", rounds)
            with log.step(f"Memory of training {network}") as step:
                run = work / "runs" / network
                peak_mb = peak_memory_of(TRAIN, network, work / "prepared", run, result=work / "memory.json")
                step.done(f"{peak_mb:.0f} MB at most")
            content["training"][network] = {
                **asdict(times),
                "pipeline_over_in_memory": times.pipeline_over_in_memory,
                "bf16_over_fp32": times.bf16_over_fp32,
                "peak_mb": peak_mb,
            }
        write_phantom_xrays(work / "xrays", patients=XRAYS, images=1)
        prepare_chest_xray(work / "xrays", work / "prepared_xrays")
        times = _time_steps(log, XRAY_NETWORK, work / "prepared_xrays", work / "steps", rounds)
        content["radiographs"] = {**asdict(times), "throughput_over_plain": times.throughput_over_plain}
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
        with log.step("Time requests to the labelling server") as step:
            serving = time_serving(image, work, rounds=rounds, progress=_rounds(step))
            step.done(f"{serving.request_s:.2f} s")
        with log.step(f"Memory of segmenting {frames} frames") as step:
            cine_mb = peak_memory_of(SEGMENT, weights, cine, work / "segmented", result=work / "memory.json")
            step.done(f"{cine_mb:.0f} MB at most")
        content["engines"] = _time_engines(log, networks, image, cine, work, rounds)
        content["exports"] = {}
        for network in (*networks, XRAY_NETWORKS[0]):
            with log.step(f"Sizes of the exports of {network}") as step:
                trained, _ = usable_weights(work, network)
                content["exports"][network] = export_sizes(network, weights=trained)
                step.done(f"{len(content['exports'][network])} formats")
        content["segmentation"] = {
            **asdict(volume),
            "weights": "trained" if is_trained else "random",
            "cine_frames": frames,
            "cine_peak_mb": cine_mb,
        }
    content["serving"] = {**asdict(serving), "request_over_bare": serving.request_over_bare}
    content["most"] = dict(MOST)
    content["least"] = dict(LEAST)
    content["missed"] = [one.words for one in bench_values(content) if one.is_kept is False]
    write_json(output / BENCH_NAME, content)
    write_manifest(output, outputs=[BENCH_NAME])
    console.print(f"Figures: {(output / BENCH_NAME).resolve()}", soft_wrap=True, highlight=False)
    return content


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


def _time_steps(log: StepLog, network: str, prepared: Path, work: Path, rounds: int) -> StepTimes:
    with log.step(f"Time training steps of {network}") as step:
        times = time_training_steps(network, prepared, work, rounds=rounds, progress=_rounds(step))
        step.done(f"{times.pipeline_ms:.0f} ms with the data pipeline")
    return times


def _time_engines(
    log: StepLog, networks: Sequence[str], image: Path, cine: Path, work: Path, rounds: int
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for network in networks:
        with log.step(f"Time the engines of {network}") as step:
            volume = read_volume(image)
            ways = engines_of(network, usable_weights(work, network)[0], volume)
            times = time_engines(ways, volume, read_volume(cine), rounds=rounds, progress=_rounds(step))
            found[network] = {way: asdict(figures) for way, figures in times.items()}
            step.done(f"{len(times)} ways")
    return found


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
