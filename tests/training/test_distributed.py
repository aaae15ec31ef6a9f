from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events

from pipelines.training.distributed import RankCheckpoint


class TwoProcesses:
    """Stands in for the process group: this process's rank, and what the first process says."""

    def __init__(self, rank: int, first_stops: bool = False) -> None:
        self.rank = rank
        self.first_stops = first_stops
        self.sent: list[int] = []

    def get_rank(self) -> int:
        return self.rank

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        assert src == 0
        if self.rank:
            tensor.fill_(int(self.first_stops))
        self.sent.append(int(tensor.item()))


def train(
    folder: Path, group: TwoProcesses, monkeypatch: pytest.MonkeyPatch, *, scores: list[float]
) -> Engine:
    """A run of an epoch for each score, with a patience of one validation."""
    monkeypatch.setattr(dist, "get_rank", group.get_rank)
    monkeypatch.setattr(dist, "broadcast", group.broadcast)
    trainer, evaluator = Engine(lambda *_: None), Engine(lambda *_: None)
    trainer.state.device = torch.device("cpu")
    network = torch.nn.Linear(1, 1)
    checkpoint = RankCheckpoint(
        folder, states={"model": network}, weights=network, evaluator=evaluator, metric="score", patience=1
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate() -> None:
        evaluator.state.metrics = {"score": scores[trainer.state.epoch - 1]}
        evaluator.fire_event(Events.EPOCH_COMPLETED)

    checkpoint.attach(trainer)
    trainer.run([0], max_epochs=len(scores))
    return trainer


def test_first_process_writes_and_tells_the_others_when_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = TwoProcesses(rank=0)
    trainer = train(tmp_path, group, monkeypatch, scores=[0.5, 0.4, 0.9])
    assert trainer.state.epoch == 2
    assert group.sent == [0, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_other_process_writes_nothing_and_goes_on_as_long_as_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = train(tmp_path, TwoProcesses(rank=1), monkeypatch, scores=[0.5, 0.4, 0.3])
    assert trainer.state.epoch == 3
    assert list(tmp_path.iterdir()) == []


def test_other_process_stops_with_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train(tmp_path, TwoProcesses(rank=1, first_stops=True), monkeypatch, scores=[0.5, 0.6, 0.7])
    assert trainer.state.epoch == 1
