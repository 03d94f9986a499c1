"""The bench of how cost grows: its points, its table and its picture."""

import csv

from bench import scaling


def test_a_point_at_a_time_and_bytes_that_grow_with_the_batch_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "BASE", scaling.Point(2, 64, 1, 1, 1))
    monkeypatch.setattr(scaling, "AXES", {"batch": (2, 4), "stages": (1, 2)})
    path, picture = tmp_path / "scaling.csv", tmp_path / "scaling.png"
    words = ["--axes", "batch", "stages", "--rounds", "1", "--output", str(path), "--picture", str(picture)]
    assert scaling.main(words) == 0 and picture.stat().st_size > 10_000
    with path.open() as file:
        rows = [(row["axis"], float(row["kept_mib"]), float(row["state_mib"])) for row in csv.DictReader(file)]
    two, four, one_stage, two_stages = rows
    assert 1.9 < four[1] / two[1] < 2.1 and four[2] == two[2]
    assert one_stage[1:] == two[1:] and two_stages[1] > one_stage[1] and two_stages[2] > one_stage[2]


def test_two_processes_share_the_batch_and_say_how_long_it_took():
    point = scaling.Point(2, 64, 1, 1, 1, processes=2)
    found = scaling.timed_in_processes(point, 1)
    assert found["least_s"] > 0 and found["rounds"] == 1
    assert point.problem(scaling.torch.device("cpu")).batches[0]["image"].shape[0] == 1
