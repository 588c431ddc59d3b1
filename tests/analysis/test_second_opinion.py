"""The counts of others: that each difference is explained, and that a run can be stopped."""

import pytest
from hypothesis import given
from strategies import FEW, specs

from explorer.analysis.second_opinion import second_opinion, torchinfo_text
from explorer.jobs import Cancelled, Progress
from explorer.spec import ResNetSpec


@FEW
@given(specs())
def test_every_difference_is_explained_whatever_the_net(spec: ResNetSpec) -> None:
    ours, torchinfos, torchs = second_opinion(spec).itertuples()
    assert torchs.difference == 0
    assert torchinfos.params == ours.params
    assert "cannot explain" not in torchinfos.reason
    assert f"{torchinfos.difference:,}" in torchinfos.reason


def test_it_says_how_far_it_is_and_stops_when_asked() -> None:
    seen: list[tuple[float, str]] = []

    class Watched(Progress):
        def report(self, fraction: float, text: str = "") -> None:
            seen.append((fraction, text))
            if text == "PyTorch counts":
                raise Cancelled("enough")

    with pytest.raises(Cancelled):
        second_opinion("resnet18", progress=Watched())
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(set(fractions))
    assert [text for _, text in seen] == ["Counting", "torchinfo counts", "PyTorch counts"]


def test_torchinfos_text_is_its_own_and_goes_as_deep_as_asked() -> None:
    texts = [torchinfo_text("resnet18", depth) for depth in (1, 4)]
    assert all("Total params: 11,689,512" in text for text in texts)
    assert [text.count("Conv2d") for text in texts] == [1, 20]
