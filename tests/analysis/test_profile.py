"""A network in numbers."""

import pandas as pd
import pytest

from explorer.analysis.layers import layer_table, stage_table, totals
from explorer.analysis.profile import profile
from explorer.analysis.receptive import receptive_fields
from explorer.spec import PRESETS


@pytest.mark.parametrize("name", ["resnet18", "googlenet_2014", "mobilenet_v3_small"])
def test_its_tables_are_those_of_the_analyses(name: str) -> None:
    one = profile(name)
    layers = layer_table(name)
    pd.testing.assert_frame_equal(one.table[layers.columns], layers)
    pd.testing.assert_frame_equal(one.stages.drop(columns="receptive_field"), stage_table(layers))
    assert one.totals == totals(layers)
    fields = receptive_fields(name)["size"]
    assert [None if pd.isna(size) else int(size) for size in one.table["receptive_field"]] == list(fields)


@pytest.mark.parametrize(
    ("name", "field", "context"),
    [
        ("alexnet_2012", 195, False),  # FACTS: what the last map sees
        ("vgg16", 212, False),
        ("googlenet_2014", 715, False),
        ("resnet50", 427, False),
        ("resnet50 stride_on=1x1", 483, False),
        ("mobilenetv1_100", 315, False),
        ("seresnet50", 427, True),
    ],
)
def test_the_field_is_that_of_the_last_map(name: str, field: int, context: bool) -> None:
    one = profile(name)
    assert (one.field, one.global_context) == (field, context)


def test_a_field_that_is_longer_one_way_counts_its_longer_side() -> None:
    """Inception-v3's 1x7 and 7x1: on the way the two sides differ."""
    sizes = list(receptive_fields("inception_v3")["size"])
    assert any(isinstance(size, tuple) for size in sizes)
    ours = profile("inception_v3").table["receptive_field"]
    for size, our in zip(sizes, ours, strict=True):
        assert pd.isna(our) if size is None else our == (max(size) if isinstance(size, tuple) else size)
    assert profile("inception_v3").field == 1311


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "mobilevit_s", "vit_srelpos_small_patch16_224"])
def test_where_there_is_no_field_it_is_unknown(name: str) -> None:
    """A transformer's tokens see the whole image; of a hybrid's folded patches nobody knows what they see."""
    assert profile(name).field is None


def test_the_image_is_the_one_that_was_asked_for() -> None:
    assert profile("resnet18").input_shape == (3, 224, 224)
    assert profile("resnet18", (64, 96)).input_shape == (3, 64, 96)
    assert profile("resnet18", (64, 96)).totals.macs == totals(layer_table("resnet18", (64, 96))).macs
    assert profile("alexnet_2012").input_shape == (3, 227, 227)


def test_depth_is_the_specs() -> None:
    for name in ("resnet34", "resnet152", "cifar_resnet110", "plain34"):
        assert profile(name).depth == PRESETS[name].depth
