"""The section on the report, through Streamlit's own page tests: the file holds what the package measures."""

import base64
import html
import io
import re

import numpy as np
import pytest
from PIL import Image
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.attribution import METHODS, attribute, predict
from explorer.attribution.assess import assess
from explorer.export.report import ordered
from explorer.models.checkpoints import load

NET = "cifar_resnet20"
SAMPLE = Image.effect_noise((40, 40), 90).convert("RGB")


def page() -> None:
    from collections import defaultdict

    import streamlit as st

    from explorer.attribution import Picture, predict
    from explorer.models.checkpoints import load
    from explorer.pages import edge
    from explorer.pages.attribution_sections import reporting
    from explorer.pages.attribution_sections.asking import Asked

    picture = Picture(st.session_state["sample"], "Noise", ())
    net = load("cifar_resnet20")
    memories = defaultdict(lambda: lambda measurement: measurement.measure())
    with edge.sentences():
        reporting.show(Asked(net, picture, "noise", None, predict(net, picture.image), None, None, memories))


def report(monkeypatch: pytest.MonkeyPatch, method: str, more: list[str], measures: bool) -> str:
    """The file that the button brings."""
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({label: make(content)}),
    )
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in {"sample": SAMPLE, "method": method, "report_methods": more, "report_measures": measures}.items():
        app.session_state[key] = value
    app = until(app.run(), lambda app: bool(files))
    assert not app.error
    assert not app.exception
    return files["Report as HTML"].decode()


def pictures(text: str, alt: str) -> list[Image.Image]:
    found = re.findall(rf'<img[^>]*src="data:image/png;base64,([^"]*)"[^>]*alt="{alt}', text)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_the_report_has_the_curves_and_the_baseline_of_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    text = report(monkeypatch, "deep_lift", ["integrated_gradients"], True)
    target = int(predict(NET, SAMPLE).class_index[0])
    known = attribute(NET, SAMPLE, "deep_lift", target)
    (baseline,) = pictures(text, "What the picture is compared with")
    assert known.baseline is not None
    assert np.array_equal(np.asarray(baseline), np.asarray(known.baseline))
    assert "For DeepLIFT, Integrated Gradients." in text
    curves = ordered(known, assess(load(NET), SAMPLE, known))
    assert len(curves) == 2
    for each in curves:
        assert each.alt in text
        assert " ".join(f"{across:.2f},{down:.2f}" for across, down in each.line) in text


def test_a_warning_says_of_which_method_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = report(monkeypatch, "grad_cam", ["guided_backprop", "saliency", "deconvolution"], False)
    said = re.findall(r'<p class="warning">(.*?)</p>', text)
    methods = [METHODS[name] for name in ("guided_backprop", "deconvolution")]
    assert [html.unescape(each) for each in said] == [f"{method.title}: {method.warning}" for method in methods]


def test_without_measures_there_are_no_curves_and_without_a_baseline_no_picture_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = report(monkeypatch, "grad_cam", [], False)
    assert "<h3>Grad-CAM</h3>" in text
    assert "<svg" not in text
    assert "Baseline" not in text
    assert len(pictures(text, "")) == 2, "what the net sees, and the map"
