"""What a setting takes, and what it answers to anything else."""

from typing import Any

import numpy as np
import pytest

from explorer.attribution.parameters import Parameter, checked
from explorer.errors import Refusal

WHOLE = Parameter("steps", "Steps", "", 50, 2, 500)
PART = Parameter("noise", "Noise", "", 0.1, 0.0, 1.0)
WORD = Parameter("parts", "Parts", "", "grid", choices={"grid": "Squares", "superpixels": "Superpixels"})
SWITCH = Parameter("on", "On", "", True)


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (WHOLE, 2, 2),
        (WHOLE, np.int64(500), 500),
        (PART, 1, 1.0),
        (PART, np.float32(0.5), 0.5),
        (PART, 0, 0.0),
        (WORD, "superpixels", "superpixels"),
        (SWITCH, False, False),
    ],
)
def test_a_value_that_it_takes_comes_back_in_its_own_type(parameter: Parameter, value: Any, expected: Any) -> None:
    found = parameter.checked(value)
    assert found == expected
    assert type(found) is type(parameter.default)


@pytest.mark.parametrize("value", [1, 501, 50.0, True, "50", None, float("nan"), [50], np.float64(50)])
def test_no_whole_number_in_range(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        WHOLE.checked(value)
    assert str(caught.value) == f"steps (={value!r}) must be a whole number from 2 to 500."


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf"), True, "0.1", None, {}])
def test_no_number_in_range(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        PART.checked(value)
    assert str(caught.value) == f"noise (={value!r}) must be a number from 0 to 1."


@pytest.mark.parametrize("value", ["Grid", "", 0, None, ["grid"], {"grid": 1}])
def test_no_known_word(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        WORD.checked(value)
    assert str(caught.value) == f"parts (={value!r}) must be one of grid, superpixels."


@pytest.mark.parametrize("value", [1, 0, "True", None])
def test_neither_true_nor_false(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        SWITCH.checked(value)
    assert str(caught.value) == f"on (={value!r}) must be True or False."


def test_what_is_not_given_is_the_default() -> None:
    assert checked((WHOLE, PART), {"noise": 1}, "Method") == {"steps": 50, "noise": 1.0}


def test_a_setting_that_is_none_is_answered_with_those_that_are() -> None:
    with pytest.raises(Refusal) as caught:
        checked((WHOLE, PART), {"step": 3}, "Method")
    assert str(caught.value) == "step (=3) is no setting of Method, which has steps, noise."
    with pytest.raises(Refusal) as caught:
        checked((), {"steps": 3}, "Method")
    assert str(caught.value) == "steps (=3) is no setting of Method, which has no settings."
