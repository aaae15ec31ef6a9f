from collections import Counter
from pathlib import Path

import pytest

from pipelines.core.errors import DataError
from pipelines.datasets.split import FOLDS, read_test_patients, split_by_fraction, split_hash, split_patients

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


def test_a_published_hold_out_is_taken_as_it_is() -> None:
    published = ["patient000", "patient001", "patient007"]
    parts = split_patients(COHORT, test_patients=published)
    assert [name for name, part in parts.items() if part == "test"] == published
    assert {part for part in parts.values() if part != "test"} == set(range(FOLDS))


def test_an_empty_published_hold_out_leaves_everyone_for_the_folds() -> None:
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
