import json
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose

from pipelines.core.plausibility import HEART_FRAME
from pipelines.core.volume import read_volume, slices_last
from pipelines.export.formats import EXPORTED_WEIGHTS, Source, flat_config, write_bundle
from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS, config_files, load_config
from pipelines.models.heart import field_affine
from pipelines.models.weights import save_weights

WORKFLOWS = ("inference", "train")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The flattened copy of each network, with weights as they come."""
    folder = tmp_path_factory.mktemp("exported")
    copies = {}
    for network in NETWORKS:
        parser = ConfigParser()
        parser.read_config(config_files(network))
        save_weights(parser.get_parsed_content("network_def").half(), folder / f"{network}.pt")
        copies[network] = write_bundle(Source.load(network, weights=folder / f"{network}.pt"), folder)
    return copies


@pytest.mark.parametrize("workflow", WORKFLOWS)
@pytest.mark.parametrize("network", NETWORKS)
def test_flattened_copy_has_the_content_of_the_layers(
    network: str, workflow: str, exported: dict[str, Path]
) -> None:
    layered = ConfigParser()
    layered.read_config(config_files(network, workflow))
    flat = ConfigParser()
    flat.read_config(exported[network] / "configs" / f"{workflow}.yaml")
    expected, found = layered.get(), flat.get()
    assert found.pop("weights") == EXPORTED_WEIGHTS != expected.pop("weights")
    assert found == expected


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_flattened_file_is_plain_yaml_without_merge_keys_or_file_references(
    workflow: str, exported: dict[str, Path]
) -> None:
    text = (exported["unet"] / "configs" / f"{workflow}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert [key for key in content if key.startswith("+") or ":" in key] == []
    assert "%" not in text


@pytest.mark.parametrize("network", NETWORKS)
def test_flattened_copy_builds_the_network_and_the_transforms_of_the_layers(
    network: str, exported: dict[str, Path]
) -> None:
    flat = ConfigParser()
    flat.read_config(exported[network] / "configs" / "inference.yaml")
    flat["bundle_root"] = str(exported[network])
    layered = ConfigParser()
    layered.read_config(config_files(network, "inference"))
    shapes = [
        {key: value.shape for key, value in parser.get_parsed_content("network_def").state_dict().items()}
        for parser in (flat, layered)
    ]
    assert shapes[0] == shapes[1]
    steps = [
        [type(step).__name__ for step in _steps(parser.get_parsed_content("postprocessing"))]
        for parser in (flat, layered)
    ]
    assert steps[0] == steps[1]
    assert flat.get_parsed_content("weights") == str(exported[network] / "models" / "model.pt")
    assert "model" in torch.load(flat.get_parsed_content("weights"), weights_only=True)


@pytest.mark.parametrize(("network", "channels"), [("unet", 3), ("attention_unet", 3), ("vnet", 4)])
def test_flattened_metadata_has_the_channels_of_its_network(
    network: str, channels: int, exported: dict[str, Path]
) -> None:
    metadata = json.loads((exported[network] / "configs" / "metadata.json").read_text(encoding="utf-8"))
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["num_channels"] == len(image["channel_def"]) == channels
    committed = json.loads((ACDC_BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["network_data_format"]["outputs"] == committed["network_data_format"]["outputs"]


@pytest.mark.parametrize("network", NETWORKS)
def test_flattening_leaves_the_root_relative(network: str) -> None:
    assert flat_config(network, "inference")["bundle_root"] == "."


@pytest.mark.parametrize("frame", [np.diag([-1.0, -1.0, 1.0]), HEART_FRAME], ids=["as ACDC", "oblique"])
def test_monai_alone_turns_a_file_as_thorax_does_and_its_answer_back(
    frame: np.ndarray, tmp_path: Path
) -> None:
    get = load_config("unet", ["inference"]).get_parsed_content
    array = np.random.default_rng(0).random((40, 36, 4)).astype(np.float32)
    plain = np.eye(4)
    plain[:3, :3], plain[:3, 3] = frame * (2.0, 1.8, 9.0), (3, -4, 5)
    for axes, flips in product(permutations(range(3)), ((), (0,), (1, 2), (0, 1, 2))):
        affine, stored = plain[:, [*axes, 3]].copy(), array.transpose(axes)
        for axis in flips:
            affine[:3, 3] += affine[:3, axis] * (stored.shape[axis] - 1)
            affine[:3, axis] *= -1
        nib.save(nib.Nifti1Image(np.flip(stored, flips), affine), tmp_path / "a.nii")
        item = get("to_field")(get("load")({"image": str(tmp_path / "a.nii")}))
        stack, _ = slices_last(read_volume(tmp_path / "a.nii"))
        tensor = torch.from_numpy(np.ascontiguousarray(stack.array))[None]
        expected = get("preprocessing")({"image": MetaTensor(tensor, affine=field_affine(stack))})["image"]
        assert torch.equal(item["image"].as_tensor(), expected.as_tensor())
        item["pred"] = item["image"][:1]
        back = get("to_native_grid")(item)["pred"]
        assert back.shape[1:] == stored.shape
        np.testing.assert_allclose(back.meta["original_affine"], affine, atol=1e-5)


def _steps(transform: Compose) -> list[object]:
    return [
        inner
        for step in transform.transforms
        for inner in (_steps(step) if isinstance(step, Compose) else [step])
    ]


def test_label_maps_next_to_the_images_are_not_segmented(tmp_path: Path) -> None:
    for name in ("a_frame01.nii.gz", "a_frame01_gt.nii.gz", "b.nii.gz"):
        (tmp_path / name).touch()
    parser = ConfigParser()
    parser.read_config(config_files("unet", "inference"))
    parser["dataset_dir"] = str(tmp_path)
    images = [Path(item["image"]).name for item in parser.get_parsed_content("datalist")]
    assert images == ["a_frame01.nii.gz", "b.nii.gz"]
