"""Speed of prediction, its engines, training steps and the server, as ratios within one run."""

import copy
import itertools
import logging
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor, nn

from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, write_json, write_manifest
from pipelines.core.progress import StepLog, show_progress
from pipelines.core.volume import Volume, read_volume, slices_last, write_label
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import prepare_acdc, read_datalist, select
from pipelines.datasets.prepare_xray import prepare_chest_xray
from pipelines.evaluation.memory import peak_memory_of
from pipelines.export.formats import FORMATS, INT8, Source
from pipelines.inference.segment import segment
from pipelines.models.bundle import NETWORKS, XRAY_NETWORKS, bundle_of, load_config
from pipelines.models.engines import INT8_NAME, Engine
from pipelines.models.heart import Predictor
from pipelines.models.weights import save_weights
from pipelines.training.launch import train_network
from pipelines.training.optimisation import AutocastInferer

logger = logging.getLogger(__name__)

SHAPE: Final = (256, 216, 10)
"""Voxels of the volume that is segmented."""

SPACING_MM: Final = (1.5625, 1.5625, 10.0)


def usable_weights(folder: Path, network: str = NETWORKS[0]) -> tuple[Path, bool]:
    """The bundle's weights and True, or random ones written to `folder` and False."""
    committed = bundle_of(network) / "models" / network / "model.pt"
    if committed.is_file():
        return committed, True
    path = folder / f"{network}_random.pt"
    save_weights(load_config(network).get_parsed_content("network"), path)
    return path, False


def time_segmentation(image: Path, weights: Path, work_dir: Path, *, rounds: int = 9) -> dict[str, Any]:
    """Median seconds to read, segment and write a 256 x 216 x 10 volume with a loaded model.

    Args:
        image: Existing short-axis volume (NIfTI), cropped or padded to that size.
        weights: Existing weights of the network.
        work_dir: Folder for the files that are read and written.
        rounds: Number of counted rounds; a first one is not counted.

    Returns:
        `read_s` from a gzipped file, `segment_s`, `write_s` of the label map, and `stages_s`, which add up
        to `segment_s`: `preprocess`, `network` and `postprocess`.
    """
    path = work_dir / "volume.nii.gz"
    array = _resize(slices_last(read_volume(image))[0])
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING_MM, 1.0])), path)
    predictor = Predictor.load(weights=weights)
    rows: list[dict[str, float]] = []
    for done in range(rounds + 1):
        start = time.perf_counter()
        volume = read_volume(path)
        read = time.perf_counter()
        prediction = predictor.predict(volume)
        segmented = time.perf_counter()
        write_label(work_dir / "volume_seg.nii.gz", prediction.mask, volume.affine)
        written = time.perf_counter()
        times = {"read": read - start, "segment": segmented - read, "write": written - segmented}
        rows.append(times | prediction.seconds)
        show_progress(done + 1, rounds + 1, f"round {done + 1}")
    medians = {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}
    return {
        **{f"{name}_s": medians[name] for name in ("segment", "read", "write")},
        "stages_s": {name: medians[name] for name in ("preprocess", "network", "postprocess")},
    }


def _resize(volume: Volume) -> npt.NDArray[np.int16]:
    """The middle of the volume on the wanted number of voxels, padded with its border."""
    array = volume.array
    for axis, length in enumerate(SHAPE):
        first = (array.shape[axis] - length) // 2
        indices = np.clip(np.arange(first, first + length), 0, array.shape[axis] - 1)
        array = np.take(array, indices, axis=axis)
    return array.astype(np.int16)


BASE: Final = "PyTorch fp32"
"""The way that all are compared with."""

WAYS: Final[dict[str, tuple[Engine, str]]] = {
    BASE: ("pytorch", "fp32"),
    "PyTorch bf16": ("pytorch", "bf16"),
    "OpenVINO fp32": ("openvino", "fp32"),
    "OpenVINO bf16": ("openvino", "bf16"),
    "OpenVINO int8": ("int8", "bf16"),
}
"""Engine and precision of each way that `thorax segment` has."""


def engines_of(network: str, weights: Path, volume: Volume) -> dict[str, Predictor]:
    """All ways to run a heart network that work here; one that does not is logged and left out.

    Args:
        network: Network of the ACDC bundle.
        weights: Existing weights, with the int8 model beside them if it is to be measured.
        volume: `(X, Y, Z)` image to try them on.
    """
    bundle, ways = bundle_of(network), dict[str, Predictor]()
    for way, (engine, precision) in WAYS.items():
        try:
            predictor = Predictor.load(
                network, bundle=bundle, weights=weights, device="cpu", precision=precision, engine=engine
            )
            predictor.predict(volume)
            ways[way] = predictor
        except Exception as error:  # a package that is missing or does not know the CPU fails in many ways
            logger.warning("%s is left out: %s", way, str(error).partition("\n")[0])
    return ways


def time_engines(
    ways: Mapping[str, Predictor], volume: Volume, cine: Volume, *, rounds: int = 9
) -> dict[str, dict[str, float]]:
    """Times of all ways, which take turns volume by volume and frame by frame.

    Args:
        ways: As from `engines_of`.
        volume: `(X, Y, Z)` image.
        cine: `(X, Y, Z, T)` image, segmented frame by frame.
        rounds: Counted rounds on the volume; a first one is not counted.

    Returns:
        By way: how many times faster than `BASE` it segments a volume, `volume_ratio`, and the frames of a
        cine, `cine_ratio`, and its network alone is, `network_ratio`; the seconds of these frames, `cine_s`.
    """
    frames = cine.array.shape[3]
    images = [volume] * (rounds + 1) + [cine.frame(index) for index in range(frames)]
    whole: dict[str, list[float]] = {way: [] for way in ways}
    inner: dict[str, list[float]] = {way: [] for way in ways}
    for done, image in enumerate(images, start=1):
        for way, predictor in ways.items():
            start = time.perf_counter()
            prediction = predictor.predict(image)
            whole[way].append(time.perf_counter() - start)
            inner[way].append(prediction.seconds["network"])
        show_progress(done, len(images), f"round {done}")
    counted = slice(1, rounds + 1)
    return {
        way: {
            "volume_ratio": float(np.median(np.divide(whole[BASE][counted], whole[way][counted]))),
            "network_ratio": float(np.median(np.divide(inner[BASE][counted], inner[way][counted]))),
            "cine_ratio": sum(whole[BASE][-frames:]) / sum(whole[way][-frames:]),
            "cine_s": sum(whole[way][-frames:]),
        }
        for way in ways
    }


def export_sizes(network: str, *, weights: Path | None = None) -> dict[str, int]:
    """Bytes of a network in each format; a format that cannot be written here is logged and left out.

    Args:
        network: Network of one of the bundles.
        weights: File to use instead of the bundle's own; its int8 model is the one beside it.
    """
    source = Source.load(network, weights=weights)
    sizes = {"weights": source.weights.stat().st_size}
    for name, wanted in FORMATS.items():
        if name == INT8:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                wanted.write(source, Path(folder), ())
            except ConfigError as error:
                logger.warning("%s is left out: %s", name, error)
                continue
            sizes[name] = sum(path.stat().st_size for path in Path(folder).iterdir())
    int8 = source.weights.with_name(INT8_NAME)
    if int8.is_file():
        sizes[INT8] = int8.stat().st_size + int8.with_suffix(".bin").stat().st_size
    return sizes


START_TIMEOUT_S: Final = 180.0
"""Longest wait for a server's first answer, s."""

REST_S: Final = 0.3
"""Pause before each measurement, s: the threads of the process that was just busy still spin for a while."""


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


def time_serving(image: Path, work_dir: Path, *, rounds: int = 9) -> dict[str, float]:
    """Times of requests for automatic contours, in turns with bare inferences of the same file.

    Args:
        image: Existing short-axis volume (NIfTI).
        work_dir: Existing folder for a studies folder.
        rounds: Number of counted rounds; a first one is not counted.

    Returns:
        Medians in s from the request of a label map to its last byte, `request_s`, and to read the same file
        and segment it in this process, `bare_s`; their ratio, `request_over_bare`; the 95th percentile of
        requests, `request_p95_s`; and from the command to the first answer, `start_s`.

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
    request_s, bare_s = statistics.median(requests[1:]), statistics.median(bare[1:])
    return {
        "request_s": request_s,
        "request_p95_s": slow,
        "bare_s": bare_s,
        "start_s": start_s,
        "request_over_bare": request_s / bare_s,
    }


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/auth/", timeout=5):
            return True
    except (URLError, OSError):
        return False


TRAINING_MINUTES: Final = 0.25
"""Minutes of training steps, after which memory no longer grows."""


def time_training_steps(
    network: str, dataset_dir: Path, work_dir: Path, *, rounds: int = 9, **settings: Any
) -> dict[str, float]:
    """Median times in ms of training steps built from the bundle's own configuration.

    Each round does one step of each kind, so that a change in the machine's load
    meets all kinds; a first round is not counted.

    Args:
        network: One of the bundle's networks.
        dataset_dir: Existing prepared folder, or one in ACDC's layout.
        work_dir: Folder for caches.
        rounds: Number of counted rounds.
        **settings: Values that replace those of the configuration.

    Returns:
        `pipeline_ms`, with loading and augmentation of a new batch; on one batch that is in memory and on the
        device, `in_memory_ms`, `bf16_ms`, `fp32_ms`, and `plain_ms` as a plain PyTorch loop does it (float32,
        default memory format, AdamW); and `pipeline_over_in_memory`, 1 if data cost nothing,
        `bf16_over_fp32`, and `throughput_over_plain`: images a second with the data pipeline over those of
        plain PyTorch.
    """
    config = load_config(
        network, ["train"], dataset_dir=str(dataset_dir), output_dir=str(work_dir / network), **settings
    )
    get = config.get_parsed_content
    device: torch.device = get("device")
    module, averaged, loss = get("network").train(), get("averaged"), get("train#loss")
    inferer, optimizer, max_norm = get("train#trainer#inferer"), get("train#optimizer"), get("max_norm")
    plain = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    plain_optimizer = torch.optim.AdamW(plain.parameters())
    loader, prepare_batch = get("train#dataloader"), get("train#trainer#prepare_batch")
    batches = (prepare_batch(batch, device) for _ in itertools.count() for batch in loader)
    image, label = next(batches)

    def step(image: Tensor, label: Tensor, inferer: AutocastInferer = inferer) -> None:
        """As MONAI's trainer does it."""
        optimizer.zero_grad()
        loss(inferer(image, module), label).backward()
        nn.utils.clip_grad_norm_(module.parameters(), max_norm)
        optimizer.step()
        averaged.update_parameters(module)

    def plain_step() -> None:
        plain_optimizer.zero_grad()
        loss(plain(image.contiguous()), label).backward()
        plain_optimizer.step()

    kinds: dict[str, Callable[[], None]] = {
        "pipeline_ms": lambda: step(*next(batches)),
        "in_memory_ms": lambda: step(image, label),
        "bf16_ms": lambda: step(image, label, AutocastInferer(torch.bfloat16)),
        "fp32_ms": lambda: step(image, label, AutocastInferer(None)),
        "plain_ms": plain_step,
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for done in range(rounds + 1):
        for kind, work in kinds.items():
            elapsed_ms = 1000 * _seconds(work, device)
            if done > 0:
                times[kind].append(elapsed_ms)
        show_progress(done + 1, rounds + 1, f"round {done + 1}")
    found = {kind: statistics.median(of_kind) for kind, of_kind in times.items()}
    return found | {
        "pipeline_over_in_memory": found["pipeline_ms"] / found["in_memory_ms"],
        "bf16_over_fp32": found["bf16_ms"] / found["fp32_ms"],
        "throughput_over_plain": found["plain_ms"] / found["pipeline_ms"],
    }


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def train_a_little(network: str, dataset_dir: str, run_dir: str) -> None:
    """Some steps and a validation with the batches and all the data of a real training."""
    train_network(network, Path(dataset_dir), Path(run_dir), overlays=["timed"], minutes=TRAINING_MINUTES)


def segment_cine(weights: str, cine: str, output: str) -> None:
    """All frames of a cine, as `thorax segment` does it."""
    segment([Path(cine)], Path(output), Predictor.load(weights=Path(weights)))


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
SEGMENT: Final = "pipelines.benchmarks.speed:segment_cine"
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
        get = load_config(NETWORKS[0]).get_parsed_content
        dtype = get("autocast_dtype")
        content: dict[str, Any] = {
            "device": str(get("device")),
            "threads": torch.get_num_threads(),
            "precision": "fp32" if dtype is None else str(dtype).removeprefix("torch."),
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
            content["training"][network] = times | {"peak_mb": peak_mb}
        write_phantom_xrays(work / "xrays", patients=XRAYS, images=1)
        prepare_chest_xray(work / "xrays", work / "prepared_xrays")
        prepared_xrays = work / "prepared_xrays"
        content["radiographs"] = _time_steps(log, XRAY_NETWORK, prepared_xrays, work / "steps", rounds)
        weights, is_trained = usable_weights(work)
        with log.step("Time the segmentation of a volume") as step:
            volume = time_segmentation(image, weights, work, rounds=rounds)
            step.done(f"{volume['segment_s']:.2f} s")
        with log.step("Time requests to the labelling server") as step:
            content["serving"] = time_serving(image, work, rounds=rounds)
            step.done(f"{content['serving']['request_s']:.2f} s")
        with log.step(f"Memory of segmenting {frames} frames") as step:
            cine_mb = peak_memory_of(SEGMENT, weights, cine, work / "segmented", result=work / "memory.json")
            step.done(f"{cine_mb:.0f} MB at most")
        content |= {"engines": {}, "exports": {}}
        for network in networks:
            with log.step(f"Time the engines of {network}") as step:
                one = read_volume(image)
                ways = engines_of(network, usable_weights(work, network)[0], one)
                content["engines"][network] = time_engines(ways, one, read_volume(cine), rounds=rounds)
                step.done(f"{len(ways)} ways")
        for network in (*networks, XRAY_NETWORKS[0]):
            with log.step(f"Sizes of the exports of {network}") as step:
                trained, _ = usable_weights(work, network)
                content["exports"][network] = export_sizes(network, weights=trained)
                step.done(f"{len(content['exports'][network])} formats")
        content["segmentation"] = {
            **volume,
            "weights": "trained" if is_trained else "random",
            "cine_frames": frames,
            "cine_peak_mb": cine_mb,
        }
    content |= {"most": dict(MAX_VALUES), "least": dict(MIN_VALUES)}
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


def _time_steps(log: StepLog, network: str, prepared: Path, work: Path, rounds: int) -> dict[str, float]:
    with log.step(f"Time training steps of {network}") as step:
        times = time_training_steps(network, prepared, work, rounds=rounds)
        step.done(f"{times['pipeline_ms']:.0f} ms with the data pipeline")
    return times
