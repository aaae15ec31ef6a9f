from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.core.errors import DataError
from pipelines.datasets.xray_image import MIN_PX, SUFFIXES, Finding, read_chest_xray, read_name, read_xray

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


@pytest.mark.parametrize(("code", "turns"), [(3, 2), (6, 1), (8, 3)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_the_orientation_in_exif_is_applied(tmp_path: Path, code: int, turns: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = code
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.rot90(RAMP, turns)).save(path, exif=exif, compression="tiff_lzw")
    assert np.abs(read_xray(path).pixels - RAMP / 255).mean() < 0.02


def test_a_turned_tiff_that_pillow_would_garble_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "x.tif", exif=exif)
    with pytest.raises(DataError, match="turns it by 90 degrees; save it upright"):
        read_xray(tmp_path / "x.tif")


def test_a_camera_is_reported_and_its_preview_is_no_second_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Phone 5"
    picture = Image.fromarray(RAMP).convert("RGB")
    picture.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[picture], exif=exif)
    found = read_xray(tmp_path / "x.jpg")
    assert found.doubts == ("it was taken by a camera or scanner (Maker Phone 5): a photograph of a film?",)
    assert np.abs(found.pixels - RAMP / 255).mean() < 0.02


@pytest.mark.parametrize("suffix", ["tif", "bmp", "webp"])
def test_other_formats_are_read(tmp_path: Path, suffix: str) -> None:
    assert f".{suffix}" in SUFFIXES
    found = read_xray(save(tmp_path / f"x.{suffix}", RAMP))
    assert np.abs(found.pixels - RAMP / 255).mean() < 0.02


def film() -> np.ndarray:
    """`RAMP` on a larger ground, so that a marker is a small part of it; 0 to 255."""
    return np.kron(RAMP, np.ones((4, 4), int)).astype(int)


def with_marker(values: np.ndarray, marker: float) -> np.ndarray:
    marked = values.copy()
    marked[8:24, 8:40] = marker
    return marked


def assert_is_film(found: np.ndarray) -> None:
    """All but the corner with the marker has the values of the film."""
    assert np.abs(found - film() / 255)[40:].max() < 0.01


@pytest.mark.parametrize("scale", [8, 2])
@pytest.mark.parametrize("marker", [4095, 0])
def test_markers_do_not_take_part_in_the_stretch(tmp_path: Path, scale: int, marker: int) -> None:
    values = with_marker(scale * film() + 1500, marker)
    assert_is_film(read_xray(save_dicom(tmp_path / "x.dcm", values)).pixels)
    assert_is_film(read_xray(save(tmp_path / "x.png", values.astype(np.uint16))).pixels)
    assert_is_film(read_xray(save(tmp_path / "x.tif", values.astype(np.float32) / 4096)).pixels)


def test_numbers_that_are_none_are_black(tmp_path: Path) -> None:
    values = with_marker(film().astype(np.float32), np.nan)
    found = read_xray(save(tmp_path / "x.tif", values)).pixels
    assert_is_film(found)
    assert (found[8:24, 8:40] == 0).all()
    with pytest.raises(DataError, match="no numbers"):
        read_xray(save(tmp_path / "y.tif", np.full((40, 40), np.nan, np.float32)))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (0, {"PixelPaddingValue": 0}),
        (4095, {"PixelPaddingValue": 4095}),
        (3000, {"PixelPaddingValue": 2900, "PixelPaddingRangeLimit": 4095}),
        (0, {}),
    ],
)
def test_padding_is_black_and_takes_no_part_in_the_stretch(
    tmp_path: Path, value: int, tags: dict[str, int], photometric: str
) -> None:
    inside = film() if photometric == "MONOCHROME2" else 255 - film()
    found = read_xray(
        save_dicom(
            tmp_path / "x.dcm", np.pad(4 * inside + 500, 60, constant_values=value), photometric, **tags
        )
    ).pixels
    assert np.abs(found[60:-60, 60:-60] - film() / 255).max() < 0.01
    if tags or photometric == "MONOCHROME2":
        assert (found[:60] == 0).all()


def test_signed_padding_outside_of_the_stored_bits_is_left_out(tmp_path: Path) -> None:
    values = np.pad(4 * film() + 500, 60, constant_values=-2000)
    tags = {"PixelRepresentation": 1, "PixelPaddingValue": -2000}
    found = read_xray(save_dicom(tmp_path / "x.dcm", values.astype(np.int16), **tags)).pixels
    assert np.abs(found[60:-60, 60:-60] - film() / 255).max() < 0.01


@pytest.mark.parametrize(("center", "width"), [(2010, 1022), (1, 0), (2048, 4096)])
def test_a_window_that_fits_or_not_shows_the_film(tmp_path: Path, center: int, width: int) -> None:
    values = with_marker(4 * film() + 1500, 4095)
    tags = {"WindowCenter": center, "WindowWidth": width, "BitsStored": 12, "HighBit": 11}
    assert_is_film(read_xray(save_dicom(tmp_path / "x.dcm", values, **tags)).pixels)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ViewPosition": "LL"}, "its view is LL"),
        ({"ViewPosition": "PA"}, ""),
        ({"Modality": "CT"}, "its modality is CT"),
        ({"Modality": "DX", "BodyPartExamined": "HAND"}, "its body part is HAND"),
        ({"BodyPartExamined": "CHEST"}, ""),
        ({"PatientOrientation": ["L", "F"]}, ""),
        ({"PatientOrientation": ["P", "F"]}, "a lateral view?"),
        ({"PatientOrientation": ["L", "H"]}, "turned or mirrored?"),
        ({"PatientOrientation": ["R", "F"]}, "turned or mirrored?"),
    ],
)
def test_tags_of_another_view_or_body_part_are_reported(
    tmp_path: Path, tags: dict[str, str], words: str
) -> None:
    doubts = read_xray(save_dicom(tmp_path / "x.dcm", film(), **tags)).doubts
    assert len(doubts) == bool(words)
    assert words in "".join(doubts)


def truncated(folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
    path = save(folder / "x.jpeg", noise)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def text(folder: Path) -> Path:
    path = folder / "x.jpeg"
    path.write_text("not an image" * 30, encoding="utf-8")
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
        (one_pixel, f"at least {MIN_PX} x {MIN_PX} pixels, found 1 x 1"),
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


@pytest.mark.parametrize(
    ("name", "patient", "agent"),
    [
        ("person123_bacteria_456.jpeg", "person123", "bacteria"),
        ("person7_virus_7.jpeg", "person7", "virus"),
        ("IM-0115-0001.jpeg", "IM-0115", ""),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115", ""),
        ("NORMAL2-IM-0587-0001-0002.jpeg", "NORMAL2-IM-0587", ""),
        ("scan one.png", "scan one", ""),
    ],
)
def test_names_tell_patient_and_agent(name: str, patient: str, agent: str) -> None:
    record = read_name(Path(name), Finding.PNEUMONIA)
    assert (record.patient, record.agent) == (patient, agent)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_of_a_release_are_merged(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/NORMAL/IM-0001-0001.jpeg",
        "test/NORMAL/IM-0002-0001.jpeg",
        "val/PNEUMONIA/person1_virus_1.jpeg",
    )
    dataset = read_chest_xray(tmp_path)
    assert [record.patient for record in dataset.records] == ["IM-0002", "IM-0001", "person1"]
    assert dataset.problems == []


def test_other_files_are_skipped_and_nameless_patients_are_kept(tmp_path: Path) -> None:
    touch(tmp_path, "NORMAL/a.png", "NORMAL/notes.txt", "NORMAL/.DS_Store", "PNEUMONIA/person1_virus_1.JPG")
    dataset = read_chest_xray(tmp_path)
    assert [record.patient for record in dataset.records] == ["a", "person1"]
    assert [problem.path.name for problem in dataset.problems] == ["a.png", "notes.txt"]
    assert "kept as a patient of its own" in dataset.problems[0].reason


@pytest.mark.parametrize("present", ["NORMAL", "PNEUMONIA"])
def test_one_finding_alone_is_refused(tmp_path: Path, present: str) -> None:
    touch(tmp_path, f"{present}/IM-0001-0001.jpeg")
    with pytest.raises(DataError, match="expected images in NORMAL and in PNEUMONIA .* 0 in"):
        read_chest_xray(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        read_chest_xray(tmp_path / "none")


def code(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeMeaning = meaning
    return [item]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ViewCodeSequence": code("left lateral")}, "its view is left lateral"),
        ({"SeriesDescription": "W Chest Lat."}, "its view is W Chest Lat."),
        ({"AnatomicRegionSequence": code("Hand")}, "its body part is HAND"),
        ({"ViewCodeSequence": code("postero-anterior")}, ""),
        ({"SeriesDescription": "Chest PA + LAT"}, ""),
        ({"SeriesDescription": "LATERAL", "ViewPosition": "PA"}, ""),
        ({"AnatomicRegionSequence": code("Chest")}, ""),
        ({"AnatomicRegionSequence": code("Hand"), "BodyPartExamined": "CHEST"}, ""),
    ],
)
def test_codes_and_descriptions_of_another_view_are_reported(
    tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    doubts = "; ".join(read_xray(save_dicom(tmp_path / "x.dcm", RAMP, **fields)).doubts)
    assert words in doubts if words else not doubts
