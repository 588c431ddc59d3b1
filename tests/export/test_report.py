"""The report holds what it was given, letter by letter, and nothing that runs or is fetched."""

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import captum
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from explorer.attribution import METHODS, Attribution
from explorer.attribution.assess import Measures
from explorer.attribution.measures import ABOUT, Order
from explorer.export.report import Panel, compared_with, map_facts, measured, net_facts, ordered, report
from explorer.models.checkpoints import REGISTRY
from explorer.models.preprocessing import Box

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

CURVES = pd.DataFrame(
    {
        "part": [0.0, 0.25, 1.0],
        "deletion": [0.75, 0.125, 0.0625],
        "deletion_random": [0.75, 0.5, 0.0625],
        "deletion_random_low": [0.75, 0.375, 0.0625],
        "deletion_random_high": [0.75, 0.625, 0.0625],
        "insertion": [0.0625, 0.8125, 0.75],
        "insertion_random": [0.0625, 0.3125, 0.75],
        "insertion_random_low": [0.0625, 0.25, 0.75],
        "insertion_random_high": [0.0625, 0.4375, 0.75],
    }
)
ORDER = Order(
    CURVES,
    deletion=0.1,
    insertion=0.7,
    deletion_random=0.25,
    insertion_random=0.26,
    random_low=0.2,
    random_high=0.3,
    orders=5,
)


def test_every_measure_stands_beside_what_a_good_and_a_bad_value_look_like() -> None:
    record = explained("integrated_gradients", {}, expected_sum=4.25)
    drawn = pd.DataFrame({"part": ["trained", "fc", "conv1"], "rank": [1.0, 0.5, 0.125]})
    table = measured(record, Measures(-0.25, 0.125, 0.5, ORDER, "blur"), drawn).set_index("measure")
    assert list(table.index) == [each.title for each in ABOUT.values()]
    chance = "of 5 random orders {} on average, 0.200 to 0.300; in place of pixels: blurred"
    assert dict(table["value"]) == {
        ABOUT["completeness"].title: "-0.25 beside 4.25",
        ABOUT["infidelity"].title: "0.125",
        ABOUT["max_sensitivity"].title: "0.500",
        ABOUT["deletion"].title: f"area 0.100; {chance.format('0.250')}",
        ABOUT["insertion"].title: f"area 0.700; {chance.format('0.260')}",
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


# Deletion and insertion, drawn


class Chart:
    """One of the page's drawings, read as a person does: by the ticks of its axes.

    Attributes:
        axes: "across" and "down", their ticks: a place and what is written there. frame: width and height.
    """

    def __init__(self, svg: ElementTree.Element) -> None:
        self.svg = svg
        self.frame = [float(number) for number in svg.attrib["viewBox"].split()[2:]]
        self.axes = {
            axis: [(float(tick.attrib[name]), tick.text or "") for tick in svg.findall(f"text[@class='{axis}']")]
            for axis, name in (("across", "x"), ("down", "y"))
        }
        self.words = [each.text for each in svg.findall("text") if "class" not in each.attrib]

    def values(self, axis: str, places: list[float]) -> list[float]:
        """What stands at these places of an axis."""
        at, labels = zip(*self.axes[axis], strict=True)
        known = [float(label.removesuffix("%")) / (100 if label.endswith("%") else 1) for label in labels]
        slope, start = np.polyfit(at, known, 1)
        assert np.allclose(slope * np.array(at) + start, known, atol=1e-3 * np.ptp(known)), "an even scale"
        return list(slope * np.array(places) + start)

    def points(self, kind: str) -> tuple[list[float], list[float]]:
        """The parts and the values of a line or a band, which do not leave the drawing."""
        text = next(each for each in self.svg if each.get("class") == kind).attrib["points"]
        across, down = zip(*((float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())), strict=True)
        assert 0 <= min(across) <= max(across) <= self.frame[0]
        assert 0 <= min(down) <= max(down) <= self.frame[1]
        return self.values("across", list(across)), self.values("down", list(down))


def charts(page: bytes) -> dict[str, Chart]:
    """By the order's name."""
    found = re.findall(r'<figure class="(\w+)">\s*<h3>.*?</h3>\s*(<svg.*?</svg>)', page.decode(), re.DOTALL)
    return {name: Chart(ElementTree.fromstring(svg)) for name, svg in found}


def drawn(order: Order, **more: Any) -> bytes:
    return made(curves=ordered(explained("saliency", {}, **more), Measures(None, None, 0.5, order, "blur")))


def near(values: Any) -> Any:
    return pytest.approx(list(values), abs=1e-3 * float(np.ptp(CURVES.drop(columns="part").to_numpy())))


def test_the_curves_read_from_the_drawing_are_those_that_were_measured() -> None:
    found = charts(drawn(ORDER))
    assert list(found) == ["deletion", "insertion"]
    for kind, chart in found.items():
        for drawing, column in (("line", kind), ("chance", f"{kind}_random")):
            assert chart.points(drawing) == (near(CURVES.part), near(CURVES[column]))
        low, high = CURVES[f"{kind}_random_low"], CURVES[f"{kind}_random_high"]
        parts = [*CURVES.part, *CURVES.part[::-1]]
        assert chart.points("band") == (near(parts), near([*high, *low[::-1]]))


def test_both_drawings_have_the_same_axes_in_words() -> None:
    deletion, insertion = charts(drawn(ORDER)).values()
    assert deletion.axes == insertion.axes
    assert [label for _, label in deletion.axes["across"]] == ["0%", "25%", "50%", "75%", "100%"]
    assert [label for _, label in deletion.axes["down"]] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert deletion.words == ["probability of the class", "part of the pixels taken away"]
    assert insertion.words == ["probability of the class", "part of the pixels put in"]


def test_the_legend_and_the_text_for_those_who_do_not_see_hold_the_areas() -> None:
    page = drawn(ORDER)
    legend = Page(page).shown
    for area, chance in (("0.100", "0.250"), ("0.700", "0.260")):
        place = legend.index(f"in the order of the map, area {area}")
        assert legend[place + 1 : place + 3] == [
            f"mean of 5 random orders, area {chance}",
            "from the lowest to the highest of these at each step",
        ]
    found = charts(page)
    assert found["deletion"].svg.attrib["role"] == "img"
    assert found["deletion"].svg.attrib["aria-label"] == (
        "Deletion: the probability of the class over the part of the pixels taken away. In the order of the map it "
        "goes from 0.75 to 0.0625, and the area below it is 0.100; that of 5 random orders is 0.250 on average."
    )
    assert "from 0.0625 to 0.75, and the area below it is 0.700" in found["insertion"].svg.attrib["aria-label"]


def test_of_two_classes_the_curves_are_of_the_difference_and_go_below_nothing() -> None:
    lower = CURVES.drop(columns="part") * 16 - 10  # from -9 to 3
    found = charts(drawn(replace(ORDER, curves=lower.assign(part=CURVES.part)), against=5, against_name="dog"))
    for kind, chart in found.items():
        assert chart.words[0] == "difference of the logits"
        assert [label for _, label in chart.axes["down"]] == ["-10", "-5", "0", "5"]
        assert chart.points("line")[1] == pytest.approx(list(CURVES[kind] * 16 - 10), abs=0.02)


@pytest.mark.parametrize(
    ("size", "labels"),
    [
        (0.0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (1e-7, ["0", "2e-08", "4e-08", "6e-08", "8e-08", "1e-07"]),
        (-25.0, ["-25", "-20", "-15", "-10", "-5", "0"]),
        (1000.0, ["0", "200", "400", "600", "800", "1000"]),
    ],
)
def test_an_axis_holds_nothing_and_what_was_measured_of_any_size(size: float, labels: list[str]) -> None:
    flat = CURVES.assign(**{name: size for name in CURVES if name != "part"})
    for chart in charts(drawn(replace(ORDER, curves=flat))).values():
        assert [label for _, label in chart.axes["down"]] == labels
        assert chart.points("line")[1] == pytest.approx([size] * 3, abs=1e-3 * (abs(size) or 1))


def test_what_has_no_place_on_an_axis_is_not_drawn() -> None:
    broken = CURVES.assign(deletion=[0.75, float("nan"), 0.0])
    assert charts(drawn(replace(ORDER, curves=broken))) == {}
    assert charts(made()) == {}


def test_the_curves_stand_below_the_measures_that_sum_them_up() -> None:
    record = explained("saliency", {})
    measures = Measures(None, None, 0.5, ORDER, "blur")
    shown = Page(made(measures=measured(record, measures), curves=ordered(record, measures))).shown
    titles = [text for text in shown if text in ("Deletion", "Insertion", "How it was made")]
    assert titles == ["Deletion", "Insertion", "Deletion", "Insertion", "How it was made"]


# Baselines


def compared(method: str, baseline: str, colour: int) -> Attribution:
    settings = {"baseline": baseline}
    return explained(method, settings, baseline=Image.new("RGB", (2, 2), (colour, 2 * colour, 7)))


def test_a_baseline_is_shown_once_with_its_methods_as_the_net_takes_it() -> None:
    maps = [
        compared("integrated_gradients", "blur", 90),
        explained("grad_cam", {}),
        compared("occlusion", "black", 0),
        compared("deep_lift", "blur", 90),
    ]
    page = Page(made(baselines=compared_with(maps)))
    images = page.of("img")[3:]
    for each, known in zip(images, (maps[0].baseline, maps[2].baseline), strict=True):
        assert known is not None
        data = base64.b64decode((each["src"] or "").partition(",")[2])
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(known))
    assert [each["alt"] for each in images] == [
        f"What the picture is compared with: {kind}" for kind in ("blurred", "black")
    ]
    assert "Blurred, as the net takes it. For Integrated Gradients, DeepLIFT." in page.shown
    assert "Black, as the net takes it. For Occlusion." in page.shown
    assert page.shown.count("Baseline") == 2


def test_a_baseline_of_another_picture_is_another_one() -> None:
    panels = compared_with([compared("occlusion", "blur", 90), compared("occlusion", "blur", 20)])
    assert [panel.image.getpixel((0, 0)) for panel in panels] == [(90, 180, 7), (20, 40, 7)]


def test_a_method_without_a_baseline_shows_none() -> None:
    assert compared_with([explained("grad_cam", {})]) == []
    assert "Baseline" not in Page(made()).shown
