"""The one label convention: ACDC's values, names and colours, and the constants of cardiac indices."""

from enum import IntEnum
from typing import Final


class AcdcLabel(IntEnum):
    """Voxel values of a short-axis label map.

    References:
        Bernard et al., IEEE TMI 37(11), 2018, doi:10.1109/TMI.2018.2837502.
    """

    BACKGROUND = 0
    RV = 1
    MYO = 2
    LV = 3


FOREGROUND: Final = (AcdcLabel.RV, AcdcLabel.MYO, AcdcLabel.LV)
"""The structures that are measured, in label order."""

UNLABELLED: Final = 255
"""Value of voxels that nobody annotated, e.g. slices without contours; no figure counts them."""

LABEL_NAMES: Final = {label: label.name.lower() for label in AcdcLabel}
"""Lower-case names as in bundle metadata and result files: background, rv, myo, lv."""

LABEL_COLORS: Final = {
    AcdcLabel.RV: "#3b82f6",
    AcdcLabel.MYO: "#22c55e",
    AcdcLabel.LV: "#ef4444",
}
"""sRGB colours of overlays and charts."""

MYOCARDIAL_DENSITY_G_PER_ML: Final = 1.05
"""Density that turns myocardial volume into mass, g/mL (SCMR, doi:10.1186/s12968-020-00610-6)."""
