"""Measured images whose Dice follows from their features, or does not."""

import numpy as np

from pipelines.quality.measure import CLEAN, Measured

STRUCTURES = ("rv", "myo", "lv")


def measured_images(*, patients: int = 12, noise: float = 0.01, seed: int = 0) -> list[Measured]:
    """Two images a patient, one clean: Dice is `0.2 + 0.8 * certainty`, the partner tells nothing."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(patients):
        for fault in (CLEAN, "noise"):
            certainty = rng.uniform(0.75, 0.98) if fault == CLEAN else rng.uniform(0.3, 0.9)
            value = float(np.clip(0.2 + 0.8 * certainty + rng.normal(0, noise), 0, 1))
            features = {}
            for name in STRUCTURES:
                features |= {
                    f"certainty_{name}": certainty,
                    f"partner_{name}": float(rng.uniform(0.5, 1)),
                }
            dice = dict.fromkeys((*STRUCTURES, "mean"), value)
            images.append(
                Measured(f"patient{number:03d}", "NOR", "ED", fault, float(fault != CLEAN), dice, features)
            )
    return images
