"""The models that a report speaks of: name, data, figures, file and checksum."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.bundle import ACDC_BUNDLE, NETWORKS
from pipelines.reporting.html import MISSING, Table
from pipelines.reporting.language import Language
from pipelines.reporting.report.parts import Source, estimate_text, figure_text
from pipelines.reporting.run_record import network_in, read_run
from pipelines.training.checkpoints import BEST_NAME


@dataclass(frozen=True, slots=True)
class Model:
    """Weights that a report speaks of.

    Attributes:
        name: Name of the run, or of the evaluation that used them.
        network: Its network.
        data: What it was trained on, in words.
        validation: Best mean Dice in validation, None where it says nothing.
        weights: File, which may have gone.
        evaluations: Evaluations of these weights.
    """

    name: str
    network: str
    data: str
    validation: float | None
    weights: Path
    evaluations: Sequence[Source]


def find_models(sources: Sequence[Source], words: Language) -> list[Model]:
    """Models of the runs, and those that only an evaluation speaks of.

    An evaluation belongs to a run if the `--weights` of its command is a file of that run's folder.

    Args:
        sources: As from `read_sources`.
        words: Language of the data's words.

    Raises:
        DataError: If a run is damaged.
    """
    evaluations = [source for source in sources if source.kind == "evaluation"]
    models = []
    claimed: set[Path] = set()
    for source in sources:
        if source.kind != "training":
            continue
        run = read_run(source.folder)
        own = [one for one in evaluations if _belongs(weights_of(one), source.folder)]
        claimed |= {one.folder for one in own}
        data = words("training.fold_all") if run.all_patients else words("training.fold", fold=run.fold)
        digest = source.manifest.get("split_hash")
        models.append(
            Model(
                name=run.name,
                network=run.network,
                data=words("models.split", data=data, split=digest) if digest else data,
                validation=None if run.all_patients else run.best("val_mean_dice"),
                weights=source.folder / BEST_NAME,
                evaluations=own,
            )
        )
    for source in evaluations:
        if source.folder not in claimed:
            models += _of_evaluation(source, words)
    return models


def models_table(models: Sequence[Model], words: Language) -> Table:
    """Table of the models with the SHA-256 of their files.

    Args:
        models: As from `find_models`.
        words: Language.
    """
    header = ["table.model", "table.network", "training.data", "models.validation", "models.measured"]
    return Table(
        words("models.table"),
        [*(words(key) for key in header), words("models.file"), "SHA-256"],
        [
            [
                model.name,
                model.network,
                model.data,
                figure_text(model.validation, 3),
                "; ".join(_measured(one, words) for one in model.evaluations) or MISSING,
                f"{model.weights.parent.name}/{model.weights.name}",
                checksum(model.weights) or words("models.gone"),
            ]
            for model in models
        ],
    )


def checksum(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal digits, None if there is no such file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_of(evaluation: Source) -> Path | None:
    """File that an evaluation's command names by `--weights`; None for the bundle's own."""
    words: list[str] = evaluation.manifest.get("command", [])
    for word, following in itertools.pairwise(words):
        if word == "--weights":
            return Path(following)
    named = [word.partition("=")[2] for word in words if word.startswith("--weights=")]
    return Path(named[0]) if named else None


def _belongs(weights: Path | None, run: Path) -> bool:
    """Commands may name weights relative to a folder that is not known any more: two names must do."""
    return weights is not None and weights.parent.name == run.resolve().name


def _of_evaluation(source: Source, words: Language) -> list[Model]:
    weights = weights_of(source)
    told: dict[str, Any] = source.manifest
    networks = list(told.get("networks", [])) or [network_in(source.name) or MISSING]
    if weights is not None:
        return [Model(source.name, networks[0], words("models.unknown"), None, weights, [source])]
    if not told:
        return []
    return [
        Model(
            name=words("models.bundle", name=source.name, network=network),
            network=network,
            data=words("models.card"),
            validation=None,
            weights=ACDC_BUNDLE / "models" / network / "model.pt",
            evaluations=[source] if len(networks) == 1 else [],
        )
        for network in networks
        if network in NETWORKS
    ]


def _measured(source: Source, words: Language) -> str:
    dice = source.content["summary"]["dice"]["mean"]
    shown = estimate_text(dice, source.content["intervals"]["dice"]["mean"], 3, words)
    return f"{source.name}: {shown}"
