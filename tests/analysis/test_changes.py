"""Two networks' stages side by side."""

from dataclasses import replace

import pandas as pd
import pytest

from explorer.analysis.changes import QUANTITIES, change_table
from explorer.analysis.layers import layer_table, stage_table
from explorer.analysis.receptive import field_by_stage, receptive_fields
from explorer.spec import PRESETS, ResNetSpec

RESNET50 = PRESETS["resnet50"]


def stages(spec: ResNetSpec) -> pd.DataFrame:
    table = stage_table(layer_table(spec))
    table["receptive_field"] = field_by_stage(receptive_fields(spec))["size"]
    return table


def changed(now: ResNetSpec, before: ResNetSpec) -> pd.DataFrame:
    return change_table(stages(now), stages(before)).set_index("stage")


def test_the_same_net_has_no_change_and_its_own_sums() -> None:
    table = changed(RESNET50, RESNET50)
    assert not table[[f"{name}_change" for name in QUANTITIES]].to_numpy().any()
    assert table.loc["whole net", "macs"] == 4_089_184_256  # torchvision's _ops, 4.089
    assert table.loc["whole net", "receptive_field"] == 427


@pytest.mark.parametrize("name", QUANTITIES)
def test_changes_are_differences_and_add_up(name: str) -> None:
    table = changed(replace(RESNET50, attention="se", stem="deep"), RESNET50)
    assert (table[name] - table[f"{name}_before"] == table[f"{name}_change"]).all()
    assert table[f"{name}_change"][:-1].sum() == table[f"{name}_change"].iloc[-1]


def test_the_strides_place_moves_the_field_from_427_to_483() -> None:
    table = changed(PRESETS["resnet50_v1"], RESNET50)  # FACTS: 35, 99, 291, 483 against 35, 91, 267, 427
    assert table["receptive_field_change"][["1", "2", "3", "4"]].tolist() == [0, 8, 24, 56]
    assert table.loc["whole net", "params_change"] == 0


def test_a_stage_that_one_net_lacks_is_unknown_there_not_zero() -> None:
    fewer = replace(RESNET50, depths=(3, 4, 6))
    table = changed(fewer, RESNET50)
    assert list(table.index) == ["stem", "1", "2", "3", "4", "head", "whole net"]
    assert pd.isna(table.loc["4", "params"])
    assert pd.isna(table.loc["4", "params_change"])
    assert table.loc["4", "params_before"] == 14_964_736
    assert list(changed(RESNET50, fewer).index) == list(table.index)
