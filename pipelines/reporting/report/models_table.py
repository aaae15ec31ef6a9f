"""The models that a report speaks of: name, data, figures, file and checksum."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS
from pipelines.models.checkpoints import BEST_NAME
from pipelines.reporting.html import MISSING, Table
from pipelines.reporting.language import Language
from pipelines.reporting.report.parts import Source, estimate_text, figure_text
from pipelines.reporting.report.weights import (
    belongs,
    checksum,
    measured_bundle,
    weights_file,
    weights_fingerprints,
)
from pipelines.training.run_record import network_in, read_run


@dataclass(frozen=True, slots=True)
class Model:
    """Weights that a report speaks of.

    Attributes:
        name: Name of the run, or of the evaluation that used them.
        network: Its network.
        data: What it was trained on, in words.
        validation: Best mean Dice in validation, None where it says nothing.
        file: File of the weights, which may have gone; None if it is not known.
        digest: SHA-256 of the file or what is known of it, None if it has gone.
        evaluations: Evaluations of these weights.
    """

    name: str
    network: str
    data: str
    validation: float | None
    file: Path | None
    digest: str | None
    evaluations: Sequence[Source]


def find_models(sources: Sequence[Source], words: Language) -> list[Model]:
    """Models of the runs, and those that only an evaluation speaks of.

    An evaluation belongs to a run if its command names a file of that run's folder by `--weights`, or its
    manifest tells of the fingerprint of the run's weights.

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
        digest = checksum(source.folder / BEST_NAME)
        own = [one for one in evaluations if belongs(one, source.folder, digest)]
        claimed |= {one.folder for one in own}
        data = words("training.fold_all") if run.all_patients else words("training.fold", fold=run.fold)
        split = source.manifest.get("split_hash")
        models.append(
            Model(
                name=run.name,
                network=run.network,
                data=words("models.split", data=data, split=split) if split else data,
                validation=None if run.all_patients else run.best("val_mean_dice"),
                file=source.folder / BEST_NAME,
                digest=digest,
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
                f"{model.file.parent.name}/{model.file.name}" if model.file else MISSING,
                model.digest or words("models.gone"),
            ]
            for model in models
        ],
    )


def _of_evaluation(source: Source, words: Language) -> list[Model]:
    told: dict[str, Any] = source.manifest
    networks = list(told.get("networks", [])) or [network_in(source.name) or MISSING]
    own = [source] if len(networks) == 1 else []
    if not measured_bundle(source):
        file = weights_file(source)
        known = weights_fingerprints(source)
        if file is None and not known:
            return []
        digest = checksum(file) if file else ", ".join(f"{value}…" for value in known)
        data = words("models.unknown")
        return [Model(source.name, ", ".join(networks), data, None, file, digest, [source])]
    models = []
    for network in networks:
        if network in NETWORKS:
            name = words("models.bundle", name=source.name, network=network)
            file = ACDC_BUNDLE / "models" / network / "model.pt"
            models.append(Model(name, network, words("models.card"), None, file, checksum(file), own))
    return models


def _measured(source: Source, words: Language) -> str:
    dice = source.content["summary"]["dice"]["mean"]
    shown = estimate_text(dice, source.content["intervals"]["dice"]["mean"], 3, words)
    return f"{source.name}: {shown}"
