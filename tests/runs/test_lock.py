"""One run a folder."""

import multiprocessing
import os
import time

import pytest

from autopose.errors import UserError
from autopose.runs import lock
from autopose.runs.lock import RunLock

NO_LOCKS = pytest.mark.skipif(lock.fcntl is None, reason="this system has no file locks")


@NO_LOCKS
def test_the_second_run_is_told_who_holds_the_folder(tmp_path):
    first = RunLock(tmp_path)
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on .*hydra.run.dir"):
        RunLock(tmp_path)
    first.release()
    RunLock(tmp_path).release()


def _hold(folder, ready):
    RunLock(folder)
    ready.set()
    time.sleep(60)


def _sleep(ready):
    ready.set()
    time.sleep(60)


@NO_LOCKS
def test_a_killed_run_holds_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(20)
    with pytest.raises(UserError, match=f"process {holder.pid}"):
        RunLock(tmp_path)
    holder.kill()
    holder.join()
    RunLock(tmp_path).release()


@NO_LOCKS
def test_a_child_that_outlives_the_run_holds_nothing(tmp_path):
    held = RunLock(tmp_path)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_sleep, args=(ready,))
    child.start()
    assert ready.wait(20)
    held.release()
    RunLock(tmp_path).release()
    child.kill()
    child.join()


def test_a_folder_that_takes_nothing_is_one_sentence(tmp_path):
    (tmp_path / lock.FILE).mkdir()
    with pytest.raises(UserError, match="cannot write into the run's folder .*: make room"):
        RunLock(tmp_path)
