"""Long work, one line for the whole server: bounded, in order, with progress and cancel.

Attribution and training take seconds to minutes. Run in a page's script they would freeze its sliders, and thirty
sessions running at once would freeze everyone's. So a page submits the work, keeps the `Job` and polls it; a few worker
threads take the jobs in the order in which they came.

>>> queue = JobQueue(workers=1)
>>> queue.submit("ada", lambda progress: 6 * 7).result()
42
>>> queue.shutdown()
True
"""

import atexit
import functools
import math
import threading
import time
import traceback
from collections.abc import Callable
from itertools import takewhile
from typing import Any, Generic, Literal, TypeVar

from explorer.errors import Refusal

T = TypeVar("T")
State = Literal["queued", "running", "done", "failed", "cancelled"]


class Cancelled(Exception):  # noqa: N818 - it is no error
    """The job was cancelled: raised inside the work by `Progress`, and by `Job.result`."""


class QueueFull(Refusal):
    """There is no place in the queue just now; the message says so to the person."""


class Progress:
    """The work's line to whoever waits for it: how far it is, and whether it shall stop."""

    def __init__(self) -> None:
        self.fraction = 0.0
        self.text = ""
        self._lock = threading.Lock()
        self._cancel_asked = False

    def report(self, fraction: float, text: str = "") -> None:
        """Say how far the work is, 0 to 1, and what it does now; raise `Cancelled` if cancel was asked.

        Beyond either end it is clamped, and it never moves back; a fraction that is not finite raises `ValueError`.
        """
        fraction = float(fraction)  # a tensor kept here would keep its graph
        if not math.isfinite(fraction):
            raise ValueError(f"fraction (={fraction}) must be a finite number from 0 to 1")
        with self._lock:
            self.fraction = max(self.fraction, min(fraction, 1.0))
            self.text = text
        self.check()

    def check(self) -> None:
        """Raise `Cancelled` if cancel was asked; for work that has nothing new to report."""
        if self._cancel_asked:
            raise Cancelled("this run was cancelled")


class Job(Generic[T]):
    """One submitted piece of work, to be polled from any thread; `JobQueue.submit` makes it.

    `state` goes queued -> running -> done | failed | cancelled, or from queued straight to cancelled, and never back.
    """

    def __init__(
        self, owner: str, work: Callable[[Progress], T], unfinished: "list[Job[Any]]", changed: threading.Condition
    ) -> None:
        self.owner = owner
        self._work = work
        self._unfinished = unfinished  # shared with the queue and its other jobs, like the lock over it
        self._changed = changed
        self._progress = Progress()
        self._state: State = "queued"
        self._started: float | None = None
        self._ended: float | None = None
        self._finished = threading.Event()
        self._value: T
        self._error: BaseException | None = None

    @property
    def state(self) -> State:
        """Where the job stands: queued, running, done, failed or cancelled."""
        return self._state

    @property
    def finished(self) -> bool:
        """Whether the state is final: done, failed or cancelled."""
        return self._state not in ("queued", "running")

    @property
    def fraction(self) -> float:
        """How much of the work is done, 0 to 1, as it last reported; 1 where the state is done."""
        return 1.0 if self._state == "done" else self._progress.fraction

    @property
    def text(self) -> str:
        """What the work does now, as it last reported."""
        return self._progress.text

    @property
    def seconds(self) -> float | None:
        """How long the work has run so far, or ran in all; None where it never started."""
        started, ended = self._started, self._ended
        if started is None:
            return None
        return (time.monotonic() if ended is None else ended) - started

    @property
    def position(self) -> int:
        """How many jobs wait ahead of this one; 0 for the next, and for one that waits no more."""
        with self._changed:
            if self._state != "queued":
                return 0
            return sum(job.state == "queued" for job in takewhile(lambda job: job is not self, self._unfinished))

    @property
    def error(self) -> BaseException | None:
        """What the work raised, where it failed; its traceback names the lines but no longer holds their variables."""
        return self._error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job is finished, for `timeout` seconds at most; whether it is."""
        return self._finished.wait(timeout)

    def result(self, timeout: float | None = None) -> T:
        """What the work returned, waiting for it.

        Raises the work's own exception where it failed, `Cancelled` where it was cancelled, and `TimeoutError` where it
        takes longer than `timeout` seconds.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"this run is not finished after timeout (={timeout}) seconds")
        try:
            if self._error is not None:
                raise self._error.with_traceback(self._traceback)  # else it would grow with every call
            if self._state == "cancelled":
                raise Cancelled("this run was cancelled")
            return self._value
        finally:
            del self  # as in `_run`: the error now holds this frame too

    def cancel(self) -> None:
        """Ask the job to stop: a queued one is cancelled at once and never runs, a running one at its next report.

        It is a question, and how the work ends is the answer: work that returns without another report is done, and its
        result is kept. A finished job stays as it is.
        """
        with self._changed:
            self._progress._cancel_asked = True
            if self._state != "queued":
                return
            self._finish("cancelled")
        del self._work  # what it holds may be large, and is let go outside the lock

    def _run(self, prepare: Callable[[], object]) -> None:
        """Do the work in this thread, whatever it raises, and let go of all but its outcome."""
        state: State = "done"
        error: BaseException | None = None
        try:
            prepare()
            self._progress.check()
            self._value = self._work(self._progress)
        except Cancelled:
            state = "cancelled"
        except BaseException as raised:  # SystemExit and KeyboardInterrupt too: they end the work, not the worker
            state, error = "failed", raised
            _clear_variables(error)
        del self._work
        with self._changed:
            self._finish(state, error)
        del self, error  # the error's frames hold this one, which would close a circle job -> error -> frame -> job

    def _finish(self, state: State, error: BaseException | None = None) -> None:
        """Take the final state and leave the queue, in one step; the caller holds the lock."""
        self._error, self._ended = error, time.monotonic()
        self._traceback = None if error is None else error.__traceback__
        self._state = state  # last: who polls without the lock finds the outcome beside it
        self._unfinished.remove(self)
        self._finished.set()
        self._changed.notify_all()


class JobQueue:
    """A first-come, first-served line of jobs before a few worker threads, shared by every session of a server.

    `workers` jobs run at once and `waiting` more may wait. `initializer` runs in each worker before its first job (say
    `torch.set_num_threads`, which counts per thread); what it raises is that job's failure, and the next job tries it
    again. A job leaves the queue as it finishes: its result lives as long as the `Job` that `submit` returned. The
    queue itself lives until `shutdown`, which the interpreter's exit calls at the latest.
    """

    # Fairness is `per_owner`, a bound on what one owner has queued and running. Taking turns by owner would not do
    # without it, as one owner could still fill every waiting place; and beside it turns add little: in a class of
    # thirty nobody waits for more than two runs of each neighbour, and a position in the line only ever counts down.
    def __init__(
        self,
        workers: int = 1,
        waiting: int = 8,
        per_owner: int | None = 2,
        initializer: Callable[[], object] | None = None,
    ) -> None:
        for name, value in (("workers", workers), ("waiting", waiting), ("per_owner", per_owner)):
            if value is not None and value < 1:
                raise ValueError(f"{name} (={value}) must be 1 or more")
        self._places = workers + waiting  # a job that an idle worker is about to take does not count as waiting
        self._waiting = waiting
        self._per_owner = math.inf if per_owner is None else per_owner
        self._initializer = initializer
        self._unfinished: list[Job[Any]] = []  # queued and running, in order of submission
        self._changed = threading.Condition()  # over an RLock, as a finalizer that cancels may run inside it
        self._closed = False
        for index in range(workers):  # daemons: ThreadPoolExecutor's threads would hold up the interpreter's exit
            threading.Thread(target=self._serve, name=f"jobs-{index}", daemon=True).start()
        atexit.register(self.shutdown)

    def submit(self, owner: str, work: Callable[[Progress], T]) -> Job[T]:
        """Put work in the queue for this owner (a session's id); raises `QueueFull`, with a sentence to show."""
        with self._changed:
            if self._closed:
                raise RuntimeError("this queue is shut down")
            # A run that was asked to stop counts no more: cancel, then submit is how a person changes their mind.
            own = sum(job.owner == owner and not job._progress._cancel_asked for job in self._unfinished)
            if own >= self._per_owner:
                raise QueueFull(f"{_runs_are(own)} waiting or running for you already; cancel one or wait for it.")
            if len(self._unfinished) >= self._places:
                raise QueueFull(f"{_runs_are(self._waiting)} waiting already; try again in a moment.")
            job = Job(owner, work, self._unfinished, self._changed)
            self._unfinished.append(job)
            self._changed.notify_all()
            return job

    def cancel_owner(self, owner: str) -> int:
        """Cancel all that this owner has queued or running, as when their session ends; how many jobs that was."""
        with self._changed:
            jobs = [job for job in self._unfinished if job.owner == owner]
        for job in jobs:
            job.cancel()
        return len(jobs)

    def shutdown(self, timeout: float = 2.0) -> bool:
        """Cancel everything, end the workers and wait up to `timeout` seconds for what runs; whether nothing runs now.

        It runs at the interpreter's exit: a thread that exit overtakes inside torch may abort the process. Work that
        never reports is left behind after the timeout.
        """
        atexit.unregister(self.shutdown)
        with self._changed:
            self._closed = True
            jobs = list(self._unfinished)
            self._changed.notify_all()
        for job in jobs:
            job.cancel()
        with self._changed:
            return self._changed.wait_for(lambda: not self._unfinished, timeout)

    def _serve(self) -> None:
        """Run one job after the other until shutdown: the life of a worker thread."""
        prepare = functools.cache(self._initializer or (lambda: None))  # once a worker, and again where it raised
        while (job := self._take()) is not None:
            job._run(prepare)
            del job  # an idle worker must not keep the last result

    def _take(self) -> Job[Any] | None:
        """Wait for a queued job and make the first of them the running one; None at shutdown."""
        with self._changed:
            while not self._closed:
                # Not a for loop: its variable would keep another worker's job alive through the wait below.
                job = next((job for job in self._unfinished if job.state == "queued"), None)
                if job is not None:
                    job._state, job._started = "running", time.monotonic()
                    return job
                self._changed.wait()
        return None


def _runs_are(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"


def _clear_variables(error: BaseException) -> None:
    """Empty the frames of an error and of those behind it: they keep their lines, and no tensors."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        if (link := todo.pop()) is not None and id(link) not in seen:
            seen.add(id(link))
            traceback.clear_frames(link.__traceback__)
            todo += [link.__cause__, link.__context__]
