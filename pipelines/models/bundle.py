"""Where the bundles lie, which networks they have, and how their layers are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.core.errors import ConfigError
from pipelines.core.install import shipped
from pipelines.core.tasks import HEART, XRAY, task_of
from pipelines.models.trust import check_trusted

if TYPE_CHECKING:
    from monai.bundle import ConfigParser

BUNDLES: Final = shipped("bundles")

NETWORKS: Final = HEART.networks
"""Network overlays of the ACDC bundle; the first is the default."""

CORRECTOR: Final = HEART.helpers[0]
"""Network overlay of the ACDC bundle that corrects masks by clicks; it does not segment by itself."""

ACDC_BUNDLE: Final = BUNDLES / HEART.bundle

XRAY_NETWORKS: Final = XRAY.networks
"""Network overlays of the chest X-ray bundle; the first is the default."""

XRAY_BUNDLE: Final = BUNDLES / XRAY.bundle


def bundle_of(network: str) -> Path:
    """Root folder of the bundle that has a network.

    Raises:
        ConfigError: If none has.
    """
    return BUNDLES / task_of(network).bundle


def config_files(network: str, *overlays: str, bundle: Path | None = None) -> list[str]:
    """Configuration files in the order they are read: common, network, then overlays.

    They can run code, so those of a bundle that is not known are refused, see `pipelines.models.trust`.

    After `train` comes the network's own recipe, where it has one.

    Args:
        network: One of `NETWORKS`, `CORRECTOR` or one of `XRAY_NETWORKS`.
        *overlays: Names of further files, without `.yaml`.
        bundle: Root folder of the bundle; by default the one that has the network.

    Raises:
        ConfigError: If the network is unknown, a file is missing, or the bundle is not known.
    """
    own = bundle_of(network)
    configs = (bundle or own) / "configs"
    names = ["common", f"network_{network}", *overlays]
    recipe = f"recipe_{network}"
    if "train" in names and (configs / f"{recipe}.yaml").is_file():
        names.insert(names.index("train") + 1, recipe)
    paths = [configs / f"{name}.yaml" for name in names]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"expected a bundle with {path.name}, found none in {path.parent}")
    check_trusted(bundle or own, BUNDLES)
    return [str(path) for path in paths]


def device_settings(device: str, precision: str) -> dict[str, Any]:
    """Settings of `load_config` for a device, `"auto"` or torch's name, and a precision."""
    settings = {"precision": precision}
    return settings if device == "auto" else settings | {"device": f"$torch.device({device!r})"}


def load_config(
    network: str, overlays: Sequence[str] = (), *, bundle: Path | None = None, **settings: Any
) -> "ConfigParser":
    """Merged configuration of a network, not yet instantiated.

    Args:
        network: One of `NETWORKS`, `CORRECTOR` or one of `XRAY_NETWORKS`.
        overlays: Names of further files, without `.yaml`.
        bundle: Root folder of the bundle; by default the one that has the network.
        **settings: Values that replace those of the files, by their id.

    Raises:
        ConfigError: If the network is unknown, a file is missing, or the bundle is not known.
    """
    from monai.bundle import ConfigParser  # late: the command line needs the names of networks only

    bundle = bundle or bundle_of(network)
    parser = ConfigParser()
    parser.read_config(config_files(network, *overlays, bundle=bundle))
    parser.update({"bundle_root": str(bundle), **settings})
    return parser
