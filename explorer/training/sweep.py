"""Many recipes as independent jobs, one result file each: resumable, and no run twice.

In the results folder a recipe has, by its `key`,

- `<key>.parquet`: the finished run, diverged ones too; whole or not there;
- `<key>.checkpoint`: a run that has begun, as far as it last measured its test set;
- `<key>.failed`: why it could not be done; it is tried again by the next sweep;
- `<key>.claim`: locked by the process that runs it. The system lets go of the lock when that process ends, however it
  ends, so that no claim outlives its owner. Machines that share the folder must share its locks, as NFS does.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from filelock import FileLock, Timeout

from explorer.errors import Refusal
from explorer.training import recorded
from explorer.training.recipe import Recipe
from explorer.training.run import run
from explorer.training.worker import prepare

LOCAL = "local"  # the address of a Ray cluster that is started for the sweep
_PATIENCE = 1.0  # seconds between two looks at what others hold
_REACH = 5.0  # seconds to wait for a cluster's first answer


class SweepError(Refusal):
    """A sweep that cannot start; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: done now, there already, elsewhere in the hands of another process, or failed and why."""

    state: Literal["done", "there", "elsewhere", "failed"]
    why: str = ""


@dataclass(frozen=True)
class Standing:
    """How far a sweep is: how many runs in all, there before it began, done by it or by others since, failed, running
    here, and in the hands of others."""

    total: int
    there: int
    done: int
    failed: int
    running: int
    elsewhere: int

    @property
    def waiting(self) -> int:
        """How many nobody runs yet."""
        return self.total - self.there - self.done - self.failed - self.running - self.elsewhere


class News(Protocol):
    """What is told while a sweep goes on."""

    def __call__(self, standing: Standing, recipe: Recipe | None = None, outcome: Outcome | None = None) -> None:
        """With a recipe and its outcome where one has just ended, else about every second."""


def result_file(folder: Path, recipe: Recipe) -> Path:
    """Where a recipe's result is or will be."""
    return folder / f"{recipe.key}.parquet"


def attempt(text: str, folder: str) -> Outcome:
    """Run a recipe, given as JSON, to its end, unless its result is there or another process runs it.

    It goes on from a checkpoint. Whatever goes wrong is written down and told, not raised.
    """
    recipe = Recipe.from_json(text)
    place = Path(folder)
    result = result_file(place, recipe)
    claim, checkpoint, failed = (result.with_suffix(f".{kind}") for kind in ("claim", "checkpoint", "failed"))
    try:
        with FileLock(claim, blocking=False):
            state: Literal["done", "there"] = "there" if result.exists() else "done"
            if state == "done":
                recorded.write(result, recipe, run(recipe, checkpoint=checkpoint))
            for rest in (checkpoint, failed, *place.glob(f"{recipe.key}.*.part")):
                rest.unlink(missing_ok=True)
    except Timeout:
        return Outcome("elsewhere")
    except Exception as error:
        refused = isinstance(error, Refusal)
        why = str(error) if refused else f"{type(error).__name__}: {error}"
        failed.write_text(f"{why}\n" if refused else f"{why}\n\n{traceback.format_exc()}")
        return Outcome("failed", why)
    # Whoever takes the claim from now on finds the result. Windows removes no file that somebody has open.
    with contextlib.suppress(OSError):
        claim.unlink(missing_ok=True)
    return Outcome(state)


def sweep(
    recipes: Sequence[Recipe],
    folder: Path,
    workers: int | None = None,
    address: str | None = None,
    news: News = lambda standing, recipe=None, outcome=None: None,
) -> dict[Recipe, str]:
    """Do what is not done yet; return when all results are there or have failed here.

    What another sweep has begun is waited for, and taken over where that sweep dies. When it is interrupted
    (KeyboardInterrupt) or killed, its processes end at once; the next sweep goes on from their checkpoints.

    Args:
        recipes: what to run, each once.
        folder: for the results; made where it is not there. A cluster's machines must all see it.
        workers: runs at once; None: one for each processor, of this machine or of the cluster.
        address: of a Ray cluster, or "local" for one of this machine alone; None: processes of this program's own. A
            run on a cluster has one processor and no GPU.
        news: told how it goes.

    Returns:
        Why a recipe failed, for those that did.

    Raises:
        SweepError: the folder cannot be written, Ray is not installed, or no cluster answers.
    """
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(f"The results folder (={folder}) cannot be made: {error.strerror}.") from error
    waiting = [recipe for recipe in dict.fromkeys(recipes) if not result_file(folder, recipe).exists()]
    total = len(set(recipes))
    there, done = total - len(waiting), 0
    failed: dict[Recipe, str] = {}
    running: dict[Future[Outcome], Recipe] = {}

    def tell(recipe: Recipe | None = None, outcome: Outcome | None = None) -> None:
        elsewhere = sum(_claimed(folder, recipe) for recipe in waiting)
        news(Standing(total, there, done, len(failed), len(running), elsewhere), recipe, outcome)

    if not waiting:
        tell()
        return failed
    with _processes(workers) if address is None else _cluster(address, workers) as (submit, most):
        while waiting or running:
            for recipe in tuple(waiting):
                if len(running) == most:
                    break
                if not _claimed(folder, recipe):
                    waiting.remove(recipe)
                    running[submit(recipe.to_json(), str(folder))] = recipe
            tell()
            if not running:
                time.sleep(_PATIENCE)
            for future in wait(running, _PATIENCE, FIRST_COMPLETED).done:
                recipe = running.pop(future)
                outcome = _outcome(future)
                if outcome.state == "elsewhere":
                    waiting.append(recipe)
                    continue
                if outcome.state == "failed":
                    failed[recipe] = outcome.why
                else:
                    done += 1
                tell(recipe, outcome)
    return failed


def _claimed(folder: Path, recipe: Recipe) -> bool:
    """Whether a process has this recipe in hand."""
    claim = result_file(folder, recipe).with_suffix(".claim")
    if not claim.exists():
        return False
    try:
        with FileLock(claim, blocking=False):
            return False
    except Timeout:
        return True


def _outcome(future: "Future[Outcome]") -> Outcome:
    """The attempt's own, or that its process is no more."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool) or type(error).__name__ in ("WorkerCrashedError", "OutOfMemoryError"):
        return Outcome("failed", "The process that ran it was ended from outside, for want of memory perhaps.")
    return Outcome("failed", f"{type(error).__name__}: {error}")


# What hands an attempt to a worker, and how many it can have in hand
_Workers = tuple[Callable[[str, str], "Future[Outcome]"], int]


def _alone(text: str, folder: str) -> Outcome:
    """An attempt on one thread: several side by side are faster so, and repeat whatever the number of processors."""
    torch.set_num_threads(1)
    return attempt(text, folder)


@contextmanager
def _processes(count: int | None) -> Iterator[_Workers]:
    """Processes of our own, niced; they end when this block or this program does, however it does.

    Each is a pool of one: where the system kills a process, one run has failed and the others go on.
    """
    context = multiprocessing.get_context("spawn")
    line, ours = context.Pipe(duplex=False)
    pools: list[ProcessPoolExecutor] = []
    idle: list[ProcessPoolExecutor] = []
    busy: dict[Future[Outcome], ProcessPoolExecutor] = {}

    def submit(*arguments: str) -> "Future[Outcome]":
        for future in [future for future in busy if future.done()]:
            pool = busy.pop(future)
            if not isinstance(future.exception(), BrokenProcessPool):
                idle.append(pool)
        if not idle:
            pools.append(ProcessPoolExecutor(1, context, prepare, (line,)))
            idle.append(pools[-1])
        pool = idle.pop()
        try:
            with _uninterrupted():
                future = pool.submit(_alone, *arguments)
        except BrokenProcessPool:  # killed since its last run
            return submit(*arguments)
        busy[future] = pool
        return future

    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a new process loads its libraries
    try:
        yield submit, count or os.cpu_count() or 1
    finally:
        ours.close()
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        line.close()
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes after this block: a process started in it would print a trace while it loads."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _cluster(address: str, workers: int | None) -> Iterator[_Workers]:
    """Ray, quiet: no dashboard, no logs of its own on the screen, and nothing reported to its makers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray: Any = import_module("ray")  # the one optional package, which a type checker need not find either
    except ImportError as error:
        raise SweepError('Ray is not installed; pip install "resnet-explorer[ray]" brings it.') from error
    _check_address(address)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    settings |= {"num_cpus": workers, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SweepError(
            f"No Ray cluster takes us at ray (={address!r}); where it asks for a token, set RAY_AUTH_MODE=token. Ray "
            f"says: {error}"
        ) from error
    remote = ray.remote(num_cpus=1, max_retries=0)(_alone)
    try:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield lambda text, folder: remote.remote(text, folder).future(), count
    finally:
        ray.shutdown()  # and what still runs for us with it


def _check_address(address: str) -> None:
    """Ray itself would try for ten minutes and more."""
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise SweepError(f"ray (={address!r}) must be local, auto or an address such as 10.0.0.1:6379.")
    try:
        socket.create_connection((host, int(port)), _REACH).close()
    except (OSError, OverflowError) as error:
        raise SweepError(f"No Ray cluster answers at ray (={address!r}); is it running, and the port open?") from error
