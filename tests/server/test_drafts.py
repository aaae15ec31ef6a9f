"""Contours between one click and the next."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.records import AcdcLabel
from pipelines.server import drafts as drafts_module
from pipelines.server.drafts import Draft, Drafts
from pipelines.server.sent_interaction import Interaction, SentClick

ONE, TWO, THREE = (SentClick((place, 0, 0), AcdcLabel.LV) for place in range(3))


def marked(*clicks: SentClick) -> np.ndarray:
    mask = np.zeros((4, 2, 2), np.uint8)
    for click in clicks:
        mask[click.index] = click.label
    return mask


def clicked(draft: Draft, *clicks: SentClick) -> Draft:
    for click in clicks:
        mask = draft.mask.copy()
        mask[click.index] = click.label
        draft = draft.after(click, mask)
    return draft


BEGUN = clicked(Draft(marked()), ONE, TWO, THREE)


def test_only_clicks_that_are_new_are_acted_on() -> None:
    draft = clicked(Draft(marked()), ONE)
    found, new = draft.asked(Interaction((ONE, TWO)))
    assert found is draft
    assert new == [TWO]


@pytest.mark.parametrize(
    ("left", "before", "again"),
    [
        ((ONE, TWO), (ONE, TWO), []),
        ((ONE, THREE), (ONE,), [THREE]),
        ((THREE, TWO), (), [TWO, THREE]),
        ((), (), []),
    ],
)
def test_a_click_that_is_gone_takes_its_effect_with_it(
    left: tuple[SentClick, ...], before: tuple[SentClick, ...], again: list[SentClick]
) -> None:
    found, new = BEGUN.asked(Interaction(left))
    np.testing.assert_array_equal(found.mask, marked(*before))
    assert found.clicks == list(before)
    assert new == again
    np.testing.assert_array_equal(BEGUN.mask, marked(ONE, TWO, THREE))


def test_a_mask_that_was_sent_stays_as_it_is_whatever_clicks_are_gone() -> None:
    painted = marked(ONE)
    painted[3, 1, 1] = AcdcLabel.RV
    found, new = BEGUN.asked(Interaction((TWO, SentClick((3, 0, 0), AcdcLabel.MYO))), painted)
    np.testing.assert_array_equal(found.mask, painted)
    assert found.clicks == [TWO]
    assert new == [SentClick((3, 0, 0), AcdcLabel.MYO)]
    later, _ = found.asked(Interaction(()))
    np.testing.assert_array_equal(later.mask, painted)


def test_a_mask_that_is_the_known_one_keeps_what_can_be_taken_back() -> None:
    found, _ = BEGUN.asked(Interaction((ONE, TWO, THREE)), BEGUN.mask.copy())
    assert found is BEGUN


def test_clicks_of_another_kind_stay_when_they_are_not_sent() -> None:
    in_slice = SentClick((3, 0, 0), AcdcLabel.RV, is_there=False, one_slice=True)
    draft = clicked(Draft(marked()), ONE, in_slice)
    found, new = draft.asked(Interaction((ONE, TWO)))
    assert (found, new) == (draft, [TWO])
    found, new = draft.asked(Interaction((), AcdcLabel.RV, plane=0))
    assert found.clicks == [ONE]


def test_a_draft_belongs_to_its_caller_and_to_the_file_as_it_is(tmp_path: Path) -> None:
    image = tmp_path / "image.nii.gz"
    image.write_bytes(b"one")
    drafts = Drafts()
    drafts.begin(image, "anna", marked())
    assert drafts.get(image, "anna") is not None
    assert drafts.get(image, "ben") is None
    os.utime(image, ns=(1, 1))
    assert drafts.get(image, "anna") is None


def test_another_automatic_contour_forgets_clicks_and_an_accepted_one_does_not(tmp_path: Path) -> None:
    image = tmp_path / "image.nii.gz"
    image.write_bytes(b"one")
    drafts = Drafts()
    drafts.accept(image, "anna", marked(ONE))
    assert drafts.get(image, "anna") is None
    drafts.put(image, "anna", BEGUN)
    drafts.accept(image, "anna", marked(ONE))
    accepted = drafts.get(image, "anna")
    assert accepted is not None
    assert accepted.clicks == [ONE, TWO, THREE]
    np.testing.assert_array_equal(accepted.mask, marked(ONE))
    drafts.begin(image, "anna", marked())
    begun = drafts.get(image, "anna")
    assert begun is not None
    assert begun.clicks == []


def test_the_draft_not_touched_for_longest_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts_module, "MAX_DRAFTS", 2)
    image = tmp_path / "image.nii.gz"
    image.write_bytes(b"one")
    drafts = Drafts()
    for caller in ("anna", "ben", "anna", "cleo"):
        drafts.begin(image, caller, marked())
    assert [drafts.get(image, caller) is None for caller in ("anna", "ben", "cleo")] == [False, True, False]
