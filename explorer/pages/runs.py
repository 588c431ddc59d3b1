"""Long work on a page: submitted once for what was asked, polled until it is done, cancelled when something else is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from explorer.jobs import Job, JobQueue, Progress
from explorer.pages import cached

T = TypeVar("T")

_PATIENCE = 0.3  # seconds in which short work may end before a progress bar is drawn
_POLL, _POLL_QUEUED = 0.3, 1.0  # seconds; those who wait ask less often


@dataclass
class _Run:
    question: Any
    job: Job[Any]


def outcome(slot: str, question: Any, work: Callable[[Progress], T], queue: JobQueue | None = None) -> T | None:
    """What the work returned for this question, or None after drawing how far it is.

    Args:
        slot: the place on the page that shows one result at a time; a new question in it cancels the old one's work.
        question: all that the result depends on, comparable.
        work: what to run when the question is new.
        queue: where to run it; by default the one for the processor's work.

    Raises:
        Refusal: the queue is full, or whatever the work raised.
    """
    owner = cached.session_owner()
    run: _Run | None = st.session_state.get(slot)
    if run is None or run.question != question:
        if run is not None:
            run.job.cancel()
        run = _Run(question, (queue or cached.job_queue()).submit(owner, work))
        st.session_state[slot] = run
    if not run.job.wait(_PATIENCE):
        poll = _POLL if run.job.state == "running" else _POLL_QUEUED
        st.fragment(_watch, run_every=poll)(slot, run.job)
        return None
    if run.job.state != "done":
        st.button("Run it again", on_click=forget, args=[slot], key=f"{slot}_again", help="Start from the beginning.")
    if run.job.state == "cancelled":
        st.info("This run was cancelled.", icon=":material/cancel:")
        return None
    result: T = run.job.result()
    return result


def cancel(slot: str) -> bool:
    """Stop what works for this slot and forget it; whether anything did."""
    run: _Run | None = st.session_state.get(slot)
    if run is None or run.job.finished:
        return False
    run.job.cancel()
    forget(slot)
    return True


def forget(slot: str) -> None:
    """Let go of what a slot shows; the next run asks again."""
    st.session_state.pop(slot, None)


def _watch(slot: str, job: Job[Any]) -> None:
    """The progress bar and the cancel button, alone rerun until the job is finished."""
    cached.session_owner()  # back from a broken connection, this may be the first to run
    if job.finished:
        st.rerun()
    if job.state == "queued":
        ahead = f"{job.position} more before it" if job.position else "it is the next"
        st.progress(0.0, f"Waiting for the run before it to end; {ahead}")
    else:
        st.progress(job.fraction, f"{job.text or 'Starting'} · {job.seconds or 0:.0f} s")
    st.button("Cancel", on_click=job.cancel, key=f"{slot}_cancel", icon=":material/close:", help="Stop this run.")
