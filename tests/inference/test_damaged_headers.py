"""Damaged headers of DICOM and NIfTI: an error in words or a study, soon, and no neighbour is lost."""

import gzip
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from intensity_hearts import AFFINE, IntensityPredictor, heart, save

from pipelines.core.errors import DataError
from pipelines.core.volume import is_label_map
from pipelines.datasets.xray_image import read_xray
from pipelines.inference.inputs import find_studies, look_for_studies
from pipelines.inference.segment import Tools, segment_study
from pipelines.server.admission import check_study

WriteDicom = Callable[..., Path]

FILES = 1000
LONGEST_S = 10.0
MAX_MB = 2000
HEADER_BYTES = 132
"""Bytes at the start that tell that it is DICOM at all."""


def memory_mb(of: str = "VmRSS") -> float:
    """Resident memory of this process as the kernel counts it; VmHWM is its peak since `forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(of)) / 1024


def forget_peak() -> None:
    """Start a new peak: this process may have run tests that took more."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def damaged(content: bytes, random: np.random.Generator, start: int = HEADER_BYTES) -> bytes:
    """Bytes changed, cut out, put in twice, or cut off at the end, from `start` on."""
    whole = bytearray(content)
    place = int(random.integers(start, len(whole)))
    length = int(random.integers(1, 64))
    match random.integers(5):
        case 0:
            whole[place : place + length] = random.bytes(len(whole[place : place + length]))
        case 1:
            whole[place] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF]))
        case 2:
            del whole[place : place + length]
        case 3:
            whole[place:place] = whole[place : place + length]
        case _:
            del whole[place:]
    return bytes(whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pydicom warns of most of the damages
def test_damaged_headers_of_dicom_cost_neither_a_traceback_nor_time_nor_a_neighbour(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    forget_peak()
    before = memory_mb()
    sound = [
        write_dicom(
            tmp_path / "sound" / f"{z}.dcm",
            StudyInstanceUID="1.2",
            SeriesInstanceUID="1.2.1",
            ImagePositionPatient=[0, 0, 8 * z],
        )
        for z in range(2)
    ]
    pixels = np.arange(64 * 64, dtype="<u2").tobytes()
    whole = write_dicom(
        tmp_path / "other" / "whole.dcm",
        PatientID="other",
        StudyInstanceUID="9.2",
        SeriesInstanceUID="9.2.1",
        Rows=64,
        Columns=64,
        PixelData=pixels,
    ).read_bytes()
    (tmp_path / "other" / "whole.dcm").unlink()
    # Most of a file is its pixels; the header is what is to be damaged.
    header = len(whole) - len(pixels)
    random = np.random.default_rng(0)
    path = tmp_path / "other" / "damaged.dcm"
    outcomes = {"read": 0, "refused": 0}
    for _ in range(FILES):
        path.write_bytes(damaged(whole[:header], random) + whole[header:])
        started = time.monotonic()
        found = find_studies([*sound, path])
        studies, problems = found.studies, found.problems
        for study in studies:
            try:
                volume = study.images[0].load()
            except DataError:
                outcomes["refused"] += 1
            else:
                assert np.isfinite(volume.affine).all()
                outcomes["read"] += 1
        outcomes["refused"] += len(problems)
        assert any(set(sound) <= set(study.images[0].files) for study in studies)
        with suppress(DataError):
            assert np.isfinite(read_xray(path).pixels).all()
        assert time.monotonic() - started < LONGEST_S
    assert outcomes["read"] >= FILES
    assert outcomes["refused"] > FILES / 10
    assert memory_mb("VmHWM") - before < MAX_MB


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of casts of values that no image has
def test_damaged_headers_of_nifti_cost_neither_a_traceback_nor_time_nor_a_neighbour(tmp_path: Path) -> None:
    forget_peak()
    before = memory_mb()
    sound = save(tmp_path / "sound.nii", heart(8))
    cine = np.stack([heart(radius) for radius in (8, 5)], axis=3).astype(np.int16)
    wholes = []
    for kind, array in ((nib.Nifti1Image, cine[..., 0]), (nib.Nifti1Image, cine), (nib.Nifti2Image, cine)):
        image = kind(array, AFFINE)
        image.set_qform(AFFINE, 1)
        nib.save(image, tmp_path / "whole.nii")
        wholes.append(((tmp_path / "whole.nii").read_bytes(), image.header.sizeof_hdr))
    (tmp_path / "whole.nii").unlink()
    random = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for number in range(FILES):
        whole, header = wholes[number % len(wholes)]
        content = damaged(whole[:header], random, start=0) + whole[header:]
        path = tmp_path / "damaged.nii"
        match number % 4:
            case 0:
                path, content = tmp_path / "damaged.nii.gz", gzip.compress(content, 1)
            case 1:
                path, content = tmp_path / "damaged.nii.gz", damaged(gzip.compress(content, 1), random, 0)
            case 2:
                path = tmp_path / "damaged_seg.nii"
        path.write_bytes(content)
        started = time.monotonic()
        found = find_studies([sound, path])
        studies, problems = found.studies, found.problems
        assert sound in [study.images[0].path for study in studies]
        for study in studies:
            try:
                result, faults = segment_study(study, tmp_path, Tools(IntensityPredictor(), pictures=False))
            except DataError:
                outcomes["refused"] += 1
            else:
                outcomes["read"] += 1
                result.as_row()
                assert not faults
        outcomes["refused"] += len(problems)
        is_label_map(path)
        look_for_studies([tmp_path])
        with suppress(DataError):
            check_study(path, tmp_path)
        assert time.monotonic() - started < LONGEST_S
        path.unlink()
        for file in tmp_path.glob("*_seg.nii.gz"):
            file.unlink()
    assert outcomes["read"] > FILES
    assert outcomes["refused"] > FILES / 10
    assert memory_mb("VmHWM") - before < MAX_MB
