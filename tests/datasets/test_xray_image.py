from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.core.errors import DataError
from pipelines.datasets.xray_image import LEAST_PX, read_xray

RAMP = np.linspace(0, 255, 48 * 40).reshape(40, 48).astype(np.uint8)
"""40 rows of 48 pixels, dark at the top."""


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def save_dicom(path: Path, values: np.ndarray, photometric: str = "MONOCHROME2", **fields: object) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = values.astype(np.uint16).tobytes()
    for name, value in fields.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    pydicom.dcmwrite(path, dataset)
    return path


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("RGB", "png"), ("RGBA", "png"), ("P", "png")])
def test_8_bit_images_keep_their_scale(tmp_path: Path, mode: str, suffix: str) -> None:
    found = read_xray(save(tmp_path / f"x.{suffix}", RAMP // 2, mode))
    assert found.mode == mode
    assert found.pixels.shape == (40, 48)
    assert found.pixels.dtype == np.float32
    assert np.allclose(found.pixels, (RAMP // 2) / 255, atol=0.01)
    assert found.colourfulness == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_are_read_in_every_mode(tmp_path: Path, mode: str) -> None:
    found = read_xray(save(tmp_path / "x.jpeg", RAMP, mode))
    assert found.mode == mode
    assert np.abs(found.pixels - RAMP / 255).mean() < 0.02
    assert found.colourfulness < 0.02


def test_16_bit_pngs_are_stretched_between_their_extremes(tmp_path: Path) -> None:
    found = read_xray(save(tmp_path / "x.png", (1000 + 8 * RAMP.astype(np.uint16)).astype(np.uint16)))
    assert np.allclose(found.pixels, RAMP / 255, atol=1e-4)


def test_a_colour_photograph_is_colourful(tmp_path: Path) -> None:
    colour = np.stack((RAMP, RAMP[::-1], np.full_like(RAMP, 90)), axis=2)
    assert read_xray(save(tmp_path / "x.png", colour)).colourfulness > 0.3


def test_dicom_is_read_by_its_content_with_bone_bright(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint16) * 10
    bright = read_xray(save_dicom(tmp_path / "x.png", values))
    assert bright.mode == "DICOM"
    assert np.allclose(bright.pixels, RAMP / 255, atol=1e-4)
    inverted = read_xray(save_dicom(tmp_path / "y.dcm", values, "MONOCHROME1"))
    assert np.allclose(inverted.pixels, 1 - RAMP / 255, atol=1e-4)


def truncated(folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
    path = save(folder / "x.jpeg", noise)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def text(folder: Path) -> Path:
    path = folder / "x.jpeg"
    path.write_text("not an image" * 30)
    return path


def empty(folder: Path) -> Path:
    (folder / "x.png").touch()
    return folder / "x.png"


def animated(folder: Path) -> Path:
    frames = [Image.fromarray(np.roll(RAMP, shift)) for shift in range(3)]
    frames[0].save(folder / "x.png", format="GIF", save_all=True, append_images=frames[1:])
    return folder / "x.png"


def one_pixel(folder: Path) -> Path:
    return save(folder / "x.png", RAMP[:1, :1])


def dicom_with_frames(folder: Path) -> Path:
    return save_dicom(folder / "x.dcm", np.stack((RAMP, RAMP)), NumberOfFrames=2)


def dicom_without_pixels(folder: Path) -> Path:
    return save_dicom(folder / "x.dcm", RAMP, PixelData=None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated, "truncated"),
        (text, "none of them"),
        (empty, "none of them"),
        (animated, "3 frames"),
        (one_pixel, f"at least {LEAST_PX} x {LEAST_PX} pixels, found 1 x 1"),
        (dicom_with_frames, "2 frames"),
        (dicom_without_pixels, "expected a whole JPEG, PNG or DICOM image"),
    ],
)
def test_what_is_no_radiograph_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_xray(make(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found .*none\.png"):
        read_xray(tmp_path / "none.png")
