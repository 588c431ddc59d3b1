"""Dropout against every mask there is, and the small trainings."""

from itertools import product

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW

from explorer.jobs import Cancelled, Progress
from explorer.training import dropout as module
from explorer.training.dropout import DropoutError, digits, dropout, learning, learning_summary, passes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@FEW
@given(st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.9)), st.integers(0, 99))
def test_a_value_is_dropped_or_scaled_and_rarely_more_than_the_rate_says(rate: float, seed: int) -> None:
    values = torch.rand(20_000, dtype=torch.float64, generator=generator(seed)) + 1
    found = dropout(values, rate, generator(seed + 1))
    kept = found != 0
    assert torch.allclose(found[kept], values[kept] / (1 - rate))
    deviation = (rate * (1 - rate) / len(values)) ** 0.5
    assert abs((~kept).double().mean() - rate) <= 6 * deviation


def test_it_scales_as_pytorchs_layer_does() -> None:
    values = torch.rand(1000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.nn.Dropout(0.3)(values)
    ours = dropout(values, 0.3, generator())
    both = (theirs != 0) & (ours != 0)
    assert both.any()
    assert torch.allclose(theirs[both], ours[both])


def test_behind_a_linear_layer_the_mean_over_all_masks_is_the_full_net_and_behind_a_relu_it_is_not() -> None:
    x = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    weight = torch.tensor([1.0, -1.0, 2.0, 0.2], dtype=torch.float64)
    rate = 0.3
    mean = behind_relu = square = 0.0
    for mask in product((0, 1), repeat=4):
        share = 1.0
        for kept in mask:
            share *= 1 - rate if kept else rate
        out = float(weight @ (x * torch.tensor(mask) / (1 - rate)))
        mean += share * out
        square += share * out**2
        behind_relu += share * max(out, 0)
    full = float(weight @ x)
    assert mean == pytest.approx(full)
    assert behind_relu > 1.1 * max(full, 0)
    assert square - mean**2 == pytest.approx(rate / (1 - rate) * float((weight**2) @ (x**2))), "as `passes` has it"


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
def test_the_mean_of_the_passes_comes_as_near_as_it_is_expected_to(rate: float) -> None:
    runs = [passes(rate, seed) for seed in range(5)]
    for run in runs:
        table = run.table
        assert table.passes.tolist() == [2**power for power in range(11)]
        assert (table.linear / table.expected).between(0.7, 1.4).all()
        assert table.expected[0] / table.expected[10] == pytest.approx(1024**0.5)
        assert run.zeros == pytest.approx(rate, abs=0.01)
        assert run.scale == 1 / (1 - rate)
        assert table.behind_relu[10] > 2 * table.linear[10], "it has a bias that no number of passes removes"


def test_off_every_pass_is_the_full_net() -> None:
    off = passes(0.0)
    assert off.zeros == 0
    assert off.scale == 1
    assert off.table.linear.max() == pytest.approx(0, abs=1e-12)
    assert off.table.behind_relu.max() == pytest.approx(0, abs=1e-12)


def test_the_same_seed_gives_the_same_and_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    pd.testing.assert_frame_equal(passes(0.5, 3).table, passes(0.5, 3).table)
    assert not passes(0.5, 4).table.equals(passes(0.5, 3).table)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("rate", [-0.1, 0.96, 1.0, float("nan")])
def test_rates_that_cannot_be_are_refused(rate: float) -> None:
    with pytest.raises(DropoutError, match=r"rate \(="):
        passes(rate)
    with pytest.raises(DropoutError, match=r"rate \(="):
        learning(rate)


def test_a_share_of_wrong_labels_that_cannot_be_is_refused() -> None:
    with pytest.raises(DropoutError, match=r"wrong \(=0.6\) must be a share from 0 to 0.5"):
        learning(0.5, 0.6)


@pytest.mark.parametrize(("wrong", "count"), [(0.0, 0), (0.3, 120), (0.5, 200)])
def test_exactly_so_many_labels_are_wrong(wrong: float, count: int) -> None:
    pictures, labels = digits(400, wrong, generator())
    assert pictures.shape == (400, 35)
    assert int((labels != torch.arange(400) % 10).sum()) == count
    assert set(labels.tolist()) <= set(range(10))


def test_a_digit_is_its_pattern_with_noise() -> None:
    pictures, labels = digits(10_000, 0.0, generator())
    one = pictures[labels == 1]
    drawn = ("..#..", ".##..", "..#..", "..#..", "..#..", "..#..", ".###.")
    pattern = torch.tensor([float(dot == "#") for dot in "".join(drawn)])
    assert torch.allclose(one.mean(0), pattern, atol=0.08)
    assert one.std(0).mean() == pytest.approx(0.5, abs=0.02)


def test_a_net_learns_wrong_labels_by_heart_and_dropout_keeps_it_from_that() -> None:
    """On the page: about 24% test error without and 12% with, over ten seeds; here one seed."""
    progress = Progress()
    runs = learning(0.5, 0.3, progress.report, seeds=range(1))
    assert progress.fraction > 0.9
    last = runs[runs.step == module.STEPS].set_index("rate")
    assert last.train_error[0.0] < 2
    assert last.test_error[0.0] > 18
    assert last.train_error[0.5] > 10
    assert last.test_error[0.5] < 16
    first = runs[runs.step == 0].set_index("rate")
    assert first.test_error[0.0] == first.test_error[0.5], "both start from the same weights"
    assert first.test_error[0.0] == pytest.approx(90, abs=10)


def test_every_seed_runs_with_and_without_and_cancel_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 20)
    runs = learning(0.4, 0.1)
    assert sorted(set(zip(runs.rate, runs.seed, strict=True))) == [(r, s) for r in (0.0, 0.4) for s in range(3)]
    assert runs.equals(learning(0.4, 0.1))
    assert set(learning(0.0, 0.1).rate) == {0.0}
    progress = Progress()
    progress._cancel_asked = True
    with pytest.raises(Cancelled):
        learning(0.5, report=progress.report)


def test_the_summary_is_of_the_last_step() -> None:
    rows = [(0.5, 0, 0, 80.0, 90.0), (0.5, 0, 20, 10.0, 20.0), (0.5, 1, 20, 30.0, 25.0)]
    summary = learning_summary(pd.DataFrame(rows, columns=["rate", "seed", "step", "train_error", "test_error"]))
    assert summary.values.tolist() == [[0.5, 20, 10, 30, 22.5, 20, 25]]
