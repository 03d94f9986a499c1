"""Signals that a run answers."""

import signal

import pytest

from autopose.runs.runtime import Interrupted, StopRequest


def test_a_run_under_nohup_goes_on_when_its_terminal_closes():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopRequest()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.raise_signal(signal.SIGHUP)
        assert not stop.agreed() and signal.getsignal(signal.SIGTERM) == stop._handle
        stop.release()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        stop = StopRequest()
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGHUP)
        stop.release()
    finally:
        signal.signal(signal.SIGHUP, before)
