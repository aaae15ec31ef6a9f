"""Wall time to segment one volume of typical size, with reading and writing apart."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from pipelines.core.volume import Volume, read_volume, slices_last, write_label
from pipelines.inference.segment import segment
from pipelines.models.bundle import NETWORKS, bundle_of, load_config
from pipelines.models.checkpoints import save_weights
from pipelines.models.predictor import Predictor

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
    image: Path,
    weights: Path,
    work_dir: Path,
    *,
    network: str = NETWORKS[0],
    rounds: int = 9,
    progress: Callable[[int, int], None] | None = None,
) -> VolumeTimes:
    """Median times to read, segment and write a 256 x 216 x 10 volume without test-time augmentation.

    Args:
        image: Existing short-axis volume (NIfTI), cropped or padded to that size.
        weights: Existing weights of the network.
        work_dir: Folder for the files that are read and written.
        network: One of the bundle's networks.
        rounds: Number of counted rounds; a first one is not counted.
        progress: Called with rounds done and rounds in all.
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
        if progress is not None:
            progress(done + 1, rounds + 1)
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
