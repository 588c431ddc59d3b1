from typing import Any

import pandas as pd
import streamlit as st

from explorer.attribution import METHODS, Attribution, attribute, predict
from explorer.attribution.methods import BASELINES
from explorer.export.tables import csv, npy
from explorer.figures.attribution import attribution_chart, prediction_chart
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.models.checkpoints import REGISTRY, Trained, load
from explorer.pages import cached, parts, pictures, runs

_PREDICTED = -1  # None is no choice to Streamlit, whose box then keeps an old label

st.header("Attribution", anchor=False)
st.caption("What a trained net predicts for a picture, and where it looks.")

choices, seen, ranked = st.columns([4, 3, 5])
with choices:
    name = st.selectbox(
        "Trained net",
        list(REGISTRY),
        format_func=lambda key: REGISTRY[key].title + (" · works offline" if REGISTRY[key].offline else ""),
        key="checkpoint",
        persist_state="session",
        help="Weights that are not installed are downloaded on first use and kept.",
    )
    checkpoint = REGISTRY[name]
    own = checkpoint.training
    if own is None:
        st.caption(
            f"{checkpoint.trained_on}, {checkpoint.top1:.1f}% top-1 as published ({checkpoint.source}). "
            f"{checkpoint.licence}."
        )
    else:
        side = checkpoint.preprocessing.crop
        st.caption(
            f"{checkpoint.trained_on}, {checkpoint.top1:.1f}% top-1 on the 10,000 test pictures. {checkpoint.source}, "
            f"{checkpoint.licence}: {own.steps:,} steps of {own.batch} pictures, about {own.epochs:.0f} times through "
            "the training set. He et al. (2015, section 4.2) go through it about 164 times and err less."
        )
        st.caption(
            f"This net has seen nothing but pictures of {side} x {side} px in {len(checkpoint.classes)} classes: "
            f"{', '.join(checkpoint.classes)}. Any picture is shrunk to that size and gets one of these names, "
            "whatever it shows."
        )
    picture = pictures.choose()
if picture is None:
    st.info("Choose a picture file, or switch to a sample.", icon=":material/add_photo_alternate:")
    st.stop()
image = picture.image
for note in picture.notes:
    choices.caption(note)
with seen:
    st.image(
        checkpoint.preprocessing.crop_of(image),
        caption=f"As the net sees it: {checkpoint.preprocessing.crop} px square, from the centre",
        alt=f"{picture.name}, cut to the square that the net sees",
        width="stretch",
    )


def loading(progress: Progress) -> Trained:
    """Fetch weights that are not installed; the first run of a net."""
    return load(name, progress.report)


with ranked:
    if runs.outcome("weights_run", name, loading, cached.download_queue()) is None:
        st.stop()


def predicting(progress: Progress) -> pd.DataFrame:
    """Rank the classes."""
    return predict(name, image, progress.report)


with ranked:
    rows = runs.outcome("prediction_run", (name, picture), predicting)
    if rows is not None:
        top = rows.head(5)
        likeliest = ", ".join(f"{row.class_name} {row.probability:.1%}" for row in top.itertuples())
        st.plotly_chart(prediction_chart(top), key="predictions", config=config("predictions"), alt=likeliest)
        parts.download(
            "All classes as CSV",
            csv,
            rows,
            "predictions.csv",
            "text/csv",
            "Class, probability and logit of every class, the likeliest first.",
        )
if rows is None:
    st.stop()

st.subheader("Where it looks", anchor=False)
settings, overlay = st.columns([4, 8])
if st.session_state.get("target_of") != checkpoint.trained_on:  # the same number is another class there
    st.session_state["target"] = _PREDICTED
    st.session_state["target_of"] = checkpoint.trained_on
with settings:
    method = st.segmented_control(
        "Method",
        list(METHODS),
        format_func=METHODS.__getitem__,
        default="grad_cam",
        required=True,
        key="method",
        persist_state="session",
        help="Grad-CAM (Selvaraju et al. 2016, arXiv 1610.02391) shows which cells of the last feature map speak for "
        "the class. Integrated Gradients (Sundararajan et al. 2017, arXiv 1703.01365) shares the logit out among the "
        "pixels.",
    )
    chosen = st.selectbox(
        "Class to explain",
        [_PREDICTED, *range(len(checkpoint.classes))],
        format_func=lambda index: (
            "The predicted one" if index == _PREDICTED else f"{checkpoint.classes[index]} ({index})"
        ),
        key="target",
        persist_state="session",
        help="Type to search. The map explains this class's logit: what speaks for it, and what against.",
    )
    target = None if chosen == _PREDICTED else chosen
    options: dict[str, Any] = {}
    if method == "integrated_gradients":
        options["baseline"] = st.segmented_control(
            "Baseline",
            BASELINES,
            default="black",
            required=True,
            key="baseline",
            persist_state="session",
            help="Where the path to the picture starts; the map explains the difference between the two. Mean is the "
            "mean colour of the training set.",
        )
        options["steps"] = st.slider(
            "Steps",
            10,
            300,
            50,
            step=10,
            key="steps",
            persist_state="session",
            help="Points on the path. More of them take longer and tend to bring the convergence delta nearer to zero.",
        )
    strength = st.slider(
        "Strength",
        0.1,
        1.0,
        0.8,
        step=0.1,
        key="strength",
        persist_state="session",
        help="How strongly the map covers the picture; changes no number.",
    )
assert method is not None  # one is required
wanted: str = method


def attributing(progress: Progress) -> Attribution:
    """Explain the chosen class."""
    return attribute(name, image, wanted, target, report=progress.report, **options)


with overlay:
    result = runs.outcome("attribution_run", (name, picture, method, target, options), attributing)
    if result is not None:
        st.plotly_chart(
            attribution_chart(result, strength),
            key="overlay",
            config=config(f"{method}_{result.target_name}", "png"),
            alt=f"Heat map of {METHODS[method]} for {result.target_name} over the picture",
        )
        settings_used = ", ".join(f"{key} {value}" for key, value in result.settings.items())
        st.caption(
            f"**{METHODS[method]} for {result.target_name}**: orange speaks for the class, blue against it. Colours "
            "end at the 99.5th percentile and are interpolated where the map is coarser than the photo, which is grey. "
            f"{settings_used} · {result.device} · {result.seconds:.1f} s"
        )
        logit, total, delta = st.columns(3)
        logit.metric("Logit", f"{result.logit:.3f}", help="What the net gives this class before the softmax.")
        total.metric("Sum of the map", f"{result.sum:.3f}", help=f"It should be {result.expected_sum_is}.")
        delta.metric(
            "Convergence delta",
            f"{result.delta:+.2g}",
            help=f"The sum less what it should be, {result.expected_sum:.3f}: {result.expected_sum_is}. Near zero is "
            "good."
            + (" From a tenth of that on, take more steps before you believe the map." if "steps" in options else ""),
        )
        parts.download(
            "Map as NPY",
            npy,
            result.map,
            f"{method}_{result.target_name}.npy",
            "application/octet-stream",
            "The signed numbers, for numpy.load. The camera above the figure saves it as PNG.",
        )
