"""The same heart in any storage that NIfTI has: the same volumes and the same mask, or it is told."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intensity_hearts import FakePrediction

from pipelines.core.errors import DataError
from pipelines.core.plausibility import BODY_FRAME, HEART_FRAME
from pipelines.core.volume import Volume, slices_last
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.inference.inputs import find_studies
from pipelines.inference.segment import MaskPredictor, Tools, segment_study
from pipelines.models.heart import Predictor

FRAMES = 10
DTYPES = ("<i2", "<u2", ">i2", "<i4", "<f4", ">f4", "<f8", "<u4", "<c8")
UNITS = {"mm": 1.0, "meter": 1e-3, "micron": 1e3, "unknown": 1.0}
SOUND_FORMS = ("both", "sform", "qform")
DOUBTFUL_FORMS = ("none", "placeholder", "other slice distance", "mirrored sform", "sheared")
SOUND_LAYOUTS = ("volume", "one frame", "cine")
DOUBTFUL_LAYOUTS = ("frames before slices", "frames as slices", "fifth axis")


@dataclass(frozen=True)
class Storage:
    axes: tuple[int, int, int] = (0, 1, 2)
    signs: tuple[int, int, int] = (1, 1, 1)
    dtype: str = "<i2"
    slope: float = 1.0
    form: str = "both"
    unit: str = "mm"
    layout: str = "volume"
    suffix: str = ".nii"
    is_nifti2: bool = False

    @property
    def is_sound(self) -> bool:
        return self.form in SOUND_FORMS and self.layout in SOUND_LAYOUTS and "c" not in self.dtype


def storages(forms: tuple[str, ...], layouts: tuple[str, ...]) -> st.SearchStrategy[Storage]:
    return st.builds(
        Storage,
        axes=st.permutations((0, 1, 2)).map(tuple),
        signs=st.tuples(*[st.sampled_from((1, -1))] * 3),
        dtype=st.sampled_from(DTYPES),
        slope=st.sampled_from((1.0, 0.25, 3.0)),
        form=st.sampled_from(forms),
        unit=st.sampled_from(tuple(UNITS)),
        layout=st.sampled_from(layouts),
        suffix=st.sampled_from((".nii", ".nii.gz")),
        is_nifti2=st.booleans(),
    )


def write(path: Path, cine: np.ndarray, affine: np.ndarray, storage: Storage) -> Path:
    """A cine `(X, Y, Z, T)` of whole numbers, or its first frame, stored in another way."""
    array = cine.transpose(*storage.axes, 3)
    moved = affine.copy()
    moved[:3, :3] = affine[:3, storage.axes]
    for axis in np.flatnonzero(np.array(storage.signs) < 0):
        array = np.flip(array, axis)
        moved[:3, 3] += moved[:3, axis] * (array.shape[axis] - 1)
        moved[:3, axis] *= -1
    moved = np.diag([UNITS[storage.unit]] * 3 + [1]) @ moved
    arrange: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "volume": lambda one: one[..., 0],
        "one frame": lambda one: one[..., :1],
        "cine": lambda one: one,
        "frames before slices": lambda one: one.swapaxes(2, 3),
        "frames as slices": lambda one: one.transpose(0, 1, 3, 2).reshape(*one.shape[:2], -1),
        "fifth axis": lambda one: one[..., None, :],
    }
    array = arrange[storage.layout](array)
    kind = nib.Nifti2Image if storage.is_nifti2 else nib.Nifti1Image
    header = kind.header_class(endianness=storage.dtype[0])
    header.set_data_dtype(storage.dtype)
    stored = (array / storage.slope).round().astype(storage.dtype)
    image = kind(stored, moved, header)
    image.header.set_slope_inter(storage.slope, 0)
    image.header.set_xyzt_units(storage.unit, "sec")
    image.set_qform(moved, 1)
    image.set_sform(moved, 1)
    form = moved.copy()
    match storage.form:
        case "sform":
            image.set_qform(None)
        case "qform":
            image.set_sform(None)
        case "none":
            image.set_qform(None)
            image.set_sform(None)
        case "placeholder":
            form = np.eye(4)
        case "other slice distance":
            form[:3, 2] *= 0.8
        case "mirrored sform":
            form[:3, 0] *= -1
        case "sheared":
            form[:3, 2] += 0.4 * np.linalg.norm(moved[:3, 2]) * moved[:3, 0] / np.linalg.norm(moved[:3, 0])
            image.set_qform(None)
    if storage.form in DOUBTFUL_FORMS[1:]:
        for row, values in zip(("srow_x", "srow_y", "srow_z"), form[:3], strict=True):
            image.header[row] = values  # set_sform would change pixdim to agree
    image.to_filename(path)
    return path


def found(path: Path, predictor: MaskPredictor) -> tuple[list[float], list[str], nib.Nifti1Image]:
    """Volumes in mL, warnings and the mask of a file, by the way that `segment` goes."""
    (study,) = find_studies([path]).studies
    result, _ = segment_study(study, path.parent, Tools(predictor, pictures=False))
    if result.volumes_ml:
        volumes = list(result.volumes_ml.values())
    else:
        indices = result.indices
        volumes = [indices.lv_edv_ml, indices.lv_esv_ml, indices.rv_edv_ml, indices.rv_esv_ml]
    return volumes, result.warnings, nib.load(result.files[0])


def check(
    folder: Path, cine: np.ndarray, affine: np.ndarray, storage: Storage, predictor: MaskPredictor
) -> None:
    plain_layout = "cine" if storage.layout in ("cine", *DOUBTFUL_LAYOUTS) else "volume"
    volumes, warnings, mask = found(
        write(folder / "plain.nii", cine, affine, Storage(layout=plain_layout)), predictor
    )
    try:
        again, told, same_mask = found(
            write(folder / f"stored{storage.suffix}", cine, affine, storage), predictor
        )
    except DataError:
        assert not storage.is_sound
        return
    if not storage.is_sound:
        assert set(told) - set(warnings) or again == pytest.approx(volumes, rel=1e-3)
        return
    assert told == warnings
    assert again == pytest.approx(volumes, rel=1e-3)
    one, other = (nib.as_closest_canonical(image) for image in (mask, same_mask))
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-3)


class OrderBoundPredictor:
    """Reads labels from intensities in one corner of the stack only: another order gives other volumes."""

    def predict(self, volume: Volume) -> FakePrediction:
        stack, undo = slices_last(volume)
        mask = np.round(stack.array / 100).astype(np.uint8)
        rows, columns, slices = (int(0.6 * length) for length in mask.shape)
        mask[rows:] = mask[:, columns:] = mask[:, :, slices:] = 0
        return FakePrediction(np.ascontiguousarray(undo(mask)))


def small_cine() -> np.ndarray:
    """`(40, 36, 6, FRAMES)` round LV in a ring with an RV beside it; narrower to the apex and at ES."""
    x, y, z, t = np.ogrid[:40, :36, :6, :FRAMES]
    scale = (1 - 0.08 * z) * (1 - 0.25 * np.sin(np.pi * t / FRAMES))
    radius = np.hypot(x - 22, y - 17)
    image = np.where(np.hypot(x - 9, y - 17) < 7 * scale, 100, 0)
    image = np.where(radius < 9 * scale + 3, 200, image)
    image = np.where(radius < 9 * scale, 300, image)
    return image + 3 * np.random.default_rng(0).integers(1, 9, (40, 36, 6, 1))


def placed(frame: np.ndarray, spacing_mm: tuple[float, float, float], degrees: float = 0.0) -> np.ndarray:
    turn = np.deg2rad(degrees)
    about = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about @ frame * spacing_mm
    affine[:3, 3] = (31, -47, 12)
    return affine


PLACES = (
    placed(BODY_FRAME, (2.0, 2.0, 10.0)),
    placed(HEART_FRAME, (2.0, 1.9, 10.0), 10.0),
    placed(HEART_FRAME[:, [1, 0, 2]] * (1, -1, -1), (1.9, 2.0, 9.0), -10.0),
)
relaxed = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), max_examples=12
)


@relaxed
@given(storage=storages(SOUND_FORMS, SOUND_LAYOUTS), place=st.sampled_from(PLACES))
def test_a_heart_in_any_sound_storage_has_the_same_volumes(storage: Storage, place: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), small_cine(), place, storage, OrderBoundPredictor())


@relaxed
@given(
    storage=storages(SOUND_FORMS + DOUBTFUL_FORMS, SOUND_LAYOUTS + DOUBTFUL_LAYOUTS),
    place=st.sampled_from(PLACES),
)
def test_a_heart_in_doubtful_storage_has_the_same_volumes_or_a_warning(
    storage: Storage, place: np.ndarray
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), small_cine(), place, storage, OrderBoundPredictor())


@pytest.mark.slow
@settings(relaxed, max_examples=250)
@given(
    storage=storages(SOUND_FORMS + DOUBTFUL_FORMS, SOUND_LAYOUTS + DOUBTFUL_LAYOUTS),
    place=st.sampled_from(PLACES),
)
def test_hundreds_of_storages_give_the_same_volumes_or_a_warning(storage: Storage, place: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), small_cine(), place, storage, OrderBoundPredictor())


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """The first frame of a phantom `(X, Y, Z, 1)`, whole numbers, and its affine."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom_cohort(folder, patients=1, cine=False)
    image = nib.load(folder / "training" / "patient001" / "patient001_frame01.nii.gz")
    return 3 * np.round(np.asarray(image.dataobj)[..., None]).astype(int), image.affine


@pytest.fixture(scope="module")
def unet() -> Predictor:
    return Predictor.load("unet", precision="fp32")  # bf16 rounds other voxels in another storage


@pytest.mark.slow
@settings(relaxed, max_examples=5)
@given(storage=storages(SOUND_FORMS, SOUND_LAYOUTS[:2]))
def test_a_network_finds_the_same_volumes_in_a_phantom_in_any_storage(
    phantom: tuple[np.ndarray, np.ndarray], unet: Predictor, storage: Storage
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), *phantom, storage, unet)
