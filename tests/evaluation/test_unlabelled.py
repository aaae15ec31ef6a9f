"""Evaluation where a dataset labels some structures and some slices only."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.cardiac import indices_from_volumes
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.records import UNLABELLED, AcdcLabel, PatientRecord, Phase, VolumeRecord
from pipelines.core.volume import Volume
from pipelines.evaluation.segmentation import NOT_LABELLED, evaluate

LV_AND_MYO = (AcdcLabel.MYO, AcdcLabel.LV)


@dataclass(frozen=True)
class Source:
    """Voxels of 1 mL with the LV and MYO labelled in the first of two slices."""

    lv_columns: int

    def read_image(self) -> Volume:
        image = np.arange(10 * 10 * 2, dtype=np.float32).reshape(10, 10, 2)
        return Volume(image, np.diag([10.0, 10.0, 10.0, 1.0]), (10.0, 10.0, 10.0))

    def read_label(self) -> Volume:
        label = np.full((10, 10, 2), UNLABELLED, np.uint8)
        label[..., 0] = 0
        label[: self.lv_columns, :4, 0] = AcdcLabel.LV
        label[8, :4, 0] = AcdcLabel.MYO
        return Volume(label, np.diag([10.0, 10.0, 10.0, 1.0]), (10.0, 10.0, 10.0))


class Everything:
    """Finds the LV of four columns in both slices, and the RV where the LV is not."""

    def predict(self, volume: Volume) -> "Everything":
        self.mask = np.full(volume.array.shape, AcdcLabel.RV, np.uint8)
        self.mask[:4, :4] = AcdcLabel.LV
        return self


def patient(name: str = "SCD0000101", structures: tuple[AcdcLabel, ...] = LV_AND_MYO) -> PatientRecord:
    volumes = tuple(
        VolumeRecord(
            name, "HF", phase, 1, (10.0, 10.0, 10.0), Path(name), Path(name), structures, Source(columns)
        )
        for phase, columns in ((Phase.ED, 4), (Phase.ES, 2))
    )
    return PatientRecord(name, "HF", volumes)


@pytest.fixture
def metrics(tmp_path: Path) -> dict[str, object]:
    return evaluate(tmp_path, tmp_path, Everything(), records=[patient()], overlays=False)


def test_a_structure_that_nobody_labelled_has_no_figure(metrics: dict[str, dict]) -> None:
    summary = metrics["summary"]
    assert summary["dice"]["rv"] is None
    assert summary["ef_rv"]["mae"] is None
    # LV: 16 of 16 at ED; at ES 8 of 16 found: 16 / 24. MYO: 0 of 4.
    assert summary["dice"]["lv"] == pytest.approx((1 + 2 / 3) / 2)
    assert summary["dice"]["mean"] == pytest.approx((summary["dice"]["lv"] + 0) / 2)
    assert metrics["cases"][0]["absent_from"]["rv"] == NOT_LABELLED
    assert metrics["absent_from"]["rv"] == {"prediction": 0, "truth": 0, "both": 0}


def test_slices_that_nobody_labelled_count_neither_as_found_nor_as_missed(metrics: dict[str, dict]) -> None:
    volumes = metrics["cases"][0]["volume_ml"]
    # 16 voxels of 1 mL in the labelled slice; the 16 in the other one are not compared.
    assert volumes["lv"] == {"predicted": 16.0, "truth": 16.0}
    assert volumes["rv"]["truth"] is None
    (indices,) = metrics["patients"]
    assert indices["truth"]["lv_ef_percent"] == pytest.approx(50)
    assert indices["truth"]["rv_edv_ml"] is None
    assert indices["truth"]["reason"] == "no RV in the labels"


def test_the_table_leaves_unlabelled_figures_empty(metrics: dict[str, dict], tmp_path: Path) -> None:
    assert metrics
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    assert (row["dice_rv"], row["volume_rv_ml_truth"], row["dice_lv"]) == ("", "", "1.0")


def test_pictures_are_drawn_where_slices_are_unlabelled(tmp_path: Path) -> None:
    evaluate(tmp_path, tmp_path, Everything(), records=[patient()])
    assert len(list((tmp_path / "overlays").glob("*.png"))) == 2


def test_labels_of_no_structure_that_is_measured_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected labelled volumes.*thorax datasets hvsmr"):
        evaluate(tmp_path, tmp_path, Everything(), records=[patient(structures=())], reader="hvsmr")


def test_an_unknown_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a reader among acdc"):
        evaluate(tmp_path, tmp_path, Everything(), reader="nowhere")


def test_indices_need_what_is_labelled_only() -> None:
    found = indices_from_volumes({AcdcLabel.LV: 100.0, AcdcLabel.MYO: 100.0}, {AcdcLabel.LV: 40.0})
    assert (found.lv_ef_percent, found.myo_mass_ed_g) == (pytest.approx(60), pytest.approx(105))
    assert (found.rv_edv_ml, found.rv_ef_percent) == (None, None)
    assert found.reason == "no RV in the labels; no MYO in the labels"
