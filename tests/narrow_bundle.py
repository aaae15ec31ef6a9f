"""The ACDC bundle with narrow networks of random weights, which run in no time."""

import shutil
from pathlib import Path

import torch
import yaml

from pipelines.models.bundle import ACDC_BUNDLE, load_config, trust
from pipelines.models.weights import save_weights

NARROW = {"unet": {"filters": [4] * 5}, "attention_unet": {"channels": [4] * 5}, "vnet": {}}
"""Settings of each network; VNet has no width to set."""


def write_narrow_bundle(root: Path, *, networks: tuple[str, ...] = tuple(NARROW)) -> Path:
    """The bundle in layers, with weights in 16 bits; returns its root."""
    shutil.copytree(ACDC_BUNDLE, root, ignore=shutil.ignore_patterns("models", "runs", "__pycache__"))
    trust(root, always=True)
    torch.manual_seed(0)
    for name in networks:
        path = root / "configs" / f"network_{name}.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content["+network_def"] |= NARROW[name]
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        network = load_config(name, bundle=root).get_parsed_content("network")
        save_weights(network.half(), root / "models" / name / "model.pt")
    return root
