import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from pipelines.core.errors import DataError, OutputError
from pipelines.datasets.acdc import read_acdc
from pipelines.datasets.prepare import (
    ALL_PATIENTS,
    fingerprint,
    load_or_prepare,
    patient_records,
    prepare_acdc,
    read_datalist,
    select,
)

Writer = Callable[..., Path]


@pytest.fixture
def cohort(tmp_path: Path, write_patient: Writer) -> Path:
    for number in range(1, 7):
        write_patient(
            tmp_path / "acdc" / "training", f"patient{number:03d}", Group="DCM" if number % 2 else "NOR"
        )
    return tmp_path / "acdc"


def test_the_datalist_holds_every_sound_volume_with_its_part(cohort: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    preparation = prepare_acdc(cohort, tmp_path / "out", progress=lambda *state: seen.append(state))
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
    with pytest.raises(OutputError, match="expected an output folder that can be written"):
        prepare_acdc(cohort, tmp_path / "taken", progress=lambda *state: pytest.fail("began to read"))


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
