"""Where the bundles lie, which networks they have, and which bundles may run: their configs are programs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.core.errors import ConfigError, expecting
from pipelines.core.files import file_sha256, read_json, write_json
from pipelines.core.install import shipped
from pipelines.core.tasks import HEART, XRAY, task_of

if TYPE_CHECKING:
    from monai.bundle import ConfigParser


SHIPPED_NAME: Final = "checksums.json"
"""Beside the package's bundles: the checksums of their code. `make checksums` writes it."""

TRUSTED_NAME: Final = "trusted.json"

CODE_FOLDERS: Final = ("configs", "scripts")
CODE_SUFFIXES: Final = (".py", ".so")


def check_trusted(bundle: Path, shipped: Path) -> None:
    """Let a bundle's configs be read only if somebody vouched for them.

    Known are the package's own folder of bundles, where whoever can change a config can change the package;
    copies of these bundles; and what was trusted by `trust`.

    Args:
        bundle: Root folder of a bundle.
        shipped: Folder of the package's own bundles.

    Raises:
        ConfigError: If it is not known; the message names the files that changed since it was trusted.
    """
    if bundle.resolve().parent == shipped.resolve():
        return
    files = code_checksums(bundle)
    known = read_trusted()
    own = read_shipped(shipped).values()
    if files in own or any(files == entry["files"] for entry in known.values()):
        return
    mine = known.get(str(bundle.resolve()))
    if mine is not None and mine["always"]:
        return
    strange = "configs that nobody vouched for"
    if mine is not None:
        names = sorted({name for name, _ in set(files.items()) ^ set(mine["files"].items())})
        strange = f"changes since it was trusted in {', '.join(names)}"
    raise ConfigError(
        f"expected a bundle that is known, found {bundle} with {strange}: configs can run "
        f"code. Look through them; if you trust them, 'thorax store trust {bundle}' or --trust ('thorax "
        "store trust --always' for a folder in which you edit them yourself)"
    )


def trust(bundle: Path, *, always: bool = False) -> tuple[str, ...]:
    """Vouch for a bundle's configs and scripts as they are now; returns their names.

    Args:
        bundle: Existing root folder of a bundle.
        always: Also as they will be: for a folder that only you write to.

    Raises:
        ConfigError: If there is no code of a bundle in the folder.
        OutputError: If the file of trusted bundles cannot be written.
    """
    files = code_checksums(bundle)
    if not any(name.startswith("configs/") for name in files):
        raise ConfigError(f"expected a bundle with configs, found none in {bundle}")
    entry = {"always": always, "files": files}
    write_json(trusted_file(), read_trusted() | {str(bundle.resolve()): entry})
    return tuple(files)


def trusted_file() -> Path:
    """File of the bundles that the user trusts, which need not exist.

    References:
        XDG Base Directory Specification: a relative `XDG_CONFIG_HOME` counts as none.
    """
    given = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    home = given if given.is_absolute() else Path.home() / ".config"
    return home / "thorax" / TRUSTED_NAME


def read_trusted() -> dict[str, dict[str, Any]]:
    """What the user trusts: by folder, whether `always`, and the checksums of its `files`.

    Raises:
        ConfigError: If the file is damaged.
    """
    path = trusted_file()
    if not path.is_file():
        return {}
    with expecting(f"the trusted bundles in {path}", ConfigError, "delete it and trust them again"):
        content = read_json(path)
        return {
            str(folder): {"always": entry["always"] is True, "files": dict(entry["files"])}
            for folder, entry in content.items()
        }


def read_shipped(shipped: Path) -> dict[str, dict[str, str]]:
    """Checksums of the code of the package's own bundles, by the bundle's name."""
    content: dict[str, dict[str, str]] = read_json(shipped / SHIPPED_NAME)
    return content


def write_shipped(shipped: Path) -> Path:
    """Write the checksums of the code of the bundles in a folder; returns the file.

    Raises:
        OutputError: If it cannot be written.
    """
    bundles = sorted(path for path in shipped.iterdir() if (path / "configs").is_dir())
    write_json(shipped / SHIPPED_NAME, {bundle.name: code_checksums(bundle) for bundle in bundles})
    return shipped / SHIPPED_NAME


def code_checksums(bundle: Path) -> dict[str, str]:
    """SHA-256 of what can run code in a bundle, by path: all of `configs` and `scripts`, and any program.

    Args:
        bundle: Root folder of a bundle; what its runs wrote (`runs/`) is not looked at.
    """
    found = {}
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle)
        if path.is_symlink() and path.is_dir():  # what is behind it is not looked at, so it may not change
            found[name.as_posix()] = f"link to {path.readlink()}"
        elif not path.is_file() or name.parts[0] == "runs" or "__pycache__" in name.parts:
            continue
        elif name.parts[0] in CODE_FOLDERS or path.suffix in CODE_SUFFIXES:
            found[name.as_posix()] = file_sha256(path)
    return found


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

    They can run code, so those of a bundle that is not known are refused, see `pipelines.models.bundle`.

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
