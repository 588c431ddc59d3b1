"""Long work on a page: submitted once for what was asked, polled until it is done, cancelled when something else is."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import streamlit as st

from explorer.errors import Refusal
from explorer.jobs import Job, JobQueue, Progress, QueueFull
from explorer.pages import cached
from explorer.pages.edge import plain

Q = TypeVar("Q", bound=Hashable)
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


def outcomes(slot: str, questions: Mapping[str, Q], work: Callable[[Q, Progress], T]) -> dict[str, T]:
    """What the work returned for those of the questions that are answered by now, each a job in the queue.

    How far the rest are is drawn, with a button to cancel; what cannot be done is said.

    Args:
        slot: the place on the page that shows these results; questions asked there no more are cancelled.
        questions: all that a result depends on, by its title.
        work: what to run for a question.
    """
    owner = cached.session_owner()
    jobs: dict[Q, Job[T]] = st.session_state.setdefault(slot, {})
    for question in jobs.keys() - set(questions.values()):
        jobs.pop(question).cancel()
    full: QueueFull | None = None
    for question in questions.values():
        if question not in jobs and full is None:
            try:
                jobs[question] = cached.job_queue().submit(owner, partial(work, question))
            except QueueFull as refusal:
                full = refusal  # those who found no place try again when one of ours has ended
    end = time.monotonic() + _PATIENCE
    for job in jobs.values():
        job.wait(max(0.0, end - time.monotonic()))
    titled = {title: jobs[question] for title, question in questions.items() if question in jobs}
    ended = sum(job.finished for job in titled.values())
    if ended < len(titled):
        st.fragment(_watch_all, run_every=_POLL)(slot, titled, len(questions), ended)
    elif full is not None:
        st.warning(plain(str(full)), icon=":material/hourglass:")
    return _answered(slot, titled)


def cancel(slot: str) -> bool:
    """Stop what works for this slot and forget it; whether anything did."""
    if not working(slot):
        return False
    _stop(slot)
    forget(slot)
    return True


def working(slot: str) -> bool:
    """Whether something waits or works for this slot."""
    run: _Run | None = st.session_state.get(slot)
    return run is not None and not run.job.finished


def forget(slot: str) -> None:
    """Let go of what a slot shows; the next run asks again."""
    st.session_state.pop(slot, None)


def let_go(*gone: object) -> None:
    """Forget whatever was asked of things that are no more, in any slot, and stop what still works on it.

    A slot keeps its question for as long as the session lasts, and with it the net that the question is about.

    Args:
        gone: what questions are made of: a question itself, or a part of it.
    """
    for slot in [str(key) for key in st.session_state]:
        held = st.session_state[slot]
        if isinstance(held, _Run) and _concerns(held.question, gone):
            held.job.cancel()
            forget(slot)
        elif isinstance(held, dict):
            for question, job in list(held.items()):
                if isinstance(job, Job) and _concerns(question, gone):
                    held.pop(question).cancel()


def _concerns(question: object, gone: tuple[object, ...]) -> bool:
    return any(type(part) is type(thing) and part == thing for part in _parts(question) for thing in gone)


def _parts(question: object) -> Iterator[object]:
    yield question
    if isinstance(question, tuple):
        for part in question:
            yield from _parts(part)


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
    st.button(
        "Cancel", on_click=_stop, args=(slot,), key=f"{slot}_cancel", icon=":material/close:", help="Stop this run."
    )


def _stop(slot: str) -> None:
    """Cancel by the slot's name: Streamlit keeps what a button calls as long as the session, and a job its result."""
    run: _Run | None = st.session_state.get(slot)
    if run is not None:
        run.job.cancel()


def _answered(slot: str, titled: Mapping[str, Job[T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    stopped = [title for title, job in titled.items() if job.state == "cancelled"]
    failed = []
    for title, job in titled.items():
        if job.state in ("done", "failed"):
            try:
                found[title] = job.result()
            except Refusal as refusal:
                failed.append(title)
                st.warning(plain(f"{title} is left out: {refusal}"), icon=":material/block:")
    if stopped:
        st.info(plain(f"Cancelled: {', '.join(stopped)}."), icon=":material/cancel:")
    if stopped or failed:
        st.button(
            "Measure these again",
            on_click=_forget_unanswered,
            args=(slot,),
            key=f"{slot}_again",
            help="Put what was cancelled or left out into the queue once more.",
        )
    return found


def _forget_unanswered(slot: str) -> None:
    kept: dict[Any, Job[Any]] = st.session_state.get(slot, {})
    st.session_state[slot] = {
        question: job for question, job in kept.items() if job.state not in ("cancelled", "failed")
    }


def _stop_all(slot: str) -> None:
    jobs: dict[Any, Job[Any]] = st.session_state.get(slot, {})
    for job in jobs.values():
        job.cancel()


def _watch_all(slot: str, titled: Mapping[str, Job[Any]], asked: int, ended: int) -> None:
    """The progress bar and the cancel button, alone rerun until one more job has ended."""
    cached.session_owner()  # back from a broken connection, this may be the first to run
    if sum(job.finished for job in titled.values()) > ended:
        st.rerun()
    running = [(title, job) for title, job in titled.items() if job.state == "running"]
    if running:
        title, job = running[0]
        text = f"{title}: {job.text or 'starting'} · {job.seconds or 0:.0f} s"
    else:
        ahead = min((job.position for job in titled.values() if not job.finished), default=0)
        text = "Waiting for other runs to end; " + (f"{ahead} more before these" if ahead else "these are the next")
    done = sum(job.fraction for job in titled.values()) / asked
    st.progress(done, plain(f"{ended} of {asked} measured. {text}"))
    st.button(
        "Cancel",
        on_click=_stop_all,
        args=(slot,),
        key=f"{slot}_cancel",
        icon=":material/close:",
        help="Stop what is still measured; what is ready stays.",
    )
