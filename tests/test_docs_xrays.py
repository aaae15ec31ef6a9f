"""The documented commands for chest X-rays run; apart from the others so that both can run at a time."""

import pytest
from doc_workspace import COMMANDS, Command, Workspace
from doc_workspace import workspace as workspace
from documented import is_about_xrays, run_documented


@pytest.mark.slow
@pytest.mark.parametrize("command", filter(is_about_xrays, COMMANDS), ids=lambda command: command.text)
def test_a_documented_command_runs(workspace: Workspace, command: Command) -> None:
    run_documented(workspace, command)
