"""The queue is driven by events alone: a test waits for what happens, and a bounded wait that runs out is a failure."""

import gc
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from explorer.jobs import Cancelled, Job, JobQueue, Progress, QueueFull

LONG = 20.0  # seconds; reached only by a failing test
ROOT = Path(__file__).parents[1]

MakeQueue = Callable[..., JobQueue]


@pytest.fixture
def make_queue() -> Iterator[MakeQueue]:
    """JobQueue's constructor, whose queues are shut down after the test and must come to rest."""
    queues: list[JobQueue] = []

    def make(**bounds: Any) -> JobQueue:
        queues.append(JobQueue(**bounds))
        return queues[-1]

    yield make
    for queue in queues:
        assert queue.shutdown(timeout=LONG)


@pytest.fixture
def collector_off() -> Iterator[None]:
    """The cycle collector off, as in the app: what dies here dies by reference count."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads that take turns as often as the interpreter can, so that a missing lock shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Held:
    """Work that says when it runs, goes on when it is let go, and only then looks whether it was cancelled."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.go = threading.Event()

    def __call__(self, progress: Progress) -> str:
        self.running.set()
        assert self.go.wait(LONG)
        progress.check()
        return "held"


class Tensor:
    """Something large whose end can be waited for."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        weakref.finalize(self, self.gone.set)


def hold(queue: JobQueue, owner: str = "first") -> tuple[Held, Job[str]]:
    """Occupy one worker until `go` is set."""
    held = Held()
    job = queue.submit(owner, held)
    assert held.running.wait(LONG)
    return held, job


# Order and bounds


def test_jobs_run_in_order_of_submission_and_positions_count_down(make_queue: MakeQueue) -> None:
    queue = make_queue()
    held, first = hold(queue)
    ran: list[str] = []
    jobs = [queue.submit(name, lambda progress, name=name: ran.append(name)) for name in "abcd"]  # type: ignore[misc]
    assert [first.position, *(job.position for job in jobs)] == [0, 0, 1, 2, 3]
    assert [first.state, *(job.state for job in jobs)] == ["running"] + 4 * ["queued"]
    jobs[1].cancel()
    assert [job.position for job in jobs] == [0, 0, 1, 2]
    held.go.set()
    assert all(job.wait(LONG) for job in jobs)
    assert ran == ["a", "c", "d"]
    assert [job.position for job in jobs] == [0, 0, 0, 0]


def test_a_job_returns_its_value_and_says_how_long_it_ran(make_queue: MakeQueue) -> None:
    queue = make_queue()
    held, first = hold(queue)
    second = queue.submit("second", lambda progress: 6 * 7)
    assert (second.owner, second.state, second.finished, second.seconds) == ("second", "queued", False, None)
    assert not first.finished
    so_far = first.seconds
    assert so_far is not None
    later = first.seconds
    assert later is not None
    assert later >= so_far >= 0
    held.go.set()
    assert first.result(LONG) == "held"
    assert second.result(LONG) == 42
    assert (second.state, second.finished, second.fraction, second.error) == ("done", True, 1.0, None)
    total = first.seconds
    assert total is not None
    assert total >= later
    assert first.seconds == total  # the clock stands


def test_waiting_has_a_timeout(make_queue: MakeQueue) -> None:
    held, job = hold(make_queue())
    assert job.wait(0) is False
    with pytest.raises(TimeoutError, match=r"timeout \(=0\)"):
        job.result(timeout=0)
    held.go.set()
    assert job.wait(LONG) is True
    assert job.wait() is True


def test_the_bound_counts_what_waits_and_not_what_runs(make_queue: MakeQueue) -> None:
    queue = make_queue(workers=2, waiting=3)
    helds = [Held() for _ in range(5)]
    jobs = [queue.submit(f"owner {index}", held) for index, held in enumerate(helds)]  # none need have started yet
    with pytest.raises(QueueFull) as caught:
        queue.submit("late", lambda progress: None)
    assert str(caught.value) == "3 runs are waiting already; try again in a moment."
    jobs[4].cancel()
    late = queue.submit("late", lambda progress: "in")
    with pytest.raises(QueueFull):
        queue.submit("later", lambda progress: None)
    for held in helds:
        held.go.set()
    assert late.result(LONG) == "in"


def test_one_owner_cannot_starve_another(make_queue: MakeQueue) -> None:
    queue = make_queue(waiting=8, per_owner=2)
    held, running = hold(queue, "greedy")
    queued = queue.submit("greedy", lambda progress: None)
    with pytest.raises(QueueFull) as caught:
        queue.submit("greedy", lambda progress: None)
    assert str(caught.value) == "2 runs are waiting or running for you already; cancel one or wait for it."
    modest = queue.submit("modest", lambda progress: None)
    assert modest.position == 1
    held.go.set()
    assert all(job.wait(LONG) for job in (running, queued, modest))
    assert queue.submit("greedy", lambda progress: "again").result(LONG) == "again"


def test_after_cancel_an_owner_may_submit_at_once(make_queue: MakeQueue) -> None:
    queue = make_queue(per_owner=1)
    held, running = hold(queue, "ada")
    with pytest.raises(QueueFull, match=r"^1 run is waiting or running for you"):
        queue.submit("ada", lambda progress: None)
    running.cancel()
    changed_mind = queue.submit("ada", lambda progress: "new")
    with pytest.raises(QueueFull):
        queue.submit("ada", lambda progress: None)
    held.go.set()
    assert changed_mind.result(LONG) == "new"
    assert running.state == "cancelled"


def test_without_a_bound_an_owner_may_fill_the_queue(make_queue: MakeQueue) -> None:
    queue = make_queue(waiting=4, per_owner=None)
    held, _ = hold(queue, "ada")
    jobs = [queue.submit("ada", lambda progress: None) for _ in range(4)]
    with pytest.raises(QueueFull, match=r"^4 runs are waiting already"):
        queue.submit("ada", lambda progress: None)
    held.go.set()
    assert all(job.wait(LONG) for job in jobs)


@pytest.mark.parametrize("bound", ["workers", "waiting", "per_owner"])
def test_a_bound_below_one_is_refused(bound: str) -> None:
    with pytest.raises(ValueError, match=rf"{bound} \(=0\) must be 1 or more"):
        JobQueue(**{bound: 0})  # type: ignore[arg-type]


def test_workers_run_side_by_side(make_queue: MakeQueue) -> None:
    queue = make_queue(workers=2)
    together = threading.Barrier(2)
    jobs = [queue.submit(name, lambda progress: together.wait(LONG)) for name in "ab"]
    assert sorted(job.result(LONG) for job in jobs) == [0, 1]


# Progress


def test_progress_is_read_while_the_work_runs(make_queue: MakeQueue) -> None:
    step = threading.Barrier(2)

    def work(progress: Progress) -> None:
        for fraction in (0.25, 0.125, 0.5, -1.0, 7.0):
            progress.report(fraction, f"at {fraction}")
            step.wait(LONG)  # the test reads ...
            step.wait(LONG)  # ... and has read

    job = make_queue().submit("ada", work)
    seen = []
    for _ in range(5):
        step.wait(LONG)
        seen.append((job.fraction, job.text))
        step.wait(LONG)
    assert seen == [(0.25, "at 0.25"), (0.25, "at 0.125"), (0.5, "at 0.5"), (0.5, "at -1.0"), (1.0, "at 7.0")]


@pytest.mark.parametrize("fraction", [float("nan"), float("inf"), -float("inf")])
def test_a_fraction_that_is_not_finite_is_refused(fraction: float) -> None:
    progress = Progress()
    progress.report(0.5, "half")
    with pytest.raises(ValueError, match=rf"fraction \(={fraction}\) must be a finite number"):
        progress.report(fraction)
    assert (progress.fraction, progress.text) == (0.5, "half")


@pytest.mark.usefixtures("eager_switches")
def test_reports_from_many_threads_never_move_back() -> None:
    progress = Progress()
    start = threading.Barrier(9)
    fractions = [index / 4000 for index in range(4001)]

    def report(part: list[float]) -> None:
        start.wait(LONG)
        for fraction in part:
            progress.report(fraction)

    threads = [threading.Thread(target=report, args=(fractions[index::8],)) for index in range(8)]
    for thread in threads:
        thread.start()
    start.wait(LONG)
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(progress.fraction)
    assert seen == sorted(seen)
    assert progress.fraction == 1.0


# Cancel


def test_a_queued_job_is_cancelled_at_once_and_never_runs(make_queue: MakeQueue) -> None:
    queue = make_queue()
    held, first = hold(queue)
    ran: list[str] = []
    queued = queue.submit("ada", lambda progress: ran.append("cancelled"))
    after = queue.submit("bob", lambda progress: ran.append("after"))
    queued.cancel()
    queued.cancel()
    assert (queued.state, queued.finished, queued.seconds, queued.error) == ("cancelled", True, None, None)
    assert queued.wait(0)
    with pytest.raises(Cancelled):
        queued.result()
    assert first.state == "running"
    held.go.set()
    assert after.wait(LONG)
    assert ran == ["after"]


@pytest.mark.parametrize("look", [lambda progress: progress.report(0.75, "late"), lambda progress: progress.check()])
def test_a_running_job_stops_at_its_next_look(make_queue: MakeQueue, look: Callable[[Progress], None]) -> None:
    running, go = threading.Event(), threading.Event()
    went_on: list[bool] = []

    def work(progress: Progress) -> None:
        progress.report(0.25, "early")
        running.set()
        assert go.wait(LONG)
        look(progress)
        went_on.append(True)

    job = make_queue().submit("ada", work)
    assert running.wait(LONG)
    job.cancel()
    assert (job.state, job.text) == ("running", "early")
    go.set()
    assert job.wait(LONG)
    assert (job.state, job.error, went_on) == ("cancelled", None, [])
    assert job.seconds is not None
    with pytest.raises(Cancelled):
        job.result()


def test_a_job_cancelled_before_its_first_line_does_not_begin(make_queue: MakeQueue) -> None:
    initializer = Held()
    queue = make_queue(initializer=lambda: initializer(Progress()))
    ran: list[bool] = []
    job = queue.submit("ada", lambda progress: ran.append(True))
    assert initializer.running.wait(LONG)
    job.cancel()
    initializer.go.set()
    assert job.wait(LONG)
    assert (job.state, ran) == ("cancelled", [])


def test_work_that_ends_without_another_look_keeps_its_outcome(make_queue: MakeQueue) -> None:
    queue = make_queue(workers=2)
    running, go = threading.Barrier(3), threading.Event()

    def returns(progress: Progress) -> str:
        running.wait(LONG)
        assert go.wait(LONG)
        return "paid for"

    def raises(progress: Progress) -> None:
        returns(progress)
        raise ValueError("seen")

    kept, failed = queue.submit("ada", returns), queue.submit("bob", raises)
    running.wait(LONG)
    kept.cancel()
    failed.cancel()
    go.set()
    assert kept.result(LONG) == "paid for"
    assert failed.wait(LONG)
    assert (kept.state, failed.state, str(failed.error)) == ("done", "failed", "seen")
    kept.cancel()
    failed.cancel()
    assert (kept.state, kept.result(), failed.state) == ("done", "paid for", "failed")


def test_an_owners_jobs_are_cancelled_together(make_queue: MakeQueue) -> None:
    queue = make_queue(per_owner=3)
    held, running = hold(queue, "ada")
    finished = queue.submit("ada", lambda progress: None)
    finished.cancel()
    queued = [queue.submit("ada", lambda progress: None) for _ in range(2)]
    other = queue.submit("bob", lambda progress: "stays")
    assert queue.cancel_owner("nobody") == 0
    assert queue.cancel_owner("ada") == 3
    assert [job.state for job in queued] == ["cancelled", "cancelled"]
    assert other.position == 0
    held.go.set()
    assert other.result(LONG) == "stays"
    assert running.state == "cancelled"
    assert queue.cancel_owner("ada") == 0


# Failure


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration])
def test_a_failure_is_kept_and_ends_only_its_own_job(
    make_queue: MakeQueue, capfd: pytest.CaptureFixture[str], kind: type[BaseException]
) -> None:
    queue = make_queue(workers=1)
    raised = kind("no such layer")

    def fails(progress: Progress) -> None:
        progress.report(0.5, "reading")
        raise raised

    job = queue.submit("ada", fails)
    after = queue.submit("bob", lambda progress: threading.current_thread().name)
    assert after.result(LONG) == "jobs-0"  # the same worker
    assert (job.state, job.finished, job.fraction, job.text) == ("failed", True, 0.5, "reading")
    assert job.error is raised
    depths = []
    for _ in range(3):
        with pytest.raises(kind) as caught:
            job.result()
        assert caught.value is raised
        assert traceback.extract_tb(raised.__traceback__)[-1].line == "raise raised"
        depths.append(len(traceback.extract_tb(raised.__traceback__)))
    assert len(set(depths)) == 1  # a page that polls does not make the traceback grow
    assert capfd.readouterr() == ("", "")


def test_work_that_cannot_be_called_fails(make_queue: MakeQueue) -> None:
    job = make_queue().submit("ada", lambda: None)  # type: ignore[misc, arg-type]
    with pytest.raises(TypeError, match="positional argument"):
        job.result(LONG)
    assert job.state == "failed"


def test_the_initializer_runs_once_in_each_worker(make_queue: MakeQueue) -> None:
    names: list[str] = []
    queue = make_queue(workers=2, per_owner=None, initializer=lambda: names.append(threading.current_thread().name))
    for _ in range(3):
        together = threading.Barrier(2)
        jobs = [queue.submit("ada", lambda progress, together=together: together.wait(LONG)) for _ in range(2)]  # type: ignore[misc]
        assert all(job.result(LONG) >= 0 for job in jobs)
    assert sorted(names) == ["jobs-0", "jobs-1"]


def test_a_failing_initializer_is_the_failure_of_the_job_and_is_tried_again(make_queue: MakeQueue) -> None:
    outcomes = iter([OSError("no libtorch"), None, OSError("called a third time")])

    def initializer() -> None:
        if (error := next(outcomes)) is not None:
            raise error

    queue = make_queue(initializer=initializer)
    first = queue.submit("ada", lambda progress: None)
    with pytest.raises(OSError, match="no libtorch"):
        first.result(LONG)
    assert queue.submit("ada", lambda progress: "well").result(LONG) == "well"
    assert queue.submit("ada", lambda progress: "still").result(LONG) == "still"


# Memory


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("workers", [1, 2])
def test_an_idle_queue_holds_no_result_and_no_work(make_queue: MakeQueue, workers: int) -> None:
    queue = make_queue(workers=workers)
    captured = Tensor()
    work_gone, both = captured.gone, Tensor()
    result_gone = both.gone

    def work(progress: Progress, result: list[Tensor], captured: Tensor = captured) -> Tensor:
        return result.pop()

    results = [both]
    del both, captured
    job = queue.submit("ada", lambda progress, work=work: work(progress, results))  # type: ignore[misc]
    del work
    assert job.wait(LONG)
    assert work_gone.wait(LONG)  # though the job itself is still held
    assert isinstance(job.result(), Tensor)
    assert not result_gone.is_set()
    job_gone = threading.Event()
    weakref.finalize(job, job_gone.set)
    del job
    assert result_gone.wait(LONG)
    assert job_gone.wait(LONG)


@pytest.mark.usefixtures("collector_off")
def test_an_idle_worker_does_not_hold_the_job_of_another(make_queue: MakeQueue) -> None:
    queue = make_queue(workers=2)
    helds = [hold(queue, name) for name in "ab"]
    gone = []
    for held, job in helds:  # the second worker sees the first one's job end, and the first sees the second's
        event = threading.Event()
        weakref.finalize(job, event.set)
        gone.append(event)
        held.go.set()
        assert job.wait(LONG)
    del helds, held, job
    assert all(event.wait(LONG) for event in gone)


@pytest.mark.usefixtures("collector_off")
def test_a_cancelled_queued_job_lets_go_of_its_work(make_queue: MakeQueue) -> None:
    queue = make_queue()
    held, _ = hold(queue)
    tensor = Tensor()
    gone = tensor.gone
    job = queue.submit("ada", lambda progress, tensor=tensor: None)  # type: ignore[misc]
    del tensor
    assert not gone.is_set()
    job.cancel()
    assert gone.is_set()
    held.go.set()


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("asked", [False, True], ids=["result not asked", "result asked"])
def test_a_failed_job_holds_no_variables_of_the_work(make_queue: MakeQueue, asked: bool) -> None:
    gone: list[threading.Event] = []

    class BrokenNetError(RuntimeError):
        """Unlike the built-in errors, one whose end can be waited for."""

    def inner(progress: Progress) -> None:
        activations = Tensor()
        gone.append(activations.gone)
        raise ValueError("inner")

    def outer(progress: Progress) -> None:
        gradients = Tensor()
        gone.append(gradients.gone)
        try:
            inner(progress)
        except ValueError as error:
            kept = error  # a circle: the frame holds the error, which holds the frame
            raise BrokenNetError("outer") from kept

    job = make_queue().submit("ada", outer)
    assert job.wait(LONG)
    assert len(gone) == 2
    assert all(event.wait(LONG) for event in gone)  # at once, with the job and its error still held
    if asked:
        with pytest.raises(BrokenNetError, match="outer"):
            job.result()
    assert job.error is not None
    frames = traceback.extract_tb(job.error.__cause__.__traceback__)  # type: ignore[union-attr]
    assert [frame.name for frame in frames] == ["outer", "inner"]  # the lines stay
    job_gone, error_gone = threading.Event(), threading.Event()
    weakref.finalize(job, job_gone.set)
    weakref.finalize(job.error, error_gone.set)
    del job
    assert job_gone.wait(LONG)
    assert error_gone.wait(LONG)


# Many threads


@pytest.mark.usefixtures("eager_switches")
def test_many_threads_submit_cancel_and_poll_at_once(make_queue: MakeQueue) -> None:
    people, runs, workers = 16, 40, 3
    queue = make_queue(workers=workers, waiting=people * runs, per_owner=None)
    lock = threading.Lock()
    running, most, ran = 0, 0, set()
    jobs: list[tuple[int, Job[int]]] = []
    start = threading.Barrier(people)

    def work(progress: Progress, key: int) -> int:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
            assert key not in ran
            ran.add(key)
        try:
            for step in range(5):
                progress.report(step / 5)
        finally:
            with lock:
                running -= 1
        return key * key

    def person(number: int) -> None:
        dice = random.Random(number)
        start.wait(LONG)
        for key in range(number * runs, (number + 1) * runs):
            job = queue.submit(str(number), lambda progress, key=key: work(progress, key))  # type: ignore[misc]
            with lock:
                jobs.append((key, job))
            if dice.random() < 0.3:
                job.cancel()
            assert job.position < people * runs
            assert 0 <= job.fraction <= 1

    threads = [threading.Thread(target=person, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(jobs) == people * runs
    assert all(job.wait(LONG) for _, job in jobs)
    assert {job.state for _, job in jobs} <= {"done", "cancelled"}
    assert all(job.result() == key * key for key, job in jobs if job.state == "done")
    never_cancelled = [
        key
        for number in range(people)
        for dice in [random.Random(number)]
        for key in range(number * runs, (number + 1) * runs)
        if dice.random() >= 0.3
    ]
    assert {key for key, job in jobs if job.state == "done"} >= set(never_cancelled)
    assert {key for key, job in jobs if job.seconds is not None} >= ran >= set(never_cancelled)
    assert 1 <= most <= workers


@pytest.mark.usefixtures("eager_switches")
def test_states_only_move_forward_and_the_outcome_is_there_when_they_end(make_queue: MakeQueue) -> None:
    queue = make_queue(waiting=200, per_owner=None)
    order = {"queued": 0, "running": 1, "done": 2, "failed": 2, "cancelled": 2}

    def work(progress: Progress, key: int) -> int:
        progress.report(0.5)
        if key % 3 == 0:
            raise ValueError(str(key))
        return key

    held, _ = hold(queue, "gate")
    jobs = [queue.submit("ada", lambda progress, key=key: work(progress, key)) for key in range(200)]  # type: ignore[misc]
    held.go.set()
    for key, job in enumerate(jobs):
        states = []
        while not job.finished:
            states.append(job.state)
        states.append(job.state)
        if key % 3 == 0:  # read at once, without wait()
            assert (states[-1], str(job.error)) == ("failed", str(key))
        else:
            assert (states[-1], job.result(LONG), job.fraction) == ("done", key, 1.0)
        ranks = [order[state] for state in states]
        assert ranks == sorted(ranks)


# The end


def test_shutdown_cancels_all_and_takes_no_more(make_queue: MakeQueue) -> None:
    before = set(threading.enumerate())
    queue = make_queue(workers=2)
    workers = set(threading.enumerate()) - before
    assert len(workers) == 2
    (held, running), (also_held, also_running) = hold(queue, "a"), hold(queue, "b")
    queued = queue.submit("c", lambda progress: None)
    assert queue.shutdown(timeout=0) is False
    assert [job.state for job in (running, also_running, queued)] == ["running", "running", "cancelled"]
    with pytest.raises(RuntimeError, match="shut down") as caught:
        queue.submit("d", lambda progress: None)
    assert not isinstance(caught.value, QueueFull)
    held.go.set()
    also_held.go.set()
    assert queue.shutdown(timeout=LONG) is True
    assert (running.state, also_running.state) == ("cancelled", "cancelled")
    for worker in workers:
        worker.join(LONG)
        assert not worker.is_alive()


def test_shutdown_ends_idle_workers() -> None:
    before = set(threading.enumerate())
    queue = JobQueue(workers=2)
    workers = set(threading.enumerate()) - before
    assert queue.submit("ada", lambda progress: "idle from now on").result(LONG)
    assert queue.shutdown(timeout=LONG) is True
    for worker in workers:
        worker.join(LONG)
        assert not worker.is_alive()


SCRIPT = """
import sys, threading
from explorer.jobs import JobQueue

queue = JobQueue(workers=1)
running = threading.Event()

def work(progress):
    running.set()
    try:
        while True:
            {step}
            progress.report(0.5)
    finally:
        print("left", flush=True)

queue.submit("ada", work)
queue.submit("bob", lambda progress: print("must not run", flush=True))
assert running.wait(60)
print("running", flush=True)
{end}
"""
COOPERATIVE, STUBBORN = "threading.Event().wait(0.01)", "threading.Event().wait()"


@pytest.mark.parametrize(
    ("step", "end", "output", "code"),
    [
        pytest.param(COOPERATIVE, "", "left\n", 0, id="end of the script"),
        pytest.param(STUBBORN, "", "", 0, id="work that never reports"),
        pytest.param(COOPERATIVE, "sys.exit(3)", "left\n", 3, id="sys.exit"),
        pytest.param(COOPERATIVE, "threading.Event().wait()", "left\n", -signal.SIGINT, id="Ctrl-C"),
        pytest.param(STUBBORN, "threading.Event().wait()", "", -signal.SIGINT, id="Ctrl-C and never reports"),
    ],
)
def test_the_interpreter_exits_while_a_job_runs(step: str, end: str, output: str, code: int) -> None:
    script = SCRIPT.format(step=step, end=end)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            started = time.monotonic()
            if code == -signal.SIGINT:
                process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=LONG)
            seconds = time.monotonic() - started
        finally:
            process.kill()
    assert (stdout, process.returncode) == (output, code)
    assert stderr == "" or (code == -signal.SIGINT and stderr.rstrip().endswith("KeyboardInterrupt"))
    assert seconds < 8  # 2 of grace, the rest for a busy machine
