"""Which weights an evaluation measured, as far as its manifest tells."""

import hashlib
import itertools
from pathlib import Path

from pipelines.reporting.report.parts import Source

FINGERPRINT_DIGITS = 16
"""Digits of a SHA-256 that `pipelines.datasets.prepare.fingerprint` keeps."""


def checksum(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal digits, None if there is no such file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_file(evaluation: Source) -> Path | None:
    """File that an evaluation's command names by `--weights`, None if it names none."""
    words: list[str] = evaluation.manifest.get("command", [])
    for word, following in itertools.pairwise([*words, ""]):
        if word == "--weights":
            return Path(following)
        if word.startswith("--weights="):
            return Path(word.partition("=")[2])
    return None


def weights_fingerprints(evaluation: Source) -> list[str]:
    """Fingerprints of the weights that a manifest tells of; `thorax compare` writes them."""
    told = evaluation.manifest.get("weights")
    return [str(value) for value in told] if isinstance(told, list) else []


def measured_bundle(evaluation: Source) -> bool:
    """Whether an evaluation measured the bundle's own weights."""
    return bool(evaluation.manifest) and not (
        weights_file(evaluation) or weights_fingerprints(evaluation) or "weights" in evaluation.manifest
    )


def belongs(evaluation: Source, run: Path, digest: str | None) -> bool:
    """Whether an evaluation measured the weights of a run.

    Args:
        evaluation: Folder of an evaluation.
        run: Folder of the run.
        digest: SHA-256 of its weights, None if they have gone.
    """
    file = weights_file(evaluation)
    # A command may name a file relative to a folder that is not known any more: two names must do.
    if file is not None:
        return file.parent.name == run.resolve().name
    return digest is not None and weights_fingerprints(evaluation) == [digest[:FINGERPRINT_DIGITS]]
