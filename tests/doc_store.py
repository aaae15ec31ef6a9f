"""How the documented commands about stores are tried."""

import shutil

from doc_workspace import COMMANDS, Command, Workspace

STORE_STEPS = {
    "thorax store push bundles": "store/acdc_segmentation",
    "thorax store pull /path/to/store acdc_segmentation": "runs/pulled",
    "thorax store push /path/to/prepared": "store/acdc",
    "thorax store pull /path/to/store acdc --": "runs/kept",
}
"""What commands about stores leave for those after them, in their order."""


def in_order(workspace: Workspace, command: Command) -> None:
    """After those whose results it reads."""
    own = next((step for step in STORE_STEPS if command.text.startswith(step)), None)
    steps = list(STORE_STEPS)
    for step in steps[: steps.index(own)] if own else steps:
        if not (workspace.folder / STORE_STEPS[step]).exists():
            workspace.run(next(maker for maker in COMMANDS if maker.text.startswith(step)))
    if own:
        shutil.rmtree(workspace.folder / STORE_STEPS[own], ignore_errors=True)
    workspace.run(command)
