"""Where the ACDC bundle lies, which networks it has, and how its layers are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from monai.bundle import ConfigParser

from pipelines.errors import ConfigError

NETWORKS: Final = ("unet", "attention_unet", "vnet")
"""Network overlays of the bundle; the first is the default."""

ACDC_BUNDLE: Final = Path(__file__).resolve().parent.parent / "bundles" / "acdc_segmentation"


def check_network(network: str) -> str:
    """The name, if the bundle has such a network.

    Raises:
        ConfigError: If it has not.
    """
    if network not in NETWORKS:
        raise ConfigError(f"expected a network among {', '.join(NETWORKS)}, found {network!r}")
    return network


def config_files(network: str, *overlays: str, bundle: Path = ACDC_BUNDLE) -> list[str]:
    """Configuration files in the order they are read: common, network, then overlays.

    Args:
        network: One of `NETWORKS`.
        *overlays: Names of further files, without `.yaml`.
        bundle: Root folder of the bundle.

    Raises:
        ConfigError: If the network is unknown or a file is missing.
    """
    names = ["common", f"network_{check_network(network)}", *overlays]
    paths = [bundle / "configs" / f"{name}.yaml" for name in names]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"expected a bundle with {path.name}, found none in {path.parent}")
    return [str(path) for path in paths]


def load_config(
    network: str, overlays: Sequence[str] = (), *, bundle: Path = ACDC_BUNDLE, **settings: Any
) -> ConfigParser:
    """Merged configuration of a network, not yet instantiated.

    Args:
        network: One of `NETWORKS`.
        overlays: Names of further files, without `.yaml`.
        bundle: Root folder of the bundle.
        **settings: Values that replace those of the files, by their id.

    Raises:
        ConfigError: If the network is unknown or a file is missing.
    """
    parser = ConfigParser()
    parser.read_config(config_files(network, *overlays, bundle=bundle))
    parser.update({"bundle_root": str(bundle), **settings})
    return parser
