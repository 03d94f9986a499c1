"""Bars: nothing of what is short, whole lines where nobody watches, and the items as they are."""

from autopose.progress import progress

LONG = "autopose.progress.QUIET_S"


def test_what_is_short_shows_nothing(capsys):
    assert list(progress(iter(range(5)), "short", 5)) == list(range(5)) and capsys.readouterr().err == ""


def test_what_is_long_is_whole_lines_in_a_file(capsys, monkeypatch):
    monkeypatch.setattr(LONG, 1e-6)
    monkeypatch.setattr("autopose.progress.UNWATCHED_S", 0.0)
    assert list(progress(iter(range(4)), "long", 4)) == list(range(4))
    text = capsys.readouterr().err
    lines = text.splitlines()
    assert lines and all(line.startswith("long") and "/4" in line for line in lines) and "\r" not in text


def test_a_line_a_minute_at_most(capsys, monkeypatch):
    monkeypatch.setattr(LONG, 1e-6)
    list(progress(iter(range(200)), "long", 200))
    assert len(capsys.readouterr().err.splitlines()) <= 2


def test_hidden_ones_write_nothing(capsys):
    with progress(total=3, shown=False, at_once=True) as bar:
        bar.update()
        bar.set_postfix({"loss": "1"}, refresh=False)
    assert capsys.readouterr().err == ""
