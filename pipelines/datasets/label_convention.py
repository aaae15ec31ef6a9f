"""Which value of a label map is which structure, found from the anatomy: a cavity inside a ring is the LV."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy import ndimage

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, UNLABELLED, AcdcLabel
from pipelines.core.volume import Volume, slices_last

LabelValues = Mapping[int, AcdcLabel]
"""Values of a dataset's label files, and what they mean here; other structures become background."""

ENCLOSED_SHARE: Final = 0.7
"""Share of the pixels around a cavity that are of one other structure where that is a ring around it.

It finds the LV in each of 160 label maps of ACDC, and in each of them with values of RV and LV exchanged.
"""

ACDC_VALUES: Final = {int(label): label for label in FOREGROUND}


def found_values(label: Volume) -> dict[int, AcdcLabel] | None:
    """What each value of a label map means, None where no cavity lies inside a ring.

    Args:
        label: `(X, Y, Z)` label map with at most three values beside 0.
    """
    array = slices_last(label)[0].array
    values = [int(value) for value in np.unique(array) if value not in (0, UNLABELLED)]
    if not 2 <= len(values) <= len(FOREGROUND):
        return None
    best, ring, cavity = 0.0, 0, 0
    across = ndimage.generate_binary_structure(2, 1)[..., None]
    for inner in values:
        region = array == inner
        outline = array[ndimage.binary_dilation(region, across) & ~region]
        for outer in values:
            share = float(np.count_nonzero(outline == outer)) / max(outline.size, 1)
            if share > best:
                best, ring, cavity = share, outer, inner
    if best < ENCLOSED_SHARE:
        return None
    rest = {value: AcdcLabel.RV for value in values if value not in (ring, cavity)}
    return {cavity: AcdcLabel.LV, ring: AcdcLabel.MYO} | rest


def check_convention(label: Volume) -> None:
    """Make sure that a label map in ACDC's values has its structures where hearts have them.

    Args:
        label: `(X, Y, Z)` label map.

    Raises:
        DataError: If the anatomy says that values mean other structures; the message names them.
    """
    found = found_values(label)
    if found is None or all(ACDC_VALUES.get(value) == meant for value, meant in found.items()):
        return
    raise DataError(
        "expected the LV (3) inside the myocardium (2) and the RV (1) beside it, found another convention: "
        f"by its anatomy {in_words(found)} in {label.path or 'the file'}, as others have (UK Biobank and "
        f"M&Ms: LV 1, MYO 2, RV 3); map it by --label-values {as_option(found)}, or name the "
        "segments of a label that is sent"
    )


def in_words(values: LabelValues) -> str:
    """Such as `LV 1, MYO 2, RV 3`."""
    return ", ".join(f"{LABEL_NAMES[meant].upper()} {value}" for value, meant in sorted(values.items()))


def as_option(values: LabelValues) -> str:
    """Such as `lv=1,myo=2,rv=3`, which `parse_values` reads."""
    return ",".join(f"{LABEL_NAMES[meant]}={value}" for value, meant in sorted(values.items()))


def parse_values(text: str) -> dict[int, AcdcLabel]:
    """Meaning of label values from a text such as `lv=1,myo=2,rv=3`.

    Raises:
        ConfigError: If it is of another form, names another structure, or a value twice.
    """
    names = {LABEL_NAMES[label]: label for label in FOREGROUND}
    found: dict[int, AcdcLabel] = {}
    for part in text.lower().replace(" ", "").split(","):
        name, _, value = part.partition("=")
        if name not in names or not value.isdigit() or int(value) in found:
            raise ConfigError(f"expected label values such as lv=1,myo=2,rv=3, found {text!r}")
        found[int(value)] = names[name]
    return found
