"""Patient-wise splits stratified by disease group."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from pipelines.core.errors import DataError

FOLDS = 5
HOLDOUT_FRACTION = 0.2


def split_patients(
    groups: Mapping[str, str], *, seed: int = 0, test_patients: Iterable[str] | None = None
) -> dict[str, int | str]:
    """Part of each patient: `"test"` or the number of its fold, 0 to 4.

    Patients of each group are shuffled and dealt in turn, the hold-out first,
    so that parts differ by at most one patient a group.

    Args:
        groups: Disease group of each patient.
        seed: Seed of the shuffle; the split depends on it and the names alone.
        test_patients: Published hold-out that replaces the drawn one.

    Returns:
        `{patient: "test" | fold}`, with an entry for every patient.

    Raises:
        DataError: If a published test patient is unknown, or no two patients are left to train and validate.
    """
    fixed = set(test_patients) if test_patients is not None else None
    if fixed is not None and (unknown := fixed - set(groups)):
        raise DataError(
            f"expected test patients that the dataset holds, found {sorted(unknown)[:5]} that it does not; "
            "correct the file of test patients"
        )
    generator = np.random.default_rng(seed)
    by_group: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(groups):
        by_group[groups[patient]].append(patient)
    shuffled = {group: list(generator.permutation(by_group[group])) for group in sorted(by_group)}
    if fixed is None:
        fixed = _draw_holdout(shuffled, round(HOLDOUT_FRACTION * len(groups)))
    rest = [patient for names in shuffled.values() for patient in names if patient not in fixed]
    if len(rest) < 2:
        raise DataError(
            f"expected at least 2 patients to train and validate on, found {len(rest)} of {len(groups)} "
            "outside the test split"
        )
    parts: dict[str, int | str] = {str(patient): "test" for patient in sorted(fixed)}
    parts.update({str(patient): index % FOLDS for index, patient in enumerate(rest)})
    return dict(sorted(parts.items()))


def split_by_fraction(
    groups: Mapping[str, str], fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, str]:
    """Part of each patient, with the same fractions of every group.

    A group of at least as many patients as parts has one in each.

    Args:
        groups: Group of each patient.
        fractions: Fraction of each part; the last takes what is left.
        seed: Seed of the shuffle; the split depends on it and the names alone.
    """
    generator = np.random.default_rng(seed)
    by_group: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(groups):
        by_group[groups[patient]].append(patient)
    parts: dict[str, str] = {}
    *leading, rest = fractions
    for group in sorted(by_group):
        names = [str(name) for name in generator.permutation(by_group[group])]
        count = len(names)
        for part in leading:
            drawn = max(1, round(fractions[part] * count)) if count >= len(fractions) else 0
            parts |= dict.fromkeys(names[:drawn], part)
            names = names[drawn:]
        parts |= dict.fromkeys(names, rest)
    return dict(sorted(parts.items()))


def read_test_patients(path: Path) -> list[str]:
    """Patient names of a published split, one a line; `#` starts a comment.

    Raises:
        DataError: If the file is missing or names no patient.
    """
    if not path.is_file():
        raise DataError(f"expected a text file with a patient a line, found nothing at {path}")
    names = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    if not any(names):
        raise DataError(f"expected a patient a line, found none in {path}")
    return [name for name in names if name]


def split_hash(parts: Mapping[str, int | str]) -> str:
    """First 16 hex digits of the SHA-256 of a split, for manifests."""
    text = "\n".join(f"{patient} {parts[patient]}" for patient in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _draw_holdout(shuffled: Mapping[str, list[str]], count: int) -> set[str]:
    ranked = [
        ((rank + 0.5) / len(names), group, patient)
        for group, names in shuffled.items()
        for rank, patient in enumerate(names)
    ]
    return {str(patient) for _, _, patient in sorted(ranked)[:count]}
