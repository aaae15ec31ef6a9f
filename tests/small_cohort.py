"""A phantom cohort that is small enough to train on in seconds."""

from pathlib import Path

import nibabel as nib
import numpy as np

from pipelines.datasets.phantom.cohort import write_phantom_cohort

NARROW = {
    "unet": {"network_def::filters": [4, 4, 4, 4, 4]},
    "attention_unet": {"network_def::channels": [4, 4, 4, 4, 4]},
    "vnet": {},
    "corrector": {},
}
"""Settings that make a network narrow."""

COARSE = {"precision": "fp32", "spacing_mm": 3.0, "field_px": [64, 64], "patch_px": [64, 64], "batch_size": 4}
"""Settings that fit the cohort's pixels."""


def write_small_cohort(root: Path, patients: int) -> Path:
    """Phantom patients with three slices each and every second pixel, in ACDC's layout; the folder."""
    write_phantom_cohort(root, patients=patients, frames=3, cine=False)
    for path in root.rglob("*.nii.gz"):
        image = nib.load(path)
        middle = image.shape[2] // 2
        array = np.asarray(image.dataobj)[::2, ::2, middle - 1 : middle + 2]
        affine = image.affine @ np.diag([2, 2, 1, 1])
        nib.save(nib.Nifti1Image(array, affine), path)
    return root
