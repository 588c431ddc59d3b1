"""Sweeps: each recipe once, whatever is killed, and the same rows wherever it runs."""

import importlib.util
import io
import math
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from explorer.models.variants import variant
from explorer.training import command, recorded, run, sweep
from explorer.training.grid import Grid
from explorer.training.recipe import Recipe
from explorer.training.results import results, summary
from explorer.training.sweep import Outcome, Standing, SweepError, attempt, result_file

pytestmark = pytest.mark.timeout(600)  # the processes are niced: where others work they wait
ROOT = Path(__file__).parents[2]
SMALL = Recipe(
    variant("a", 8, width=2, in_channels=1, image_size=(8, 8)), steps=6, batch=20, record_every=2, test_every=4
)
GRID = """
[base]
steps = 6
batch = 20
record_every = 2
test_every = 4
width = 2


[axes]
variant = ["plain", "a"]
depth = [8]
seed = [0, 1]
"""


@pytest.fixture(autouse=True)
def no_page_is_the_main_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page test leaves its page as the main program behind, which each process of a pool would run again."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))


def rows(folder: Path) -> pd.DataFrame:
    """What must repeat: all but how long it took."""
    tables = [found.records.assign(key=found.recipe.key) for found in results(folder)]
    return pd.concat(tables, ignore_index=True).drop(columns="seconds").astype({"gradient_norms": str})


def straight(recipe: Recipe, folder: Path) -> None:
    """The oracle: a run without any sweep."""
    folder.mkdir(exist_ok=True)
    recorded.write(result_file(folder, recipe), recipe, run.run(recipe))


@contextmanager
def started(folder: Path, grid: str = GRID, workers: int = 1) -> Iterator["subprocess.Popen[str]"]:
    """The command in a process and a session of its own, of which nothing is left behind."""
    file = folder.parent / "grid.toml"
    file.write_text(grid)
    words = [sys.executable, "-m", "explorer", "sweep", str(file), "--results", str(folder), "--workers", str(workers)]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        # Where the tests run in the background, Ctrl-C is ignored by all that they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def has_begun(process: "subprocess.Popen[str]", folder: Path) -> bool:
    """Whether a first checkpoint is there."""
    assert process.poll() is None, process.communicate()
    return any(folder.glob("*.checkpoint"))


def alive(session: int) -> list[int]:
    """The processes of a session that are no mere entries of the dead."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def wait_for(what: Callable[[], object], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def here(count: int | None) -> Iterator[tuple[Callable[[str, str], "Future[Outcome]"], int]]:
    """In place of worker processes, which take seconds to start."""

    def submit(text: str, folder: str) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        future.set_result(attempt(text, folder))
        return future

    yield submit, 1


# One recipe


def test_an_attempt_writes_the_rows_of_a_plain_run_and_leaves_nothing_else(tmp_path: Path) -> None:
    straight(SMALL, tmp_path / "oracle")
    folder = tmp_path / "results"
    folder.mkdir()
    assert attempt(SMALL.to_json(), str(folder)) == Outcome("done")
    assert [file.name for file in folder.iterdir()] == [f"{SMALL.key}.parquet"]
    pd.testing.assert_frame_equal(rows(folder), rows(tmp_path / "oracle"))


def test_what_is_there_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight(SMALL, tmp_path)
    monkeypatch.setattr(sweep, "run", None)  # to call it would raise
    assert attempt(SMALL.to_json(), str(tmp_path)) == Outcome("there")


def test_what_another_holds_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "run", None)
    with FileLock(tmp_path / f"{SMALL.key}.claim"):
        assert attempt(SMALL.to_json(), str(tmp_path)) == Outcome("elsewhere")
    assert not list(tmp_path.glob("*.failed"))


def test_it_goes_on_from_a_checkpoint_to_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight(SMALL, tmp_path / "oracle")
    steps = run.run(SMALL, checkpoint=tmp_path / f"{SMALL.key}.checkpoint")
    while next(steps).step < 4:  # records at 0, 2, 4, 6; kept at 0, 4, 6
        pass
    steps.close()
    (tmp_path / f"{SMALL.key}.checkpoint.7.part").write_bytes(b"of a process that was killed while it wrote")
    done: list[int] = []
    step = run.Run._step
    monkeypatch.setattr(run.Run, "_step", lambda own, **more: done.append(own._progress.step) or step(own, **more))
    assert attempt(SMALL.to_json(), str(tmp_path)) == Outcome("done")
    assert done == [4, 5]
    assert not list(tmp_path.glob("*.checkpoint*"))
    pd.testing.assert_frame_equal(rows(tmp_path), rows(tmp_path / "oracle"))


def test_a_run_that_fails_says_why_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, failed = (tmp_path / f"{SMALL.key}.{kind}" for kind in ("checkpoint", "failed"))
    checkpoint.write_text("no checkpoint")
    outcome = attempt(SMALL.to_json(), str(tmp_path))
    assert outcome.state == "failed"
    assert outcome.why.endswith("cannot be read; delete it, and the run starts anew.")
    assert failed.read_text() == f"{outcome.why}\n"
    checkpoint.unlink()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(sweep, "run", broken)
        assert attempt(SMALL.to_json(), str(tmp_path)) == Outcome("failed", "ZeroDivisionError: a defect")
    assert failed.read_text().startswith("ZeroDivisionError: a defect\n\nTraceback")
    assert attempt(SMALL.to_json(), str(tmp_path)) == Outcome("done")
    assert not failed.exists()


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    wild = replace(SMALL, spec=replace(SMALL.spec, norm="none"), lr=1e30)
    assert attempt(wild.to_json(), str(tmp_path)) == Outcome("done")
    (row,) = summary(tmp_path).itertuples()
    assert row.diverged
    assert math.isnan(row.train_error)
    assert math.isnan(row.batch_loss)


# Many


def test_many_at_once_run_each_recipe_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def slow(recipe: Recipe, **more: object) -> list[run.Record]:
        begun.append(recipe.key)
        time.sleep(0.05)
        return [next(run.run(recipe))]

    monkeypatch.setattr(sweep, "run", slow)
    recipes = [replace(SMALL, seed=seed) for seed in range(6)]
    ended: list[Outcome] = []

    def all_of_them(order: Sequence[Recipe]) -> None:
        ended.extend(attempt(recipe.to_json(), str(tmp_path)) for recipe in order)

    threads = [threading.Thread(target=all_of_them, args=(recipes[place:] + recipes[:place],)) for place in (0, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(begun) == {recipe.key: 1 for recipe in recipes}
    assert Counter(outcome.state for outcome in ended)["done"] == len(recipes)
    assert len(ended) == 3 * len(recipes)


def test_a_sweep_waits_for_what_another_holds_and_takes_it_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder lets go without a result, as one that dies."""
    monkeypatch.setattr(sweep, "_processes", here)
    told: list[Standing] = []
    holder = FileLock(tmp_path / f"{SMALL.key}.claim")
    holder.acquire()

    def news(standing: Standing, recipe: Recipe | None = None, outcome: Outcome | None = None) -> None:
        told.append(standing)
        if len(told) == 2:
            holder.release()

    assert sweep.sweep([SMALL], tmp_path, 1, news=news) == {}
    assert told[0] == Standing(total=1, there=0, done=0, failed=0, running=0, elsewhere=1)
    assert told[-1] == Standing(total=1, there=0, done=1, failed=0, running=0, elsewhere=0)
    assert [found.recipe for found in results(tmp_path)] == [SMALL]


def test_a_process_that_is_killed_costs_one_run_and_no_other(tmp_path: Path) -> None:
    """As the system does for want of memory."""
    long = replace(SMALL, steps=1_000_000, test_every=2)
    told: list[tuple[Recipe, Outcome]] = []

    def news(standing: Standing, recipe: Recipe | None = None, outcome: Outcome | None = None) -> None:
        if recipe is not None and outcome is not None:
            told.append((recipe, outcome))
        if (tmp_path / f"{long.key}.checkpoint").exists():
            claim = os.stat(tmp_path / f"{long.key}.claim").st_ino
            for line in Path("/proc/locks").read_text().splitlines():
                words = line.split()
                if words[5].endswith(f":{claim}"):
                    os.kill(int(words[4]), signal.SIGKILL)

    failed = sweep.sweep([long, SMALL, replace(SMALL, seed=1)], tmp_path, 1, news=news)
    assert list(failed) == [long]
    assert "ended from outside" in failed[long]
    assert [(recipe.seed, outcome.state) for recipe, outcome in told] == [(0, "failed"), (0, "done"), (1, "done")]
    assert (tmp_path / f"{long.key}.checkpoint").exists(), "and the next sweep goes on from it"


def test_a_process_that_is_killed_between_two_runs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Pool:
        def __init__(self, *_: object) -> None:
            self.number = len(made)
            made.append(self.number)

        def submit(self, *_: object) -> "Future[Outcome]":
            if self.number == 0:
                raise BrokenProcessPool
            future: Future[Outcome] = Future()
            future.set_result(Outcome("done"))
            return future

        def shutdown(self, cancel_futures: bool) -> None:
            made.remove(self.number)

    monkeypatch.setattr(sweep, "ProcessPoolExecutor", Pool)
    with sweep._processes(7) as (submit, most):
        assert most == 7
        assert [submit("", "").result() for _ in range(3)] == [Outcome("done")] * 3
        assert made == [0, 1], "the second took all three"
    assert made == []


# The command


def test_the_command_trains_the_grid_and_then_nothing_more(tmp_path: Path) -> None:
    recipes = Grid.read(GRID).recipes()
    for recipe in recipes[1:]:
        straight(recipe, tmp_path / "oracle")
    straight(recipes[0], tmp_path / "results")
    straight(recipes[0], tmp_path / "oracle")
    before = (tmp_path / "results" / f"{recipes[0].key}.parquet").stat().st_mtime_ns
    with started(tmp_path / "results", workers=2) as process:
        output, errors = process.communicate(timeout=400)
    assert process.returncode == command.DONE, errors
    pd.testing.assert_frame_equal(rows(tmp_path / "results"), rows(tmp_path / "oracle"))
    assert (tmp_path / "results" / f"{recipes[0].key}.parquet").stat().st_mtime_ns == before
    first, *lines = errors.splitlines()
    assert first == f"4 runs, 1 of them there already in {tmp_path / 'results'}."
    assert [line.split("]")[0] for line in lines] == ["[2/4", "[3/4", "[4/4"]
    assert sum("Plain, depth 8, seed 1: training error" in line for line in lines) == 1
    table = pd.read_csv(io.StringIO(output))
    pd.testing.assert_frame_equal(table, summary(tmp_path / "results"))
    assert list(table.seed) == [0, 1, 0, 1]


def test_a_killed_sweep_leaves_no_process_and_goes_on_to_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    grid = GRID.replace("steps = 6", "steps = 40").replace('["plain", "a"]', '["plain"]').replace("[8]", "[14]")
    recipes = Grid.read(grid).recipes()
    with started(folder, grid) as process:
        wait_for(lambda: has_begun(process, folder))
        process.kill()
        process.communicate()
        wait_for(lambda: not alive(process.pid), 60)
    assert not list(folder.glob("*.parquet")), "it was killed half-way"
    for recipe in recipes:
        straight(recipe, tmp_path / "oracle")
    monkeypatch.setattr(sweep, "_processes", here)
    assert command.main([str(tmp_path / "grid.toml"), "--results", str(folder), "--quiet"]) == command.DONE
    pd.testing.assert_frame_equal(rows(folder), rows(tmp_path / "oracle"))
    assert capsys.readouterr().err == ""


def test_ctrl_c_says_one_line_and_keeps_the_checkpoints(tmp_path: Path) -> None:
    with started(tmp_path / "results", GRID.replace("steps = 6", "steps = 1000000")) as process:
        wait_for(lambda: has_begun(process, tmp_path / "results"))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, the workers too
        _, errors = process.communicate(timeout=120)
        wait_for(lambda: not alive(process.pid), 60)
    assert process.returncode == command.INTERRUPTED
    assert errors.splitlines()[1:] == ["Stopped; the same command goes on from the checkpoints."]
    assert list((tmp_path / "results").glob("*.checkpoint"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{grid}"], "--results"),
        (["{grid}", "--results", "{new}", "--workers", "0"], "workers (='0') must be a whole number from 1 to 1024."),
        (["{grid}", "--results", "{new}", "--workers", "x"], "workers (='x') must be"),
        (["nowhere.toml", "--results", "{new}"], "The grid nowhere.toml cannot be read"),
        (["{bad}", "--results", "{new}"], "lr (='fast') must be a number."),
        (["{binary}", "--results", "{new}"], "cannot be read"),
        (["{grid}", "--results", "{grid}"], "cannot be made"),
        (
            ["{grid}", "--results", "{new}", "--ray", "somewhere"],
            "ray (='somewhere') must be local, auto or an address",
        ),
        (["{grid}", "--results", "{new}", "--ray", "127.0.0.1:1"], "No Ray cluster answers at ray (='127.0.0.1:1')"),
        (["{grid}", "--results", "{new}", "--ray", "127.0.0.1:99999"], "No Ray cluster answers"),
    ],
)
def test_what_cannot_start_is_a_sentence_and_nothing_has_started(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--ray" in words and importlib.util.find_spec("ray") is None:
        pytest.skip("the extra `ray` is not installed")
    places = {name: tmp_path / name for name in ("grid", "bad", "binary", "new")}
    places["grid"].write_text(GRID)
    places["bad"].write_text(GRID.replace("seed = [0, 1]", "lr = ['fast']"))
    places["binary"].write_bytes(b"\xff\xfe\0")
    assert command.main([word.format(**places) for word in words]) == command.REFUSED
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not places["new"].exists() or not list(places["new"].iterdir())


def test_failed_runs_make_the_command_end_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "_processes", here)
    file, folder = tmp_path / "grid.toml", tmp_path / "results"
    file.write_text(GRID.replace("seed = [0, 1]", "seed = [3]"))
    plain, residual = Grid.read(file.read_text()).recipes()
    folder.mkdir()
    (folder / f"{plain.key}.checkpoint").write_text("no checkpoint")
    straight(residual, folder)
    assert command.main([str(file), "--results", str(folder), "--workers", "1"]) == command.FAILED
    shown = capsys.readouterr()
    assert "[2/2] Plain, depth 8, seed 3: failed: The checkpoint" in shown.err
    assert shown.err.endswith("1 run failed; the same command tries again.\n")
    assert list(pd.read_csv(io.StringIO(shown.out)).key) == [residual.key]


def test_help_and_a_wrong_grid_need_no_pytorch() -> None:
    code = "import sys; from explorer.training import command; command.main(['--help']); print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout
    assert output.startswith("usage: python -m explorer sweep")
    assert output.endswith("False\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_last_line_that_counts() -> None:
    screen = Terminal()
    with command._Teller(screen, Path("nowhere"), False) as teller:
        teller.name([SMALL])
        teller(Standing(total=9, there=2, done=1, failed=1, running=2, elsewhere=1))
        teller(Standing(total=9, there=2, done=1, failed=2, running=1, elsewhere=1), SMALL, Outcome("failed", "No."))
    assert "4 of 9 ended, 2 running, 1 in the hands of others, 2 waiting, 0 s" in screen.getvalue()
    assert "[5/9] ResNet, option A, depth 8, seed 0: failed: No.\n" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


# Ray


def test_a_ray_cluster_gives_the_rows_of_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    recipes = [SMALL, replace(SMALL, seed=1)]
    bad = replace(SMALL, seed=2)
    for name, address in (("pool", None), ("ray", "local")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{bad.key}.checkpoint").write_text("no checkpoint")
        failed = sweep.sweep([*recipes, bad], tmp_path / name, 1, address)
        assert list(failed) == [bad]
    assert not ray.is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert [found.recipe for found in results(tmp_path / "ray")] == sorted(recipes, key=lambda recipe: recipe.key)
    pd.testing.assert_frame_equal(rows(tmp_path / "ray"), rows(tmp_path / "pool"))


def test_without_ray_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SweepError, match=r'pip install "resnet-explorer\[ray\]"'):
        sweep.sweep([SMALL], tmp_path, 1, "local")
