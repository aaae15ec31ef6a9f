"""Wall time of the ways to run a network, on one volume and on a cine, with reading and writing."""

import copy
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.core.errors import ConfigError
from pipelines.core.progress import show_progress
from pipelines.core.volume import Volume, read_volume, slices_last, write_label
from pipelines.export.formats import FORMATS, INT8, Source
from pipelines.inference.segment import segment
from pipelines.models.bundle import NETWORKS, bundle_of, device_settings, load_config
from pipelines.models.engines import INT8_NAME, Engine, Run
from pipelines.models.heart import Member, Predictor
from pipelines.models.weights import save_weights

SHAPE: Final = (256, 216, 10)
"""Voxels of the volume that is segmented."""

SPACING_MM: Final = (1.5625, 1.5625, 10.0)


@dataclass(frozen=True, slots=True)
class VolumeTimes:
    """Median seconds for one volume with a loaded model.

    Attributes:
        segment_s: Resampling, network and clean-up; `preprocess`, `network` and `postprocess` add up to it.
        stages_s: The same by stage.
        read_s: Reading the volume from a gzipped file.
        write_s: Writing the label map.
    """

    segment_s: float
    stages_s: dict[str, float]
    read_s: float
    write_s: float


def usable_weights(folder: Path, network: str = NETWORKS[0]) -> tuple[Path, bool]:
    """The bundle's weights and True, or random ones written to `folder` and False."""
    committed = bundle_of(network) / "models" / network / "model.pt"
    if committed.is_file():
        return committed, True
    path = folder / f"{network}_random.pt"
    save_weights(load_config(network).get_parsed_content("network"), path)
    return path, False


def time_segmentation(
    image: Path, weights: Path, work_dir: Path, *, network: str = NETWORKS[0], rounds: int = 9
) -> VolumeTimes:
    """Median times to read, segment and write a 256 x 216 x 10 volume without test-time augmentation.

    Args:
        image: Existing short-axis volume (NIfTI), cropped or padded to that size.
        weights: Existing weights of the network.
        work_dir: Folder for the files that are read and written.
        network: One of the bundle's networks.
        rounds: Number of counted rounds; a first one is not counted.
    """
    path = work_dir / "volume.nii.gz"
    array = _resize(slices_last(read_volume(image))[0])
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING_MM, 1.0])), path)
    predictor = Predictor.load(network, weights=weights)
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
    stages = {name: medians[name] for name in ("preprocess", "network", "postprocess")}
    return VolumeTimes(medians["segment"], stages, medians["read"], medians["write"])


def _resize(volume: Volume) -> npt.NDArray[np.int16]:
    """The middle of the volume on the wanted number of voxels, padded with its border."""
    array = volume.array
    for axis, length in enumerate(SHAPE):
        first = (array.shape[axis] - length) // 2
        indices = np.clip(np.arange(first, first + length), 0, array.shape[axis] - 1)
        array = np.take(array, indices, axis=axis)
    return array.astype(np.int16)


def segment_cine(weights: str, cine: str, output: str) -> None:
    """All frames of a cine, as `thorax segment` does it."""
    segment([Path(cine)], Path(output), Predictor.load(weights=Path(weights)))


BASE: Final = "PyTorch fp32"
"""The way that all are compared with."""

COMPILED: Final = "PyTorch bf16, compiled"
ONNX_RUNTIME: Final = "ONNX Runtime fp32"

WAYS: Final[dict[str, tuple[Engine, str]]] = {
    BASE: ("pytorch", "fp32"),
    "PyTorch bf16": ("pytorch", "bf16"),
    "OpenVINO fp32": ("openvino", "fp32"),
    "OpenVINO bf16": ("openvino", "bf16"),
    "OpenVINO int8": ("int8", "bf16"),
}
"""Engine and precision of each way that `thorax segment` has."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """How a way to run a network does beside PyTorch in float32.

    Attributes:
        volume_ratio: How many times faster it segments a volume, all told: median over rounds.
        network_ratio: The same of the network alone.
        cine_ratio: How many times faster it segments the frames of a cine, all told.
        cine_s: Seconds for all frames of the cine.
    """

    volume_ratio: float
    network_ratio: float
    cine_ratio: float
    cine_s: float


def engines_of(network: str, weights: Path, volume: Volume) -> dict[str, Predictor]:
    """All ways to run a heart network that work here; one that does not is logged and left out.

    Args:
        network: Network of the ACDC bundle.
        weights: Existing weights, with the int8 model beside them if it is to be measured.
        volume: `(X, Y, Z)` image to try them on.
    """
    bundle = bundle_of(network)
    members: dict[str, Member] = {}

    def in_thorax(engine: Engine, precision: str) -> Callable[[], Member]:
        settings = device_settings("cpu", precision)
        return lambda: Member.load(network, bundle=bundle, weights=weights, engine=engine, **settings)

    makers = {way: in_thorax(*chosen) for way, chosen in WAYS.items()} | {
        COMPILED: lambda: _compiled(members["PyTorch bf16"]),
        ONNX_RUNTIME: lambda: members[BASE].run_by(_onnx_runtime(Source.load(network, weights=weights))),
    }
    ways: dict[str, Predictor] = {}
    for way, make in makers.items():
        try:
            members[way] = make()
            ways[way] = Predictor({network: members[way]})
            ways[way].predict(volume)
        except Exception as error:  # a compiler or a package that is missing fails in ways of many kinds
            ways.pop(way, None)
            logger.warning("%s is left out: %s", way, str(error).partition("\n")[0])
    return ways


def time_engines(
    ways: Mapping[str, Predictor], volume: Volume, cine: Volume, *, rounds: int = 9
) -> dict[str, EngineTimes]:
    """Times of all ways, which take turns volume by volume and frame by frame.

    Args:
        ways: As from `engines_of`.
        volume: `(X, Y, Z)` image.
        cine: `(X, Y, Z, T)` image, segmented frame by frame.
        rounds: Counted rounds on the volume; a first one is not counted.
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
        way: EngineTimes(
            float(np.median(np.divide(whole[BASE][counted], whole[way][counted]))),
            float(np.median(np.divide(inner[BASE][counted], inner[way][counted]))),
            sum(whole[BASE][-frames:]) / sum(whole[way][-frames:]),
            sum(whole[way][-frames:]),
        )
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


def _compiled(member: Member) -> Member:
    other = copy.copy(member)
    other.network = torch.compile(member.network)  # type: ignore[assignment]
    return other


def _onnx_runtime(source: Source) -> Run:
    import onnxruntime  # not among the extras: it is slower here, see docs/results/speed.md

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        FORMATS["onnx"].write(source, Path(folder), ())
        model = next(Path(folder).glob("*.onnx")).read_bytes()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(slices: Tensor) -> Tensor:
        parts = [session.run(None, {name: part.contiguous().numpy()})[0] for part in slices.split(1)]
        return torch.from_numpy(np.concatenate(parts))

    return run
