"""Signals that a run answers."""

import signal

import pytest
from omegaconf import DictConfig, OmegaConf

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


def test_a_signal_inside_of_a_library_stays_what_it_is(monkeypatch):
    """OmegaConf makes any exception anew from its words, with more of them: a stop has none to be made from."""

    def interrupted(*_, **__):
        raise Interrupted(signal.SIGTERM, "all is saved")

    config = OmegaConf.create({})
    monkeypatch.setattr(DictConfig, "_DictConfig__set_impl", interrupted)
    with pytest.raises(Interrupted, match="^stopped by SIGTERM: all is saved$") as found:
        config["key"] = 1
    assert found.value.exit_code == 143
