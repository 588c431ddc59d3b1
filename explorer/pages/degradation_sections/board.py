"""The runs of this session: started, watched, paused, cancelled. They stay while the person looks at other pages."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from explorer.errors import Refusal
from explorer.jobs import Job, QueueFull
from explorer.pages import cached
from explorer.training import lab
from explorer.training.apart import Trial
from explorer.training.datasets import Dataset

_BOARD, _PROBLEM = "lab_board", "lab_problem"

_log = logging.getLogger(__name__)


@dataclass
class Entry:
    """One run: its name on screen, the run itself, the job that works on it or did so last, and whether the person has
    ended it. `data` is its data set, where no name loads it."""

    net: str
    trial: Trial
    job: Job[None]
    data: Dataset | None = None
    ended: bool = False
    logged: bool = False

    @property
    def course(self) -> lab.Course:
        """How it has gone so far; a copy, as another thread goes on adding."""
        return lab.Course(self.net, self.trial.recipe, tuple(self.trial.records))

    @property
    def paused(self) -> bool:
        """Whether it stands still and can go on."""
        return self.trial.pausing and self.job.finished and not self.ended

    @property
    def pausing(self) -> bool:
        """Whether it still comes to the record at which it will stand still."""
        return self.trial.pausing and self.job.state == "running"

    @property
    def failed(self) -> bool:
        """Whether its job could not go on."""
        return self.job.state == "failed"

    @property
    def active(self) -> bool:
        """Whether it waits or is worked on."""
        return not self.job.finished

    @property
    def status(self) -> str:
        """How it stands, in a few words."""
        course, job = self.course, self.job
        at = f"at step {course.records[-1].step if course.records else 0:,} of {course.recipe.steps:,}"
        if course.diverged is not None:
            return f"diverged {at}"
        if course.ended:
            return f"done: {course.recipe.steps:,} steps in {course.records[-1].seconds:.0f} s"
        if job.state == "queued":
            return f"waiting behind {job.position} more" if job.position else "waiting, the next in line"
        if job.state == "running":
            if self.ended or self.pausing:
                return f"{'stopping' if self.ended else 'pausing'} {at}"
            if not course.records:
                return job.text or "starting"
            left = course.seconds_left
            to_go = "" if left is None else f", {lab.duration(left)} left"
            return f"{at[3:]} · {course.records[-1].seconds:.0f} s{to_go}"
        if self.paused:
            return f"paused {at}"
        return f"failed {at}" if self.failed else f"cancelled {at}"

    @property
    def failure(self) -> str | None:
        """Why its job failed, as a sentence; what is a defect of ours goes to the log, once."""
        error = self.job.error
        if error is None or isinstance(error, Refusal):
            return None if error is None else str(error)
        if not self.logged:
            _log.error("A run failed", exc_info=error)
            self.logged = True
        return "Something failed that should not have; the details are in the server's log."


def entries() -> list[Entry]:
    """The runs of this session, in the order in which they were started."""
    runs: list[Entry] = st.session_state.setdefault(_BOARD, [])
    return runs


def workers() -> int:
    """How many runs the server works on at once, as `cached.lab_queue` has it."""
    return max(1, os.cpu_count() or 1)


def start(planned: Sequence[lab.Pair], data: Dataset | None = None, keep: bool = False) -> None:
    """Submit runs, each as a job of its own.

    Args:
        planned: name on screen and recipe.
        data: their data set, where no name loads it.
        keep: beside those that are there; else in their place.

    Raises:
        LabError: runs that the lab does not take. QueueFull: the server takes no more just now.
    """
    st.session_state.pop(_PROBLEM, None)
    present = [(entry.net, entry.trial.recipe) for entry in entries()] if keep else []
    added = lab.checked(planned, present, workers())
    if not keep:
        clear()
    trials = [Trial(recipe, data) for _, recipe in added]
    jobs: dict[Trial, Job[None]] = {}
    try:
        for trial in sorted(trials, key=lambda trial: -lab.seconds_of(trial.recipe)):
            jobs[trial] = _submitted(trial)  # the longest first: else the others wait for it in the end
    except QueueFull:
        for job in jobs.values():  # all of them or none
            job.cancel()
        raise
    entries().extend(Entry(net, trial, jobs[trial], data) for (net, _), trial in zip(added, trials, strict=True))


def _submitted(trial: Trial) -> Job[None]:
    return cached.lab_queue().submit(cached.session_owner(), trial.work)


def clear() -> None:
    """Cancel all runs and forget them; each lets go of its files when its job has ended."""
    for entry in entries():
        entry.job.cancel()
    st.session_state[_BOARD] = []


def pause(*paused: Entry) -> None:
    """Ask these runs to stop where they can go on later; those that have not begun leave the queue."""
    for entry in paused:
        entry.trial.pause()
        if entry.job.state == "queued":
            entry.job.cancel()


def resume(*resumed: Entry) -> None:
    """Put these paused runs in the queue again, behind those that are there."""
    for entry in sorted(resumed, key=lambda entry: -len(entry.trial.records)):  # those that have begun first
        entry.job = _submitted(entry.trial)


def cancel(*cancelled: Entry) -> None:
    """End these runs where they stand; their records stay."""
    for entry in cancelled:
        entry.ended = True
        entry.job.cancel()


def retry(*failed: Entry) -> None:
    """Run these once more from the beginning, each in its own place."""
    for entry in failed:
        trial = Trial(entry.trial.recipe, entry.data)
        entry.job = _submitted(trial)  # first: where the queue is full, what stood there stays
        entry.trial, entry.logged = trial, False


def again(*repeated: Entry) -> None:
    """Add a run of each of these nets, from another seed."""
    for net in dict.fromkeys(entry.net for entry in repeated):
        present = [(entry.net, entry.trial.recipe) for entry in entries()]
        origin = next(entry for entry in repeated if entry.net == net)
        start([lab.another_seed((net, origin.trial.recipe), present)], origin.data, keep=True)


def attempt(action: Callable[..., None], *arguments: Any) -> None:
    """An action as a button's callback: what it refuses is shown by `problem` when the page is drawn."""
    st.session_state.pop(_PROBLEM, None)
    try:
        action(*arguments)
    except Refusal as refusal:
        st.session_state[_PROBLEM] = str(refusal)


def problem() -> str | None:
    """What the last action refused."""
    text: str | None = st.session_state.get(_PROBLEM)
    return text
