import ast
import re
from pathlib import Path

import pytest

import pipelines
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


def test_phrases_take_the_values_that_they_have_places_for() -> None:
    for source, phrase in PERSIAN.phrases.items():
        count = len(re.findall(r"{n?}", source))
        values = [f"<{index}>" for index in range(count)]
        made = phrase.replace("{n}", "{}").format(*values)
        assert all(value in made for value in values), source


def test_a_sentence_is_translated_with_its_values_and_unknown_text_stays() -> None:
    sentence = "3 volumes are outliers in some feature: p1, p2 and 4 more."
    assert PERSIAN.translated(sentence) == "3 حجم در ویژگی‌ای پرت‌اند: p1, p2 و 4 مورد دیگر."
    two = ["Resample to square pixels.", "Normalise each image by itself."]
    assert PERSIAN.translated(" ".join(two)) == " ".join(PERSIAN.phrases[one] for one in two)
    assert PERSIAN.translated("patient012") == "patient012"
    odd = "RV EF of 4% is outside 5 to 90%, check ED and ES"
    assert PERSIAN.translated(f"p1: {odd}") == f"p1: {PERSIAN.translated(odd)}"
    assert PERSIAN.translated("slice spacing, mm") == PERSIAN.phrases["slice spacing, mm"]
    assert ENGLISH.translated(sentence) == sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "ED and ES are implausible in 2 patients: a: RV EF of 4% is outside 5 to 90%, check ED and ES; "
        "b: RV EF of 2% is outside 5 to 90%, check ED and ES.",
        "Labels of 3 of 130 volumes are odd somewhere, mostly: RV is empty (3); "
        "LV and myocardium enclose background in a slice (2).",
        "MYO cut short in slices 2, 10 (base and apex), 25.8 mL; LV missed in slice 2 (base), 8.4 mL; "
        "and 2 more.",
        "Dice goes with: LV with contrast (rho +0.70); RV with heart size (rho -0.10), p below 0.05 after "
        "correction.",
    ],
)
def test_no_word_is_left_in_a_sentence_with_a_list(sentence: str) -> None:
    assert re.findall(r"\b[a-z]{2,} [a-z]{2,}", PERSIAN.translated(sentence)) == []


WRITERS = (
    "exploration/findings.py", "training/checks/recipe.py", "training/checks/rates.py",
    "training/checks/sanity.py", "evaluation/xray_errors.py", "figures/xray_figures.py",
    "core/plausibility.py", "core/wall.py",
    *(f"reporting/results/{name}.py" for name in (
        "classification", "comparison", "errors", "evaluation", "exploration", "recipe", "training",
    )),
)  # fmt: skip
"""Modules whose sentences stand in reports."""


KNOWN = re.sub("{n?}", "7", "\n".join(PERSIAN.phrases))
"""Parts of sentences stand in it too."""


@pytest.mark.parametrize("module", WRITERS)
def test_every_sentence_of_a_report_has_its_translation(module: str) -> None:
    tree = ast.parse((Path(pipelines.__file__).parent / module).read_text(encoding="utf-8"))
    apart = [node for node in ast.walk(tree) if _is_apart(node)]
    skipped = {id(child) for node in apart for child in ast.walk(node)}
    left = []
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        skipped |= {id(child) for child in ast.walk(node)}
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(str(one.value) if isinstance(one, ast.Constant) else "7" for one in parts)
        if re.search(r"[a-z]{2,} [a-z]+ [a-z]{2,}", text) and not text.startswith(("thorax ", "outside ")):
            text = re.sub(r"\.7$", "", text).strip(" ;,.")
            if text not in KNOWN and not re.search("[\u0600-\u06ff]", PERSIAN.translated(text)):
                left.append(text)
    assert left == []


def _is_apart(node: ast.AST) -> bool:
    """A docstring or the message of an error."""
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_expectation = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "expecting"
    return is_docstring or is_expectation or isinstance(node, ast.Raise)


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
