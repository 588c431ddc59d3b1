"""Local response normalisation against the paper's formula, written out."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from strategies import FEW

from explorer.analysis.first_layers import random_conv1, raw_pixels
from explorer.analysis.layers import layer_table
from explorer.analysis.normalisation import (
    Constants,
    ConstantsError,
    first_responses,
    inhibition,
    liveliest_place,
    response_norm_costs,
)

CUP = Image.fromarray(data.coffee())


def by_hand(a: list[float], n: int, k: float, alpha: float, beta: float) -> list[float]:
    """The formula of section 3.3."""
    return [
        own / (k + alpha * sum(x**2 for x in a[max(0, i - n // 2) : min(len(a) - 1, i + n // 2) + 1])) ** beta
        for i, own in enumerate(a)
    ]


RESPONSES = st.lists(st.floats(0, 1e4).map(lambda x: round(x, 3)), min_size=1, max_size=12)
CONSTANTS = st.builds(
    Constants,
    st.sampled_from((1, 3, 5, 9)),
    st.floats(0.1, 10),
    st.floats(0, 0.1).map(lambda x: round(x, 6)),
    st.floats(0, 2),
)


def column(a: list[float]) -> torch.Tensor:
    return torch.tensor(a, dtype=torch.float64).reshape(-1, 1, 1)


@FEW
@given(RESPONSES, CONSTANTS, st.floats(1, 10))
def test_every_channel_is_divided_as_the_paper_says(a: list[float], constants: Constants, growth: float) -> None:
    four = (constants.n, constants.k, constants.alpha, constants.beta)
    found = inhibition(column(a), (0, 0), constants, growth)
    peak = int(np.argmax(a))
    grown = [x * growth if i == peak else x for i, x in enumerate(a)]
    assert found.peak == peak
    assert found.table.before.tolist() == a
    np.testing.assert_allclose(found.table.after, by_hand(a, *four), rtol=1e-9)
    np.testing.assert_allclose(found.table.grown, by_hand(grown, *four), rtol=1e-9)


def test_the_defaults_are_the_papers_and_the_nets() -> None:
    from explorer.models.historic import AlexNet2012

    with torch.device("meta"):
        norm = AlexNet2012().norm1
    x = torch.rand(1, 96, 2, 2) * 1000
    assert torch.equal(Constants()(x), norm(x))


@FEW
@given(RESPONSES.filter(lambda a: max(a) > 0), CONSTANTS)
def test_only_the_neighbours_of_what_grows_are_inhibited(a: list[float], constants: Constants) -> None:
    found = inhibition(column(a), (0, 0), constants, growth=3)
    for row in found.table.itertuples():
        near = abs(row.channel - found.peak) <= constants.n // 2
        assert row.neighbour == near
        if not near:
            assert row.grown == row.after
        elif row.channel != found.peak:
            assert row.grown <= row.after


def test_a_gain_makes_all_responses_so_many_times_as_large() -> None:
    four = (5, 2.0, 1e-4, 0.75)
    found = inhibition(column([1, 5, 2]), (0, 0), Constants(), gain=30)
    assert found.table.before.tolist() == [30, 150, 60]
    assert found.table.after.tolist() == pytest.approx(by_hand([30, 150, 60], *four))


def test_off_leaves_everything_as_it_was() -> None:
    found = inhibition(column([1, 5, 2]), (0, 0), None, growth=2)
    assert found.table.after.tolist() == [1, 5, 2]
    assert found.table.grown.tolist() == [1, 10, 2]
    assert found.share("after") == found.share("before") == 5 / 8
    assert found.peak_change == 100
    assert found.neighbours_change == 0
    assert found.lead("after") == found.lead("before") == 5 / 1.5  # over the median of 1 and 2, in the paper's window


def test_shares_leads_and_changes_are_those_of_an_example() -> None:
    constants = Constants(3, 1.0, 1.0, 1.0)
    found = inhibition(column([0, 2, 3, 1, 6]), (0, 0), constants, growth=2)  # the peak's window: channels 3 and 4
    after = [0 / 5, 2 / 14, 3 / 15, 1 / 47, 6 / 38]
    assert found.table.after.tolist() == pytest.approx(after)
    assert found.peak == 4
    assert found.share("before") == 6 / 12
    assert found.share("after") == pytest.approx(after[4] / sum(after))
    assert found.lead("before") == 6
    assert found.lead("after") == pytest.approx(after[4] / after[3])
    assert found.peak_change == pytest.approx(100 * ((12 / 146) / (6 / 38) - 1))
    assert found.neighbours_change == pytest.approx(100 * ((1 / 155) / (1 / 47) - 1))
    assert pd.isna(found.table.change[0]), "what is 0 has no change in percent"


def test_the_lead_is_over_the_median_of_the_neighbours_that_respond() -> None:
    found = inhibition(column([2, 0, 9, 4, 5]), (0, 0), Constants(5, 1.0, 0.0, 1.0))
    assert found.lead("before") == 9 / 4  # of 2, 4 and 5
    assert inhibition(column([0, 0, 9, 0, 0]), (0, 0), Constants()).lead("before") is None


def test_where_nothing_responds_nothing_is_claimed() -> None:
    found = inhibition(column([0, 0, 0]), (0, 0), Constants())
    assert found.share("before") == found.share("after") == 0
    assert found.lead("after") is None
    assert found.peak_change is None
    assert found.neighbours_change is None


@given(st.floats(0.1, 10), st.floats(1e-6, 1), st.floats(0.55, 2))
@FEW
def test_the_summit_is_where_a_lone_channel_gives_most(k: float, alpha: float, beta: float) -> None:
    constants = Constants(5, k, alpha, beta)
    assert constants.summit is not None
    at = [by_hand([constants.summit * step], 5, k, alpha, beta)[0] for step in (0.9, 1, 1.1)]
    assert at[1] >= max(at)
    assert constants.knee is not None
    assert alpha * constants.knee**2 == pytest.approx(k)


def test_up_to_a_half_there_is_no_summit() -> None:
    assert Constants(beta=0.5).summit is None
    assert Constants(alpha=0).knee is None
    assert Constants(alpha=0).summit is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n": 4}, r"n \(=4\) must be odd"),
        ({"n": 0}, r"n \(=0\)"),
        ({"n": 33}, r"n \(=33\) must be odd, from 1 to 31"),
        ({"k": 0.0}, r"k \(=0.0\) must be above 0"),
        ({"k": math.nan}, r"k \(=nan\)"),
        ({"alpha": -1.0}, r"alpha \(=-1.0\) must be 0 or more"),
        ({"beta": math.inf}, r"beta \(=inf\)"),
    ],
)
def test_constants_that_cannot_be_are_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ConstantsError, match=words):
        Constants(**wrong)  # type: ignore[arg-type]


def test_responses_are_those_of_the_first_convolution_behind_its_relu() -> None:
    found = first_responses(CUP, seed=2)
    with torch.no_grad():
        expected = random_conv1(2)(raw_pixels(CUP))[0].clamp(min=0)
    assert found.shape == (96, 55, 55)
    assert torch.allclose(found.float(), expected, atol=1e-2)
    row, column = liveliest_place(found)
    assert found[:, row, column].max() == found.max()


def test_a_small_gain_leaves_but_one_division_for_all() -> None:
    """With pixels from 0 to 1 alpha times the squares is nothing beside k, and 2^0.75 is all that is left."""
    small = first_responses(CUP, seed=1) / 255
    found = inhibition(small, (27, 27), Constants())
    np.testing.assert_allclose(found.table.after, found.table.before / 2**0.75, rtol=1e-3)
    assert found.neighbours_change == pytest.approx(0, abs=0.1)


def test_the_costs_are_those_of_the_two_maps() -> None:
    costs = response_norm_costs()
    with_it, without = costs.itertuples()
    assert with_it.params == without.params == 60_965_224
    assert with_it.macs == without.macs
    assert with_it.layers - without.layers == 2
    assert with_it.activation_bytes - without.activation_bytes == 4 * (96 * 55 * 55 + 256 * 27 * 27)
    assert with_it.activation_bytes == layer_table("alexnet_2012").activation_bytes.sum()
