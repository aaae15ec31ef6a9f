import csv
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events

from pipelines.core.errors import ConfigError
from pipelines.training.distributed import RankCheckpoint, RankMonitor, RankWeightAverager, share
from pipelines.training.handlers import averaged_copy


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


class Sums(TwoProcesses):
    """A group whose other process holds the same numbers and some more."""

    def __init__(self, rank: int, more: float) -> None:
        super().__init__(rank)
        self.more = more

    def get_world_size(self) -> int:
        return 2

    def all_reduce(self, tensor: torch.Tensor) -> None:
        tensor += tensor + self.more

    def set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("get_rank", "get_world_size", "all_reduce"):
            monkeypatch.setattr(dist, name, getattr(self, name))


def test_processes_share_what_is_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(2):
        Sums(rank, 0.0).set(monkeypatch)
        shares.append(share(["a", "b", "c"]))
    assert shares == [["a", "c"], ["b"]]
    with pytest.raises(ConfigError, match="each of 2 processes, found 1"):
        share(["a"])


@pytest.mark.parametrize("rank", [0, 1])
def test_first_process_writes_the_mean_loss_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    # Losses of 1 and 3 in two batches here; a loss sum of 5 over three batches in the other process.
    Sums(rank, 1.0).set(monkeypatch)
    trainer, evaluator = Engine(lambda _, batch: {"loss": batch}), Engine(lambda *_: None)
    trainer.state.device = torch.device("cpu")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    monitor = RankMonitor(tmp_path, evaluator=evaluator, optimizer=optimizer)
    monitor.attach(trainer)
    trainer.run([1.0, 3.0], max_epochs=1)
    history = tmp_path / "history.csv"
    assert history.exists() is (rank == 0)
    if rank == 0:
        (row,) = csv.DictReader(history.read_text(encoding="utf-8").splitlines())
        assert float(row["train_loss"]) == pytest.approx((4 + 5) / (2 + 3))


def test_statistics_of_batch_norms_are_evened_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Sums(0, 4.0).set(monkeypatch)
    network = torch.nn.BatchNorm1d(1)
    averaged = averaged_copy(network)
    trainer = Engine(lambda *_: None)
    RankWeightAverager(averaged, network).attach(trainer)
    trainer.run([0], max_epochs=1)
    # The mean was 0 here and 4 there; counts of batches are whole numbers and stay.
    assert averaged.module.running_mean.item() == pytest.approx(2.0)
    assert averaged.module.num_batches_tracked.item() == 0
