"""The commands of `thorax`: groups, old names, and results that are kept."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.cli.options import NEXT, OLD_COMMANDS
from pipelines.cli.share import _bar_from_first_file
from pipelines.core.errors import ConfigError, OutputError, ThoraxError
from pipelines.core.progress import is_watched, progress_of, show_progress

FROZEN = {
    "benchmark int8": "--data --output --weights --split --rounds --overwrite",
    "benchmark unseen-masks": "--data --output --fold --resume --smoke --set",
    "cross-evaluate": "--output --model --phantoms --device",
    "quantize": "--data --output --weights --split --rounds --overwrite",
    "unseen-masks": "--data --output --fold --resume --smoke --set",
}
"""Options of the old commands that were commands of their own; the others were other names alone."""


def commands() -> dict[str, typer.core.TyperCommand]:
    """All commands by their words."""
    found = {}

    def walk(command: object, name: str) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            found[name] = command
        for word, child in (children or {}).items():
            walk(child, f"{name} {word}".strip())

    walk(typer.main.get_command(app), "")
    return found  # type: ignore[return-value]


def test_every_old_command_is_left_out_and_has_a_home_with_all_its_options() -> None:
    known = commands()
    assert [name for name, one in known.items() if one.hidden] == ["results"]
    assert not {*OLD_COMMANDS} & {*known}
    for old, new in OLD_COMMANDS.items():
        home = next(name for name in known if new.startswith(name))
        options = {option for param in known[home].params for option in param.opts}
        words = [word for word in f"{new} {FROZEN.get(old, '')}".split() if word.startswith("--")]
        assert {*words} <= options, old
    assert {*FROZEN} <= {*OLD_COMMANDS}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["watch-status", "nowhere"], "watch-status is now: thorax watch status"),
        (["watch", "nowhere", "out"], "thorax watch is now: thorax watch run"),
        (["cohort", "--resume", "nowhere", "-o", "out"], "thorax cohort is now: thorax cohort run"),
        (["recipe", "acdc", "nowhere", "-o", "out"], "recipe acdc is now: thorax check-training"),
        (
            ["quantize", "resnet18", "--data", "nowhere", "-o", "out"],
            "quantize is now: thorax export --format int8 --rounds 60",
        ),
        (
            ["benchmark", "int8", "resnet18", "--data=nowhere", "-o", "out"],
            "benchmark int8 is now: thorax export --format int8 --rounds 60",
        ),
        (
            ["unseen-masks", "unet", "--data", "nowhere", "-o", "out"],
            "unseen-masks is now: thorax cross-validate --unseen-masks",
        ),
        (
            ["cross-evaluate", "nowhere", "-o", "out", "--model", "a=unet", "--phantoms=0"],
            "cross-evaluate is now: thorax compare --phantoms 10 --dataset",
        ),
        (
            ["evaluate-xray", "nowhere", "-o", "out"],
            "evaluate-xray is now: thorax evaluate --network efficientnet_lite0",
        ),
        (["data", "push", "nowhere", "store"], "data push is now: thorax store push"),
    ],
)
def test_an_old_name_is_answered_with_the_new_one_and_runs(words: list[str], line: str) -> None:
    found = CliRunner().invoke(app, words)
    assert line in found.output
    assert "nowhere" in str(found.exception)


@pytest.mark.parametrize("words", [["watch"], ["watch", "--help"], ["cohort", "run", "--help"]])
def test_what_is_no_old_name_is_not_renamed(words: list[str]) -> None:
    assert "is now" not in CliRunner().invoke(app, words).output


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("train unet --dataset-dir {0}", "thorax train --dataset-dir is now: --data"),
        ("compare --dataset-dir={0} --model a=unet", "compare --dataset-dir is now: --data"),
        ("tune resnet18 --data {0} --concurrency 1", "tune --concurrency is now: --workers"),
        ("evaluate {0} --section validation", "evaluate --section is now: --split"),
        ("disease {0} --hold-out", "disease --hold-out is now: --test-set"),
        ("serve --studies {0}", "serve --studies is now: argument STUDIES"),
        ("publish unet --int8 {0}", "publish --int8 is now: --run"),
        ("classify {0} --model int8", ""),
        ("export unet --format openvino --int8 --rounds 1", ""),
    ],
)
def test_an_old_spelling_of_an_option_works_and_names_the_new_one(
    words: str, line: str, tmp_path: Path
) -> None:
    folder = tmp_path / "none"
    output = ["-o", str(tmp_path / "out")] if words.split()[0] not in ("serve", "publish") else []
    found = CliRunner().invoke(app, [*words.format(folder).split(), *output])
    assert isinstance(found.exception, ThoraxError), found.output  # of what is not there, not of the option
    assert line in found.output.replace("root ", "thorax ")


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("evaluate {data}", "manifest.json"),
        ("explore acdc {data}", "manifest.json"),
        ("segment {data}", "indices.csv"),
        ("classify {data}", "classification.csv"),
        ("explain {data}", "0001_a.png"),
        ("explain {data} --network unet", "01_encoder.png"),
        ("prepare acdc {data}", "datalist.json"),
        ("prepare chest-xray {data}", "datalist.json"),
        ("export unet --format onnx", "unet-onnx/manifest.json"),
        ("benchmark speed --data {data}", "manifest.json"),
    ],
)
def test_results_are_replaced_only_if_that_is_wanted(words: str, result: str, tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "out"
    for path in (data / "nothing.txt", output / result):
        path.parent.mkdir(parents=True)
        path.touch()
    line = [*words.format(data=data).split(), "-o", str(output)]
    found = CliRunner().invoke(app, line)
    assert isinstance(found.exception, OutputError)
    assert f"found {output / result}; choose another by --output, or replace them by --overwrite" in str(
        found.exception
    )
    if words.startswith("export"):  # which would take a minute
        return
    assert not isinstance(CliRunner().invoke(app, [*line, "--overwrite"]).exception, OutputError)


def test_a_phantom_cohort_is_replaced_only_if_that_is_wanted(tmp_path: Path) -> None:
    line = ["phantom", "--patients", "1", "-o", str(tmp_path)]
    assert CliRunner().invoke(app, line).exception is None
    assert isinstance(CliRunner().invoke(app, line).exception, OutputError)
    again = CliRunner().invoke(app, [*line, "--overwrite"])
    assert again.stdout.splitlines()[-1] == f"next: thorax prepare acdc {tmp_path} --output runs/prepared"


def test_the_next_steps_are_commands_with_their_options() -> None:
    known = commands()
    for name, step in NEXT.items():
        word, *rest = step.split()
        assert name in known
        options = {option for param in known[word].params for option in param.opts}
        assert {one for one in rest if one.startswith("--")} <= options
        places = set(re.findall(r"{(\w+)}", step)) - {"first", "images"}
        assert places <= {param.name for param in known[name].params}


@pytest.mark.parametrize(
    ("network", "option"),
    [("resnet18", "--fold=1"), ("unet", "--threshold=0.4")],
    ids=["fold", "threshold"],
)
def test_an_option_of_the_other_kind_of_images_is_refused(network: str, option: str, tmp_path: Path) -> None:
    (tmp_path / "image.png").touch()
    words = ["evaluate", str(tmp_path), "-o", str(tmp_path / "out"), "--network", network, option]
    found = CliRunner().invoke(app, words)
    assert isinstance(found.exception, ConfigError)
    assert option.split("=")[0] in str(found.exception)


def test_an_analysis_of_radiographs_needs_their_evaluation(tmp_path: Path) -> None:
    (tmp_path / "image.png").touch()
    words = ["analyse", str(tmp_path), "-o", str(tmp_path / "out"), "--network", "resnet18"]
    assert "thorax evaluate" in str(CliRunner().invoke(app, words).exception)


def test_a_bar_that_comes_with_the_first_file_is_gone_after_the_block() -> None:
    with _bar_from_first_file("Pulling"):
        show_progress(1, 2, "a file")
    assert not is_watched()


def test_a_part_is_reported_to_those_who_listen_only() -> None:
    with progress_of("fold 1, "):
        assert not is_watched()
