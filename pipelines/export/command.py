"""Export a network and keep it only if it agrees with its source; publish weights of a run."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path, output_folder, write_manifest
from pipelines.core.tasks import task_of
from pipelines.core.volume import Volume, read_volume
from pipelines.datasets import prepare, prepare_xray
from pipelines.datasets.phantom.cohort import MIN_FRAMES, write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.segmentation import MEAN, structure_dice
from pipelines.export.formats import FORMATS, INT8, Model, Name, Source
from pipelines.export.quantize import calibration_images, calibration_slices, spread
from pipelines.inference.classify import find_xrays
from pipelines.inference.inputs import find_studies
from pipelines.models.bundle import device_settings, load_config
from pipelines.models.engines import INT8_NAME, Run
from pipelines.models.heart import Member, Predictor
from pipelines.models.weights import (
    BEST_NAME,
    LAST_NAME,
    copy_beside,
    load_average,
    load_weights,
    save_weights,
)
from pipelines.models.xray import Classifier, Pixels

VOLUMES: Final = 4
"""Volumes that an export is checked on."""

RADIOGRAPHS: Final = 64


def check_volumes(data: Path | None) -> list[Volume]:
    """Some volumes `(X, Y, Z)`: of a datalist from its validation section, else what is found.

    Args:
        data: Prepared folder, or file or folder as for `thorax segment`; None for generated hearts.

    Raises:
        DataError: If there is nothing to read.
    """
    if data is None:
        with tempfile.TemporaryDirectory() as folder:
            write_phantom_cohort(Path(folder), patients=VOLUMES // 2, frames=MIN_FRAMES, cine=False)
            return _volumes_below(Path(folder))
    if prepare.is_datalist(data):
        items = prepare.select(prepare.read_datalist(data), "validation", 0)
        return [read_volume(Path(item["image"])) for item in spread(items, VOLUMES)]
    return _volumes_below(data)


def check_radiographs(data: Path | None) -> list[Pixels]:
    """Some radiographs `(H, W)`: of a datalist from its validation section, else what is found.

    Args:
        data: Prepared folder, or file or folder as for `thorax classify`; None for generated ones.

    Raises:
        DataError: If there is nothing to read.
    """
    if data is None:
        with tempfile.TemporaryDirectory() as folder:
            write_phantom_xrays(Path(folder), patients=RADIOGRAPHS, images=1)
            return [read_xray(path).pixels for path in find_xrays([Path(folder)])]
    if prepare.is_datalist(data):
        items = prepare_xray.select(prepare.read_datalist(data, kind="images"), "validation")
        paths = [Path(item["image"]) for item in items]
    else:
        paths = find_xrays([data])
    return [read_xray(path).pixels for path in spread(paths, RADIOGRAPHS)]


def _volumes_below(data: Path) -> list[Volume]:
    studies = find_studies([data]).studies
    images = spread([image for study in studies for image in study.images], VOLUMES)
    volumes = [image.load() for image in images]
    return [volume.frame(0) if volume.array.ndim == 4 else volume for volume in volumes]


DICE: Final = "smallest Dice between both masks"
DECISIONS: Final = "share of equal decisions"


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What an export and its source make of the same images.

    Attributes:
        images: Number of volumes or radiographs.
        measure: What `agreement` is: `DICE` or `DECISIONS`.
        agreement: Of hearts the smallest mean Dice between both masks of a volume, of radiographs the
            share that is decided alike.
        difference: Largest difference of a probability, over all voxels of all volumes where the network
            sees them, or over all radiographs.
    """

    images: int
    measure: str
    agreement: float
    difference: float


def compare_members(source: Member, export: Member, volumes: Sequence[Volume]) -> Fidelity:
    """Masks and probabilities of two networks with their transforms, on the same volumes.

    Args:
        source: Network as it was trained.
        export: The exported one.
        volumes: `(X, Y, Z)` images, at least one.

    Raises:
        DataError: If a volume is not 3-D.
    """
    agreements, differences = [], []
    for volume in volumes:
        kept = [_Kept(member.logits) for member in (source, export)]
        masks = [
            Predictor({"": member.run_by(run)}).predict(volume).mask
            for member, run in zip((source, export), kept, strict=True)
        ]
        dice = structure_dice(masks[1], masks[0])[MEAN]
        agreements.append(1.0 if dice is None else dice)
        probabilities = [run.logits.softmax(dim=1) for run in kept]
        differences.append(float((probabilities[0] - probabilities[1]).abs().max()))
    return Fidelity(len(volumes), DICE, min(agreements), max(differences))


def compare_classifiers(source: Classifier, export: Classifier, images: Sequence[Pixels]) -> Fidelity:
    """Decisions and probabilities of two classifiers, on the same radiographs.

    Args:
        source: Network as it was trained.
        export: The exported one.
        images: `(H, W)` grey images, at least one.
    """
    first, second = (model.probabilities(images) for model in (source, export))
    alike = (first >= source.threshold) == (second >= export.threshold)
    return Fidelity(len(images), DECISIONS, float(alike.mean()), float(np.abs(first - second).max()))


class _Kept:
    """Runs a network and keeps what it gave last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.logits = torch.empty(0)

    def __call__(self, slices: Tensor) -> Tensor:
        self.logits = self._run(slices)
        return self.logits


@dataclass(frozen=True, slots=True)
class Export:
    """An export that has passed its check.

    Attributes:
        folder: Folder of its files and its manifest.
        size: Bytes of the files without the manifest.
        fidelity: How near it is to its source.
    """

    folder: Path
    size: int
    fidelity: Fidelity


def export_network(
    network: str,
    name: Name,
    output: Path,
    *,
    bundle: Path | None = None,
    weights: Path | None = None,
    data: Path | None = None,
) -> Export:
    """Write a network in a format, if it does there what it does in PyTorch in float32.

    Args:
        network: Network of one of the bundles.
        name: One of `FORMATS`.
        output: Folder that takes the folder `<network>-<name>`; an older one is replaced.
        bundle: Root folder of the bundle; by default the one that has the network.
        weights: File to use instead of the bundle's own.
        data: What the export is checked on: a prepared folder, of which validation is taken, or images;
            None for generated ones. Int8 needs a prepared folder, and is calibrated on its training section.

    Raises:
        ConfigError: If the network is unknown, weights or packages are missing, int8 has no training
            images, or the export differs from its source by more than its format allows.
        DataError: If there is nothing to check on.
        OutputError: If the export cannot be written.
    """
    if name not in FORMATS:
        raise ConfigError(f"expected a format among {', '.join(get_args(Name))}, found {name!r}")
    wanted = FORMATS[name]
    source = Source.load(network, bundle=bundle, weights=weights)
    original = _original(source)
    folder = output / f"{network}-{name}"
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        wanted.write(source, temporary, _calibration(original, data) if name == INT8 else ())
        if not source.is_heart:
            copy_beside(source.weights.parent, temporary)
        files = sorted(path.name for path in temporary.iterdir())
        size = sum(path.stat().st_size for path in temporary.iterdir())
        fidelity = _compare(original, wanted.load(original, temporary), data)
        if fidelity.agreement < wanted.least_agreement or fidelity.difference > wanted.most_difference:
            raise ConfigError(
                f"expected {network} as {name} to agree with its source by {wanted.least_agreement} at least "
                f"and to differ in no probability by more than {wanted.most_difference}, found "
                f"{fidelity.agreement:.4f} and {fidelity.difference:.4f} on {fidelity.images} images; "
                "nothing was written"
            )
        write_manifest(
            temporary,
            network=network,
            format=name,
            weights=source.fingerprint,
            bytes=size,
            checked_on=str(data or "phantom"),
            fidelity=asdict(fidelity),
            most_difference=wanted.most_difference,
            least_agreement=wanted.least_agreement,
            outputs=files,
        )
    return Export(folder, size, fidelity)


def _original(source: Source) -> Model:
    files: dict[str, Any] = {"bundle": source.bundle, "weights": source.weights}
    if source.is_heart:
        return Member.load(source.network, **files, **device_settings("cpu", "fp32"))
    return Classifier.load(source.network, **files, device="cpu", precision="fp32")


def _calibration(original: Model, data: Path | None) -> Sequence[Tensor]:
    if data is None:
        raise ConfigError(
            "expected training images to calibrate int8 with, found none; give a folder of 'thorax prepare' "
            "by --data"
        )
    if isinstance(original, Member):
        return calibration_slices(original, data)
    return calibration_images(original, data)


def _compare(source: Model, export: Model, data: Path | None) -> Fidelity:
    if isinstance(source, Member) and isinstance(export, Member):
        return compare_members(source, export, check_volumes(data))
    if isinstance(source, Classifier) and isinstance(export, Classifier):
        return compare_classifiers(source, export, check_radiographs(data))
    raise TypeError(f"expected two models of one kind, found {source} and {export}")


Which = Literal["best", "last"]


def publish_weights(
    run_dir: Path, network: str, *, which: Which = "best", bundle: Path | None = None
) -> Path:
    """Write the averaged weights of a run to the bundle in 16 bits; returns the file.

    Heads of deep supervision stay in, so that training can go on from the file. The threshold of
    the run, and the settings that its weights need, go beside it.

    Args:
        run_dir: Existing folder of the run.
        network: Network that the run trained, of one of the bundles.
        which: `"best"` takes the best validation, `"last"` the end of the run.
        bundle: Root folder of the bundle, by default the one that has the network;
            the file is `models/<network>/model.pt` in it.

    Raises:
        ConfigError: If the network is unknown, the run has no such checkpoint, it does not
            fit the network, or a weight is not finite or too large for 16 bits.
        OutputError: If the file cannot be written.
    """
    parser = load_config(network, bundle=bundle)
    module: torch.nn.Module = parser.get_parsed_content("network_def")
    if which == "best":
        load_weights(module, run_dir / BEST_NAME)
    else:
        load_average(module, run_dir / LAST_NAME)
    # Cast as a whole: weights that a network holds under several names stay one in the file.
    module.half()
    odd = [key for key, value in module.state_dict().items() if not torch.isfinite(value).all()]
    if odd:
        raise ConfigError(f"expected weights that fit 16 bits, found infinite ones in {run_dir}: {odd[:3]}")
    path = Path(parser.get_parsed_content("weights"))
    save_weights(module, path)
    copy_beside(run_dir, path.parent)
    return path


def publish_int8(folder: Path, network: str, *, bundle: Path | None = None) -> Path:
    """Copy an int8 model, with the threshold of a classifier, to the bundle; returns the file.

    Args:
        folder: Existing folder of `thorax export --format int8`.
        network: Network of one of the bundles that was quantised.
        bundle: As for `publish_weights`; the file is `models/<network>/int8.xml` in it.

    Raises:
        ConfigError: If the network is unknown, or no int8 model of it is in the folder; a heart
            network's must be of the weights in the bundle.
        OutputError: If a file cannot be written.
    """
    weights = Path(load_config(network, bundle=bundle).get_parsed_content("weights"))
    task_of(network).find("check_int8")(folder / INT8_NAME, weights, network)
    target = output_folder(weights.parent)
    copy_beside(folder, target)
    for name in (Path(INT8_NAME).with_suffix(".bin").name, INT8_NAME):
        with atomic_path(target / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    return target / INT8_NAME
