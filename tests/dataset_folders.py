"""Writers of folders in the layout of other datasets, from phantoms in ACDC's layout."""

from pathlib import Path

import nibabel as nib
import numpy as np

from pipelines.core.records import AcdcLabel
from pipelines.datasets.nifti_releases import read_acdc

MNMS_VALUES = {AcdcLabel.LV: 1, AcdcLabel.MYO: 2, AcdcLabel.RV: 3}


def write_mnms(cohort: Path, folder: Path) -> None:
    """The patients of a cohort as M&Ms has them: two frames in 4-D, other label values, a table."""
    rows = ["External code,ED,ES,Pathology"]
    for patient in read_acdc(cohort).patients:
        images, labels = [], []
        for volume in patient.volumes:
            assert volume.label is not None
            image, stored = nib.load(volume.image), np.asarray(nib.load(volume.label).dataobj)
            images.append(np.asarray(image.dataobj))
            labels.append(sum((stored == label) * value for label, value in MNMS_VALUES.items()))
        place = folder / "Training" / "Labeled" / patient.patient
        place.mkdir(parents=True)
        for name, frames in (("sa", images), ("sa_gt", labels)):
            stack = np.stack(frames, axis=-1).astype(np.int16)
            nib.save(nib.Nifti1Image(stack, image.affine), place / f"{patient.patient}_{name}.nii.gz")
        rows.append(f"{patient.patient},0,1,{patient.group}")
    (folder / "information.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
