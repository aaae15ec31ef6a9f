"""A thousand damaged DICOM headers: an error in words or a study, soon, and no neighbour is lost."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.datasets.xray_image import read_xray
from pipelines.inference.inputs import find_studies

WriteDicom = Callable[..., Path]

FILES = 1000
LONGEST_S = 10.0
MOST_MB = 2000
HEADER_BYTES = 132
"""Bytes at the start that tell that it is DICOM at all."""


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Bytes changed, cut out, put in twice, or cut off at the end, beyond the preamble."""
    whole = bytearray(content)
    place = int(random.integers(HEADER_BYTES, len(whole)))
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
def test_damaged_headers_cost_neither_a_traceback_nor_time_nor_a_neighbour(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
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
        studies, problems = find_studies([*sound, path])
        for study in studies:
            try:
                volume, _ = study.images[0].load()
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
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 < MOST_MB
