"""A self-contained copy of the bundle for one network, which runs with MONAI alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.data import save_net_with_metadata
from monai.networks.utils import convert_to_torchscript

from pipelines.bundle import ACDC_BUNDLE, load_config
from pipelines.files import atomic_path, write_json
from pipelines.training.checkpoints import load_weights, save_weights

EXPORTED_WEIGHTS = "$str(Path(@bundle_root) / 'models' / 'model.pt')"
"""Where an exported bundle looks for its weights: MONAI's usual place."""

INFERENCE_NOTE = """\
# Segments NIfTI volumes with MONAI alone. From the root of the bundle:
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

"""


def export_bundle(
    network: str,
    output: Path,
    *,
    weights: Path | None = None,
    torchscript: bool = False,
    bundle: Path = ACDC_BUNDLE,
) -> Path:
    """Folder of a bundle with one network, its layers flattened into one file a workflow.

    Inference needs MONAI and nothing of Thorax; the training configuration
    comes along and says that it needs Thorax.

    Args:
        network: One of `NETWORKS`.
        output: Folder that takes the bundle's folder, `acdc_<network>_segmentation`;
            an older one of that name is replaced.
        weights: Existing file to use instead of the bundle's own.
        torchscript: Also write `models/model.ts`, traced, with the metadata in it.
        bundle: Root folder of the layered bundle.

    Returns:
        The bundle's folder.

    Raises:
        ConfigError: If the network is unknown, or the weights are missing or do not fit.
        OutputError: If the folder cannot be written.
    """
    parser = load_config(network, bundle=bundle)
    module: torch.nn.Module = parser.get_parsed_content("network_def")
    weights = weights or Path(parser.get_parsed_content("weights"))
    load_weights(module, weights)
    metadata = network_metadata(network, bundle=bundle)
    folder = output / f"acdc_{network}_segmentation"
    with atomic_path(folder) as temporary:
        for name in ("configs", "models", "docs"):
            (temporary / name).mkdir(parents=True, exist_ok=True)
        for workflow, note in (("inference", INFERENCE_NOTE), ("train", TRAINING_NOTE)):
            text = note + _as_yaml(flat_config(network, workflow, bundle=bundle))
            (temporary / "configs" / f"{workflow}.yaml").write_text(text, encoding="utf-8")
        write_json(temporary / "configs" / "metadata.json", metadata)
        for name in ("LICENSE", "configs/logging.conf", "docs/data_license.txt"):
            shutil.copyfile(bundle / name, temporary / name)
        card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
        (temporary / "docs" / "README.md").write_text(
            CARD_NOTE.format(network=network) + card, encoding="utf-8"
        )
        save_weights(module.half(), temporary / "models" / "model.pt")
        if torchscript:
            _write_torchscript(module.float(), metadata, temporary / "models" / "model.ts")
    return folder


def flat_config(network: str, workflow: str, *, bundle: Path = ACDC_BUNDLE) -> dict[str, Any]:
    """All layers of a workflow merged into one configuration; only the place of the weights changes.

    Args:
        network: One of `NETWORKS`.
        workflow: Name of the workflow's file, without `.yaml`: `"inference"` or `"train"`.
        bundle: Root folder of the layered bundle.

    Raises:
        ConfigError: If the network is unknown or a file is missing.
    """
    merged: dict[str, Any] = load_config(network, [workflow], bundle=bundle).get()
    content = {key: value for key, value in merged.items() if key != "_meta_"}
    return content | {"bundle_root": ".", "weights": EXPORTED_WEIGHTS}


def network_metadata(network: str, *, bundle: Path = ACDC_BUNDLE) -> dict[str, Any]:
    """Content of `metadata.json` with the input channels of one network.

    Args:
        network: One of `NETWORKS`.
        bundle: Root folder of the layered bundle.

    Raises:
        ConfigError: If the network is unknown or a file is missing.
    """
    offsets: list[int] = load_config(network, bundle=bundle).get_parsed_content("slice_offsets")
    text = (bundle / "configs" / "metadata.json").read_text(encoding="utf-8")
    metadata: dict[str, Any] = json.loads(text)
    image = metadata["network_data_format"]["inputs"]["image"]
    image["num_channels"] = len(offsets)
    image["channel_def"] = {
        str(channel): f"slice at offset {offset}" for channel, offset in enumerate(offsets)
    }
    return metadata


def _as_yaml(content: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, width=110, allow_unicode=True)
    return text


def _write_torchscript(network: torch.nn.Module, metadata: dict[str, Any], path: Path) -> None:
    image = metadata["network_data_format"]["inputs"]["image"]
    example = torch.zeros(1, image["num_channels"], *image["spatial_shape"])
    traced = convert_to_torchscript(network.eval(), inputs=[example], use_trace=True, verify=False)
    save_net_with_metadata(traced, str(path), meta_values=metadata)
