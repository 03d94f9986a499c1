"""What a run writes down where the disk refuses it."""

import logging
import threading

import pytest

from autopose.runs.record import MetricsLog


def test_a_full_disk_below_tensorboard_is_said_without_a_traceback(tmp_path, monkeypatch, caplog):
    writers = pytest.importorskip("tensorboard.summary.writer.record_writer")
    uncaught: list = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)
    log, others = MetricsLog(tmp_path), set(threading.enumerate())

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.WARNING, "autopose"):
        log.open()
        monkeypatch.setattr(writers.RecordWriter, "write", refuse)
        for epoch in range(2):
            log.write({"epoch": epoch, "loss": 1.0})
            for thread in set(threading.enumerate()) - others:
                thread.join(5)
        log.close()
    assert "TensorBoard's file was not written (No space left on device)" in caplog.text and not uncaught
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2
