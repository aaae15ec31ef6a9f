"""A studies folder in which somebody has accepted labels."""

from pathlib import Path

from pipelines.core.volume import read_label, read_volume
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.server.history import LabelStore
from pipelines.server.images import StudyImages


def write_labelled_studies(folder: Path, *, patients: int = 2) -> Path:
    """Write a phantom cohort whose true labels are accepted; the folder."""
    write_phantom_cohort(folder, patients=patients, frames=3, cine=False)
    truth = {
        volume.image.resolve(): volume.label
        for patient in read_acdc(folder).patients
        for volume in patient.volumes
    }
    images, labels = StudyImages(folder, lambda cine: (0, 1)), LabelStore(folder)
    images.scan()
    for image in images.all():
        label = read_label(truth[image.path.resolve()]).array
        labels.accept(image.id, label, read_volume(image.path), author="anna")
    return folder
