"""The phantom cohort: layout, determinism, exact volumes, groups and plausible images."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import DataError, OutputError
from pipelines.core.progress import progress_to
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import read_label, slices_last
from pipelines.datasets.phantom.cohort import PhantomTruth, write_phantom_cohort
from pipelines.datasets.phantom.heart import (
    ANGLES,
    GROUPS,
    contraction_curve,
    draw_heart,
    heart_surfaces,
    volumes_ml,
)
from pipelines.datasets.phantom.image import draw_scan, image_frame


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PhantomTruth]]:
    output = tmp_path_factory.mktemp("phantom")
    return output, write_phantom_cohort(output, patients=5, seed=3, frames=6)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PhantomTruth]]:
    output = tmp_path_factory.mktemp("phantom")
    return output, write_phantom_cohort(output, patients=15, seed=11, frames=3, cine=False)


def info_of(folder: Path) -> dict[str, str]:
    return dict(line.split(": ") for line in (folder / "Info.cfg").read_text(encoding="utf-8").splitlines())


def array_of(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def label_paths(folder: Path) -> tuple[Path, Path]:
    info = info_of(folder)
    ed, es = (folder / f"{folder.name}_frame{int(info[phase]):02d}_gt.nii.gz" for phase in ("ED", "ES"))
    return ed, es


def test_a_patient_has_the_files_and_fields_of_acdc(cohort):
    folder = cohort[0] / "training" / "patient002"
    info = info_of(folder)
    assert list(info) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
    assert (info["ED"], info["Group"], info["NbFrame"]) == ("1", "HCM", "6")
    es = f"patient002_frame{int(info['ES']):02d}"
    names = ["patient002_4d", "patient002_frame01", "patient002_frame01_gt", es, f"{es}_gt"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["Info.cfg", *(f"{n}.nii.gz" for n in names)]
    )


def test_nothing_temporary_is_left_behind(cohort):
    assert sorted(path.name for path in cohort[0].iterdir()) == ["training", "truth.csv"]
    folders = sorted(path.name for path in (cohort[0] / "training").iterdir())
    assert folders == [f"patient{number:03d}" for number in range(1, 6)]


def test_images_labels_and_cine_share_grid_types_and_units(cohort):
    for folder in (cohort[0] / "training").iterdir():
        cine = nib.load(folder / f"{folder.name}_4d.nii.gz")
        assert cine.get_data_dtype() == np.int16
        assert cine.shape[3] == 6
        assert cine.header.get_xyzt_units() == ("mm", "sec")
        assert 0.7 / 6 <= cine.header.get_zooms()[3] <= 1.1 / 6
        for phase, label_path in zip(("ED", "ES"), label_paths(folder), strict=True):
            label = nib.load(label_path)
            image = nib.load(label_path.with_name(label_path.name.replace("_gt", "")))
            assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
            assert image.shape == label.shape == cine.shape[:3]
            np.testing.assert_array_equal(image.affine, label.affine)
            np.testing.assert_array_equal(image.affine, cine.affine)
            index = int(info_of(folder)[phase]) - 1
            np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(cine.dataobj)[..., index])
            assert set(np.unique(np.asarray(label.dataobj))) == {0, 1, 2, 3}


def test_grids_are_those_of_short_axis_cine(cohort):
    for folder in (cohort[0] / "training").iterdir():
        image = nib.load(folder / f"{folder.name}_frame01.nii.gz")
        dx, dy, dz = image.header.get_zooms()
        assert dx == dy
        assert 1.2 <= dx <= 1.8
        assert 5.0 <= dz <= 10.0
        assert all(160 <= size <= 224 for size in image.shape[:2])
        assert 8 <= image.shape[2] <= 12
        np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), (dx, dy, dz), rtol=1e-5)


def test_files_are_stored_in_different_orientations(many):
    affines = [nib.load(path).affine for path in sorted(many[0].glob("training/*/*_frame01.nii.gz"))]
    assert len({nib.aff2axcodes(affine) for affine in affines}) >= 3
    # Slices stay on the last axis: it is the thick one.
    assert all(np.argmax(nib.affines.voxel_sizes(affine)) == 2 for affine in affines)
    assert any(abs(affine[0, 1]) > abs(affine[0, 0]) for affine in affines), "none is transposed"


def test_the_affines_tell_where_base_and_rv_lie(many):
    oblique = 0
    for path in sorted(many[0].glob("training/*/*_frame01_gt.nii.gz")):
        label = read_label(path)
        stack, _ = slices_last(label)
        rv, lv = (np.argwhere(stack.array == one).mean(axis=0) for one in (AcdcLabel.RV, AcdcLabel.LV))
        assert rv[0] < lv[0] - abs(rv[1] - lv[1]), f"{path.name}: the RV is not on the side of small indices"
        per_slice = (stack.array == AcdcLabel.RV).sum(axis=(0, 1))
        assert per_slice[: len(per_slice) // 2].sum() > per_slice.sum() / 2, f"{path.name}: the apex is first"
        oblique += np.abs(stack.affine[:3, 2] / stack.spacing_mm[2]).max() < 0.95
    assert oblique >= 3


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name in ("one", "two"):
        write_phantom_cohort(tmp_path / name, patients=1, seed=5, frames=3)
    paths = sorted((tmp_path / "one").rglob("*.*"))
    assert len(paths) == 7
    for path in paths:
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes(), path.name


def test_another_seed_gives_another_heart():
    first, second = (draw_heart("NOR", np.random.default_rng([seed, 1])) for seed in (0, 1))
    assert first.lv_edv_ml != second.lv_edv_ml


def test_a_patient_depends_neither_on_the_number_of_patients_nor_on_the_cine(tmp_path, cohort):
    truths = write_phantom_cohort(tmp_path, patients=2, seed=3, frames=6, cine=False)
    assert truths == cohort[1][:2]
    for path in sorted((tmp_path / "training").rglob("*.*")):
        assert path.read_bytes() == (cohort[0] / path.relative_to(tmp_path)).read_bytes(), path.name
    assert not list(tmp_path.rglob("*_4d.nii.gz"))


def test_truth_is_what_the_voxels_of_the_label_files_hold(cohort):
    for truth in cohort[1]:
        ed, es = (nib.load(path) for path in label_paths(cohort[0] / "training" / truth.patient))
        voxel_ml = np.prod(ed.header.get_zooms()) / 1000.0
        counted = {
            (phase, label): voxel_ml * np.count_nonzero(np.asarray(image.dataobj) == label)
            for phase, image in (("ED", ed), ("ES", es))
            for label in AcdcLabel
        }
        assert truth.edv_lv_ml == pytest.approx(counted["ED", AcdcLabel.LV], rel=1e-5)
        assert truth.esv_lv_ml == pytest.approx(counted["ES", AcdcLabel.LV], rel=1e-5)
        assert truth.edv_rv_ml == pytest.approx(counted["ED", AcdcLabel.RV], rel=1e-5)
        assert truth.esv_rv_ml == pytest.approx(counted["ES", AcdcLabel.RV], rel=1e-5)
        assert truth.ef_lv_percent == pytest.approx(100.0 * (1.0 - truth.esv_lv_ml / truth.edv_lv_ml))
        assert truth.ef_rv_percent == pytest.approx(100.0 * (1.0 - truth.esv_rv_ml / truth.edv_rv_ml))
        assert truth.mass_g == pytest.approx(1.05 * counted["ED", AcdcLabel.MYO], rel=1e-5)


def test_truth_table_has_one_row_a_patient(cohort):
    with (cohort[0] / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == [truth.patient for truth in cohort[1]]
    assert [row["group"] for row in rows] == list(GROUPS)
    assert float(rows[0]["edv_lv_ml"]) == pytest.approx(cohort[1][0].edv_lv_ml, abs=1e-3)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("contraction", [0.0, 0.4, 1.0])
def test_surfaces_hold_the_exact_volumes(group, contraction):
    heart = draw_heart(group, np.random.default_rng(8))
    step_mm = 0.25
    surfaces = heart_surfaces(heart, contraction, np.arange(-20.0, 140.0, step_mm))

    def inside_ml(radius_mm: np.ndarray) -> float:
        area = np.clip(radius_mm, 0.0, None) ** 2 * np.pi / ANGLES
        return float(area.sum() * step_mm / 1000.0)

    lv, epi, rv = (inside_ml(radius) for radius in (surfaces.endo, surfaces.epi, surfaces.rv))
    np.testing.assert_allclose((rv - epi, epi - lv, lv), volumes_ml(heart, contraction), rtol=0.02)


@pytest.mark.parametrize("group", GROUPS)
def test_label_maps_agree_with_the_analytic_volumes(group):
    """Slices of up to 10 mm sample a ventricle of 60 to 110 mm, so single volumes are some percent off."""
    relative = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        scan = draw_scan(draw_heart(group, rng), rng)
        for contraction in (0.0, 1.0):
            _, label = image_frame(scan, contraction, rng)
            counts = np.bincount(label.ravel(), minlength=len(AcdcLabel))
            measured = counts[[AcdcLabel.RV, AcdcLabel.MYO, AcdcLabel.LV]] * np.prod(scan.spacing_mm) / 1000.0
            relative.append(measured / volumes_ml(scan.heart, contraction) - 1.0)
    assert np.abs(relative).max() < 0.15
    assert np.abs(np.mean(relative, axis=0)).max() < 0.06


@pytest.mark.parametrize("group", GROUPS)
def test_the_wall_thickens_in_systole_and_keeps_its_mass(group):
    heart = draw_heart(group, np.random.default_rng(2))
    depths = np.linspace(0.3, 0.6, 5) * heart.length_mm
    ed, es = (heart_surfaces(heart, contraction, depths) for contraction in (0.0, 1.0))
    assert (es.epi - es.endo).mean() > 1.05 * (ed.epi - ed.endo).mean()
    assert (ed.epi - ed.endo).min() > 4.0
    assert volumes_ml(heart, 0.0)[1] == volumes_ml(heart, 1.0)[1]


def test_groups_change_in_their_own_direction(many):
    of = {group: [truth for truth in many[1] if truth.group == group] for group in GROUPS}
    assert {group: len(members) for group, members in of.items()} == dict.fromkeys(GROUPS, 3)
    assert all(t.ef_lv_percent < 40 and t.edv_lv_ml > 180 for t in of["DCM"])
    assert all(t.ef_lv_percent > 55 and t.mass_g > 130 for t in of["HCM"])
    assert all(t.ef_lv_percent < 40 for t in of["MINF"])
    assert all(50 < t.ef_lv_percent < 72 and t.edv_lv_ml < 180 for t in of["NOR"])
    assert all(t.ef_rv_percent < 42 and t.edv_rv_ml > 180 for t in of["RV"])
    assert all(t.ef_rv_percent > 42 for t in of["NOR"])


def test_an_infarct_moves_less_than_the_rest_of_the_wall():
    heart = draw_heart("MINF", np.random.default_rng(4))
    depths = np.array([0.6 * heart.length_mm])
    ed, es = (heart_surfaces(heart, contraction, depths).endo[0] for contraction in (0.0, 1.0))
    motion = ed - es
    assert motion[np.argmax(heart.scar)] < 0.4 * motion[np.argmin(heart.scar)]


def test_the_rv_ends_before_the_lv_and_its_apical_slices_have_none():
    rng = np.random.default_rng(1)
    scan = draw_scan(draw_heart("NOR", rng), rng)
    _, label = image_frame(scan, 0.0, rng)
    rv, lv = ((label == value).sum(axis=(1, 2)) for value in (AcdcLabel.RV, AcdcLabel.LV))
    last = np.flatnonzero(lv).max()
    assert np.flatnonzero(rv).max() < last
    assert lv[last] < 0.6 * lv.max()


@pytest.mark.parametrize(("frames", "index_es"), [(3, 1), (12, 4), (30, 10)])
def test_the_heart_is_fullest_in_the_first_frame_and_emptiest_at_end_systole(frames, index_es):
    curve = contraction_curve(frames, index_es)
    assert (curve[0], curve[index_es]) == (0.0, 1.0)
    others = np.delete(curve, [0, index_es])
    assert ((others > 0.0) & (others < 1.0)).all()


def test_blood_is_bright_and_myocardium_dark_with_lungs_darker_still(cohort):
    for folder in (cohort[0] / "training").iterdir():
        image = array_of(folder / f"{folder.name}_frame01.nii.gz").astype(float)
        label = array_of(label_paths(folder)[0])
        rv, myo, lv = (np.median(image[label == value]) for value in list(AcdcLabel)[1:])
        assert 0.15 < myo / lv < 0.55
        assert 0.55 < rv / lv < 1.25
        assert np.percentile(image, 20) < 0.6 * myo
        assert image.min() >= 0


def test_papillary_muscles_are_dark_but_belong_to_the_lv():
    rng = np.random.default_rng(6)
    scan = draw_scan(draw_heart("DCM", rng), rng)
    image, label = image_frame(scan, 0.0, rng)
    middle = int(np.argmin(np.abs(scan.depths_mm - 0.5 * scan.heart.length_mm)))
    cavity = image[middle][label[middle] == AcdcLabel.LV]
    dark = cavity < 0.6 * np.median(cavity)
    muscles_mm2 = np.count_nonzero(dark) * scan.spacing_mm[0] ** 2
    assert 60.0 < muscles_mm2 < 400.0  # two discs of up to 4.5 mm radius, and the rim


def test_the_heart_lies_off_centre_but_whole_in_the_image():
    offsets = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scan = draw_scan(draw_heart(GROUPS[seed % len(GROUPS)], rng), rng)
        _, label = image_frame(scan, 0.0, rng)
        assert not label[:, [0, -1]].any()
        assert not label[:, :, [0, -1]].any()
        centre = np.argwhere(label > 0)[:, 1:].mean(axis=0)
        offsets.append((centre - (np.array(label.shape[1:]) - 1) / 2) * scan.spacing_mm[0])
    assert 8.0 < np.abs(offsets).max() < 35.0


def test_progress_is_reported_after_each_patient(tmp_path):
    seen = []
    with progress_to(lambda *told: seen.append(told)):
        write_phantom_cohort(tmp_path, patients=2, frames=3, cine=False)
    assert seen == [(1, 2, "patient001"), (2, 2, "patient002")]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"patients": 0}, "patients of at least 1"),
        ({"frames": 2}, "frames of at least 3"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, setting, message):
    with pytest.raises(DataError, match=message):
        write_phantom_cohort(tmp_path / "cohort", **setting)
    assert not (tmp_path / "cohort").exists()


def test_a_folder_with_another_cohort_is_left_alone(tmp_path):
    (tmp_path / "training" / "patient001").mkdir(parents=True)
    with pytest.raises(OutputError, match="expected no cohort"):
        write_phantom_cohort(tmp_path, patients=1)
    assert list((tmp_path / "training" / "patient001").iterdir()) == []


def test_a_full_disk_leaves_no_partial_patient(tmp_path, monkeypatch):
    def fail(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_phantom_cohort(tmp_path, patients=1, frames=3)
    assert list((tmp_path / "training").iterdir()) == []
