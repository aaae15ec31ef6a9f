"""Sunnybrook and UK Biobank as DICOM, each in the layout of its release."""

from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom_image

from pipelines.core.errors import DataError
from pipelines.core.records import UNLABELLED, AcdcLabel, Phase
from pipelines.datasets.dicom_releases import read_contour
from pipelines.datasets.loading import load_image, load_label, load_pair
from pipelines.datasets.readers import read_dataset

SLICES, FRAMES = 4, 3


def pixels(z: int, frame: int) -> np.ndarray:
    """`(12, 10)` pixels that tell slice and frame apart, with a gradient along X."""
    return np.arange(12)[:, None] + np.zeros((12, 10)) + 100 * z + 20 * frame


def square(path: Path, low: float, high: float) -> None:
    """A square contour from column `low + 1` and row `low` to column `high + 1` and row `high`."""
    corners = [(low, low), (high, low), (high, high), (low, high)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{x + 1:.2f} {y:.2f}\n" for x, y in corners), encoding="utf-8")


@pytest.fixture
def sunnybrook(tmp_path: Path) -> Path:
    (tmp_path / "scd_patientdata.csv").write_text(
        "PatientID,OriginalID,Gender,Age,Pathology\n"
        "SCD0000101,SC-HF-I-1,Male,74,HF-I\nSCD0000201,SC-HF-I-2,Male,60,HF-I\n",
        encoding="utf-8",
    )
    # Numbers run frame by frame within a slice, slices from the top down.
    for z in range(SLICES):
        for frame in range(FRAMES):
            number = (SLICES - 1 - z) * FRAMES + frame + 1
            name = f"SCD_IMAGES_01/SCD0000101/CINESAX_300/IM-0003-{number:04d}.dcm"
            write_dicom_image(
                tmp_path / name,
                pixels(z, frame),
                z_mm=8.0 * z,
                time_ms=30.0 * frame,
                number=number,
                series="1.2.3.4",
            )
    folder = contours(tmp_path)
    # ED in frame 1 (0-based) of slices 1 and 2, ES in frame 2 of slice 2; slice 1 at ED has no outer one.
    square(folder / f"IM-0001-{number_of(2, 1)}-icontour-manual.txt", 4, 7)
    square(folder / f"IM-0001-{number_of(2, 1)}-ocontour-manual.txt", 3, 8)
    square(folder / f"IM-0001-{number_of(1, 1)}-icontour-manual.txt", 4, 7)
    square(folder / f"IM-0001-{number_of(2, 2)}-icontour-manual.txt", 5, 6)
    return tmp_path


def contours(root: Path) -> Path:
    return root / "SCD_ManualContours" / "SC-HF-I-01" / "contours-manual" / "IRCCI-expert"


def number_of(z: int, frame: int) -> str:
    return f"{(SLICES - 1 - z) * FRAMES + frame + 1:04d}"


def test_sunnybrook_contours_become_labels_of_their_slices(sunnybrook: Path) -> None:
    dataset = read_dataset("sunnybrook", sunnybrook)
    (patient,) = dataset.patients
    ed, es = patient.volumes
    assert (patient.patient, patient.group, patient.frames) == ("SCD0000101", "HF-I", FRAMES)
    assert (ed.phase, ed.frame, es.phase, es.frame) == (Phase.ED, 2, Phase.ES, 3)
    assert ed.spacing_mm == pytest.approx((1.4, 1.4, 8.0))
    image, label = load_pair(ed)
    assert image.array[0, 0].tolist() == [20, 120, 220, 320]
    # Columns 5 to 8 and rows 4 to 7 inside, a ring of one pixel around.
    plane = label.array[:, :, 2]
    assert (plane[5:9, 4:8] == AcdcLabel.LV).all()
    assert int((plane == AcdcLabel.LV).sum()) == 16
    assert int((plane == AcdcLabel.MYO).sum()) == 36 - 16
    assert plane[4, 3] == AcdcLabel.MYO


def test_sunnybrook_slices_without_their_contours_are_unlabelled(sunnybrook: Path) -> None:
    ed, es = read_dataset("sunnybrook", sunnybrook).volumes
    assert ed.structures == (AcdcLabel.MYO, AcdcLabel.LV)
    assert es.structures == (AcdcLabel.LV,)
    assert [bool((load_pair(ed)[1].array[:, :, z] == UNLABELLED).all()) for z in range(4)] == [
        True,
        True,
        False,
        True,
    ]
    label = load_label(es)
    assert label is not None
    assert np.unique(label.array[:, :, 2]).tolist() == [0, AcdcLabel.LV]
    assert (label.array[:, :, [0, 1, 3]] == UNLABELLED).all()


def test_what_sunnybrook_lacks_is_listed_and_the_rest_goes_on(sunnybrook: Path) -> None:
    square(contours(sunnybrook) / "IM-0001-0999-icontour-manual.txt", 4, 7)
    problems = {
        problem.patient: problem.reason for problem in read_dataset("sunnybrook", sunnybrook).problems
    }
    assert "expected an image *-0999.dcm" in problems["SCD0000101"]
    assert "found no CINESAX folder" in problems["SCD0000201"]
    for path in contours(sunnybrook).iterdir():
        path.unlink()
    with pytest.raises(DataError, match="expected inner contours"):
        read_dataset("sunnybrook", sunnybrook)


def test_sunnybrook_without_its_table_is_refused(sunnybrook: Path) -> None:
    (sunnybrook / "scd_patientdata.csv").unlink()
    with pytest.raises(DataError, match="expected scd_patientdata.csv with PatientID and OriginalID"):
        read_dataset("sunnybrook", sunnybrook)


@pytest.mark.parametrize(
    "content", ["", "1 2\n3 4\n", "1 2 3\n4 5 6\n7 8 9\n", "one two\n", "1 nan\n2 2\n3 3\n"]
)
def test_a_contour_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "IM-0001-0001-icontour-manual.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="expected"):
        read_contour(path)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_ukbb_slices_are_put_together_from_their_series(tmp_path: Path, *, is_sorted: bool) -> None:
    number = 0
    for z in range(3):
        # Slice 1 was scanned again: the last series counts.
        for take in (1, 2) if z == 1 else (1,):
            for frame in range(2):
                number += 1
                name = f"CINE_segmented_SAX_b{z + 1}"
                folder = tmp_path / "1000001" / (name if is_sorted else "")
                write_dicom_image(
                    folder / f"{number}.dcm",
                    pixels(z, frame) + 1000 * (take - 1),
                    z_mm=10.0 * z,
                    time_ms=40.0 * frame,
                    number=number,
                    series=f"1.2.3.{z + 1}.{take}",
                    name=name,
                )
    write_dicom_image(
        tmp_path / "1000001" / ("CINE_segmented_LAX_4Ch" if is_sorted else "") / "long.dcm",
        pixels(0, 0),
        z_mm=5,
        time_ms=0,
        number=99,
        series="1.2.3.9",
        name="CINE_segmented_LAX_4Ch",
    )
    (tmp_path / "1000002").mkdir()
    dataset = read_dataset("ukbb-dicom", tmp_path)
    (volume,) = dataset.volumes
    assert (volume.phase, volume.frame, volume.label) == (Phase.ED, 1, None)
    assert volume.spacing_mm == pytest.approx((1.4, 1.4, 10.0))
    assert load_image(volume).array[0, 0].tolist() == [0, 1100, 200]
    assert load_label(volume) is None
    assert dataset.patients[0].frames == 2
    scanned_again, nothing = dataset.problems
    assert scanned_again.reason == "slice 2 was scanned 2 times, the last scan counts"
    assert "expected DICOM files of a series CINE_segmented_SAX" in nothing.reason
