"""What is taken from the parameters of an interactive model."""

from typing import Any

import pytest

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.server.sent_interaction import MAX_CLICKS, SentClick, sent_interaction


def test_clicks_on_a_volume_come_by_the_names_of_labels_and_all_else_is_dropped() -> None:
    params = {
        "rv": [[1, 2, 3]],
        "lv": [[4, 5, 6], [4, 5, 6]],
        "background": [[7, 8, 9]],
        "myo": [],
        "label": 5,
        "aorta": "x",
    }
    found = sent_interaction("deepedit", params)
    assert found.clicks == (
        SentClick((7, 8, 9), AcdcLabel.BACKGROUND),
        SentClick((1, 2, 3), AcdcLabel.RV),
        SentClick((4, 5, 6), AcdcLabel.LV),
    )
    assert (found.label, found.plane, found.region) == (None, None, None)


def test_clicks_on_a_slice_say_where_the_structure_is_and_where_it_is_not() -> None:
    params = {"label": "LV", "foreground": [[1, 2, 0], [1, 2, 3]], "background": [[4, 5, 0]], "slice": 0}
    found = sent_interaction("deepgrow", params)
    assert (found.label, found.plane) == (AcdcLabel.LV, 0)
    assert found.clicks == (
        SentClick((1, 2, 0), AcdcLabel.LV),
        SentClick((4, 5, 0), AcdcLabel.LV, is_there=False),
    )
    assert all(click.one_slice for click in found.clicks)


def test_a_click_is_spoken_of_by_requests_of_its_kind_structure_and_slice_only() -> None:
    click = SentClick((1, 2, 3), AcdcLabel.LV, one_slice=True)
    asked = {"label": "lv", "slice": 3}
    assert sent_interaction("deepgrow", asked).speaks_of(click)
    assert not sent_interaction("deepgrow", asked | {"slice": 2}).speaks_of(click)
    assert not sent_interaction("deepgrow", asked | {"label": "rv"}).speaks_of(click)
    assert not sent_interaction("deepedit", {}).speaks_of(click)
    assert sent_interaction("deepedit", {}).speaks_of(SentClick((1, 2, 3), AcdcLabel.LV))


def test_scribbles_come_with_structure_segments_and_region() -> None:
    params = {
        "selected_label_name": "myo",
        "label_info": [{"name": "myo", "id": 1}],
        "roi": [9, 2, 0, 5, 1, 1],
    }
    found = sent_interaction("scribbles", params)
    assert found.label is AcdcLabel.MYO
    assert found.segments == (("myo", 1),)
    assert found.region == ((2, 9), (0, 5), (1, 1))
    assert sent_interaction("scribbles", {"selected_label_name": "rv", "roi": []}).region is None


def test_automatic_models_take_none_of_it() -> None:
    assert sent_interaction("segmentation", {"lv": "wrong", "label": 3}) == sent_interaction(
        "segmentation", {}
    )


@pytest.mark.parametrize(
    "points",
    [
        "text",
        {"0": [1, 2, 3]},
        [1, 2, 3],
        [[1, 2]],
        [[1, 2, 3, 4]],
        [[1.0, 2, 3]],
        [[True, 2, 3]],
        [["1", 2, 3]],
        [[1, None, 3]],
        [[1, [2], 3]],
        [{}],
        [[i, 0, 0] for i in range(MAX_CLICKS + 1)],
        [[0, 0, 0]] * 5000,
    ],
)
def test_what_is_no_list_of_voxels_is_refused(points: Any) -> None:
    with pytest.raises(DataError, match="expected lv to be a list|expected each click of lv"):
        sent_interaction("deepedit", {"lv": points})
    with pytest.raises(DataError, match="expected background to be a list|expected each click of background"):
        sent_interaction("deepgrow", {"label": "lv", "background": points})


def test_too_many_clicks_in_all_are_refused() -> None:
    half = [[i, 0, 0] for i in range(MAX_CLICKS // 2 + 1)]
    with pytest.raises(DataError, match="expected at most 200 clicks, found 202; save the label first"):
        sent_interaction("deepedit", {"lv": half, "rv": half})


@pytest.mark.parametrize(
    ("kind", "params", "reason"),
    [
        ("deepgrow", {}, "expected label among rv, myo, lv"),
        ("deepgrow", {"label": "background"}, "expected label among rv, myo, lv"),
        ("deepgrow", {"label": ["lv"]}, "expected label among rv, myo, lv"),
        ("deepgrow", {"label": "lv", "slice": 1.5}, "expected slice to be an index"),
        ("deepgrow", {"label": "lv", "slice": "x"}, "expected slice to be an index"),
        ("scribbles", {"selected_label_name": 3}, "expected selected_label_name among rv, myo, lv"),
        ("scribbles", {"selected_label_name": "lv", "roi": [1, 2, 3]}, "expected roi as six"),
        ("scribbles", {"selected_label_name": "lv", "roi": "abc"}, "expected roi as six"),
        ("scribbles", {"selected_label_name": "lv", "roi": [0.5] * 6}, "expected roi as six"),
        ("scribbles", {"selected_label_name": "lv", "label_info": "x"}, "expected label_info to be a list"),
        ("scribbles", {"selected_label_name": "lv", "label_info": [{}] * 99}, "at most 32 segments"),
        ("scribbles", {"selected_label_name": "lv", "label_info": ["lv"]}, "expected each segment"),
        ("scribbles", {"selected_label_name": "lv", "label_info": [{"name": "lv"}]}, "expected each segment"),
        (
            "scribbles",
            {"selected_label_name": "lv", "label_info": [{"name": "lv", "id": 0}]},
            "expected each segment",
        ),
    ],
)
def test_what_is_missing_or_of_another_form_is_refused(
    kind: str, params: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        sent_interaction(kind, params)
