"""Every st.cache_*: what sessions share, how much of it is kept, and when it is let go.

PyTorch comes with the first use of a function, not with this module, so that the sidebar paints before.
"""

import gc
import os
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from explorer.jobs import JobQueue
from explorer.spec import ResNetSpec

if TYPE_CHECKING:
    import pandas as pd

    from explorer.analysis.layers import Totals


@st.cache_resource(show_spinner="Loading PyTorch, once for everyone on this server …")
def warm_up() -> None:
    """Import what is heavy, then put all of it out of the garbage collector's sight.

    Its objects are many and stay forever; looking through them after each run would cost more than the run. The step of
    an optimizer makes PyTorch's own late imports happen before the freeze.
    """
    import timm  # noqa: F401 - the zoo's list of names needs it
    import torch

    import explorer.figures.attribution  # noqa: F401 - brings Captum
    from explorer.figures.layers import stage_chart

    weight = torch.nn.Parameter(torch.zeros(1))
    torch.optim.SGD([weight]).step()
    stage_chart(layers(ResNetSpec()).table, "params").to_json()
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Layers:
    """The layer table of a spec and its sums; shared by all sessions, so nobody changes it."""

    table: "pd.DataFrame"
    stages: "pd.DataFrame"
    totals: "Totals"


@st.cache_resource(max_entries=64, show_spinner="Counting …")
def layers(spec: ResNetSpec) -> Layers:
    """The analysis behind the Build page."""
    from explorer.analysis import layers as analysis

    table = analysis.layer_table(spec)
    return Layers(table, analysis.stage_table(table), analysis.totals(table))


@st.cache_resource(show_spinner=False)
def job_queue() -> JobQueue:
    """The server's one queue; its worker leaves half of the processor to the pages."""

    def fewer_threads() -> None:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))

    # A person has three results on their pages: comparison, prediction, attribution; each may be on its way.
    return JobQueue(workers=1, waiting=32, per_owner=3, initializer=fewer_threads)


@st.cache_resource(show_spinner=False)
def download_queue() -> JobQueue:
    """Where weights are fetched: a slow connection holds up nobody's computing."""
    return JobQueue(workers=1, waiting=32, per_owner=2)


GRACE = 10.0  # seconds in which a session whose connection broke may come back to its jobs

_leaving: dict[str, threading.Timer] = {}


def session_owner() -> str:
    """This session's name in the queues; a while after the session has ended its jobs are cancelled."""
    owner: str = st.session_state.setdefault("owner", uuid.uuid4().hex)
    return _present(owner)


def _leave(owner: str) -> None:
    """The connection broke, by a closed tab or a bad network: Streamlit says so at once, and a reload comes back."""
    timer = threading.Timer(GRACE, _cancel_all, [owner, job_queue(), download_queue()])
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


@st.cache_data(max_entries=16, show_spinner=False)
def sample_picture(name: str) -> bytes:
    """One of scikit-image's pictures, as a PNG file."""
    import io

    from PIL import Image
    from skimage import data

    buffer = io.BytesIO()
    Image.fromarray(getattr(data, name)()).save(buffer, "PNG")
    return buffer.getvalue()
