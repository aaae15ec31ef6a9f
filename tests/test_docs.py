"""Every command shown in the README, the site and the bundles' cards runs, the long ones at a smaller scale.

A command is a line that begins with `$ ` in a `console` block. Each block starts in the root of the
repository; here that is a folder with a phantom in the place of the data and a copy of the bundle. `RUNNERS`
says what is done with which command, and a command that it does not know fails. Blocks of a card start in the
root of its bundle.
"""

import re
import runpy
from pathlib import Path

import pytest
from doc_workspace import CARDS, COMMANDS, PAGES, ROOT, Command, Workspace, commands_of
from doc_workspace import workspace as workspace
from documented import is_about_xrays, run_documented

HEARTS = [command for command in COMMANDS if not is_about_xrays(command)]


def test_commands_are_found_with_the_folder_they_are_given_in() -> None:
    page = "```console\n$ cd a/b\n$ one -x\nits output\n```\ntext\n```console\n$ two\n```\n"
    assert commands_of(page) == [Command("a/b", "one -x"), Command(".", "two")]
    assert commands_of(page, "c") == [Command("a/b", "one -x"), Command("c", "two")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_stand_in_console_blocks_only(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^ *```(?:bash|sh|shell)\b", text, re.MULTILINE) == []
    assert len(re.findall(r"^ *\$ ", text, re.MULTILINE)) == sum(
        len(re.findall(r"^ *\$ ", block, re.MULTILINE))
        for block in re.findall(r"^ *```console\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_of_the_repository_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parts[-3])
def test_no_table_of_a_card_holds_a_command(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    assert re.findall(r"^\|.*`(?:python -m|thorax \w+) .*", text, re.MULTILINE) == []
    assert commands_of(text) != []


@pytest.mark.slow
@pytest.mark.parametrize("command", HEARTS, ids=lambda command: command.text)
def test_a_documented_command_runs(workspace: Workspace, command: Command) -> None:
    run_documented(workspace, command)


def test_a_page_is_out_of_date_where_the_weights_it_was_measured_with_are_others() -> None:
    results = runpy.run_path(str(ROOT / ".ci" / "results.py"))
    assert all((ROOT / "docs" / "results" / f"{name}.md").is_file() for name in results["PAGES"])
    record = {name: results["measured_with"](page) for name, page in results["PAGES"].items()}
    assert results["stale"](record) == {}
    record["errors"]["unet/model.pt"] = "0" * 16
    assert results["stale"](record) == {"errors": ["unet/model.pt"]}


def test_the_page_of_targets_has_the_values_of_the_other_pages() -> None:
    results = runpy.run_path(str(ROOT / ".ci" / "results.py"))
    text = "|  | A | B |\n| --- | --- | --- |\n| x | 1 | 0.93 (0.9 to 1) |\n"
    assert results["cell_of"](text, "x", "B") == "0.93 (0.9 to 1)"
    with pytest.raises(ValueError, match="row 'y' with a column 'B'"):
        results["cell_of"](text, "y", "B")
    page = (ROOT / "docs" / "results" / "targets.md").read_text(encoding="utf-8")
    assert page == results["targets_page"](), "run 'make stale', which writes it"
