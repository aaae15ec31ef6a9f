"""What exports are made from: a network of a bundle with its weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.core.errors import ConfigError
from pipelines.core.tasks import HEART, TASKS, task_of
from pipelines.datasets.prepare import fingerprint
from pipelines.models.bundle import BUNDLES, bundle_of, load_config
from pipelines.models.checkpoints import load_weights
from pipelines.models.weights_sidecar import read_network

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
        settings = (
            read_network(weights.parent, network) if weights and task_of(network).keeps_settings else {}
        )
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
        known = ", ".join((*sorted(path.name for path in BUNDLES.iterdir()), *EXPORTED))
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
    metadata: dict[str, Any] = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    image = metadata["network_data_format"]["inputs"]["image"]
    if "size_px" in config:
        image["spatial_shape"] = list(config.get_parsed_content("size_px"))
    if "slice_offsets" in config:
        offsets: list[int] = config.get_parsed_content("slice_offsets")
        image["num_channels"] = len(offsets)
        image["channel_def"] = {
            str(channel): f"slice at offset {offset}" for channel, offset in enumerate(offsets)
        }
    return metadata
