"""The report holds what it was given, letter by letter, and nothing that runs or is fetched."""

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import captum
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from explorer.attribution import METHODS, Attribution
from explorer.attribution.assess import Measures
from explorer.attribution.measures import ABOUT, Order
from explorer.export.report import Panel, map_facts, measured, net_facts, report
from explorer.models.checkpoints import REGISTRY, Box

EVIL = "<script>alert(1)</script>\"' & <img src=x onerror=alert(2)>.png"
ROWS = pd.DataFrame(
    {
        "class_index": [3, 1, 0, 2, 5, 4],
        "class_name": ["cat", EVIL, "frog", "deer", "bird", "sixth"],
        "probability": [0.5, 0.25, 0.125, 0.1, 0.02, 0.005],
        "logit": [5.4321, 4.0, 3.0, 2.0, 1.0, 0.0],
    }
)
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would make of it: elements with their attributes, and the text that is shown."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.shown: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # well nested

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] != "style":
            self.shown.append(" ".join(data.split()))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def panel(title: str = "Grad-CAM", size: tuple[int, int] = (4, 3)) -> Panel:
    pixels = np.random.default_rng(len(title)).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    return Panel(title, Image.fromarray(pixels), f"{title} below", f"{title} in words")


def made(**more: Any) -> bytes:
    arguments: dict[str, Any] = {
        "title": "Why cat?",
        "seen": panel("As the net sees it"),
        "predictions": ROWS,
        "maps": [panel("Grad-CAM"), panel("Occlusion")],
        "facts": {"Picture and net": {"Picture": EVIL}, "Grad-CAM": {"Layer": "layer4"}},
    }
    return report(**arguments | more)


def test_the_page_is_whole_and_has_its_parts() -> None:
    page = Page(made(measures=pd.DataFrame([dict.fromkeys(("measure", "source", "value", "good", "bad"), "x")])))
    assert page.open == []
    assert page.of("html") == [{"lang": "en"}]
    assert [name for name, _ in page.elements if name in ("h1", "h2")] == ["h1", "h2", "h2", "h2"]
    headings = ["Why cat?", "Where it looks", "How far the map can be believed", "How it was made"]
    assert [text for text in page.shown if text in headings] == ["Why cat?", *headings]  # the first in the tab too


def test_nothing_runs_and_nothing_is_fetched() -> None:
    page = Page(made(link="https://example.org/a?b=c&d=<e>"))
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    policy = next(each["content"] for each in page.of("meta") if "http-equiv" in each)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            if name in attributes:
                allowed = "https://example.org/a?b=c&d=<e>" if tag == "a" else "data:image/png;base64,"
                assert (attributes[name] or "").startswith(allowed)
    css = made().decode().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css


def test_what_strangers_named_is_shown_letter_by_letter() -> None:
    page = Page(
        made(
            title=f"Why {EVIL}?",
            maps=[replace(panel(), title=EVIL, caption=EVIL, alt=EVIL)],
            facts={EVIL: {EVIL: EVIL}},
            warnings=[EVIL],
            measures=pd.DataFrame([dict.fromkeys(("measure", "source", "value", "good", "bad"), EVIL)]),
            link=EVIL,
        )
    )
    assert page.of("script") == []
    assert len(page.of("img")) == 2
    assert page.of("img")[1]["alt"] == EVIL
    # Title twice, a class, a map's title and caption, three of the facts, a warning, five of a measure, and the link
    assert sum(text.count(EVIL) for text in page.shown) == 2 + 1 + 2 + 3 + 1 + 5 + 1


def test_the_pictures_are_inside_pixel_for_pixel() -> None:
    panels = [panel("As the net sees it"), panel("Grad-CAM", (130, 7)), panel("Occlusion")]
    images = Page(made(seen=panels[0], maps=panels[1:])).of("img")
    assert [each["alt"] for each in images] == [f"{each.title} in words" for each in panels]
    assert [each.get("class") for each in images] == ["small", None, "small"]
    for each, known in zip(images, panels, strict=True):
        data = base64.b64decode((each["src"] or "").partition(",")[2])
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(known.image))
        assert (each["width"], each["height"]) == tuple(map(str, known.image.size))


def test_the_five_likeliest_classes_have_their_numbers() -> None:
    page = Page(made())
    start = page.shown.index("cat (3)")
    assert page.shown[start : start + 3] == ["cat (3)", "50.0%", "5.432"]
    assert [each["style"] for each in page.of("th") if "style" in each] == [
        f"--part: {share}%" for share in (50.0, 25.0, 12.5, 10.0, 2.0)
    ]
    assert not any("sixth" in text for text in page.shown)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "//example.org", "file:///etc"])
def test_a_link_that_is_not_of_the_web_leads_nowhere(link: str) -> None:
    page = Page(made(link=link))
    assert page.of("a") == []
    assert any(link in text for text in page.shown)


def test_a_permalink_can_be_followed() -> None:
    link = "https://example.org/attribution?net=a&class=<b>"
    assert Page(made(link=link)).of("a") == [{"href": link, "rel": "noreferrer"}]


def test_a_measure_has_its_row() -> None:
    row = {name: f"the {name}" for name in ("measure", "source", "value", "good", "bad")}
    page = Page(made(measures=pd.DataFrame([row])))
    start = page.shown.index("the measure")
    assert page.shown[start : start + 5] == list(row.values())


def test_what_is_not_given_is_not_there() -> None:
    page = Page(made())
    assert page.of("a") == []
    assert not any("believed" in text for text in page.shown)
    assert not any(each.get("class") == "warning" for each in page.of("p"))


def test_the_same_question_gives_the_same_bytes() -> None:
    assert made() == made()


# Facts


def explained(method: str, settings: Mapping[str, Any], **more: Any) -> Attribution:
    known: dict[str, Any] = {
        "checkpoint": "tiny",
        "method": method,
        "target": 3,
        "target_name": "cat",
        "against": None,
        "against_name": None,
        "channels": np.ones((1, 2, 2), dtype=np.float32),
        "picture": Image.new("RGB", (2, 2)),
        "score": 9.2361,
        "expected_sum": None,
        "expected_sum_is": None,
        "sum": 4.0,
        "device": "CPU",
        "seconds": 1.234,
        "settings": {**settings, "captum": captum.__version__},
    }
    return Attribution(**known | more)


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_of_every_method_is_told_by_its_name_on_screen(method: str) -> None:
    known = METHODS[method].parameters
    rows = map_facts(explained(method, {each.name: each.default for each in known}))
    for each in known:
        assert rows[each.label] == str((each.choices or {}).get(each.default, each.default))
    assert METHODS[method].source in rows["Method"]
    assert rows["Computed"] == f"in 1.23 s on CPU, PyTorch {torch.__version__}, Captum {captum.__version__}"


def test_what_was_explained_is_told() -> None:
    rows = map_facts(explained("grad_cam", {"layer": "layer4"}))
    assert (rows["Class"], rows["Logit"], rows["Layer"]) == ("cat (3)", "9.236", "layer4")
    assert "And not" not in rows
    assert "Sum of the map" not in rows
    rows = map_facts(
        explained(
            "integrated_gradients",
            {"baseline": "mean", "steps": 50},
            against=5,
            against_name="dog",
            expected_sum=4.25,
            expected_sum_is="the score less that of black",
        )
    )
    assert (rows["Class"], rows["And not"], rows["Difference of logits"]) == ("cat (3)", "dog (5)", "9.236")
    assert (rows["Baseline"], rows["Steps"]) == ("Zero input (the mean colour for most nets)", "50")
    assert rows["Sum of the map"] == "4; it should be 4.25, the score less that of black"


def test_the_net_its_weights_and_the_part_of_the_picture_are_told() -> None:
    checkpoint = REGISTRY["efficientnet_lite0"]
    rows = net_facts(checkpoint, "coffee.png", None, "22 November 2026")
    assert rows == {
        "Picture": "coffee.png",
        "Part of it": "the square from the centre, 224 x 224 px for the net",
        "Net": checkpoint.title,
        "Trained on": checkpoint.trained_on,
        "Weights": checkpoint.source,
        "Licence": checkpoint.licence,
        "Made": "22 November 2026",
    }
    boxed = net_facts(checkpoint, "coffee.png", Box(left=0.25, top=0.125, side=0.5), "now")["Part of it"]
    assert boxed == (
        "in parts of its shorter side a square of 0.5, 0.25 from the left and 0.125 from the top, "
        "224 x 224 px for the net"
    )


# Measures

ORDER = Order(
    pd.DataFrame(),
    deletion=0.1,
    insertion=0.7,
    deletion_random=0.25,
    insertion_random=0.25,
    random_low=0.2,
    random_high=0.3,
    orders=5,
)


def test_every_measure_stands_beside_what_a_good_and_a_bad_value_look_like() -> None:
    record = explained("integrated_gradients", {}, expected_sum=4.25)
    drawn = pd.DataFrame({"part": ["trained", "fc", "conv1"], "rank": [1.0, 0.5, 0.125]})
    table = measured(record, Measures(-0.25, 0.125, 0.5, ORDER, "blur"), drawn).set_index("measure")
    assert list(table.index) == [each.title for each in ABOUT.values()]
    chance = "of 5 random orders 0.250 on average, 0.200 to 0.300; in place of pixels: blurred"
    assert dict(table["value"]) == {
        ABOUT["completeness"].title: "-0.25 beside 4.25",
        ABOUT["infidelity"].title: "0.125",
        ABOUT["max_sensitivity"].title: "0.500",
        ABOUT["deletion"].title: f"area 0.100; {chance}",
        ABOUT["insertion"].title: f"area 0.700; {chance}",
        ABOUT["randomisation"].title: "rank correlation 0.12 when all weights are drawn anew",
    }
    for each in ABOUT.values():
        assert (table.good[each.title], table.bad[each.title], table.source[each.title]) == (
            each.good,
            each.bad,
            each.source,
        )


def test_what_a_method_does_not_promise_is_left_out() -> None:
    table = measured(explained("feature_maps", {}), Measures(None, None, 0.5, ORDER, "blur"))
    assert list(table.measure) == [ABOUT[name].title for name in ("max_sensitivity", "deletion", "insertion")]


def test_a_correlation_that_is_none_is_said_to_be_none() -> None:
    drawn = pd.DataFrame({"part": ["trained", "fc"], "rank": [1.0, float("nan")]})
    table = measured(explained("saliency", {}), Measures(None, 0.5, 0.5, ORDER, "blur"), drawn).set_index("measure")
    assert table.value[ABOUT["randomisation"].title] == "none: with all weights drawn anew the map is flat"


def test_weights_drawn_anew_can_stand_alone() -> None:
    drawn = pd.DataFrame({"part": ["trained", "fc"], "rank": [1.0, 0.25]})
    table = measured(explained("saliency", {}), None, drawn)
    assert list(table.measure) == [ABOUT["randomisation"].title]
