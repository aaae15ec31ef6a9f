"""Cohort of beating short-axis phantoms of known volumes, written in ACDC's layout."""

import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError, OutputError
from pipelines.core.files import atomic_path, output_folder, write_csv, write_text
from pipelines.core.plausibility import BODY_FRAME, HEART_FRAME
from pipelines.core.progress import show_progress
from pipelines.core.records import MYOCARDIAL_DENSITY_G_PER_ML, AcdcLabel
from pipelines.datasets.phantom.heart import GROUPS, contraction_curve, draw_heart
from pipelines.datasets.phantom.image import CINE, Contrast, draw_scan, find_contrast, image_frame

MIN_FRAMES: Final = 3
"""Fewest frames of a cine: ED, ES and one in which the heart fills again."""

MAX_TURN_DEG: Final = 15.0
"""Largest angle about each of two axes by which an oblique stack differs from the mean heart, degrees."""

_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's code for a gzip header


@dataclass(frozen=True, slots=True)
class PhantomTruth:
    """Volumes and indices that the label maps of one phantom patient hold.

    Attributes:
        patient: Identifier and folder name, e.g. `"patient001"`.
        group: Disease group as in ACDC.
        edv_lv_ml: LV volume at ED, mL.
        esv_lv_ml: LV volume at ES, mL.
        ef_lv_percent: LV ejection fraction, percent.
        edv_rv_ml: RV volume at ED, mL.
        esv_rv_ml: RV volume at ES, mL.
        ef_rv_percent: RV ejection fraction, percent.
        mass_g: Mass of the LV myocardium at ED, g.
    """

    patient: str
    group: str
    edv_lv_ml: float
    esv_lv_ml: float
    ef_lv_percent: float
    edv_rv_ml: float
    esv_rv_ml: float
    ef_rv_percent: float
    mass_g: float


def write_phantom_cohort(
    output: Path,
    *,
    patients: int = 10,
    seed: int = 0,
    frames: int = 12,
    cine: bool = True,
    contrast: str = CINE,
) -> list[PhantomTruth]:
    """Write a cohort of beating phantom hearts and return their exact indices.

    Each patient has the files of ACDC in `training/patientNNN`: `Info.cfg`, image and label at ED
    and ES, and the 4-D cine. A patient depends on `seed` and its number only, and the five disease
    groups take turns. The indices are also written to `truth.csv`.

    Args:
        output: Folder that gets `training/` and `truth.csv`; made if it does not exist.
        patients: Number of patients, at least 1.
        seed: Seed of the cohort, not negative.
        frames: Frames in a cardiac cycle, at least `MIN_FRAMES`.
        cine: Whether to write the 4-D cine too.
        contrast: How the hearts are imaged, a key of `CONTRASTS`; they and their labels stay the same.

    Returns:
        One entry a patient, of what the voxels of its label maps hold.

    Raises:
        ConfigError: If there is no such contrast.
        DataError: If there are too few patients or frames, or the seed is negative.
        OutputError: If `training/` already holds something, or `output` cannot be written.

    References:
        Layout: Bernard et al., IEEE TMI 37(11), 2018, doi:10.1109/TMI.2018.2837502.
    """
    for name, value, least in (("patients", patients, 1), ("frames", frames, MIN_FRAMES), ("seed", seed, 0)):
        if value < least:
            raise DataError(f"expected {name} of at least {least} for a phantom cohort, found {value}")
    seen_as = find_contrast(contrast)
    training = output_folder(output) / "training"
    if training.exists() and any(training.iterdir()):
        raise OutputError(
            f"expected no cohort in {training}, found one; choose another folder or remove it first"
        )
    truths = []
    for number in range(1, patients + 1):
        folder = training / f"patient{number:03d}"
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            truths.append(
                _write_patient(temporary, folder.name, number, seed, frames, cine=cine, contrast=seen_as)
            )
        show_progress(number, patients, folder.name)
    columns = [field.name for field in fields(PhantomTruth)]
    rows = [
        {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(truth).items()}
        for truth in truths
    ]
    write_csv(output / "truth.csv", columns, rows)
    return truths


def _write_patient(
    folder: Path, patient: str, number: int, seed: int, frames: int, *, cine: bool, contrast: Contrast
) -> PhantomTruth:
    rng = np.random.default_rng([seed, number])
    group = GROUPS[(number - 1) % len(GROUPS)]
    heart = draw_heart(group, rng)
    scan = draw_scan(heart, rng, contrast)
    index_es = int(np.clip(round(frames * rng.uniform(0.3, 0.4)), 1, frames - 2))
    affine = _base_affine(scan.spacing_mm, rng)
    orientation = _orientation(rng)
    cycle_s = rng.uniform(0.7, 1.1)
    height_cm, weight_kg = rng.normal(170.0, 8.0), rng.normal(75.0, 11.0)
    contraction = contraction_curve(frames, index_es)
    voxel_ml = float(np.prod(scan.spacing_mm)) / 1000.0
    stack, volumes = [], []
    for index in range(frames) if cine else (0, index_es):
        noise = np.random.default_rng([seed, number, index + 1])
        image, label = image_frame(scan, float(contraction[index]), noise)
        stack.append(image)
        if index in (0, index_es):
            # Slices come as (Z, Y, X); files hold (X, Y, Z).
            stem = f"{patient}_frame{index + 1:02d}"
            _save(folder / f"{stem}.nii.gz", image.T, affine, orientation)
            _save(folder / f"{stem}_gt.nii.gz", label.T, affine, orientation)
            counts = np.bincount(label.ravel(), minlength=len(AcdcLabel))
            volumes.append([float(count) * voxel_ml for count in counts])
    if cine:
        _save(folder / f"{patient}_4d.nii.gz", np.stack(stack).T, affine, orientation, cycle_s / frames)
    info = {
        "ED": 1,
        "ES": index_es + 1,
        "Group": group,
        "Height": f"{height_cm:.1f}",
        "NbFrame": frames,
        "Weight": f"{weight_kg:.1f}",
    }
    write_text(folder / "Info.cfg", "".join(f"{key}: {value}\n" for key, value in info.items()))
    ed, es = volumes
    return PhantomTruth(
        patient=patient,
        group=group,
        edv_lv_ml=ed[AcdcLabel.LV],
        esv_lv_ml=es[AcdcLabel.LV],
        ef_lv_percent=_ejection_fraction(ed[AcdcLabel.LV], es[AcdcLabel.LV]),
        edv_rv_ml=ed[AcdcLabel.RV],
        esv_rv_ml=es[AcdcLabel.RV],
        ef_rv_percent=_ejection_fraction(ed[AcdcLabel.RV], es[AcdcLabel.RV]),
        mass_g=ed[AcdcLabel.MYO] * MYOCARDIAL_DENSITY_G_PER_ML,
    )


def _ejection_fraction(ed_ml: float, es_ml: float) -> float:
    return 100.0 * (ed_ml - es_ml) / ed_ml


def _base_affine(spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Affine of the upright image: along the patient's axes as in ACDC, or as a heart lies in a body."""
    affine = np.eye(4)
    affine[:3, :3] = BODY_FRAME * spacing_mm
    if rng.random() < 0.3:
        tilt, turn = np.deg2rad(rng.uniform(-MAX_TURN_DEG, MAX_TURN_DEG, 2))
        about_x = [[1.0, 0.0, 0.0], [0.0, np.cos(tilt), -np.sin(tilt)], [0.0, np.sin(tilt), np.cos(tilt)]]
        about_y = [[np.cos(turn), 0.0, np.sin(turn)], [0.0, 1.0, 0.0], [-np.sin(turn), 0.0, np.cos(turn)]]
        affine[:3, :3] = np.array(about_x) @ np.array(about_y) @ HEART_FRAME * spacing_mm
    affine[:3, 3] = rng.uniform(-100.0, 100.0, 3)
    return affine


def _orientation(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """How the file stores the upright image: as it is in half of the files, else flipped or transposed."""
    plain = rng.random() < 0.5
    flips = rng.choice([-1.0, 1.0], 3)
    axes = (0, 1, 2) if plain or rng.random() < 0.5 else (1, 0, 2)
    return np.column_stack([axes, np.ones(3) if plain else flips])


def _save(
    path: Path,
    array: npt.NDArray[np.int16] | npt.NDArray[np.uint8],
    affine: npt.NDArray[np.float64],
    orientation: npt.NDArray[np.float64],
    frame_s: float | None = None,
) -> None:
    """Write an upright `(X, Y, Z)` or `(X, Y, Z, T)` array in the file's orientation."""
    image = nib.Nifti1Image(array, affine).as_reoriented(orientation)
    image.header.set_xyzt_units("mm", "sec")
    if frame_s is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], frame_s))
    # Run lengths only: on noise it packs as well as the usual search for matches, in less time.
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    path.write_bytes(packer.compress(image.to_bytes()) + packer.flush())
