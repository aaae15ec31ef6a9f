"""Progress of a long job, and how it is shown: a bar, or steps with the time they took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as ProgressBar,
)

Progress = Callable[[int, int, str], None]
"""Called with the number done, the number in all, and what is in hand in words."""


@contextmanager
def progress_bar(title: str, console: Console) -> Iterator[Progress]:
    """Progress bar to tell of the number done, the number in all, and what is next."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def tell(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{title} {name}")

        yield tell


class Step:
    """A step in progress."""

    def __init__(self, update: Progress) -> None:
        self.tell = update
        self.outcome = ""

    def done(self, outcome: str) -> None:
        """Say what came out of the step and where it is."""
        self.outcome = outcome


@dataclass(slots=True)
class StepLog:
    """Shows steps as they run and keeps their times.

    Attributes:
        console: Where they are shown.
        seconds: Wall time of each finished step in s, by its title.
    """

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a bar while the block runs, and one line when it has ended well.

        The step that the block gets has `tell(done, total, name)` to move the bar.
        """
        start = time.perf_counter()
        columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with ProgressBar(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as bar:
            task = bar.add_task(title, total=None)
            step = Step(
                lambda done, total, name: bar.update(
                    task, completed=done, total=total, description=f"{title}: {name}"
                )
            )
            yield step
        self.seconds[title] = time.perf_counter() - start
        number = len(self.seconds)
        line = f"{number}. {title}: {step.outcome} ({self.seconds[title]:.1f} s)"
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
