"""Checks of one patient's voxels before training: what would spoil a model is put aside."""

import numpy as np

from pipelines.core.errors import DataError
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.records import PatientRecord, Phase, Problem, VolumeRecord
from pipelines.core.volume import Volume, check_same_grid, read_volume
from pipelines.datasets.loading import load_label


def check_patient(patient: PatientRecord) -> tuple[PatientRecord, list[Problem]]:
    """The patient with its sound volumes, and what was put aside.

    ED is the frame with the larger LV cavity; a patient whose `Info.cfg` says
    the reverse is put aside whole, since either the phases or the labels are wrong.

    Args:
        patient: As read from the dataset; every voxel of it is read here.

    Returns:
        A copy that holds the sound, labelled volumes (perhaps none) and the problems.
    """
    sound: list[VolumeRecord] = []
    problems: list[Problem] = []
    lv_ml: dict[Phase, float] = {}
    for volume in patient.volumes:
        try:
            label = check_volume(volume)
        except DataError as error:
            problems.append(Problem(patient.patient, volume.image, str(error)))
            continue
        sound.append(volume)
        voxel_ml = float(np.prod(label.spacing_mm)) / 1000
        lv_ml[volume.phase] = float((label.array == AcdcLabel.LV).sum()) * voxel_ml
    if len(lv_ml) == len(Phase) and lv_ml[Phase.ED] < lv_ml[Phase.ES]:
        reason = (
            f"expected the LV at ED not smaller than at ES, found {lv_ml[Phase.ED]:.1f} mL and "
            f"{lv_ml[Phase.ES]:.1f} mL; swap ED and ES in Info.cfg if the frames are exchanged"
        )
        problems.append(Problem(patient.patient, patient.volumes[0].image.parent, reason))
        sound = []
    return PatientRecord(patient.patient, patient.group, tuple(sound), patient.cine), problems


def check_volume(volume: VolumeRecord) -> Volume:
    """Label of a volume that is fit for training.

    Raises:
        DataError: If the label is missing, image or label cannot be read, the intensities
            are wrapped, grids differ, or a structure is absent from the whole volume.
    """
    if volume.label is None:
        raise DataError(f"expected a label {volume.image.name.partition('.')[0]}_gt.nii.gz, found none")
    image, label = read_volume(volume.image), load_label(volume)
    assert label is not None
    if image.array.ndim != 3:
        raise DataError(f"expected one frame (3-D), found {image.array.shape} in {volume.image}")
    if image.is_unwrapped:
        raise DataError(
            f"expected intensities above 0, found uint16 stored as int16 in {volume.image}; store it again"
        )
    check_same_grid(image, label)
    absent = [LABEL_NAMES[structure] for structure in FOREGROUND if not (label.array == structure).any()]
    if absent:
        raise DataError(
            f"expected RV, MYO and LV in the label, found no {', '.join(absent)} in {volume.label}"
        )
    return label
