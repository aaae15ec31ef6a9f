"""Progress of a long job, and how it is shown: a bar, or steps with the time they took."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
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

T = TypeVar("T")
_listener: ContextVar[Progress | None] = ContextVar("listener", default=None)


def is_watched() -> bool:
    """Whether somebody is shown the progress, for reports that cost something."""
    return _listener.get() is not None


def show_progress(done: int, total: int, text: str = "") -> None:
    """Report progress to whom the surrounding `progress_to` names; to nobody in servers and Ray's workers."""
    if listener := _listener.get():
        listener(done, total, text)


def track(items: Collection[T], text: Callable[[T], str]) -> Iterator[T]:
    """The items one by one, each reported with its text when it is done."""
    for done, item in enumerate(items, start=1):
        yield item
        show_progress(done, len(items), text(item))


@contextmanager
def progress_to(listener: Progress | None) -> Iterator[None]:
    """Send the progress of all that the block does to a function; with None to nobody."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def progress_of(part: str, place: tuple[int, int] | None = None) -> Iterator[None]:
    """Put the name of a part before the texts of what the block reports, and its place if one is given."""
    outer = _listener.get()

    def named(done: int, total: int, text: str) -> None:
        if outer:
            outer(*(place or (done, total)), part + text)

    with progress_to(named if outer else None):
        yield


@contextmanager
def progress_bar(title: str, console: Console, *columns: ProgressColumn) -> Iterator[Progress]:
    """Show the progress of the block as a bar, by default over counted items; gives what moves it."""
    columns = columns or (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def move(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{title} {text}")

        with progress_to(move):
            yield move


@dataclass(slots=True)
class Step:
    """A step in progress."""

    move: Progress
    outcome: str = ""

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
        """Show a bar that the block's progress moves, and one line when it has ended well."""
        start = time.perf_counter()
        columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with progress_bar(f"{title}:", self.console, *columns) as move:
            step = Step(move)
            yield step
        self.seconds[title] = time.perf_counter() - start
        number = len(self.seconds)
        line = f"{number}. {title}: {step.outcome} ({self.seconds[title]:.1f} s)"
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
