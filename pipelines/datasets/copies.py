"""Patients whose images are those of another patient: of each set one stays."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipelines.core.records import PatientRecord, Problem, VolumeRecord
from pipelines.core.volume import slices_last
from pipelines.datasets.duplicates import joined, voxel_hash
from pipelines.datasets.loading import load_image

TEST = "test"


def without_copies(
    patients: Sequence[PatientRecord],
    parts: Mapping[str, int | str],
    hashes: Mapping[Path, str],
    *,
    keep_test: bool,
) -> tuple[list[PatientRecord], list[Problem]]:
    """Patients whose images are their own, and those put aside as copies.

    Two patients with one equal volume are taken for one. A heart that is in training and in
    test would make a network look better than it is.

    Args:
        patients: With the volumes that are used.
        parts: `"test"` or the fold of each patient.
        hashes: Hash of the values of each image, as from `image_hashes`.
        keep_test: Of copies the one in the test section stays, as in a published split that must not
            lose patients; otherwise one that is trained on. Of several the first by name stays.
    """
    found = [(patient.patient, hashes[volume.image]) for patient in patients for volume in patient.volumes]
    first: dict[str, int] = {}
    pairs = [(first.setdefault(digest, index), index) for index, (_, digest) in enumerate(found)]
    same = joined([name for name, _ in found], pairs)
    stays: dict[str, str] = {}
    for name in sorted(same, key=lambda name: ((parts[name] == TEST) != keep_test, name)):
        stays.setdefault(same[name], name)
    kept, problems = [], []
    for patient in patients:
        other = stays[same[patient.patient]]
        if other == patient.patient:
            kept.append(patient)
            continue
        reason = (
            f"expected images of its own, found those of {other}: the same heart would count twice, or be in "
            f"training and test; {other} stays"
        )
        problems.append(Problem(patient.patient, patient.volumes[0].image.parent, reason))
    return kept, problems


def image_hash(volume: VolumeRecord) -> str:
    """Hash of an image's voxels, the same in whatever order of axes and by whatever packing they are stored.

    Raises:
        DataError: If it cannot be read.
    """
    stack, _ = slices_last(load_image(volume))
    return voxel_hash(stack.array)


def image_hashes(volumes: Iterable[VolumeRecord]) -> dict[Path, str]:
    """`image_hash` of each volume, by the path of its image.

    Raises:
        DataError: If an image cannot be read.
    """
    return {volume.image: image_hash(volume) for volume in volumes}
