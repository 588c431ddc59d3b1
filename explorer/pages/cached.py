"""Every st.cache_*: what sessions share, how much of it is kept, and when it is let go.

PyTorch comes with the first use of a function, not with this module, so that the sidebar paints before.
"""

import functools
import gc
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import streamlit as st

from explorer.jobs import JobQueue
from explorer.spec import ResNetSpec

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from explorer.analysis.fields import FieldProfile
    from explorer.analysis.likeness import Fit, Likeness
    from explorer.analysis.profile import Profile
    from explorer.training.dropout import Passes


@st.cache_resource(show_spinner="Loading PyTorch, once for everyone on this server …")
def warm_up() -> None:
    """Import what is heavy, then put all of it out of the garbage collector's sight.

    Its objects are many and stay forever; looking through them after each run would cost more than the run. The step of
    an optimizer makes PyTorch's own late imports happen before the freeze.
    """
    import timm  # noqa: F401 - the zoo's list of names needs it
    import torch

    import explorer.analysis.effective
    import explorer.figures.attribution  # noqa: F401 - bring scipy and Captum
    from explorer.figures.layers import stage_chart

    weight = torch.nn.Parameter(torch.zeros(1))
    torch.optim.SGD([weight]).step()
    stage_chart(layers(ResNetSpec()).table, "params").to_json()
    gc.collect()
    gc.freeze()


@st.cache_resource(show_spinner=False)
def profiles() -> "Callable[..., Profile]":
    """`profile` with a memory; unlike what Streamlit caches, a worker thread may call it."""
    from explorer.analysis.profile import profile

    return functools.lru_cache(maxsize=256)(profile)


@st.cache_resource(show_spinner=False)
def field_profiles() -> "Callable[..., FieldProfile]":
    """`field_profile` with a memory, for worker threads too; one of a thousand layers takes some MB."""
    from explorer.analysis.fields import field_profile

    return functools.lru_cache(maxsize=64)(field_profile)


@st.cache_resource(max_entries=64, show_spinner="Counting …")
def layers(spec: ResNetSpec) -> "Profile":
    """The analysis behind the Build page; shared by all sessions, so nobody changes it."""
    return profiles()(spec, None)


@st.cache_data(max_entries=256, show_spinner=False)
def likeness(spec: ResNetSpec, preset: str) -> "Likeness":
    """The library's network beside a spec."""
    from explorer.analysis import likeness as analysis

    return analysis.likeness(spec, preset)


@st.cache_data(max_entries=256, show_spinner="Comparing …")
def fit(spec: ResNetSpec, other: "Likeness") -> "Fit":
    """How the weights of the library's network go into a spec's."""
    from explorer.analysis import likeness as analysis

    return analysis.fit(spec, other)


@st.cache_data(max_entries=64, show_spinner=False)
def changes(spec: ResNetSpec, other: ResNetSpec) -> "pd.DataFrame":
    """The stages of two specs side by side."""
    from explorer.analysis.changes import change_table

    return change_table(layers(spec).stages, layers(other).stages)


@st.cache_data(max_entries=32, show_spinner="Writing …")
def source(spec: ResNetSpec) -> str:
    """The spec as standalone PyTorch source."""
    from explorer.export.source import export_source

    return export_source(spec)


@st.cache_data(max_entries=64, show_spinner="Dropping …")
def dropout_passes(rate: float, seed: int) -> "Passes":
    """Many passes with dropout."""
    from explorer.training.dropout import passes

    return passes(rate, seed)


@st.cache_resource(show_spinner=False)
def job_queue() -> JobQueue:
    """The server's one queue; its worker leaves half of the processor to the pages."""

    def fewer_threads() -> None:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))

    # A page shows five results at most that may be on their way, and who goes from page to page leaves some behind.
    return JobQueue(workers=1, waiting=32, per_owner=12, initializer=fewer_threads)


@st.cache_resource(show_spinner=False)
def counting_queue() -> JobQueue:
    """Where networks are counted: a second or two, which nobody shall wait half a minute for."""
    return JobQueue(workers=1, waiting=32, per_owner=4)


@st.cache_resource(show_spinner=False)
def lab_queue() -> JobQueue:
    """Where nets are trained, a process each: as many at once as there are processors, and the pages go before them."""
    return JobQueue(workers=max(1, os.cpu_count() or 1), waiting=96, per_owner=24)


@st.cache_resource(show_spinner=False)
def download_queue() -> JobQueue:
    """Where weights are fetched: a slow connection holds up nobody's computing."""
    return JobQueue(workers=1, waiting=32, per_owner=2)


@st.cache_resource(show_spinner=False)
def reading_queue() -> JobQueue:
    """Where large pictures are read: one takes a second, and nobody shall wait for another person's measures first."""
    return JobQueue(workers=1, waiting=32, per_owner=4)


GRACE = 10.0  # seconds in which a session whose connection broke may come back to its jobs

_leaving: dict[str, threading.Timer] = {}


def session_owner() -> str:
    """This session's name in the queues; a while after the session has ended its jobs are cancelled."""
    owner: str = st.session_state.setdefault("owner", uuid.uuid4().hex)
    return _present(owner)


def _leave(owner: str) -> None:
    """The connection broke, by a closed tab or a bad network: Streamlit says so at once, and a reload comes back."""
    queues = job_queue(), counting_queue(), lab_queue(), download_queue(), reading_queue()
    timer = threading.Timer(GRACE, _cancel_all, [owner, *queues])
    timer.daemon = True
    _leaving[owner] = timer
    timer.start()


def _cancel_all(owner: str, *queues: JobQueue) -> None:
    _leaving.pop(owner, None)
    for queue in queues:
        queue.cancel_owner(owner)


@st.cache_resource(scope="session", show_spinner=False, on_release=_leave)
def _present(owner: str) -> str:
    if timer := _leaving.pop(owner, None):
        timer.cancel()
    return owner


@st.cache_resource(show_spinner=False)
def samples(names: tuple[str, ...]) -> "list[Image.Image]":
    """Some of scikit-image's pictures, decoded; shared by all sessions, so nobody changes them."""
    from explorer.attribution import read_image

    return [read_image(sample_picture(name), name).image for name in names]


@dataclass(frozen=True)
class Measurement:
    """What a measured result depends on, and how it is measured."""

    question: Hashable
    measure: Callable[[], Any] = field(compare=False)


class _Memory:
    """The last so many results, by what was asked. How they were measured is not kept: it holds nets."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, measurement: Measurement) -> Any:
        """What was measured before, or is now."""
        question = measurement.question
        with self._lock:
            if question in self._found:
                self._found.move_to_end(question)
                return self._found[question]
        found = measurement.measure()
        with self._lock:
            self._found[question] = found
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        return found


@st.cache_resource(show_spinner=False)
def measurements(kind: str, most: int) -> Callable[[Measurement], Any]:
    """The last so many results of one kind, for worker threads: a class asks for the same ones."""
    return _Memory(most)


def own_measurements(kind: str, most: int) -> Callable[[Measurement], Any]:
    """As `measurements`, but for this session alone and gone with it: of pictures and nets that are somebody's own."""
    memory: Callable[[Measurement], Any] = st.session_state.setdefault(f"measurements {kind}", _Memory(most))
    return memory


@st.cache_data(max_entries=16, show_spinner=False)
def sample_picture(name: str) -> bytes:
    """One of scikit-image's pictures, as a PNG file."""
    import io

    from PIL import Image
    from skimage import data

    buffer = io.BytesIO()
    Image.fromarray(getattr(data, name)()).save(buffer, "PNG")
    return buffer.getvalue()
