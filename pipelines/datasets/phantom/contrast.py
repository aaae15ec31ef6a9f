"""Contrasts in which the phantom can be imaged: the same hearts, other signals of blood and muscle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pipelines.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Tissue:
    """Signal of the heart's tissues relative to bright blood, as in balanced SSFP cine."""

    lv_blood: float
    rv_blood: float
    myo: float
    fat: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """How a sequence shows the heart, from the tissues of a cine.

    Signals are chosen to be of the kind that a sequence gives, they are no simulation of it; what
    surrounds the heart, the aorta among it, stays as in the cine.

    Attributes:
        description: What it is like, in words.
        tissue: Signal of the heart's tissues from those of the cine.
        noise: Noise as a multiple of the cine's.
    """

    description: str
    tissue: Callable[[Tissue], Tissue]
    noise: float = 1.0


CONTRASTS: Final[Mapping[str, Contrast]] = {
    "cine": Contrast("bright blood, dark muscle, as in balanced SSFP cine", lambda tissue: tissue),
    "low-contrast": Contrast(
        "blood 0.4 times as far above muscle as in the cine, noise 1.5 times, as in a cine at low flip angle",
        lambda tissue: replace(
            tissue,
            lv_blood=tissue.myo + 0.4 * (tissue.lv_blood - tissue.myo),
            rv_blood=tissue.myo + 0.4 * (tissue.rv_blood - tissue.myo),
        ),
        noise=1.5,
    ),
    "late-enhancement": Contrast(
        "muscle nulled, blood grey, noise doubled, as in late gadolinium enhancement without a scar",
        lambda tissue: replace(
            tissue,
            lv_blood=0.55 * tissue.lv_blood,
            rv_blood=0.55 * tissue.rv_blood,
            myo=0.15 * tissue.myo,
        ),
        noise=2.0,
    ),
    "dark-blood": Contrast(
        "dark blood, bright muscle, as in black-blood spin echo",
        lambda tissue: replace(
            tissue,
            lv_blood=0.12 * tissue.lv_blood,
            rv_blood=0.12 * tissue.rv_blood,
            myo=tissue.myo + 0.3,
        ),
    ),
}
"""Contrasts by name; the first is the phantom's own."""

CINE: Final = "cine"


def find_contrast(name: str) -> Contrast:
    """Contrast by name.

    Raises:
        ConfigError: If there is none of this name.
    """
    if name not in CONTRASTS:
        raise ConfigError(f"expected a contrast among {', '.join(CONTRASTS)}, found {name!r}")
    return CONTRASTS[name]
