"""A pool's plan, its ledger under what happens to ledgers, and whole pools with workers that die."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autopose.config import Config, DataConfig, PoolConfig, SpaceConfig
from autopose.errors import UserError

optuna = pytest.importorskip("optuna", reason="a pool needs Optuna")

from autopose.pool.ledger import Ledger, sqlite_url  # noqa: E402
from autopose.pool.plan import Plan  # noqa: E402
from autopose.pool.table import Table  # noqa: E402
from autopose.pool.worker import Worker, recipe_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SPACE = SpaceConfig(channels=(4, 8), num_stages=2, modules_per_stage=1, nodes_individual=1, nodes_aggregation=1,
                    stem_channels=8)  # fmt: skip
BAND = [0.0003, 0.0004]
SMALL = (
    "experiment=quick", "space.channels=[4,8]", "space.num_stages=2", "space.nodes_individual=1",
    "space.stem_channels=8", "data.image_size=[32,32]", "data.num_train=12", "data.num_val=4", "train.epochs=1",
    "train.milestones=[]", "train.batch_size=8", "train.width=1", "train.evaluate_every=0", "pool.architectures=3",
    "pool.repeated=1", "pool.include=[hrnet@0.0004]", "pool.heartbeat=1",
)  # fmt: skip


def plan(**settings) -> Plan:
    data = DataConfig(image_size=[32, 32])
    config = Config(space=SPACE, data=data, pool=PoolConfig(**{"repeated": 2, **settings}))
    return Plan(replace(config, train=replace(config.train, width=1)), 17)


def test_a_larger_pool_begins_with_the_smaller_one_and_takes_turns_with_the_band():
    small, large = plan(architectures=3, band=BAND), plan(architectures=6, band=BAND, include=["hrnet", "single_scale"])
    assert list(large.members)[:3] == list(small.members) and len(large.members) == 8
    assert all(large.members[name] == member for name, member in small.members.items())
    assert [member.band for member in large.members.values()] == [False, True] * 3 + [False] * 2
    assert all(BAND[0] <= large.gmacs(m) <= BAND[1] for m in large.members.values() if m.band)
    assert list(small.trainings()) == [*((name, 0) for name in small.members), ("random-0000", 1), ("random-0001", 1)]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"band": [5.0, 6.0]}, "no architecture of 5 to 6 GMACs"),
        ({"include": ["resnet"]}, "'resnet' is neither the path"),
        ({"include": ["hrnet@much"]}, "'hrnet@much' must end with @ and GMACs above 0"),
        ({"include": ["there/is/none.json"]}, "cannot read the architecture there/is/none.json"),
    ],
)
def test_a_plan_that_cannot_be_is_one_sentence(settings, message):
    with pytest.raises(UserError, match=message):
        plan(architectures=2, **settings)


def ledger(folder: Path, recipe=None, heartbeat=1) -> Ledger:
    found = Ledger(sqlite_url(folder / "ledger.db"), recipe or {"train.epochs": 1}, heartbeat)
    found.plan([("a", 0), ("b", 0), ("a", 1)])
    return found


def test_every_training_is_done_once_and_failures_are_tried_again_by_the_next_command(tmp_path):
    seen = []

    def train(name, seed):
        seen.append((name, seed))
        if name == "b" and len(seen) < 4:
            raise UserError("b does not fit")
        return float(seed), {"score": seed}

    first = ledger(tmp_path)
    while first.work(train, (UserError,)):
        pass
    assert seen == [("a", 0), ("b", 0), ("a", 1)] and first.failed() == {("b", 0): "b does not fit"}
    assert first.results() == {("a", 0): {"score": 0}, ("a", 1): {"score": 1}}
    again = ledger(tmp_path)
    assert again.work(train, (UserError,)) and not again.work(train, (UserError,))
    assert len(again.results()) == 3 and not again.failed() and len(seen) == 4


def test_what_two_workers_plan_at_once_is_trained_once(tmp_path):
    one, two = ledger(tmp_path), ledger(tmp_path)
    two.study.enqueue_trial({}, user_attrs={"member": "a", "seed": 0})
    seen = []
    while two.work(lambda *training: seen.append(training) or (0.0, {}), ()):
        pass
    assert sorted(seen) == [("a", 0), ("a", 1), ("b", 0)] and len(one.results()) == 3


def test_of_two_workers_that_take_the_same_training_one_keeps_it(tmp_path):
    """Each sees the other's under way: the earlier trial is trained, the later one is not."""
    running = dict(state=optuna.trial.TrialState.RUNNING, user_attrs={"member": "a", "seed": 0})
    one, seen = ledger(tmp_path), []
    one.study.add_trial(optuna.trial.create_trial(**running))
    while one.work(lambda *training: seen.append(training) or (0.0, {}), ()):
        pass
    assert sorted(seen) == [("a", 0), ("a", 1), ("b", 0)] and len(one.results()) == 3
    one.study.enqueue_trial({}, user_attrs={"member": "a", "seed": 0})
    assert one.work(lambda *training: seen.append(training) or (0.0, {}), ()) and len(seen) == 3


def test_workers_with_different_plans_leave_each_other_their_trainings(tmp_path):
    one, two = ledger(tmp_path), ledger(tmp_path)
    two.plan([("c", 0), ("a", 1)])
    seen = []
    train = lambda *training: seen.append(training) or (0.0, {})  # noqa: E731
    while two.work(train, ()):
        pass
    assert sorted(seen) == [("a", 1), ("c", 0)] and not two.unfinished() and one.unfinished() == 2
    while one.work(train, ()):
        pass
    assert sorted(seen) == [("a", 0), ("a", 1), ("b", 0), ("c", 0)]
    assert not one.failed() and not two.failed() and len(one.results()) == 3 and len(two.results()) == 2


def test_a_dead_workers_training_is_given_to_another(tmp_path):
    dead = ledger(tmp_path)
    trial = dead.study.ask()
    dead.study._storage.record_heartbeat(trial._trial_id)
    alive, deadline = ledger(tmp_path), time.monotonic() + 20
    seen = []
    train = lambda *training: seen.append(training) or (0.0, {})  # noqa: E731
    while (alive.work(train, ()) or alive.unfinished()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sorted(seen) == [("a", 0), ("a", 1), ("b", 0)]


def test_other_recipes_versions_and_torn_ledgers_are_refused(tmp_path):
    ledger(tmp_path)
    with pytest.raises(UserError, match="begun with train.epochs=1, now it is 2"):
        ledger(tmp_path, {"train.epochs": 2})
    younger = {"train.epochs": 1, "train.ema": 0.0}
    Ledger(sqlite_url(tmp_path / "ledger.db"), younger, 1, {"train.ema": 0.0})
    with pytest.raises(UserError, match="begun with train.ema=0.0, now it is 0.9"):
        Ledger(sqlite_url(tmp_path / "ledger.db"), younger | {"train.ema": 0.9}, 1, {"train.ema": 0.0})
    ledger(tmp_path).study.set_user_attr("version", 0)
    with pytest.raises(UserError, match="has version 0, this software writes version 1"):
        ledger(tmp_path)
    path = tmp_path / "ledger.db"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read"):
        ledger(tmp_path)
    path.write_text("not a database at all, but long enough to be looked at " * 20)
    with pytest.raises(UserError, match="cannot be read"):
        ledger(tmp_path)
    with pytest.raises(UserError, match=r"pool.ledger=nosuch://user@host/pool cannot be used"):
        Ledger("nosuch://user:secret@host/pool", {}, 1)


def worked(folder: Path, pool: Plan, known: Path | None = None) -> tuple[Worker, list]:
    """A worker that has run, on trainings that take no time, and what it trained."""
    folder.mkdir()
    config = replace(pool.config, pool=replace(pool.config.pool, known=str(known) if known else None))
    own = Ledger(sqlite_url(folder / "ledger.db"), recipe_of(config), 1)
    worker, trained = Worker(config, None, pool, own, folder), []

    def train(name, seed):
        trained.append((name, seed))
        scores = {"m": float(len(trained))}
        return scores["m"], {"metric": "m", "scores": scores, "constant": {"m": 0.5}, "losses": [1.0], "parameters": 7,
                             "machine": {}}  # fmt: skip

    worker._train = train
    worker.run()
    return worker, trained


def test_trainings_of_a_table_count_as_done_on_another_machine(tmp_path):
    first, trained = worked(tmp_path / "a", plan(architectures=3, band=BAND))
    first.table().save(tmp_path / "pool.json")
    assert len(trained) == 5
    second, trained = worked(tmp_path / "b", plan(architectures=4, band=BAND), tmp_path / "pool.json")
    assert trained == [("random-0003", 0)]
    assert second.table().entries[:3] == first.table().entries
    other = plan(architectures=3, band=[BAND[0], 2 * BAND[1]])
    with pytest.raises(UserError, match=r"pool.json was made with pool.band=\[0.0003, 0.0004\], now it is"):
        worked(tmp_path / "c", other, tmp_path / "pool.json")


def test_a_database_that_goes_away_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr("autopose.pool.ledger.PAUSE", 0.01)
    found, calls = ledger(tmp_path), []

    def away():
        calls.append(1)
        if len(calls) < 3:
            raise optuna.exceptions.StorageInternalError("the connection was closed")
        return "back"

    assert found._patiently(away) == "back"
    monkeypatch.setattr("autopose.pool.ledger.PATIENCE", -1.0)
    calls.clear()
    with pytest.raises(UserError, match="has not answered for"):
        found._patiently(away)


def pool(folder: Path, *overrides: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autopose.pool", *SMALL, *overrides, f"pool.folder={folder / 'pool'}",
               f"hydra.run.dir={folder / 'run'}", f"data.root={folder / 'drawn'}"]  # fmt: skip
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, start_new_session=True)  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def scores(folder: Path) -> dict:
    return {entry.name: dict(entry.scores) for entry in Table.load(folder / "run" / "pool.json")}


@pytest.mark.slow
def test_a_pool_whose_worker_is_killed_ends_as_an_undisturbed_one(tmp_path):
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    for folder in (quiet, disturbed):
        folder.mkdir()
    finish(pool(quiet))
    killed = pool(disturbed)
    for line in killed.stdout:
        if "1 of 5" in line:
            break
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    output = finish(pool(disturbed, "pool.workers=2"))
    assert "5 of 5 trainings done" in output
    assert scores(disturbed) == scores(quiet) and len(scores(quiet)["random-0000"]) == 2


@pytest.fixture
def postgres():
    """The URL of a PostgreSQL server of Debian's package, on a socket of its own."""
    pytest.importorskip("psycopg", reason="PostgreSQL needs psycopg")
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("PostgreSQL's server is not installed (Debian's package postgresql)")
    # A socket's path is short, and the server refuses to run as root.
    root = Path(tempfile.mkdtemp(prefix="pool"))
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(root, user)

    def server(program: str, *arguments: str) -> None:
        command = [str(binaries[-1] / program), *arguments]
        command = ["runuser", "-u", user, "--", *command] if user else command
        subprocess.run(command, check=True, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    server("initdb", "-D", str(root / "data"), "-A", "trust", "-U", "pool")
    options = f"-c listen_addresses= -c unix_socket_directories={root} -c fsync=off"
    server("pg_ctl", "-D", str(root / "data"), "-w", "-o", options, "-l", str(root / "log"), "start")
    yield f"postgresql+psycopg://pool@/postgres?host={root}"
    server("pg_ctl", "-D", str(root / "data"), "-m", "immediate", "stop")
    shutil.rmtree(root)


@pytest.mark.slow
def test_two_workers_share_a_postgresql_ledger(tmp_path, postgres):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    together = [f"pool.ledger={postgres}", "pool.worker=0"]
    workers = [pool(folder, *together, f"data.root={tmp_path / 'drawn'}") for folder in (one, two)]
    outputs = [finish(worker) for worker in workers]
    assert all("5 of 5 trainings done" in output for output in outputs)
    trained = [list((folder / "pool" / "trainings").glob("*/result.json")) for folder in (one, two)]
    assert len(trained[0]) + len(trained[1]) == 5 and scores(one) == scores(two)
    assert json.loads(trained[0][0].read_text())["scores"] if trained[0] else trained[1]
