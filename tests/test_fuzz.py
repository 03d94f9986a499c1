"""A few hundred of the mutations that ``bench/fuzz.py`` makes by the thousand."""

from bench.fuzz import fuzz


def test_damaged_input_is_used_or_refused_in_one_sentence(tmp_path):
    found = fuzz(330, 1, tmp_path)
    assert found["findings"] == []
    assert found["cases"] == sum(sum(counts.values()) for counts in found["by_target"].values())
    assert len(found["by_target"]) == 16
    assert all("refused" in counts for counts in found["by_target"].values())
    assert sum(counts.get("used", 0) for counts in found["by_target"].values()) > 20
