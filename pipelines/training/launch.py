"""Runs the bundle's own training workflow from Python, and says which command that is."""

import json
import logging
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from pipelines.core.errors import ConfigError, ThoraxError, cause
from pipelines.core.progress import is_watched, show_progress
from pipelines.models.bundle import bundle_of, config_files, load_config
from pipelines.models.weights import BEST_NAME


def train_network(
    network: str,
    dataset_dir: Path,
    output_dir: Path,
    *,
    resume: bool = False,
    overlays: Sequence[str] = (),
    on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
    bundle: Path | None = None,
    **settings: Any,
) -> Path:
    """Train a network as `python -m monai.bundle run training` does, from any folder.

    Args:
        network: A network of one of the bundles.
        dataset_dir: Existing folder: a prepared one, or one with the raw data.
        output_dir: Folder of the run; made if it does not exist.
        resume: Go on with the run in `output_dir`.
        overlays: Further configuration files to read after `train`, without `.yaml`.
        on_epoch: Called after each epoch, once its checkpoint is written, with the epoch
            and the scores of the last validation.
        bundle: Root folder of the bundle; by default the one that has the network.
        **settings: Values that replace those of the configuration, by their id.

    Returns:
        Path of the best weights.

    Raises:
        ConfigError: If the network, an overlay or a setting is unknown, `output_dir` does
            not fit `resume`, or no validation took place.
        DataError: If the data cannot be used.
    """
    bundle = bundle or bundle_of(network)
    check_settings(settings, network, overlays, bundle=bundle)
    overrides = _overrides(dataset_dir, output_dir, resume=resume, settings=settings)
    workflow = _workflow(config_files(network, "train", *overlays, bundle=bundle), bundle, overrides)
    try:
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        if is_watched():
            trainer.add_event_handler(Events.ITERATION_COMPLETED, _report)
        if on_epoch is not None:
            evaluator = workflow.parser.get_parsed_content("validate#evaluator")
            trainer.add_event_handler(
                Events.EPOCH_COMPLETED, lambda engine: on_epoch(engine.state.epoch, evaluator.state.metrics)
            )
        workflow.run()
        workflow.finalize()
    except Exception as error:
        cause = _thorax_cause(error)
        if cause is None:
            raise
        raise cause from None
    best = output_dir / BEST_NAME
    if not best.is_file():
        raise ConfigError(
            f"expected a validation with a score during training, found none in {output_dir}; "
            "give a val_interval of at most max_epochs"
        )
    return best


def bundle_command(
    network: str,
    dataset_dir: Path,
    output_dir: Path,
    *,
    resume: bool = False,
    overlays: Sequence[str] = (),
    bundle: Path | None = None,
    **settings: Any,
) -> str:
    """The shell command that does what `train_network` does with the same arguments.

    Args:
        network: A network of one of the bundles.
        dataset_dir: Folder of the data.
        output_dir: Folder of the run.
        resume: Go on with the run in `output_dir`.
        overlays: Further configuration files, without `.yaml`.
        bundle: Root folder of the bundle (by default the network's), in which MONAI's command has to run.
        **settings: Values that replace those of the configuration.

    Raises:
        ConfigError: If the network or an overlay is unknown.
    """
    bundle = bundle or bundle_of(network)
    files = config_files(network, "train", *overlays, bundle=bundle)
    words = ["python", "-m", "monai.bundle", "run", "training", "--args_file", f"configs/args_{network}.yaml"]
    if overlays:
        words += ["--config_file", json.dumps([f"configs/{Path(file).name}" for file in files])]
    for name, value in _overrides(dataset_dir, output_dir, resume=resume, settings=settings).items():
        words += [f"--{name}", str(value)]
    return f"cd {shlex.quote(str(bundle))} && {shlex.join(words)}"


def check_settings(
    names: Iterable[str], network: str, overlays: Sequence[str] = (), *, bundle: Path | None = None
) -> None:
    """See that settings are those of the training workflow, since a mistyped one would do nothing.

    Args:
        names: Ids of settings.
        network: A network of one of the bundles.
        overlays: Further configuration files, without `.yaml`.
        bundle: Root folder of the bundle, by default the network's.

    Raises:
        ConfigError: If a setting, the network or an overlay is unknown.
    """
    known = load_config(network, ("train", *overlays), bundle=bundle)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"expected settings of configs/train.yaml, found {', '.join(unknown)}; its first lines list them"
        )


def read_settings(path: Path) -> dict[str, Any]:
    """Settings of a YAML file, such as `best.yaml` of a search.

    Args:
        path: File with a setting a line.

    Raises:
        ConfigError: If it cannot be read or holds no settings.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"expected settings in {path}, found {cause(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"expected lines such as 'max_epochs: 10' in {path}, found {type(content).__name__}"
        )
    return {str(name): value for name, value in content.items()}


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Settings from `name=value` texts; values are read as YAML.

    Args:
        pairs: E.g. `["max_epochs=10", "patch_px=[96, 96]"]`.

    Raises:
        ConfigError: If a text has no name or no `=`, or its value is not YAML.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        try:
            if not sign or not name.strip():
                raise ValueError("no name or no '='")
            settings[name.strip()] = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError) as error:
            raise ConfigError(
                f"expected a setting such as max_epochs=10, found {pair!r}: {error}; "
                "see configs/train.yaml for names"
            ) from error
    return settings


def _workflow(files: list[str], bundle: Path, overrides: dict[str, Any]) -> ConfigWorkflow:
    logger = logging.getLogger("monai.bundle.workflows")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns that the caller's logging stays as it is, which is meant
    try:
        return ConfigWorkflow(
            files,
            meta_file=str(bundle / "configs" / "metadata.json"),
            logging_file=False,
            run_id="training",
            bundle_root=str(bundle),
            **overrides,
        )
    finally:
        logger.setLevel(level)


def _overrides(
    dataset_dir: Path, output_dir: Path, *, resume: bool, settings: dict[str, Any]
) -> dict[str, Any]:
    """Values by id; paths are absolute because MONAI's command runs in the bundle's folder."""
    paths = {"dataset_dir": str(dataset_dir.resolve()), "output_dir": str(output_dir.resolve())}
    return paths | ({"resume": True} if resume else {}) | settings


def _report(engine: Engine) -> None:
    state = engine.state
    output = state.output[0] if isinstance(state.output, list) else state.output
    loss = float(output["loss"])
    total = state.epoch_length * state.max_epochs
    show_progress(state.iteration, total, f"epoch {state.epoch}, loss {loss:.3f}")


def _thorax_cause(error: BaseException | None) -> ThoraxError | None:
    """The error that was meant for the user, below those that MONAI wraps around it."""
    while error is not None:
        if isinstance(error, ThoraxError):
            return error
        error = error.__cause__
    return None
