"""Radiographs as hospitals have them: classify, watch and the server see the same film, or give no verdict.

A classifier that measures how far a picture is from the film it should be stands in for the network.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from intensity_hearts import rows
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.explanation import explain
from pipelines.inference.classify import classify
from pipelines.models.bundle import XRAY_BUNDLE, XRAY_NETWORKS
from pipelines.server.xrays import XrayReader
from pipelines.watching.ledger import Ledger
from pipelines.watching.processing import StudyProcessor
from pipelines.watching.units import Arrivals, Units, Waits
from pipelines.watching.worker import Job

FILM = np.round(255 * phantom_xray(np.random.default_rng(0))).astype(np.uint8)
FARTHEST = 0.05
"""Mean difference of grey values, 0 to 1, up to which it is the same film."""


class Difference:
    """Gives as probability how far a picture is from the film."""

    threshold = 0.5
    weights = XRAY_BUNDLE / "models" / XRAY_NETWORKS[0] / "model.pt"

    def probability(self, pixels: np.ndarray) -> float:
        small = [
            np.asarray(Image.fromarray(np.asarray(one, np.float32)).resize((32, 32), Image.Resampling.BOX))
            for one in (pixels, FILM / 255)
        ]
        return float(np.abs(small[0] - small[1]).mean())


@dataclass
class Answer:
    """Probability of each film, None where there is no verdict, and all that was told."""

    found: list[float | None] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def by_classify(folder: Path, output: Path) -> Answer:
    answer = Answer()
    try:
        classify([folder], output, Difference())
    except DataError as error:
        answer.words.append(str(error))
    for row in rows(output / "classification.csv") if (output / "classification.csv").is_file() else []:
        answer.words += [row["warnings"], row["problem"]]
        if not row["problem"]:
            answer.found.append(float(row["probability_pneumonia"]) if row["decision"] else None)
    return answer


def by_watch(folder: Path, output: Path) -> Answer:
    output.mkdir()
    ledger = Ledger(output / "ledger.sqlite")
    arrivals = Arrivals([folder], ledger, leave_out=output, clock=itertools.count(0, 1000).__next__)
    arrivals.look()
    processor = StudyProcessor()
    processor.__dict__["_classifier"] = Difference()
    answer = Answer()
    for number, unit in enumerate(Units(ledger, Waits(1, 1)).ready(arrivals.look())):
        work = output / str(number)
        work.mkdir()
        try:
            told = json.loads(json.dumps(processor(Job(unit.kind, unit.files, work))))
        except DataError as error:
            answer.words.append(str(error))
            continue
        answer.found.append(told["probability_pneumonia"] if told["decision"] else None)
        answer.words += told["warnings"]
    return answer


class Here:
    """A worker that is no process."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with mock.patch("pipelines.server.xrays._classifier", return_value=Difference()):
            return function(*arguments)


def by_server(folder: Path, _: Path) -> Answer:
    reader = XrayReader(Here())  # type: ignore[arg-type]
    answer = Answer()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            told = json.loads(json.dumps(reader.read(path)))
        except DataError as error:
            answer.words.append(str(error))
            continue
        answer.found.append(told["probability"] if told["decision"] else None)
        answer.words += told["warnings"]
    return answer


COMMANDS = {"classify": by_classify, "watch": by_watch, "serve": by_server}

STORED: dict[int, Any] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a film is turned in a file whose EXIF code turns it back."""


def turned_by_exif(folder: Path) -> None:
    for code, turn in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = code
        Image.fromarray(FILM).transpose(turn).save(folder / f"{code}.jpg", quality=95, exif=exif)


def sixteen_bits(folder: Path) -> None:
    pixels = FILM.astype(np.uint16) * 8 + 500
    pixels[5:25, 5:20] = 65535
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels.astype(np.int32)).save(folder / "b.tif")


def float_with_nan(folder: Path) -> None:
    pixels = FILM / np.float32(255)
    pixels[:6] = np.nan
    pixels[6:8, :40] = np.inf
    Image.fromarray(pixels).save(folder / "a.tif")


def formats(folder: Path) -> None:
    film = Image.fromarray(FILM)
    for name in ("a.bmp", "b.webp", "c.tif", "d.TIFF", "e.JPG"):
        film.save(folder / name, quality=95)
    film.convert("RGB").quantize(200).save(folder / "palette.png")
    film.convert("CMYK").save(folder / "cmyk.jpeg", quality=95)
    film.convert("RGBA").save(folder / "alpha.png")


def other_scripts(folder: Path) -> None:
    for name in ("سینه", "صدر", "胸部", "poumon\u0301", "Brustkorb ü"):
        Image.fromarray(FILM).save(folder / f"{name}.png")


def dicom(path: Path, pixels: np.ndarray, **tags: Any) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.1.1",
        generate_uid(),
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    is_signed = int(pixels.dtype.kind == "i")
    usual = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "Modality": "DX",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": is_signed,
        "PixelData": pixels.tobytes(),
    }
    for name, value in (usual | tags).items():
        setattr(image, name, value)
    image.is_little_endian, image.is_implicit_VR = True, False
    image.save_as(path, write_like_original=False)


def padded(folder: Path) -> None:
    values = FILM.astype(np.int16) * 4 + 500
    values[:12], values[:, :6] = -2000, -2000
    dicom(folder / "a.dcm", values, PixelPaddingValue=-2000)
    inverse = np.where(values == -2000, 4095, 2000 - values).astype(np.uint16)
    dicom(folder / "b", inverse, PixelPaddingValue=4095, PhotometricInterpretation="MONOCHROME1")


def markers(folder: Path) -> None:
    for name, factor in (("half", 8), ("eighth", 2)):
        values = FILM.astype(np.uint16) * factor + 300
        values[10:30, 10:25] = 4095
        dicom(folder / f"{name}.dcm", values)
    dicom(folder / "rescaled.dcm", FILM.astype(np.uint16) * 4, RescaleSlope=0.5, RescaleIntercept=-1000)


def upside_down(folder: Path) -> None:
    Image.fromarray(FILM[::-1, ::-1]).save(folder / "a.png")


def lateral(folder: Path) -> None:
    dicom(folder / "a.dcm", FILM.astype(np.uint16), ViewPosition="LL")


def several_frames(folder: Path) -> None:
    frames = [Image.fromarray(FILM)] * 2
    frames[0].save(folder / "a.tif", save_all=True, append_images=frames[1:])
    dicom(folder / "b.dcm", np.stack([FILM, FILM]).astype(np.uint16), NumberOfFrames=2)


def no_pictures(folder: Path) -> None:
    (folder / "a.jpg").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    Image.fromarray(FILM).save(folder / "b.png")
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:900])


CASES: dict[str, tuple[Callable[[Path], None], int, int, str]] = {
    # How many films are right, how many get no verdict, and what must be told.
    "EXIF 2 to 8": (turned_by_exif, 7, 0, ""),
    "16 bits with a marker": (sixteen_bits, 2, 0, ""),
    "float TIFF with NaN": (float_with_nan, 1, 0, ""),
    "formats and modes": (formats, 8, 0, ""),
    "names in other scripts": (other_scripts, 5, 0, ""),
    "padding": (padded, 2, 0, ""),
    "markers and rescaling": (markers, 3, 0, ""),
    "upside down": (upside_down, 0, 1, "no verdict: it hardly looks like a chest"),
    "lateral": (lateral, 0, 1, "no verdict: its view is LL"),
    "several frames": (several_frames, 0, 0, "it has 2 frames; give one still image"),
    "no pictures": (no_pictures, 0, 0, "expected a whole JPEG, PNG or DICOM image"),
}


@pytest.mark.filterwarnings("ignore")  # of pydicom, about the tags
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", CASES)
def test_each_command_sees_the_film_or_gives_no_verdict(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = explain.HeatMap(np.zeros(FILM.shape, np.float32), 0.0)
    monkeypatch.setattr(explain, "heat_map", lambda *image, classifier: nothing)
    monkeypatch.setattr(explain, "overlay_heat_map", lambda *args, **titles: None)
    make, right, without, words = CASES[name]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    answer = COMMANDS[command](tmp_path / "in", tmp_path / "out")
    assert words in "; ".join(answer.words)
    assert answer.found.count(None) == without
    verdicts = [probability for probability in answer.found if probability is not None]
    assert len(verdicts) == right
    assert max(verdicts, default=0.0) < FARTHEST
