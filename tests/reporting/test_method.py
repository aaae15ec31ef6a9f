from pathlib import Path

from PIL import Image

from pipelines.models.bundle import load_config
from pipelines.reporting.method import diagram, trace_network


def test_the_diagram_is_that_of_the_definition(tmp_path: Path) -> None:
    shape = trace_network("attention_unet")
    channels = list(load_config("attention_unet")["network_def"]["channels"])
    assert [block.channels for block in shape.blocks] == [*channels, *channels[-2::-1]]
    assert [block.stride for block in shape.blocks] == [1, 2, 4, 8, 16, 8, 4, 2, 1]
    assert (shape.channels_in, shape.channels_out, shape.size_px, shape.turn) == (3, 4, 192, 4)
    module = load_config("attention_unet").get_parsed_content("network_def")
    assert shape.parameters == sum(weight.numel() for weight in module.parameters())
    assert sum(block.parameters for block in shape.blocks) <= shape.parameters
    # Two 3 x 3 convolutions with bias: 3 to 24 and 24 to 24 channels.
    assert shape.blocks[0].parameters == 9 * (3 * 24 + 24 * 24) + 2 * 24
    diagram(shape, tmp_path / "network.png")
    with Image.open(tmp_path / "network.png") as image:
        assert image.width > 800
