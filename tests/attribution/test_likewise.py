"""The same question to another net."""

from dataclasses import replace

import pytest
from PIL import Image

from explorer.attribution import METHODS
from explorer.attribution.likewise import likewise
from explorer.models import checkpoints
from explorer.models.checkpoints import Trained
from explorer.models.preprocessing import Box

PICTURE = Image.new("RGB", (600, 400))
CAT, DOG = 3, 5


@pytest.fixture(scope="module")
def small() -> Trained:
    return checkpoints.load("cifar_resnet20")


@pytest.fixture(scope="module")
def large() -> Trained:
    return checkpoints.load("efficientnet_lite0")


def with_classes(net: Trained, *classes: str) -> Trained:
    return replace(net, checkpoint=replace(net.checkpoint, classes=classes))


def test_the_same_classes_are_the_same_by_their_place(small: Trained) -> None:
    """A list may have a name twice."""
    twins = with_classes(small, "cat", "crane", "crane")
    for crane in (1, 2):
        found = likewise(twins, twins, PICTURE, METHODS["grad_cam"], {"layer": "layer3"}, crane, 0)
        assert (found.target, found.against, found.notes) == (crane, 0, ())


def test_other_classes_are_the_same_by_name_if_one_has_it(small: Trained) -> None:
    other = with_classes(small, "cat", "ship", "dog", "dog")
    found = likewise(small, other, PICTURE, METHODS["saliency"], {}, CAT, 8)
    assert (found.target, found.against, found.notes) == (0, 1, ())
    found = likewise(small, other, PICTURE, METHODS["saliency"], {}, DOG, CAT)
    assert (found.target, found.against) == (None, None)
    assert found.notes == (
        "it does not know dog, so its map explains the class that it predicts.",
        "its map is not compared with cat.",
    )


def test_squares_are_as_large_a_part(small: Trained, large: Trained) -> None:
    settings = {"window": 32, "stride": 16, "baseline": "mean"}
    found = likewise(large, small, PICTURE, METHODS["occlusion"], settings, 0)
    assert found.settings == {"window": 32 * 32 // 224 + 1, "stride": round(16 * 32 / 224), "baseline": "mean"}
    assert likewise(small, small, PICTURE, METHODS["occlusion"], settings, 0).settings == settings
    tiny = likewise(large, small, PICTURE, METHODS["occlusion"], {"window": 3, "stride": 1}, 0)
    assert tiny.settings == {"window": 1, "stride": 1}


def test_the_last_layer_stays_the_last_and_another_goes_by_name(small: Trained, large: Trained) -> None:
    method = METHODS["grad_cam"]
    assert likewise(small, large, PICTURE, method, {"layer": "layer3"}, 0).settings == {}
    deep = checkpoints.load("cifar_resnet56")
    stage = likewise(small, deep, PICTURE, method, {"layer": "layer2"}, 0)
    assert (stage.settings, stage.notes) == ({"layer": "layer2"}, ())
    lost = likewise(small, large, PICTURE, method, {"layer": "layer2"}, 0)
    assert lost.settings == {}
    assert lost.notes[-1] == "it has no layer layer2, so its last maps are taken."


def test_all_see_the_part_that_the_first_sees(small: Trained, large: Trained) -> None:
    found = likewise(large, small, PICTURE, METHODS["saliency"], {}, 0)
    side = 224 / 256
    assert found.box == Box((1.5 - side) / 2, (1 - side) / 2, side)
    assert likewise(large, large, PICTURE, METHODS["saliency"], {}, 0).box is None
    chosen = Box(0.1, 0.2, 0.5)
    assert likewise(large, small, PICTURE, METHODS["saliency"], {}, 0, box=chosen).box == chosen
