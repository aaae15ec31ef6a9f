"""Speed of prediction, training steps and the server, as ratios within one run."""

import copy
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import torch
from rich.console import Console
from torch import Tensor, nn

from pipelines.benchmarks.engines import (
    engines_of,
    export_sizes,
    time_engines,
    time_segmentation,
    usable_weights,
)
from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, write_json, write_manifest
from pipelines.core.progress import StepLog, show_progress
from pipelines.core.volume import read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import prepare_acdc, read_datalist, select
from pipelines.datasets.prepare_xray import prepare_chest_xray
from pipelines.evaluation.memory import peak_memory_of
from pipelines.models.bundle import NETWORKS, XRAY_NETWORKS, load_config
from pipelines.models.heart import Predictor
from pipelines.training.launch import train_network
from pipelines.training.optimisation import AutocastInferer

START_TIMEOUT_S: Final = 180.0
"""Longest wait for a server's first answer, s."""

REST_S: Final = 0.3
"""Pause before each measurement, s: the threads of the process that was just busy still spin for a while."""


@dataclass(frozen=True, slots=True)
class ServingTimes:
    """Seconds of a request over loopback beside those of the bare inference.

    Attributes:
        request_s: Median from the request of a label map to its last byte.
        request_p95_s: 95th percentile of the same.
        bare_s: Median to read the same file and segment it in this process.
        start_s: From the command to the first answer.
    """

    request_s: float
    request_p95_s: float
    bare_s: float
    start_s: float

    @property
    def request_over_bare(self) -> float:
        """Median of the request by that of the bare inference."""
        return self.request_s / self.bare_s


@contextmanager
def running_server(studies: Path, *options: str) -> Iterator[str]:
    """Address of `thorax serve` in a process of its own, which ends with the block.

    Args:
        studies: Existing studies folder; `server.log` is written beside it.
        *options: Further options of the command.

    Raises:
        ConfigError: If it ends or does not answer; the last line of its log is in the message.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address, log = f"http://127.0.0.1:{port}", studies.parent / "server.log"
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "serve"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, str(studies), "--port", port, *options],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.perf_counter() + START_TIMEOUT_S
        while not _answers(address):
            if process.poll() is not None or time.perf_counter() > end:
                last = log.read_text(encoding="utf-8").strip().rpartition("\n")[2]
                raise ConfigError(f"expected 'thorax serve' to answer, found: {last}")
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def time_serving(image: Path, work_dir: Path, *, rounds: int = 9) -> ServingTimes:
    """Times of requests for automatic contours, in turns with bare inferences of the same file.

    Args:
        image: Existing short-axis volume (NIfTI).
        work_dir: Existing folder for a studies folder.
        rounds: Number of counted rounds; a first one is not counted.

    Raises:
        ConfigError: If the bundle has no weights, or the server does not start.
    """
    with tempfile.TemporaryDirectory(dir=work_dir) as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        volume = Path(shutil.copyfile(image, studies / "volume.nii.gz"))
        predictor = Predictor.load(NETWORKS[0])
        start = time.perf_counter()
        with running_server(studies) as address:
            start_s = time.perf_counter() - start
            url = f"{address}/infer/{NETWORKS[0]}?image=volume"
            requests, bare = [], []
            for done in range(rounds + 1):
                time.sleep(REST_S)
                mark = time.perf_counter()
                predictor.predict(read_volume(volume))
                bare.append(time.perf_counter() - mark)
                time.sleep(REST_S)
                mark = time.perf_counter()
                with urlopen(Request(url, b"params=%7B%7D")) as answer:
                    answer.read()
                requests.append(time.perf_counter() - mark)
                show_progress(done + 1, rounds + 1, f"round {done + 1}")
    slow = statistics.quantiles(requests[1:], n=20, method="inclusive")[-1] if rounds > 1 else requests[1]
    return ServingTimes(statistics.median(requests[1:]), slow, statistics.median(bare[1:]), start_s)


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/auth/", timeout=5):
            return True
    except (URLError, OSError):
        return False


TRAINING_MINUTES: Final = 0.25
"""Minutes of training steps, after which memory no longer grows."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Median times of one training step in ms.

    Attributes:
        pipeline_ms: With loading and augmentation of a new batch.
        in_memory_ms: On one batch that is in memory and on the device.
        bf16_ms: On that batch in bfloat16.
        fp32_ms: On that batch in float32.
        plain_ms: On that batch as a plain PyTorch loop does it: float32, default memory format, AdamW.
    """

    pipeline_ms: float
    in_memory_ms: float
    bf16_ms: float
    fp32_ms: float
    plain_ms: float

    @property
    def pipeline_over_in_memory(self) -> float:
        """Time with the data pipeline over time without; 1 if data cost nothing."""
        return self.pipeline_ms / self.in_memory_ms

    @property
    def bf16_over_fp32(self) -> float:
        """Time in bfloat16 over time in float32; below 1 where bfloat16 is faster."""
        return self.bf16_ms / self.fp32_ms

    @property
    def throughput_over_plain(self) -> float:
        """Images a second with the data pipeline over those of plain PyTorch on a batch in memory."""
        return self.plain_ms / self.pipeline_ms


def time_training_steps(
    network: str, dataset_dir: Path, work_dir: Path, *, rounds: int = 9, **settings: Any
) -> StepTimes:
    """Median times of training steps built from the bundle's own configuration.

    Each round does one step of each kind, so that a change in the machine's load
    meets all kinds; a first round is not counted.

    Args:
        network: One of the bundle's networks.
        dataset_dir: Existing prepared folder, or one in ACDC's layout.
        work_dir: Folder for caches.
        rounds: Number of counted rounds.
        **settings: Values that replace those of the configuration.
    """
    bench = _Bench(network, dataset_dir, work_dir, settings)
    batch = bench.prepare(next(bench.batches))
    kinds: dict[str, Callable[[], None]] = {
        "pipeline_ms": lambda: bench.step(bench.prepare(next(bench.batches)), bench.inferer),
        "in_memory_ms": lambda: bench.step(batch, bench.inferer),
        "bf16_ms": lambda: bench.step(batch, AutocastInferer(torch.bfloat16)),
        "fp32_ms": lambda: bench.step(batch, AutocastInferer(None)),
        "plain_ms": lambda: bench.plain_step(batch),
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for done in range(rounds + 1):
        for kind, step in kinds.items():
            elapsed_ms = 1000 * _seconds(step, bench.device)
            if done > 0:
                times[kind].append(elapsed_ms)
        show_progress(done + 1, rounds + 1, f"round {done + 1}")
    return StepTimes(**{kind: statistics.median(found) for kind, found in times.items()})


class _Bench:
    """The parts of a training, and one step of it as MONAI's trainer does it."""

    def __init__(self, network: str, dataset_dir: Path, work_dir: Path, settings: dict[str, Any]) -> None:
        config = load_config(
            network, ["train"], dataset_dir=str(dataset_dir), output_dir=str(work_dir / network), **settings
        )
        get = config.get_parsed_content
        self.device: torch.device = get("device")
        self.network: nn.Module = get("network").train()
        self.averaged: Any = get("averaged")
        self.optimizer: torch.optim.Optimizer = get("train#optimizer")
        self.loss: nn.Module = get("train#loss")
        self.inferer: AutocastInferer = get("train#trainer#inferer")
        self.max_norm: float = get("max_norm")
        self.plain = copy.deepcopy(self.network).to(memory_format=torch.contiguous_format)
        self.plain_optimizer = torch.optim.AdamW(self.plain.parameters())
        self._prepare_batch = get("train#trainer#prepare_batch")
        self.batches = _endless(get("train#dataloader"))

    def prepare(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        image, label = self._prepare_batch(batch, self.device)
        return image, label

    def step(self, batch: tuple[Tensor, Tensor], inferer: AutocastInferer) -> None:
        image, label = batch
        self.optimizer.zero_grad()
        self.loss(inferer(image, self.network), label).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)

    def plain_step(self, batch: tuple[Tensor, Tensor]) -> None:
        image, label = batch
        self.plain_optimizer.zero_grad()
        self.loss(self.plain(image.contiguous()), label).backward()
        self.plain_optimizer.step()


def _endless(loader: Any) -> Iterator[dict[str, Tensor]]:
    while True:
        yield from loader


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def train_a_little(network: str, dataset_dir: str, run_dir: str) -> None:
    """Some steps and a validation with the batches and all the data of a real training."""
    train_network(network, Path(dataset_dir), Path(run_dir), overlays=["timed"], minutes=TRAINING_MINUTES)


BENCH_NAME: Final = "bench.json"

MAX_VALUES: Final = {
    "pipeline_over_in_memory": 1.15,
    "segment_s": 0.3,
    "training_mb": 6000.0,
    "cine_mb": 3000.0,
    "request_over_bare": 1.2,
    "start_s": 20.0,
}
"""Largest values that are good: ratios of times, seconds on two cores, MB (1e6 bytes)."""

MIN_VALUES: Final = {"throughput_over_plain": 2.2, "engine_ratio": 2.0}
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
        ratio, most = found["pipeline_over_in_memory"], MAX_VALUES["pipeline_over_in_memory"]
        yield Measured(f"{network}: step with data pipeline / in memory", ratio, "", 2, most)
        yield Measured(f"{network}: step in bf16 / fp32", found["bf16_over_fp32"], "", 2)
        peak, most = found["peak_mb"], MAX_VALUES["training_mb"]
        yield Measured(f"{network}: peak memory in training", peak, " MB", 0, most)
    times, least = content["radiographs"], MIN_VALUES["throughput_over_plain"]
    words = "resnet18: images a second with data pipeline / plain PyTorch in memory"
    yield Measured(words, times["throughput_over_plain"], "", 2, least=least)
    found = content["segmentation"]
    words = f"segment a volume ({found['weights']} weights)"
    yield Measured(words, found["segment_s"], " s", 2, MAX_VALUES["segment_s"])
    for stage, seconds in found["stages_s"].items():
        yield Measured(f"of it {stage}", seconds, " s", 2)
    yield Measured("read it", found["read_s"], " s", 2)
    yield Measured("write its label map", found["write_s"], " s", 2)
    words = f"peak memory, cine of {found['cine_frames']}"
    yield Measured(words, found["cine_peak_mb"], " MB", 0, MAX_VALUES["cine_mb"])
    for network, ways in content["engines"].items():
        fastest = max(ways, key=lambda way: ways[way]["cine_ratio"])
        words = f"{network}: {fastest} / PyTorch fp32, cines a second"
        yield Measured(words, ways[fastest]["cine_ratio"], "", 2, least=MIN_VALUES["engine_ratio"])
    served = content["serving"]
    yield Measured("request a label map of the server", served["request_s"], " s", 2)
    yield Measured("95th percentile of it", served["request_p95_s"], " s", 2)
    ratio, most = served["request_over_bare"], MAX_VALUES["request_over_bare"]
    yield Measured("request / read and segment without server", ratio, "", 2, most)
    yield Measured("start of the server", served["start_s"], " s", 0, MAX_VALUES["start_s"])


TRAIN: Final = "pipelines.benchmarks.speed:train_a_little"
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
            volume = time_segmentation(image, weights, work, rounds=rounds)
            step.done(f"{volume.segment_s:.2f} s")
        with log.step("Time requests to the labelling server") as step:
            serving = time_serving(image, work, rounds=rounds)
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
    content["most"] = dict(MAX_VALUES)
    content["least"] = dict(MIN_VALUES)
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
        prepare_acdc(data or work / "cohort", work / "prepared")
        volumes = len(select(read_datalist(work / "prepared"), "training", 0))
        step.done(f"{volumes} training volumes, a cine of {frames} frames")
    return patient / "patient001_frame01.nii.gz", patient / "patient001_4d.nii.gz", volumes


def _time_steps(log: StepLog, network: str, prepared: Path, work: Path, rounds: int) -> StepTimes:
    with log.step(f"Time training steps of {network}") as step:
        times = time_training_steps(network, prepared, work, rounds=rounds)
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
            times = time_engines(ways, volume, read_volume(cine), rounds=rounds)
            found[network] = {way: asdict(figures) for way, figures in times.items()}
            step.done(f"{len(times)} ways")
    return found


def _machine() -> dict[str, Any]:
    get = load_config(NETWORKS[0]).get_parsed_content
    dtype = get("autocast_dtype")
    return {
        "device": str(get("device")),
        "threads": torch.get_num_threads(),
        "precision": "fp32" if dtype is None else str(dtype).removeprefix("torch."),
    }
