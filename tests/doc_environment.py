"""How the documented commands about the environment are tried."""

import sys

from doc_workspace import BIN, ROOT, Command, Workspace


def activate(workspace: Workspace, command: Command) -> None:
    """With the environment of these tests."""
    text = command.text.replace(".venv", sys.prefix)
    assert str(BIN) in workspace.run(Command(".", f"{text} && command -v thorax"))


def install_hook(workspace: Workspace, command: Command) -> None:
    """In a repository of its own."""
    text = command.text.replace(".venv", sys.prefix)
    workspace.run(Command(".", f"git init -q . && env -u GIT_DIR {text}"))
    assert (workspace.folder / ".git" / "hooks" / "pre-commit").exists()


def conda(workspace: Workspace, command: Command) -> None:
    """Conda itself is not needed here: what it would install is checked in test_packaging.py."""
    assert (ROOT / command.text.split()[-1]).is_file()
