"""Disagreement of the networks, and the case that it offers."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.volume import Volume, read_volume
from pipelines.models.heart import Prediction
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.predictors import Predictors
from pipelines.server.scoring import MostUncertain, Uncertainty, disagreement

from .conftest import heart, true_mask, write_nifti


class QuarrellingPredictors(Predictors):
    """Two networks that agree on the patient's large heart and not on the small one."""

    def __init__(self) -> None:
        super().__init__(("unet", "vnet"))
        self.calls = 0

    def predict(self, name: str, volume: Volume) -> Prediction:
        self.calls += 1
        if volume.array.max() > 90:
            raise DataError("cannot be segmented")
        mask = true_mask(volume.array)
        if name == "vnet" and (mask == 3).sum() < (true_mask(heart(4.0)) == 3).sum():
            mask[mask == 3] = 0
        return Prediction(mask, {})


@pytest.fixture
def store(studies: Path) -> StudiesDatastore:
    return StudiesDatastore(studies, lambda cine: (0, 1))


def test_disagreement_is_one_minus_the_mean_dice() -> None:
    one, other = np.zeros((2, 4, 4, 1), np.uint8)
    one[0, :4], other[0, :2] = 3, 3  # Dice of LV 2 * 2 / 6, RV and myocardium absent in both
    assert disagreement([one, one]) == 0.0
    assert disagreement([one, other]) == pytest.approx((1 - 2 / 3) / 3)


def test_the_volume_with_most_disagreement_is_offered_and_its_partner_after_it(
    store: StudiesDatastore,
) -> None:
    uncertainty = Uncertainty(store, QuarrellingPredictors())
    strategy = MostUncertain(uncertainty)
    assert strategy({}, store) == {"id": store.list_images()[0], "uncertainty": None}
    while uncertainty.find_one():
        pass
    assert strategy({}, store) == {"id": "patient001_frame03", "uncertainty": pytest.approx(1 / 3)}
    accept(store, "patient001_frame03")
    assert strategy({}, store) == {"id": "patient001_frame01", "uncertainty": 0.0}
    for name in ("patient001_frame01", "lone"):
        accept(store, name)
    assert strategy({}, store) is None


def accept(store: StudiesDatastore, name: str) -> None:
    image = read_volume(store.image(name).path)
    store.labels.accept(name, true_mask(image.array), image, author="anna")


def test_scores_are_found_once_and_kept(store: StudiesDatastore) -> None:
    predictors = QuarrellingPredictors()
    first = Uncertainty(store, predictors)
    assert [first.find_one() for _ in range(4)] == [True, True, True, False]
    calls = predictors.calls
    again = Uncertainty(store, predictors)
    assert not again.find_one()
    assert (predictors.calls, again.score("lone")) == (calls, 0.0)


def test_a_volume_that_cannot_be_segmented_is_passed_over(studies: Path) -> None:
    write_nifti(studies / "odd.nii.gz", heart() * 4)
    store = StudiesDatastore(studies, lambda cine: (0, 1))
    uncertainty = Uncertainty(store, QuarrellingPredictors())
    assert [uncertainty.find_one() for _ in range(5)] == [True] * 4 + [False]
    assert uncertainty.score("odd") is None


def test_a_labelled_volume_is_not_looked_at(store: StudiesDatastore) -> None:
    for name in store.list_images():
        accept(store, name)
    assert not Uncertainty(store, QuarrellingPredictors()).find_one()
