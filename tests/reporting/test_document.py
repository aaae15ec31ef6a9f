import re

import pytest

from pipelines.core.errors import ConfigError
from pipelines.reporting.document import DEFAULT, known_languages, read_language
from pipelines.reporting.html import EMBED, POP, RIGHT_TO_LEFT_MARK, isolate, marked, split_runs

ENGLISH, PERSIAN = read_language("en"), read_language("fa")


@pytest.mark.parametrize("code", known_languages())
def test_every_language_has_every_key_and_the_same_values(code: str) -> None:
    texts, english = read_language(code).texts, read_language(DEFAULT).texts
    assert texts.keys() == english.keys()
    assert all(isinstance(text, str) and text for text in texts.values())
    for key, text in texts.items():
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", english[key])), key


def test_persian_runs_from_right_to_left() -> None:
    assert (PERSIAN.direction, ENGLISH.direction) == ("rtl", "ltr")
    assert PERSIAN("table.all") == "همه"


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(ConfigError, match="expected a language among"):
        read_language("tlh")


def test_names_without_words_stay_as_they_are() -> None:
    assert ENGLISH.name("structure", "rv") == "RV"
    assert ENGLISH.name("structure", "aorta") == "aorta"


def test_text_from_left_to_right_is_escaped_and_nothing_else() -> None:
    assert isolate("a < b: 3", ENGLISH) == "a &lt; b: 3"


def test_foreign_runs_are_isolated_up_to_a_colon_and_with_their_bracket() -> None:
    assert split_runs("unet: 4 گام (RV 2)") == [
        ("unet", True),
        (": ", False),
        ("4", True),
        (" گام (", False),
        ("RV 2", True),
        (")", False),
    ]
    assert split_runs("کاوش ACDC (2017)")[-1] == ("ACDC (2017)", True)
    assert isolate("میانگین -0.3 <", PERSIAN) == 'میانگین <bdi dir="ltr">-0.3</bdi> &lt;'


def test_an_interval_is_two_runs_and_its_brackets_are_of_the_text_around() -> None:
    runs = [piece for piece, is_run in split_runs("0.85 (0.82 تا 0.88)") if is_run]
    assert runs == ["0.85", "0.82", "0.88"]


def test_a_foreign_sentence_given_as_a_value_stays_whole() -> None:
    text = PERSIAN("cross.failed", model="A", dataset="here", error="DataError: no label (yet")
    assert '<bdi dir="ltr">DataError: no label (yet</bdi>' in isolate(text, PERSIAN)
    assert ENGLISH("cross.failed", model="A", dataset="here", error="E: x").endswith("measured: E: x")


def test_a_foreign_sentence_is_isolated_whole() -> None:
    assert isolate("Keep one.", PERSIAN) == '<bdi dir="ltr" lang="en">Keep one.</bdi>'


def test_a_mark_stands_after_each_foreign_run() -> None:
    assert marked("شبکهٔ unet در 3 دوره", PERSIAN).count(RIGHT_TO_LEFT_MARK) == 2
    assert marked("Keep one.", PERSIAN) == f"{EMBED}Keep one.{POP}"
    assert marked("a 3", ENGLISH) == "a 3"
