"""A self-contained copy of a bundle for one network, which runs with MONAI alone."""

import copy
import hashlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

import yaml
from monai.bundle import ConfigParser

from pipelines.core.files import atomic_path
from pipelines.export.source import Source
from pipelines.models.bundle import bundle_of, load_config
from pipelines.models.checkpoints import save_weights
from pipelines.models.classifier import Classifier
from pipelines.models.member import Member
from pipelines.models.weights_sidecar import copy_beside

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


def write(source: Source, folder: Path) -> None:
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
        card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
        (temporary / "docs" / "README.md").write_text(
            CARD_NOTE.format(network=network) + card, encoding="utf-8"
        )
        save_weights(copy.deepcopy(source.module).half(), temporary / "models" / "model.pt")
        copy_beside(source.weights.parent, temporary / "models")
        (temporary / SUMS_NAME).write_text(_sums(temporary), encoding="utf-8")
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


def load(source: Member | Classifier, folder: Path) -> Member | Classifier:
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


def _sums(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    )
