import pytest
import torch

from pipelines.training.precision import AutocastInferer


@pytest.mark.parametrize(("dtype", "found"), [(None, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_the_network_runs_in_the_precision_asked_for(dtype: torch.dtype | None, found: torch.dtype) -> None:
    output = AutocastInferer(dtype)(torch.ones(1, 2), torch.nn.Linear(2, 1))
    assert output.dtype == found


def test_nothing_outside_runs_in_reduced_precision() -> None:
    AutocastInferer(torch.bfloat16)(torch.ones(1, 2), torch.nn.Linear(2, 1))
    assert not torch.is_autocast_enabled("cpu")
    assert torch.nn.Linear(2, 1)(torch.ones(1, 2)).dtype == torch.float32


def test_the_inferer_within_is_given_everything() -> None:
    def inferer(inputs, network, *args, **kwargs):  # type: ignore[no-untyped-def]
        return network(inputs), args, kwargs

    output, args, kwargs = AutocastInferer(None, inferer)(torch.ones(1), torch.neg, 5, roi=3)
    assert (output.item(), args, kwargs) == (-1.0, (5,), {"roi": 3})


def test_grouped_convolutions_are_trained_in_float32_and_their_output_keeps_its_type() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 4, 3, groups=4)
    image = torch.randn(1, 4, 8, 8)
    found = AutocastInferer(torch.bfloat16)(image, layer)
    assert torch.equal(found, layer(image))
    plain = torch.nn.Conv2d(4, 4, 3)
    assert AutocastInferer(torch.bfloat16)(image, plain).dtype == torch.bfloat16
    with torch.inference_mode():
        assert AutocastInferer(torch.bfloat16)(image, layer).dtype == torch.bfloat16
