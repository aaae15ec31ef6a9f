"""Settings and scores of trials of a search, or of training runs side by side in a folder."""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.training.history import read_history
from pipelines.training.launch import parse_settings
from pipelines.training.monitor import HISTORY_NAME
from pipelines.training.trials import SETTINGS_NAME, TRIALS_NAME

SCORES: Final = ("val_mean_dice", "val_auroc")
"""What runs are scored by: the best validation of the first of these that they have."""

NOT_SETTINGS: Final = frozenset(
    {"args_file", "config_file", "meta_file", "dataset_dir", "output_dir", "cache_dir", "resume", "fold"}
)
"""Options of a training that say where, not how."""


def read_scored_settings(folder: Path) -> list[tuple[dict[str, Any], float]]:
    """Settings and validation score of each trial or run.

    Args:
        folder: Of `thorax tune`, or one whose folders are training runs; of a run, the settings are
            those of its command that are not the network's own.

    Raises:
        DataError: If there are fewer than two.
    """
    is_search = (folder / TRIALS_NAME).is_dir()
    histories = sorted((folder / TRIALS_NAME if is_search else folder).glob(f"*/{HISTORY_NAME}"))
    found = [_read_scored(path.parent, drawn=is_search) for path in histories]
    if len(found) < 2:
        raise DataError(
            f"expected a folder of 'thorax tune' or of training runs, found {len(found)} with a score in "
            f"{folder}; give one with two at least"
        )
    return found


def command_settings(words: list[str]) -> dict[str, Any]:
    """Settings in the command of a run, of `thorax train` (`--set`) or of MONAI (`--name value`).

    Args:
        words: Program and arguments, as in a manifest.
    """
    settings: dict[str, Any] = {}
    for option, value in zip(words, [*words[1:], ""], strict=True):
        name, sign, own = option.partition("=")
        if option == "--set":
            settings |= parse_settings([value])
        elif words[0] == "__main__.py" and option.startswith("--"):
            settings[name.removeprefix("--")] = yaml.safe_load(own if sign else value)
    return {name: value for name, value in settings.items() if name not in NOT_SETTINGS}


def _read_scored(run: Path, *, drawn: bool) -> tuple[dict[str, Any], float]:
    """Settings of a run, as drawn for it or as in its command, and its best validation."""
    history = read_history(run / HISTORY_NAME)
    scores = [max(history[name][1]) for name in SCORES if history.get(name, ([], []))[1]]
    try:
        if drawn:
            settings = dict(yaml.safe_load((run / SETTINGS_NAME).read_text(encoding="utf-8")))
        else:
            words = json.loads((run / MANIFEST_NAME).read_text(encoding="utf-8"))["command"]
            settings = command_settings(words)
        return settings, scores[0]
    except (OSError, ValueError, TypeError, KeyError, IndexError, yaml.YAMLError, ConfigError) as error:
        needed = SETTINGS_NAME if drawn else MANIFEST_NAME
        raise DataError(
            f"expected a training run with {needed} and a validation, found {run}: {error!r}"
        ) from error
