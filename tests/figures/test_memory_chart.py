"""The chart of a training step's memory holds its parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW

from explorer.analysis.memory import training_memory
from explorer.figures.memory import memory_chart
from explorer.figures.theme import ACCENT


def test_the_bars_are_the_parts_and_each_has_its_number() -> None:
    memory = training_memory("resnet50")
    parts = memory.parts(32, "Adam")
    figure = memory_chart(parts, "Busiest moment, batch 32")
    (bars,) = figure.data
    assert dict(zip(bars.y, bars.x, strict=True)) == parts
    assert sum(bars.x) == memory.total(32, "Adam")
    assert bars.text[0] == "102.2 MB"  # 25,557,032 weights of 4 bytes
    assert bars.customdata[0] == "102,228,128"
    assert bars.marker.color == ACCENT
    assert figure.layout.title.text == "Busiest moment, batch 32"


def test_the_first_is_on_top_and_stages_are_names_not_numbers() -> None:
    figure = memory_chart(dict(training_memory("resnet18").stages), "Kept for each image, by stage")
    assert list(figure.data[0].y) == ["image", "stem", "1", "2", "3", "4", "head"]
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.yaxis.type == "category", "else Plotly would put 1 to 4 on a scale of numbers"


@FEW
@given(
    st.dictionaries(st.text(min_size=1), st.integers(0, 10**20), min_size=1).filter(lambda sizes: any(sizes.values()))
)
def test_every_bar_leaves_room_for_its_number(sizes: dict[str, int]) -> None:
    figure = memory_chart(sizes, "")
    low, high = figure.layout.xaxis.range
    assert low == 0
    assert max(sizes.values()) / high == pytest.approx(1 / 1.3)
    assert figure.to_json()
