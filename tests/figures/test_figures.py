"""Charts hold the numbers of their tables, in the colours and formats that every page shares."""

import base64
import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from explorer.analysis.layers import layer_table, stage_table, totals
from explorer.attribution import Attribution
from explorer.figures.attribution import attribution_chart, prediction_chart
from explorer.figures.layers import stage_chart
from explorer.figures.overlay import Look, unit_of
from explorer.figures.theme import ACCENT, KIND_COLOURS, OTHER_COLOUR, by_stage, config, exact, short

NETS = ("resnet50", "cifar_resnet20", "vgg16", "googlenet", "mobilenet_v2", "densenet121")
COLUMNS = ("params", "macs", "activation_bytes")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {net: layer_table(net) for net in NETS}


def bars(figure: go.Figure) -> dict[str, dict[str, int]]:
    """Kind of layer -> stage -> height."""
    return {bar.name: dict(zip(bar.x, bar.y, strict=True)) for bar in figure.data}


# Stages


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("net", NETS)
def test_the_bars_of_a_stage_add_up_to_the_stage_and_all_of_them_to_the_net(
    tables: dict[str, pd.DataFrame], net: str, column: str
) -> None:
    figure = stage_chart(tables[net], column)
    heights = bars(figure)
    stages = stage_table(tables[net])
    assert figure.layout.barmode == "stack"
    assert all(list(by_stage) == stages["stage"].tolist() for by_stage in heights.values())
    assert len(heights) == len(figure.data)  # no kind twice
    for stage, expected in zip(stages["stage"], stages[column], strict=True):
        assert sum(by_stage[stage] for by_stage in heights.values()) == expected
    assert sum(sum(by_stage.values()) for by_stage in heights.values()) == getattr(totals(tables[net]), column)


def test_the_bars_of_resnet50_are_the_macs_that_pytorch_counts(tables: dict[str, pd.DataFrame]) -> None:
    """By torch.utils.flop_counter.FlopCounterMode / 2 on torchvision's resnet50, 224 px."""
    none = dict.fromkeys(("stem", "1", "2", "3", "4", "head"), 0)
    convolutions = {
        "stem": 118_013_952,
        "1": 667_942_912,
        "2": 1_027_604_480,
        "3": 1_464_336_384,
        "4": 809_238_528,
    }
    assert bars(stage_chart(tables["resnet50"], "macs")) == {
        "conv": none | convolutions,
        "linear": none | {"head": 2048 * 1000},
    }


def test_a_kind_has_the_same_colour_in_every_net_and_column(tables: dict[str, pd.DataFrame]) -> None:
    figures = [stage_chart(table, column) for table in tables.values() for column in COLUMNS]
    seen = {(bar.name, bar.marker.color) for figure in figures for bar in figure.data}
    assert seen == {(kind, KIND_COLOURS.get(kind, OTHER_COLOUR)) for kind, _ in seen}
    assert {"conv", "linear", "norm", "activation", "pool", "add", "concat"} <= {kind for kind, _ in seen}
    for figure in figures:
        colours = [bar.marker.color for bar in figure.data if bar.name in KIND_COLOURS]
        assert len(colours) == len(set(colours))


def test_kinds_stand_in_the_legends_order_and_unknown_ones_last_in_the_other_colour() -> None:
    table = pd.DataFrame(
        {
            "stage": ["stem", "stem", "1", "1", "1"],
            "kind": ["wavelet", "add", "conv", "einsum", "nothing"],
            "params": [5, 7, 11, 13, 0],
        }
    )
    figure = stage_chart(table, "params")
    assert bars(figure) == {
        "conv": {"stem": 0, "1": 11},
        "add": {"stem": 7, "1": 0},
        "einsum": {"stem": 0, "1": 13},
        "wavelet": {"stem": 5, "1": 0},
    }
    assert list(bars(figure)) == ["conv", "add", "einsum", "wavelet"]
    assert [bar.marker.color for bar in figure.data] == [
        KIND_COLOURS["conv"],
        KIND_COLOURS["add"],
        OTHER_COLOUR,
        OTHER_COLOUR,
    ]
    assert OTHER_COLOUR not in KIND_COLOURS.values()


@pytest.mark.parametrize("column", COLUMNS)
def test_the_title_says_what_is_counted_and_stages_are_no_numbers(tables: dict[str, pd.DataFrame], column: str) -> None:
    figure = stage_chart(tables["resnet50"], column)
    assert figure.layout.title.text == by_stage(column)
    assert figure.layout.xaxis.type == "category"
    assert ("MACs" in by_stage(column), "bytes" in by_stage(column)) == (
        column == "macs",
        column == "activation_bytes",
    )
    json.loads(figure.to_json())


# Attributions


def explained(
    values: Any, width: int, height: int, method: str = "grad_cam", against: int | None = None, **settings: Any
) -> Attribution:
    """A map, (rows, columns) or with channels before them, over a picture whose every pixel has another colour."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    channels = np.asarray(values, dtype=np.float32)
    return Attribution(
        checkpoint="tiny",
        method=method,
        target=0,
        target_name="tench",
        against=against,
        against_name=None if against is None else "goldfish",
        channels=channels if channels.ndim == 3 else channels[None],
        picture=Image.fromarray(pixels),
        score=1.0,
        expected_sum=1.0,
        expected_sum_is="one",
        sum=1.0,
        device="CPU",
        seconds=0.1,
        settings=settings,
    )


def drawn(figure: go.Figure) -> NDArray[np.float32]:
    return np.asarray(figure.data[0].z)


@pytest.mark.parametrize(("rows", "columns"), [(3, 4), (1, 4), (3, 2), (1, 1)])
def test_each_cell_of_the_map_lies_on_its_part_of_the_picture(rows: int, columns: int) -> None:
    record = explained(np.arange(rows * columns).reshape(rows, columns), 4, 3)
    figure = attribution_chart(record)
    heat, image = figure.data[0], figure.layout.images[0]
    assert np.array_equal(drawn(figure), record.map)
    assert (heat.dx, heat.dy) == (4 / columns, 3 / rows)
    # The first cell begins where the picture does, half a pixel before the middle of its first pixel
    assert (heat.x0 - heat.dx / 2, heat.y0 - heat.dy / 2) == (-0.5, -0.5)
    assert (image.xref, image.yref, image.xanchor, image.yanchor) == ("x", "y", None, None)  # its corner, left and top
    assert (image.x, image.y, image.sizex, image.sizey, image.sizing) == (-0.5, -0.5, 4, 3, "stretch")
    assert image.layer == "below"
    assert figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"


def test_coarse_maps_are_smooth_and_fine_ones_are_not() -> None:
    assert attribution_chart(explained(np.ones((3, 4)), 4, 3)).data[0].zsmooth is False
    assert attribution_chart(explained(np.ones((3, 2)), 4, 3)).data[0].zsmooth == "best"


def test_the_axes_run_as_a_pictures_do_with_square_pixels() -> None:
    layout = attribution_chart(explained(np.ones((3, 4)), 4, 3)).layout
    assert layout.xaxis.range == (-0.5, 3.5)
    assert layout.yaxis.range == (2.5, -0.5)  # down
    assert layout.yaxis.scaleanchor == "x"
    assert layout.yaxis.scaleratio in (None, 1)


def test_the_picture_below_is_the_one_that_the_net_saw_in_grey() -> None:
    record = explained(np.ones((3, 4)), 4, 3)
    source = attribution_chart(record).layout.images[0].source
    head, _, body = source.partition(",")
    assert head == "data:image/png;base64"
    below = Image.open(io.BytesIO(base64.b64decode(body)))
    assert below.size == (4, 3)
    # ITU-R 601-2 luma, https://pillow.readthedocs.io, Image.convert
    expected = np.asarray(record.picture, dtype=float) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(np.asarray(below), expected, atol=1)


@pytest.mark.parametrize("values", [[[-1.0, 3.0]], [[1.0, 2.0]], [[-3.0, -2.0]], [[1e-9, -2e-9]]])
def test_the_scale_is_symmetric_and_its_middle_lets_the_picture_through(values: list[list[float]]) -> None:
    heat = attribution_chart(explained(values, 2, 1)).data[0]
    largest = np.abs(values).max()
    assert heat.zmin == -heat.zmax
    assert heat.zmax == pytest.approx(largest, rel=0.01)
    shares, colours = zip(*heat.colorscale, strict=True)
    assert shares == (0, 0.25, 0.5, 0.75, 1)
    assert [colour.rstrip(")").split(", ")[-1] for colour in colours] == ["1", "0.65", "0", "0.65", "1"]


def test_sizes_begin_at_0_with_the_upper_half_of_the_colours() -> None:
    heat = attribution_chart(explained([[-2.0, 2.0]], 2, 1), Look(absolute=True)).data[0]
    assert (heat.zmin, heat.zmax) == (0, 2)
    assert heat.z.tolist() == [[2, 2]]
    assert heat.colorscale == (
        (0, "rgba(255, 255, 255, 0)"),
        (0.5, "rgba(230, 159, 0, 0.65)"),
        (1, "rgba(213, 94, 0, 1)"),
    )


def test_unless_told_a_method_whose_sign_says_nothing_is_drawn_by_its_sizes() -> None:
    channels = [[[-3.0]], [[2.0]], [[1.0]]]
    assert attribution_chart(explained(channels, 1, 1, "saliency")).data[0].z.tolist() == [[3]]
    assert attribution_chart(explained(channels, 1, 1, "saliency"), Look()).data[0].z.tolist() == [[0]]
    assert attribution_chart(explained(channels, 1, 1, "integrated_gradients")).data[0].z.tolist() == [[0]]


def test_one_pixel_does_not_set_the_scale() -> None:
    values = np.ones((100, 100))
    values[50, 50] = 1e6
    assert attribution_chart(explained(values, 100, 100)).data[0].zmax == 1
    assert attribution_chart(explained(values, 100, 100), Look(percentile=100)).data[0].zmax == 1e6


def test_a_shared_scale_ends_where_it_is_told() -> None:
    heat = attribution_chart(explained([[1.0, 2.0]], 2, 1), end=10.0).data[0]
    assert (heat.zmin, heat.zmax) == (-10, 10)


def test_a_map_that_is_nothing_but_a_few_pixels_is_scaled_to_them() -> None:
    values = np.zeros((100, 100))
    values[50, 50], values[3, 4] = 1e-3, -2e-3
    assert attribution_chart(explained(values, 100, 100)).data[0].zmax == pytest.approx(2e-3)


def test_a_map_of_zeros_is_drawn_as_nothing_on_a_scale_of_1() -> None:
    figure = attribution_chart(explained(np.zeros((7, 7)), 224, 224))
    assert not drawn(figure).any()
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-1, 1)


@pytest.mark.parametrize(
    ("record", "look", "unit"),
    [
        (explained(np.ones((2, 3)), 60, 20), Look(), "logits · 2 x 3 cells"),
        (explained(np.ones((3, 4)), 4, 3), Look(), "logits · 3 x 4 pixels"),
        (explained(np.ones((3, 4)), 4, 3, against=1), Look(), "difference of logits · 3 x 4 pixels"),
        (explained(np.ones((3, 3, 4)), 4, 3), Look(channel=2), "logits · 3 x 4 pixels, blue alone"),
        (explained(np.ones((1, 3, 4)), 4, 3), Look(channel=2), "logits · 3 x 4 pixels"),
        (explained(np.ones((3, 4)), 4, 3), Look(parts=2), "logits · means of superpixels"),
        (explained(np.ones((3, 4)), 4, 3, "guided_backprop"), Look(), "no unit · 3 x 4 pixels"),
        (explained(np.ones((3, 4)), 4, 3, "cam"), Look(), "logits, times cells · 3 x 4 pixels"),
        (explained(np.ones((3, 4)), 4, 3, "feature_maps"), Look(), "activation · 3 x 4 pixels"),
        (
            explained(np.ones((3, 4)), 4, 3, "smooth_grad", of="saliency", taken="smoothgrad"),
            Look(),
            "logits per unit of normalised input · 3 x 4 pixels",
        ),
        (
            explained(np.ones((3, 4)), 4, 3, "smooth_grad", of="input_x_gradient", taken="vargrad"),
            Look(),
            "(logits) squared · 3 x 4 pixels",
        ),
    ],
)
def test_the_colour_bar_says_what_a_number_is_and_how_many_there_are(
    record: Attribution, look: Look, unit: str
) -> None:
    assert unit_of(record, look) == unit
    assert attribution_chart(record, look).data[0].colorbar.title.text == unit.replace(" · ", "<br>")


def test_strength_is_the_opacity() -> None:
    figure = attribution_chart(explained(np.ones((3, 4)), 4, 3), Look(strength=0.3))
    assert figure.data[0].opacity == 0.3
    json.loads(figure.to_json())


# Predictions


def test_the_likeliest_class_is_on_top_with_its_name_and_share_on_the_bar() -> None:
    rows = pd.DataFrame(
        {
            "class_index": [134, 517, 282],
            "class_name": ["crane", "crane", "tiger cat"],  # ImageNet has two of these: the bird and the machine
            "probability": [0.5, 0.25, 0.0004],
            "logit": [3.0, 2.3, -4.0],
        }
    )
    figure = prediction_chart(rows)
    (bar,) = figure.data
    assert bar.y == ("crane (134)", "crane (517)", "tiger cat (282)")
    assert list(bar.x) == [0.5, 0.25, 0.0004]
    assert bar.text == ("crane  50.0%", "crane  25.0%", "tiger cat  0.0%")
    assert (bar.orientation, bar.marker.color) == ("h", ACCENT)
    assert figure.layout.yaxis.autorange == "reversed"  # the first on top
    assert figure.layout.xaxis.range == (0, 1)
    assert figure.layout.title.text == "Probability"
    json.loads(figure.to_json())


# Numbers and settings

FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}


def read(text: str) -> float:
    """The number that `short` wrote."""
    mantissa, _, prefix = text.partition(" ")
    return float(mantissa) * FACTORS[prefix]


counts = st.integers(0, 10**15 - 1)
numbers = counts | counts.map(lambda count: -count) | st.floats(-1e15, 1e15, allow_nan=False)


@given(numbers)
def test_short_loses_at_most_a_twentieth_of_a_percent(number: float) -> None:
    assert read(short(number)) == pytest.approx(number, rel=0.0005 * (1 + 1e-9), abs=0)


@given(numbers, numbers)
def test_short_keeps_the_order(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert read(short(low)) <= read(short(high)) * (1 + math.copysign(1e-12, high))


@given(counts)
def test_short_has_four_digits_at_most_and_counts_below_a_thousand_are_exact(count: int) -> None:
    mantissa = short(count).partition(" ")[0]
    assert mantissa.replace(".", "").isdigit()
    assert len(mantissa.replace(".", "").lstrip("0")) <= 4
    assert count >= 1000 or short(count) == str(count)


def test_short_puts_the_unit_behind_the_prefix() -> None:
    assert [short(number, "B") for number in (0, 999, 1000, 269_722, 4 * 10**6, 4 * 10**9, 5 * 10**12)] == [
        "0 B",
        "999 B",
        "1 kB",
        "269.7 kB",
        "4 MB",
        "4 GB",
        "5 TB",
    ]
    assert (short(-25_557_032), short(0), short(0.5)) == ("-25.56 M", "0", "0.5")


@given(st.integers())
def test_exact_has_every_digit_in_groups_of_three(number: int) -> None:
    text = exact(number)
    assert int(text.replace(",", "")) == number
    first, *rest = text.lstrip("-").split(",")
    assert 1 <= len(first) <= 3
    assert all(len(group) == 3 for group in rest)


def test_a_figure_can_be_downloaded_under_its_name_and_shows_no_logo() -> None:
    vector, raster = config("layers"), config("map of a cat", "png")
    assert vector["toImageButtonOptions"] == {"format": "svg", "filename": "layers", "scale": 2}
    assert raster["toImageButtonOptions"] == {"format": "png", "filename": "map of a cat", "scale": 2}
    assert (vector["displaylogo"], vector["displayModeBar"]) == (False, True)
    assert "toImage" not in vector["modeBarButtonsToRemove"]
