import errno
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import DataError, OutputError
from pipelines.core.progress import progress_to
from pipelines.core.records import AcdcLabel, PatientRecord, Phase
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.datasets.prepare import (
    ALL_PATIENTS,
    FOLDS,
    check_patient,
    check_volume,
    fingerprint,
    load_or_prepare,
    patient_records,
    prepare_acdc,
    read_datalist,
    read_test_patients,
    select,
    split_by_fraction,
    split_hash,
    split_patients,
)

GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")
COHORT = {f"patient{number:03d}": GROUPS[number % 5] for number in range(100)}


def test_every_patient_is_in_exactly_one_part() -> None:
    parts = split_patients(COHORT)
    assert list(parts) == sorted(COHORT)
    assert Counter(parts.values()) == {"test": 20, **dict.fromkeys(range(FOLDS), 16)}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_part_has_as_many_of_each_group(seed: int) -> None:
    parts = split_patients(COHORT, seed=seed)
    by_part = {
        part: Counter(COHORT[name] for name in parts if parts[name] == part) for part in ("test", *range(5))
    }
    assert by_part["test"] == dict.fromkeys(GROUPS, 4)
    for fold in range(FOLDS):
        assert set(by_part[fold].values()) <= {3, 4}
        assert len(by_part[fold]) == 5


def test_a_rare_group_differs_by_at_most_one_patient_between_folds() -> None:
    uneven = {name: group for name, group in COHORT.items() if group != "RV" or name < "patient040"}
    parts = split_patients(uneven)
    counts = [sum(uneven[name] == "RV" for name in parts if parts[name] == fold) for fold in range(FOLDS)]
    assert max(counts) - min(counts) <= 1


def test_the_split_depends_on_names_and_seed_alone() -> None:
    assert split_patients(COHORT) == split_patients(dict(reversed(COHORT.items())))
    assert split_patients(COHORT) != split_patients(COHORT, seed=1)


def test_a_published_test_set_is_taken_as_it_is() -> None:
    published = ["patient000", "patient001", "patient007"]
    parts = split_patients(COHORT, test_patients=published)
    assert [name for name, part in parts.items() if part == "test"] == published
    assert {part for part in parts.values() if part != "test"} == set(range(FOLDS))


def test_an_empty_published_test_set_leaves_everyone_for_the_folds() -> None:
    assert "test" not in split_patients(COHORT, test_patients=[]).values()


def test_an_unknown_test_patient_is_refused() -> None:
    with pytest.raises(DataError, match=r"found \['patient500'\] that it does not"):
        split_patients(COHORT, test_patients=["patient000", "patient500"])


@pytest.mark.parametrize(
    ("names", "test_patients"), [(["a"], None), (["a", "b", "c"], ["a", "b"]), (["a", "b"], ["a", "b"])]
)
def test_too_few_patients_to_train_and_validate_are_refused(
    names: list[str], test_patients: list[str] | None
) -> None:
    with pytest.raises(DataError, match="expected at least 2 patients to train and validate on"):
        split_patients(dict.fromkeys(names, "NOR"), test_patients=test_patients)


def test_three_patients_suffice() -> None:
    assert sorted(map(str, split_patients(dict.fromkeys("abc", "NOR")).values())) == ["0", "1", "test"]


def test_a_file_of_test_patients_may_hold_comments_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("# published\npatient003  # DCM\n\npatient001\n", encoding="utf-8")
    assert read_test_patients(tmp_path / "test.txt") == ["patient003", "patient001"]


def test_a_file_without_test_patients_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("# none\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected a patient a line, found none"):
        read_test_patients(tmp_path / "test.txt")
    with pytest.raises(DataError, match="found nothing at"):
        read_test_patients(tmp_path / "missing.txt")


def test_the_hash_tells_splits_apart_whatever_their_order() -> None:
    parts = {"a": 0, "b": "test"}
    assert split_hash(parts) == split_hash({"b": "test", "a": 0})
    assert split_hash(parts) != split_hash({"a": 1, "b": "test"})
    assert len(split_hash(parts)) == 16


def test_fractions_hold_in_every_group_and_small_groups_have_one_in_each_part() -> None:
    groups = {f"a{index}": "a" for index in range(50)} | {f"b{index}": "b" for index in range(3)}
    parts = split_by_fraction(groups, {"test": 0.1, "validation": 0.2, "training": 0.7})
    for prefix, expected in (("a", (5, 10, 35)), ("b", (1, 1, 1))):
        found = [part for patient, part in parts.items() if patient.startswith(prefix)]
        assert tuple(found.count(part) for part in ("test", "validation", "training")) == expected


def test_a_group_too_small_for_every_part_trains() -> None:
    parts = split_by_fraction({"a": "x", "b": "x"}, {"test": 0.1, "validation": 0.1, "training": 0.8})
    assert parts == {"a": "training", "b": "training"}


Writer = Callable[..., Path]
AFFINE = np.diag([1.5, 1.5, 8.0, 1.0])


def only_patient(root: Path) -> PatientRecord:
    return read_acdc(root).patients[0]


@pytest.mark.parametrize("slices", [1, 3, 40])
def test_a_sound_patient_passes_whole(tmp_path: Path, write_patient: Writer, slices: int) -> None:
    write_patient(tmp_path, slices=slices)
    patient = only_patient(tmp_path)
    checked, problems = check_patient(patient)
    assert problems == []
    assert checked == patient


def test_what_passes_is_returned_as_its_label(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path)
    label = check_volume(only_patient(tmp_path).volumes[0])
    assert (label.array == AcdcLabel.LV).sum() == 4 * 4 * 3


def constant(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full_like(image, 5), label


def with_nan(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(label == AcdcLabel.LV, np.nan, image).astype(np.float32), label


def with_label_7(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, np.where(label == AcdcLabel.LV, 7, label)


def fewer_slices(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, label[..., 1:]


def without_rv(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, np.where(label == AcdcLabel.RV, 0, label).astype(np.uint8)


def five_dimensions(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([np.stack([image, image], -1)] * 2, -1), label


def cine(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([image, image], -1), label


def wrapped(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(label == AcdcLabel.LV, -20000, 20000).astype(np.int16), label


def rgb(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(image.shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])), label


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (constant, "found the constant 5"),
        (with_nan, "found 48 NaN or infinite voxels"),
        (with_label_7, "expected label values 0 to 3"),
        (fewer_slices, "expected the label on the image's grid"),
        (without_rv, "expected RV, MYO and LV in the label, found no rv"),
        (five_dimensions, "found 5-D"),
        (cine, "expected one frame (3-D)"),
        (wrapped, "found uint16 stored as int16"),
        (rgb, "found RGB voxels"),
    ],
)
def test_a_faulty_volume_is_skipped_and_the_other_phase_kept(
    tmp_path: Path,
    write_patient: Writer,
    write_nifti: Writer,
    heart_label: Callable[..., np.ndarray],
    spoil: Callable[..., tuple[np.ndarray, np.ndarray]],
    reason: str,
) -> None:
    folder = write_patient(tmp_path)
    label = heart_label()
    image = np.arange(label.size, dtype=np.int16).reshape(label.shape)
    image, label = spoil(image, label)
    write_nifti(folder / "patient001_frame01.nii.gz", image)
    write_nifti(folder / "patient001_frame01_gt.nii.gz", label)
    checked, (problem,) = check_patient(only_patient(tmp_path))
    assert [volume.phase for volume in checked.volumes] == [Phase.ES]
    assert problem.patient == "patient001"
    assert problem.path == folder / "patient001_frame01.nii.gz"
    assert reason in problem.reason


def test_a_label_with_another_affine_is_skipped(
    tmp_path: Path, write_patient: Writer, write_nifti: Writer, heart_label: Callable[..., np.ndarray]
) -> None:
    folder = write_patient(tmp_path)
    flipped = np.diag([-1.5, 1.5, 8.0, 1.0])
    write_nifti(folder / "patient001_frame01_gt.nii.gz", heart_label(), flipped)
    checked, (problem,) = check_patient(only_patient(tmp_path))
    assert [volume.phase for volume in checked.volumes] == [Phase.ES]
    assert "expected the image's affine, found one that differs by 3" in problem.reason


@pytest.mark.parametrize("length", [0, 200])
def test_a_truncated_label_is_skipped(tmp_path: Path, write_patient: Writer, length: int) -> None:
    path = write_patient(tmp_path) / "patient001_frame01_gt.nii.gz"
    path.write_bytes(path.read_bytes()[: min(length, path.stat().st_size - 20)])
    checked, (problem,) = check_patient(only_patient(tmp_path))
    assert len(checked.volumes) == 1
    assert "copy it again" in problem.reason


def test_a_volume_without_a_label_is_skipped(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path)
    volume = replace(only_patient(tmp_path).volumes[0], label=None)
    with pytest.raises(DataError, match=r"expected a label patient001_frame01_gt\.nii\.gz, found none"):
        check_volume(volume)


def test_a_patient_whose_lv_grows_towards_es_is_skipped_whole(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path, ED=3, ES=1)
    checked, (problem,) = check_patient(only_patient(tmp_path))
    assert checked.volumes == ()
    # 2 x 4 x 3 and 4 x 4 x 3 voxels of 18 mm3
    assert "LV at ED not smaller than at ES, found 0.4 mL and 0.9 mL; swap ED and ES" in problem.reason


@pytest.fixture
def cohort(tmp_path: Path, write_patient: Writer) -> Path:
    for number in range(1, 7):
        write_patient(
            tmp_path / "acdc" / "training", f"patient{number:03d}", Group="DCM" if number % 2 else "NOR"
        )
    return tmp_path / "acdc"


def test_the_datalist_holds_every_sound_volume_with_its_part(cohort: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    with progress_to(lambda *state: seen.append(state)):
        preparation = prepare_acdc(cohort, tmp_path / "out")
    assert preparation.datalist == tmp_path / "out" / "datalist.json"
    assert (preparation.patients, preparation.volumes, preparation.problems) == (6, 12, [])
    assert seen[0] == (0, 6, "patient001")
    assert len(seen) == 6
    content = read_datalist(tmp_path / "out")
    assert content["root"] == str(cohort)
    item = content["volumes"][0]
    assert (item["patient"], item["group"], item["phase"], item["frame"]) == ("patient001", "DCM", "ED", 1)
    assert item["spacing_mm"] == [1.5, 1.5, 8.0]
    assert item["image"] == str(cohort / "training" / "patient001" / "patient001_frame01.nii.gz")
    assert item["label"].endswith("patient001_frame01_gt.nii.gz")
    parts = {}
    for item in content["volumes"]:
        assert parts.setdefault(item["patient"], item["part"]) == item["part"]


def test_the_same_data_and_seed_give_the_same_datalist(cohort: Path, tmp_path: Path) -> None:
    texts = [
        prepare_acdc(cohort, tmp_path / name, seed=seed).datalist.read_text(encoding="utf-8")
        for name, seed in (("a", 0), ("b", 0), ("c", 5))
    ]
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["split_hash"] != json.loads(texts[2])["split_hash"]
    assert json.loads(texts[0])["fingerprint"] == json.loads(texts[2])["fingerprint"]


def test_changed_voxels_change_the_fingerprints(cohort: Path, tmp_path: Path) -> None:
    before = read_datalist(prepare_acdc(cohort, tmp_path / "out").datalist)
    path = cohort / "training" / "patient001" / "patient001_frame01.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata() + 1, image.affine), path)
    after = read_datalist(prepare_acdc(cohort, tmp_path / "out").datalist)
    assert before["fingerprint"] != after["fingerprint"]
    changed = [
        old["fingerprint"] != new["fingerprint"]
        for old, new in zip(before["volumes"], after["volumes"], strict=True)
    ]
    assert changed == [True] + [False] * 11


def test_a_fingerprint_depends_on_bytes_and_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert fingerprint(tmp_path / "a", tmp_path / "b") != fingerprint(tmp_path / "b", tmp_path / "a")


def test_what_is_faulty_is_listed_and_the_rest_goes_on(cohort: Path, tmp_path: Path) -> None:
    training = cohort / "training"
    (training / "patient001" / "Info.cfg").unlink()
    image = training / "patient002" / "patient002_frame01.nii.gz"
    image.write_bytes(image.read_bytes()[:-40])
    (training / "patient003" / "patient003_frame03.nii.gz").unlink()
    (training / "patient003" / "patient003_frame01_gt.nii.gz").unlink()
    preparation = prepare_acdc(cohort, tmp_path / "out")
    assert (preparation.patients, preparation.volumes) == (4, 7)
    found = [(problem.patient, problem.reason[:22]) for problem in preparation.problems]
    assert sorted(found) == [
        ("patient001", "expected a readable In"),
        ("patient002", "expected a readable NI"),
        ("patient003", "expected a label patie"),
        ("patient003", "expected patient003_fr"),
    ]
    listed = read_datalist(tmp_path / "out")["put_aside"]
    assert [entry["patient"] for entry in listed] == [patient for patient, _ in found]
    assert listed[0]["path"] == str(training / "patient001")


def test_a_published_split_is_taken(cohort: Path, tmp_path: Path) -> None:
    prepare_acdc(cohort, tmp_path / "out", test_patients=["patient004"])
    test = select(read_datalist(tmp_path / "out"), "test", 0)
    assert {item["patient"] for item in test} == {"patient004"}


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path, write_patient: Writer) -> None:
    folder = write_patient(tmp_path / "acdc")
    for path in folder.glob("*_gt.nii.gz"):
        path.unlink()
    with pytest.raises(
        DataError, match="at least one sound, labelled patient .* patient001: expected a label"
    ):
        prepare_acdc(tmp_path / "acdc", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_with_no_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "acdc").mkdir()
    with pytest.raises(DataError, match="found no patient folders"):
        prepare_acdc(tmp_path / "acdc", tmp_path / "out")


def test_an_output_that_cannot_be_written_is_an_error_before_the_work(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    problem = pytest.raises(OutputError, match="expected an output folder that can be written")
    with problem, progress_to(lambda *state: pytest.fail("began to read")):
        prepare_acdc(cohort, tmp_path / "taken")


def test_a_disk_that_fills_up_leaves_the_datalist_before(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepare_acdc(cohort, tmp_path / "out").datalist.read_text(encoding="utf-8")

    def disk_full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", disk_full)
        with pytest.raises(OutputError, match="No space left"):
            prepare_acdc(cohort, tmp_path / "out", seed=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["datalist.json"]
    assert (tmp_path / "out" / "datalist.json").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "no such file"),
        ("no json", "no JSON"),
        ("[]", "list indices"),
        ("{}", "no 'volumes' in it"),
        ('{"volumes": []}', "nothing in it"),
    ],
)
def test_what_is_no_datalist_is_refused(tmp_path: Path, content: str | None, found: str) -> None:
    if content is not None:
        (tmp_path / "datalist.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=f"a datalist of volumes at .*, found {found}.*thorax prepare acdc"):
        read_datalist(tmp_path)


def test_a_datalist_of_the_other_kind_of_images_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "datalist.json").write_text('{"images": []}', encoding="utf-8")
    with pytest.raises(DataError, match="expected a datalist of volumes at .*, found one of images; choose"):
        read_datalist(tmp_path)


def test_a_prepared_folder_is_read_and_a_raw_one_prepared(cohort: Path, tmp_path: Path) -> None:
    raw = load_or_prepare(str(cohort), str(tmp_path / "run"), seed=3)
    assert raw == read_datalist(tmp_path / "run")
    assert raw["seed"] == 3
    assert load_or_prepare(tmp_path / "run", tmp_path / "unused") == raw
    assert not (tmp_path / "unused").exists()


def datalist() -> dict[str, Any]:
    parts = {"a": 0, "b": 1, "c": 2, "d": "test"}
    return {"volumes": [{"patient": name, "part": part} for name, part in parts.items()]}


@pytest.mark.parametrize(
    ("section", "fold", "patients"),
    [
        ("training", 0, "bc"),
        ("validation", 0, "a"),
        ("test", 0, "d"),
        ("training", 2, "ab"),
        ("validation", 2, "c"),
        ("training", ALL_PATIENTS, "abcd"),
        ("validation", ALL_PATIENTS, "a"),
        ("test", ALL_PATIENTS, "d"),
    ],
)
def test_a_section_holds_its_patients(section: Any, fold: int, patients: str) -> None:
    assert "".join(item["patient"] for item in select(datalist(), section, fold)) == patients


def test_an_empty_section_is_an_error() -> None:
    with pytest.raises(DataError, match="expected volumes in the validation section of fold 4"):
        select(datalist(), "validation", 4)


def test_items_become_the_records_that_the_reader_gave(cohort: Path, tmp_path: Path) -> None:
    items = read_datalist(prepare_acdc(cohort, tmp_path / "out").datalist)["volumes"]
    assert [record.volumes for record in patient_records(reversed(items))] != []
    assert patient_records(items) == read_acdc(cohort).patients
