"""Export a network, check the export against its source, and keep it only if they agree."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from torch import Tensor

from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path
from pipelines.core.manifest import write_manifest
from pipelines.export import images
from pipelines.export.calibration import calibration_images, calibration_slices
from pipelines.export.check import Fidelity, compare_classifiers, compare_members
from pipelines.export.formats import FORMATS, INT8, Format, Model, Name
from pipelines.export.source import Source
from pipelines.models.bundle import device_settings
from pipelines.models.classifier import Classifier
from pipelines.models.member import Member
from pipelines.models.weights_sidecar import copy_beside


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
        _check(fidelity, wanted, f"{network} as {name}")
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
    network, bundle, weights = source.network, source.bundle, source.weights
    if source.is_heart:
        settings = device_settings("cpu", "fp32")
        return Member.load(network, bundle=bundle, weights=weights, **settings)
    return Classifier.load(network, bundle=bundle, weights=weights, device="cpu", precision="fp32")


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
        return compare_members(source, export, images.check_volumes(data))
    if isinstance(source, Classifier) and isinstance(export, Classifier):
        return compare_classifiers(source, export, images.check_radiographs(data))
    raise TypeError(f"expected two models of one kind, found {source} and {export}")


def _check(fidelity: Fidelity, wanted: Format, what: str) -> None:
    if fidelity.agreement >= wanted.least_agreement and fidelity.difference <= wanted.most_difference:
        return
    raise ConfigError(
        f"expected {what} to agree with its source by {wanted.least_agreement} at least and to differ in no "
        f"probability by more than {wanted.most_difference}, found {fidelity.agreement:.4f} and "
        f"{fidelity.difference:.4f} on {fidelity.images} images; nothing was written"
    )
