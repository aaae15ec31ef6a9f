"""What each setting of a search goes with: rank correlation, or means by value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import kruskal, spearmanr

from pipelines.evaluation.paired import holm

FEWEST_TRIALS: Final = 4
"""With fewer trials that have a setting, no p-value is given."""


@dataclass(frozen=True, slots=True)
class SettingEffect:
    """How the score of trials goes with one setting, the others varying along.

    Attributes:
        setting: Its name.
        trials: Number of trials that have it.
        correlation: Spearman's rank correlation of score and value, for numbers; None otherwise, or
            where one of both does not vary.
        p_value: Of the correlation, or of the Kruskal-Wallis test between values of names; None
            with fewer than `FEWEST_TRIALS` trials or where nothing varies.
        p_holm: The same corrected by Holm over the settings.
        means: Of each value: `value`, `trials` and `mean` score; for more than five numbers thirds.
    """

    setting: str
    trials: int
    correlation: float | None
    p_value: float | None
    p_holm: float | None
    means: list[dict[str, Any]]


def setting_effects(trials: Sequence[tuple[Mapping[str, Any], float]]) -> list[SettingEffect]:
    """Effect of each setting that varies between trials, those with the smallest p-value first.

    It is an association within the trials at hand: settings vary together, and searches with early
    stopping give good trials more epochs.

    Args:
        trials: Settings and score of each.
    """
    names = sorted({name for settings, _ in trials for name in settings})
    found = []
    for name in names:
        pairs = [(settings[name], score) for settings, score in trials if name in settings]
        if len({str(value) for value, _ in pairs}) > 1:
            found.append(_effect(name, pairs))
    corrected = holm([effect.p_value for effect in found])
    effects = [
        SettingEffect(effect.setting, effect.trials, effect.correlation, effect.p_value, p_holm, effect.means)
        for effect, p_holm in zip(found, corrected, strict=True)
    ]
    return sorted(effects, key=lambda effect: 2.0 if effect.p_value is None else effect.p_value)


def _effect(name: str, pairs: Sequence[tuple[Any, float]]) -> SettingEffect:
    values, scores = [value for value, _ in pairs], np.array([score for _, score in pairs])
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    correlation = p_value = None
    if is_number and np.ptp(scores) > 0 and len(pairs) > 2:
        result = spearmanr(values, scores)
        correlation, p_value = float(result.statistic), float(result.pvalue)
    elif not is_number and np.ptp(scores) > 0:
        texts = np.array([str(value) for value in values])
        p_value = float(kruskal(*(scores[texts == text] for text in np.unique(texts))).pvalue)
    if len(pairs) < FEWEST_TRIALS:
        p_value = None
    return SettingEffect(name, len(pairs), correlation, p_value, None, _means(values, scores, is_number))


def _means(values: Sequence[Any], scores: Any, is_number: bool) -> list[dict[str, Any]]:
    if is_number and len(set(values)) > 5:
        order = np.argsort(values, kind="stable")
        parts = [part for part in np.array_split(order, 3) if len(part)]
        texts = [f"{values[part[0]]:.3g} to {values[part[-1]]:.3g}" for part in parts]
    else:
        distinct = sorted(set(values)) if is_number else sorted({str(value) for value in values})
        parts = [
            np.array([i for i, value in enumerate(values) if value == one or str(value) == one])
            for one in distinct
        ]
        texts = [f"{one:.3g}" if is_number else str(one) for one in distinct]
    return [
        {"value": text, "trials": len(part), "mean": float(scores[part].mean())}
        for text, part in zip(texts, parts, strict=True)
    ]
