"""Readers of HVSMR: hearts with congenital defects in 3-D MRI.

The challenge of 2016 labels "myocardium" (the muscle around both ventricles) and "blood pool" (all
chambers and vessels). Neither is a structure that is measured here, and no mapping makes them one: its
images can be explored and segmented, not evaluated. HVSMR-2.0 labels chambers and vessels, without
myocardium: LV and RV can be evaluated. Its LV leaves out the papillary muscles, which ACDC's includes,
and its ventricles are named by their anatomy, so the "left" one may lie on the right.

Volumes are nearly isotropic and hold the heart at one moment, which counts as ED.

References:
    Challenge: Pace et al., MICCAI 2015, doi:10.1007/978-3-319-24574-4_10, http://segchd.csail.mit.edu.
    HVSMR-2.0, with label values: Pace et al., Scientific Data 11, 2024, doi:10.1038/s41597-024-03469-9.
"""

import re
from pathlib import Path
from typing import Final

from pipelines.core.labels import AcdcLabel
from pipelines.core.records import Dataset
from pipelines.datasets.gather import check_root, gather, single_volume

VALUES_2: Final = {1: AcdcLabel.LV, 2: AcdcLabel.RV} | dict.fromkeys(range(3, 9), AcdcLabel.BACKGROUND)
"""Meaning of HVSMR-2.0's values; LA 3, RA 4, AO 5, PA 6, SVC 7 and IVC 8 become background."""

VIEWS: Final = ("sa_crop", "axial_crop", "axial_full")
"""Views of the 2016 challenge in order of preference: short axis first."""


def read_hvsmr(root: Path) -> Dataset:
    """Volumes of the 2016 challenge, one view a patient; none has labels that can be used.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    check_root("hvsmr", root)
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("*_pat*.nii*")):
        match = re.fullmatch(
            r"(?:training|testing)_(sa_crop|axial_crop|axial_full)_(pat\d+)\.nii(?:\.gz)?", path.name
        )
        if match:
            found.setdefault(match[2], {})[match[1]] = path
    cases = {
        patient: next(views[view] for view in VIEWS if view in views) for patient, views in found.items()
    }
    return gather(
        "hvsmr",
        root,
        cases,
        lambda patient, image: single_volume(patient, image, None, {}, structures=()),
        expected="files training_sa_crop_patN.nii.gz",
    )


def read_hvsmr2(root: Path) -> Dataset:
    """Cropped volumes of HVSMR-2.0 with their labels of LV and RV.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    check_root("hvsmr2", root)
    cases = {
        path.name.removesuffix("_cropped.nii.gz"): path for path in sorted(root.rglob("pat*_cropped.nii.gz"))
    }
    return gather(
        "hvsmr2",
        root,
        cases,
        lambda patient, image: single_volume(
            patient,
            image,
            image.with_name(f"{patient}_cropped_seg.nii.gz"),
            VALUES_2,
            structures=(AcdcLabel.RV, AcdcLabel.LV),
        ),
        expected="files patN_cropped.nii.gz",
    )
