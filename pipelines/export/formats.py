"""Formats that a network can be exported to: TorchScript, ONNX, OpenVINO, and a bundle of its own."""

import copy
import json
import logging
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import save_net_with_metadata
from monai.networks.utils import convert_to_torchscript
from torch import Tensor

from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path, file_sha256, read_json
from pipelines.core.install import import_extra
from pipelines.core.tasks import HEART, TASKS, task_of
from pipelines.datasets.prepare import fingerprint
from pipelines.models.bundle import BUNDLES, bundle_of, load_config
from pipelines.models.engines import (
    INT8_NAME,
    Run,
    compiled,
    fused,
    load_openvino,
    save_openvino,
    to_openvino,
)
from pipelines.models.heart import Member
from pipelines.models.weights import copy_beside, load_weights, read_network, save_weights
from pipelines.models.xray import Classifier

EXPORTED = tuple(network for task in TASKS for network in task.networks)
"""Networks that do something by themselves; the corrector needs a mask and clicks."""


@dataclass(frozen=True, slots=True)
class Source:
    """A trained network of a bundle.

    Attributes:
        network: One of `EXPORTED`.
        bundle: Root folder of its bundle, in layers.
        weights: File that the weights came from.
        settings: Values of the configuration without which the weights do not fit, such as `size_px`.
        module: The network with its weights, in evaluation mode, float32, on the CPU.
        metadata: Content of `metadata.json` for this network.
    """

    network: str
    bundle: Path
    weights: Path
    settings: dict[str, Any]
    module: torch.nn.Module
    metadata: dict[str, Any]

    @classmethod
    def load(cls, network: str, *, bundle: Path | None = None, weights: Path | None = None) -> "Source":
        """A network of a bundle with the bundle's own weights or others.

        Args:
            network: One of `EXPORTED`.
            bundle: Root folder of the bundle; by default the one that has the network.
            weights: Existing file to use instead of the bundle's own, with what lies beside it.

        Raises:
            ConfigError: If the network is unknown, or the weights are missing or do not fit.
        """
        if network not in EXPORTED:
            raise ConfigError(f"expected a network among {', '.join(EXPORTED)}, found {network!r}")
        bundle = bundle or bundle_of(network)
        keeps_settings = weights is not None and task_of(network).keeps_settings
        settings = read_network(weights.parent, network) if weights and keeps_settings else {}
        get = load_config(network, bundle=bundle, **settings).get_parsed_content
        weights = weights or Path(get("weights"))
        module: torch.nn.Module = get("network_def")
        load_weights(module, weights)
        metadata = network_metadata(network, bundle=bundle, **settings)
        return cls(network, bundle, weights, settings, module.float().eval(), metadata)

    @property
    def is_heart(self) -> bool:
        """Whether it segments hearts; else it classifies radiographs."""
        return task_of(self.network) is HEART

    @property
    def example(self) -> torch.Tensor:
        """An input of the network, `(1, C, H, W)` zeros."""
        image = self.metadata["network_data_format"]["inputs"]["image"]
        return torch.zeros(1, image["num_channels"], *image["spatial_shape"])

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the weights' file."""
        return fingerprint(self.weights)


def find_network(name: str, network: str | None) -> tuple[str, Path | None]:
    """The network and the bundle that a user means.

    Args:
        name: A network, the name of a bundle, or a folder of one.
        network: Network of the bundle; by default its first one.

    Returns:
        The network, and the folder of the bundle if one was given.

    Raises:
        ConfigError: If there is no such bundle, or `network` contradicts `name`.
    """
    if name in EXPORTED:
        if network not in (None, name):
            raise ConfigError(f"expected one network, found {name} and --network {network}; leave one out")
        return name, None
    folder = next((path for path in (Path(name), BUNDLES / name) if (path / "configs").is_dir()), None)
    if folder is None:
        known = ", ".join((*sorted(path.parent.name for path in BUNDLES.glob("*/configs")), *EXPORTED))
        raise ConfigError(f"expected a bundle's folder or one of {known}, found {name!r}")
    of_bundle = [known for known in EXPORTED if (folder / "configs" / f"network_{known}.yaml").is_file()]
    if not of_bundle or (network or of_bundle[0]) not in of_bundle:
        raise ConfigError(f"expected a network among {', '.join(of_bundle)} of {folder}, found {network}")
    return network or of_bundle[0], folder


def network_metadata(network: str, *, bundle: Path | None = None, **settings: Any) -> dict[str, Any]:
    """Content of `metadata.json` with the input of one network.

    Args:
        network: One of `EXPORTED`.
        bundle: Root folder of the bundle; by default the one that has the network.
        **settings: Values that replace those of the configuration.

    Raises:
        ConfigError: If the network is unknown or a file is missing.
    """
    bundle = bundle or bundle_of(network)
    config = load_config(network, bundle=bundle, **settings)
    metadata: dict[str, Any] = read_json(bundle / "configs" / "metadata.json")
    image = metadata["network_data_format"]["inputs"]["image"]
    if "size_px" in config:
        image["spatial_shape"] = list(config.get_parsed_content("size_px"))
    if "slice_offsets" in config:
        offsets: list[int] = config.get_parsed_content("slice_offsets")
        image["num_channels"] = len(offsets)
        names = (f"slice at offset {offset}" for offset in offsets)
        image["channel_def"] = {str(channel): name for channel, name in enumerate(names)}
    return metadata


def quantize(classifier: Classifier, calibration: Sequence[torch.Tensor], output: Path) -> Path:
    """Write the int8 model of a classifier, statically quantised; returns `int8.xml`.

    Args:
        classifier: Network with its weights.
        calibration: Inputs `(1, 3, H, W)` of training images.
        output: Folder that takes `int8.xml` and `int8.bin`; made if it does not exist.

    Raises:
        ConfigError: As for `quantized`.
        OutputError: If the model cannot be written.
    """
    model = quantized(classifier.module, calibration)
    return save_openvino(model, output / INT8_NAME, weights=fingerprint(classifier.weights))


def quantized(module: torch.nn.Module, calibration: Sequence[torch.Tensor], *, batch: int = -1) -> Any:
    """A network in 8-bit integers as OpenVINO's model, statically quantised.

    Weights are rounded per channel; the ranges of activations are the smallest and
    largest value over all calibration images, and biases stay: with NNCF's defaults (means
    of ranges over images, corrected biases) logits lay further off.

    Args:
        module: In evaluation mode, in float32.
        calibration: Inputs `(1, C, H, W)` of training images.
        batch: As for `to_openvino`.

    Raises:
        ConfigError: If OpenVINO or NNCF is not installed, or there is no calibration image.

    References:
        Jacob et al., CVPR 2018, arXiv:1712.05877.
    """
    if not calibration:
        raise ConfigError("expected training images to calibrate with, found none")
    load_openvino()
    nncf = import_extra("nncf", "int8", "NNCF to quantize")
    range_estimator = import_extra("nncf.quantization.range_estimator", "int8", "NNCF to quantize")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf.quantize(
        to_openvino(module, calibration[0], batch=batch),
        nncf.Dataset([image.numpy() for image in calibration]),
        preset=nncf.QuantizationPreset.MIXED,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=range_estimator.RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
        ),
        subset_size=len(calibration),
    )


TORCHSCRIPT_NAME: Final = "model.ts"


def write_torchscript(source: Source, folder: Path) -> None:
    """Write `model.ts`, traced, for any number of images at a time.

    Args:
        source: What is exported.
        folder: Existing folder that takes the file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch will drop it; MONAI reads it
        traced = convert_to_torchscript(source.module, inputs=[source.example], use_trace=True, verify=False)
        save_net_with_metadata(traced, str(folder / TORCHSCRIPT_NAME), meta_values=source.metadata)


def load_torchscript(folder: Path) -> Run:
    """The network as it was written, run by torch's interpreter of TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        network = torch.jit.load(folder / TORCHSCRIPT_NAME)

    def run(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = network(images)
        return found

    return run


ONNX_NAME: Final = "model.onnx"


def write_onnx(source: Source, folder: Path) -> None:
    """Write `model.onnx` in float32, for any number of images at a time: `image` in, `pred` out.

    Args:
        source: What is exported.
        folder: Existing folder that takes the file.

    Raises:
        ConfigError: If the packages for ONNX are not installed.
    """
    for package in ("onnx", "onnxscript"):
        import_extra(package, "onnx", "the packages for ONNX")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules that DynUNet keeps in lists, and of operators' versions
        torch.onnx.export(
            source.module,
            (source.example.expand(2, -1, -1, -1),),  # of a single one, torch would make a constant
            folder / ONNX_NAME,
            input_names=["image"],
            output_names=["pred"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            external_data=False,
            verbose=False,
        )


OPENVINO_NAME: Final = "model.xml"


def write_openvino(source: Source, folder: Path) -> None:
    """Write `model.xml` and `model.bin`, for any number of images at a time.

    Args:
        source: What is exported.
        folder: Existing folder that takes the files.

    Raises:
        ConfigError: If OpenVINO is not installed.
    """
    model = to_openvino(fused(source.module), source.example)
    save_openvino(model, folder / OPENVINO_NAME, weights=source.fingerprint)


def write_int8(source: Source, folder: Path, calibration: Sequence[torch.Tensor]) -> None:
    """Write `int8.xml` and `int8.bin`, which `--engine int8` reads beside the weights.

    Args:
        source: What is exported.
        folder: Existing folder that takes the files.
        calibration: Inputs `(1, C, H, W)` of training images.

    Raises:
        ConfigError: As for `quantized`.
    """
    batch = 1 if source.is_heart else -1
    model = quantized(fused(source.module), calibration, batch=batch)
    save_openvino(model, folder / INT8_NAME, weights=source.fingerprint)


def load_exact(path: Path) -> Run:
    """A model of OpenVINO or ONNX as it was written; what is not in integers runs in float32.

    Raises:
        ConfigError: If OpenVINO is not installed or cannot read the file.
    """
    return compiled(path, INFERENCE_PRECISION_HINT="f32")


SUMS_NAME: Final = "SHA256SUMS"
"""Checksums of all other files, as `sha256sum --check` reads them."""

EXPORTED_WEIGHTS = "$str(Path(@bundle_root) / 'models' / 'model.pt')"
"""Where an exported bundle looks for its weights: MONAI's usual place."""

INFERENCE_NOTE = """\
# {task} with MONAI alone. From the root of the bundle:
#   python -m monai.bundle run --config_file configs/inference.yaml --dataset_dir FOLDER --output_dir FOLDER
"""
TRAINING_NOTE = """\
# Trains this network. Unlike inference.yaml it needs the thorax package beside MONAI.
# From the root of the bundle:
#   python -m monai.bundle run training --config_file configs/train.yaml --dataset_dir FOLDER
"""
CARD_NOTE = """\
> This is the flattened copy for the network `{network}`: `configs/inference.yaml` and `configs/train.yaml`
> stand for all layers of the bundle that this card describes, and the weights are `models/model.pt`.
> `sha256sum --check SHA256SUMS` tells whether all files are as they were written.

"""


def bundle_name(network: str) -> str:
    """Name of an exported bundle; MONAI Label reads the task from its end."""
    data, _, task = bundle_of(network).name.rpartition("_")
    return f"{data}_{network}_{task}"


def write_bundle_files(source: Source, folder: Path) -> None:
    """Write the bundle as a zip, as `monai.bundle load` and hubs of models expect it.

    No time of its making goes into the zip.

    Args:
        source: What is exported.
        folder: Existing folder that takes `<name>.zip`, with one folder of that name in it.
    """
    name = bundle_name(source.network)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as work:
        root = write_bundle(source, Path(work))
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in root.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(work).as_posix())
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, path.read_bytes())


def write_bundle(source: Source, output: Path) -> Path:
    """Folder of a bundle with one network, its layers flattened into one file a workflow.

    Inference needs MONAI and nothing of Thorax; the training configuration
    comes along and says that it needs Thorax.

    Args:
        source: What is exported.
        output: Folder that takes the bundle's folder, such as `acdc_unet_segmentation`;
            an older one of that name is replaced.

    Returns:
        The bundle's folder.

    Raises:
        OutputError: If the folder cannot be written.
    """
    network, bundle = source.network, source.bundle
    folder = output / bundle_name(network)
    task = "Segments NIfTI volumes" if source.is_heart else "Classifies JPEG and PNG radiographs"
    with atomic_path(folder) as temporary:
        for name in ("configs", "models", "docs"):
            (temporary / name).mkdir(parents=True, exist_ok=True)
        for workflow, note in (("inference", INFERENCE_NOTE.format(task=task)), ("train", TRAINING_NOTE)):
            content = flat_config(network, workflow, bundle=bundle, **source.settings)
            text = yaml.safe_dump(content, sort_keys=False, width=110, allow_unicode=True)
            (temporary / "configs" / f"{workflow}.yaml").write_text(note + text, encoding="utf-8")
        metadata = json.dumps(source.metadata, indent=2) + "\n"
        (temporary / "configs" / "metadata.json").write_text(metadata, encoding="utf-8")
        for name in ("LICENSE", "configs/logging.conf", "docs/data_license.txt"):
            shutil.copyfile(bundle / name, temporary / name)
        card = CARD_NOTE.format(network=network) + (bundle / "docs/README.md").read_text(encoding="utf-8")
        (temporary / "docs" / "README.md").write_text(card, encoding="utf-8")
        save_weights(copy.deepcopy(source.module).half(), temporary / "models" / "model.pt")
        copy_beside(source.weights.parent, temporary / "models")
        files = {path.relative_to(temporary).as_posix(): path for path in sorted(temporary.rglob("*"))}
        sums = [f"{file_sha256(path)}  {name}\n" for name, path in files.items() if path.is_file()]
        (temporary / SUMS_NAME).write_text("".join(sums), encoding="utf-8")
    return folder


def flat_config(
    network: str, workflow: str, *, bundle: Path | None = None, **settings: Any
) -> dict[str, Any]:
    """All layers of a workflow merged into one configuration; only the place of the weights changes.

    Args:
        network: A network of the bundle.
        workflow: Name of the workflow's file, without `.yaml`: `"inference"` or `"train"`.
        bundle: Root folder of the layered bundle; by default the one that has the network.
        **settings: Values that replace those of the files, by their id.

    Raises:
        ConfigError: If the network is unknown or a file is missing.
    """
    merged: dict[str, Any] = load_config(network, [workflow], bundle=bundle, **settings).get()
    content = {key: value for key, value in merged.items() if key != "_meta_"}
    return content | {"bundle_root": ".", "weights": EXPORTED_WEIGHTS}


def load_bundle(source: Member | Classifier, folder: Path) -> Member | Classifier:
    """What the zip holds, unpacked and built from its own configuration, weights and transforms.

    Args:
        source: What was exported, for its kind.
        folder: Folder of the zip.

    Raises:
        ConfigError: If its weights do not fit its configuration.
    """
    with tempfile.TemporaryDirectory() as work:
        archive = next(folder.glob("*.zip"))
        shutil.unpack_archive(archive, work)
        root = Path(work) / archive.stem
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / "inference.yaml"))
        parser.update({"bundle_root": str(root), "precision": "fp32", "device": "$torch.device('cpu')"})
        get = parser.get_parsed_content
        parts = get("network"), Path(get("weights"))
        where = {"device": get("device"), "dtype": get("autocast_dtype")}
        if isinstance(source, Classifier):
            return Classifier(*parts, resize=get("resize"), to_input=get("to_input"), **where)
        return Member(*parts, preprocessing=get("preprocessing"), to_label_map=get("to_label_map"), **where)


Name = Literal["bundle", "torchscript", "onnx", "openvino", "openvino-int8"]

Model = Member | Classifier
"""A network with the transforms around it."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format, and how far from its source an export may be.

    Attributes:
        write: Writes the files into an existing folder, from the source and, for int8, inputs
            `(1, C, H, W)` of training images.
        load: What was written there in place of the source's network, or with transforms of its own.
        most_difference: Largest difference of a probability that passes.
        least_agreement: Smallest agreement that passes: mean Dice between the masks of a heart, and the
            share of radiographs that are decided alike.
    """

    write: Callable[[Source, Path, Sequence[Tensor]], None]
    load: Callable[[Model, Path], Model]
    most_difference: float
    least_agreement: float


INT8: Final = "openvino-int8"
"""The format that needs training images, to measure the ranges of values in the network."""

FORMATS: Final[dict[Name, Format]] = {
    "bundle": Format(  # weights in 16 bits
        lambda source, folder, _: write_bundle_files(source, folder),
        load_bundle,
        most_difference=0.02,
        least_agreement=0.998,
    ),
    "torchscript": Format(
        lambda source, folder, _: write_torchscript(source, folder),
        lambda source, folder: source.run_by(load_torchscript(folder)),
        most_difference=1e-3,
        least_agreement=0.999,
    ),
    "onnx": Format(
        lambda source, folder, _: write_onnx(source, folder),
        lambda source, folder: source.run_by(load_exact(folder / ONNX_NAME)),
        most_difference=1e-3,
        least_agreement=0.999,
    ),
    "openvino": Format(  # weights in 16 bits after the batch norms were merged into them
        lambda source, folder, _: write_openvino(source, folder),
        lambda source, folder: source.run_by(load_exact(folder / OPENVINO_NAME)),
        most_difference=0.02,
        least_agreement=0.998,
    ),
    INT8: Format(  # single voxels at borders change sides
        write_int8,
        lambda source, folder: source.run_by(load_exact(folder / INT8_NAME)),
        most_difference=0.6,
        least_agreement=0.97,
    ),
}
"""All formats by name."""
