"""ResNet-18 against torchvision's own transforms, network and hooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks
from PIL import Image
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.transforms import v2

from avqa.extract.encoders import resnet18 as ours

SHAPES = [(1280, 720), (640, 480), (360, 640), (256, 256), (259, 257), (120, 90), (1921, 1081)]


@pytest.fixture(scope="module")
def trained_state() -> dict[str, torch.Tensor]:
    """Random weights with batch norms that do something, as trained ones have."""
    state = dict(networks.state("resnet18"))
    generator = torch.Generator().manual_seed(7)
    for name, tensor in state.items():
        norm = "bn" in name or "downsample.1" in name
        if norm and tensor.is_floating_point():
            state[name] = torch.rand(tensor.shape, generator=generator) * 0.5 + 0.5
    return state


def torchvision_network(state: dict[str, torch.Tensor]) -> Any:
    network = resnet18(weights=None)
    network.load_state_dict(state)
    return network.eval()


def hooked(network: Any, layer: str, frames: torch.Tensor) -> torch.Tensor:
    kept = []
    hook = getattr(network, layer).register_forward_hook(lambda _m, _i, out: kept.append(out))
    with torch.no_grad():
        network(frames)
    hook.remove()
    result: torch.Tensor = kept[0]
    return result


def normalised(batch: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    return v2.functional.normalize(batch.permute(0, 3, 1, 2) / 255, mean, std)


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_crop_is_within_one_grey_level_of_torchvision_on_pillow(width: int, height: int) -> None:
    frame = networks.frame(width, height)
    prepared = ours.prepare("crop", [frame], {})[0]
    steps = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])
    theirs = np.asarray(steps(Image.fromarray(frame)))
    assert np.abs(prepared.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_squash_is_within_one_grey_level_of_pillow(width: int, height: int) -> None:
    frame = networks.frame(width, height)
    prepared = ours.prepare("squash", [frame], {})[0]
    theirs = networks.squashed(frame, Image.Resampling.BILINEAR)
    assert np.abs(prepared.astype(int) - theirs).max() <= 1


def test_constants_are_those_of_the_published_transforms() -> None:
    transform = ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert (list(ours.MEAN), list(ours.STD)) == (transform.mean, transform.std)
    assert (transform.resize_size, transform.crop_size) == ([ours.SHORT_SIDE], [ours.SIZE])


def test_pool_is_torchvisions(trained_state: dict[str, torch.Tensor]) -> None:
    batch = networks.full_batch("resnet18", "crop")
    out = networks.built("resnet18", trained_state).forward("crop", batch, ["pool"])["pool"]
    frames = normalised(batch, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    theirs = hooked(torchvision_network(trained_state), "avgpool", frames).flatten(1)
    torch.testing.assert_close(out, theirs, rtol=1e-4, atol=1e-5 * float(theirs.max()))


def test_maps_are_torchvisions(trained_state: dict[str, torch.Tensor]) -> None:
    batch = networks.full_batch("resnet18", "squash")
    out = networks.built("resnet18", trained_state).forward("squash", batch, ["map", "map7"])
    frames = normalised(batch, [0.43216, 0.394666, 0.37645], [0.22803, 0.22145, 0.216989])
    network = torchvision_network(trained_state)
    seven = hooked(network, "layer4", frames)
    for layer in (network.layer4[0].conv1, network.layer4[0].downsample[0]):
        layer.stride = (1, 1)
    fourteen = hooked(network, "layer4", frames)
    for tap, theirs in (("map", fourteen), ("map7", seven)):
        expected = theirs.permute(0, 2, 3, 1).contiguous()
        atol = 1e-5 * float(expected.max())
        torch.testing.assert_close(out[tap], expected, rtol=1e-4, atol=atol)


def test_maps_are_mostly_exact_zeros_as_declared() -> None:
    out = networks.output("resnet18", "squash")
    for tap, values in out.items():
        assert ours.TAPS[tap].sparse
        assert float((values == 0).float().mean()) > 0.2, tap
