"""The totals of the cost model, and the page that shows it; that its launches are the plan's: bench.compile_report."""

from collections import Counter
from pathlib import Path

import pytest

from autopose.kernels.topology import Topology
from autopose.space import MacroSpace
from bench.graphed import Host, host_of
from bench.roofline import GPUS, ISSUED, cell_work, half_on, host_calls, iteration, launch_table, main, product_share

ROOT = Path(__file__).resolve().parents[2]
PAPER = MacroSpace()


def test_totals_of_an_iteration_of_the_paper():
    """Whoever changes launches or traffic changes these numbers, on purpose, and docs/kernels.md with them."""
    all_on, half = (
        iteration(PAPER, beta, 64, (192, 256), GPUS["h200"])["all"] for beta in (PAPER.all_on(), half_on(PAPER))
    )
    assert (all_on.launches, round(all_on.bytes / 1e9, 1)) == (3432, 115.5)
    assert (half.launches, round(half.bytes / 1e9, 1)) == (1716, 75.0)
    # Forward, and twice the products backward in a step of omega, once in one of alpha: 5 of the 2 * 35 C^2 P an edge,
    # and of the 2 * C^2 P a node. Where the 1x1's output is made anew, at C = 16 and 32, each step has three small
    # products more: four where it is read, less one in the input gradient.
    branches = [(16 * 2**b, 64 * 3072 // 4**b) for b in range(4)]
    anew = sum(6 * 2 * 2 * 29 * 3 * c * c * p for c, p in branches[:2])
    assert all_on.flops == sum(6 * 5 * 2 * (29 * 35 + 10) * c * c * p for c, p in branches) + anew


def test_a_product_takes_as_long_as_its_code_issues():
    of = {name: product_share("input_gradient_kernel", 32, GPUS[name]) for name in GPUS}
    assert of["h100"] == of["h200"] == 0.51 * ISSUED["input_gradient_kernel"][32] / 2048
    assert of["a100"] == of["rtx4090"] == product_share("taps_kernel", 48, GPUS["h200"]) == 0.2


def test_a_step_of_alpha_leaves_the_weights_gradients_out():
    omega, alpha = ([w.kernel for w in cell_work(Topology(1, 4), 16, 3072, 2, weights)] for weights in (True, False))
    of_weights = ("weight_gradient_kernel", "compress_sum_kernel")
    assert len(omega) == 30 and [name for name in omega if name not in of_weights] == alpha


def test_calls_of_the_host_are_counted_with_a_cell_as_one():
    calls = host_calls(MacroSpace((16, 32), 2, 1, 2, 1, 16), MacroSpace((16, 32), 2, 1, 2, 1, 16).all_on(), 1, (32, 32))
    for name in ("mixed_cell", "compress"):
        assert calls[name] == calls[f"{name}_backward"] == 2 * 2 * 3
    assert calls["convolution"] == calls["convolution_backward"] > 0


@pytest.mark.parametrize(("beta", "calls"), [(PAPER.all_on(), 390), (half_on(PAPER), 330)], ids=["all on", "half on"])
def test_the_host_of_a_graphed_iteration_takes_less_than_a_quarter_of_the_card(beta, calls):
    """Calls by operator differ a little between versions of PyTorch; replays do not."""
    host, card = host_of(PAPER, beta), iteration(PAPER, beta, 64, (192, 256), GPUS["h200"])["all"]
    active = 2 * sum(map(sum, beta.rows))
    assert host.replays == active * 2 * 2 * 2  # parts, forward and backward, steps
    assert host.replays < host.calls.total() <= calls
    assert host.seconds < 0.25 * card.seconds


def test_the_page_shows_the_table_that_the_plan_prints():
    page = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    assert "\n".join(launch_table()) in page, "python -m bench.roofline --launches prints the table anew"


def test_an_unknown_gpu_is_one_sentence(capsys):
    assert main(["--gpu", "tpu"]) == 2
    assert "no data sheet of 'tpu': there are h100, h200, a100, rtx4090" in capsys.readouterr().err


def test_a_search_is_billed_on_a_gpu_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setattr("bench.roofline.host_calls", lambda *arguments: Counter())
    monkeypatch.setattr("bench.roofline.host_of", lambda *arguments: Host(2, Counter(add=4)))
    hours = []
    for words in (["gpu=h100", "iterations=1000"], ["--gpu", "h100", "--iterations", "2000"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        assert "an estimate" in text.splitlines()[-1]
        hours.append(float(text.splitlines()[-1].split(": ")[1].split()[0]))
    assert 0 < hours[0] == pytest.approx(hours[1] / 2, rel=0.1)


def test_a_search_of_ones_own_is_billed(capsys, monkeypatch):
    pytest.importorskip("hydra")
    from autopose.config.composed import composed

    monkeypatch.setattr("bench.roofline.host_calls", lambda *arguments: Counter())
    monkeypatch.setattr("bench.roofline.host_of", lambda *arguments: Host(0, Counter(add=400)))
    assert main(["gpu=h100", "experiment=quick", "search.epochs=5", "search.batch_size=8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "experiment=quick search.epochs=5 search.batch_size=8, 96x64, batch 8" in lines[0]
    assert lines[-1].startswith("100 iterations half on") and "of the host" in lines[-1]
    space = composed("search", "experiment=quick").space
    launches = iteration(space, space.all_on(), 8, (64, 96), GPUS["h100"])["all"].launches
    assert f"| all | {launches} |" in "\n".join(lines)


@pytest.mark.parametrize(
    ("word", "said"), [("experiment=quck", "did you mean quick"), ("space.aggregation=concat", "the model knows cells")]
)
def test_a_search_that_cannot_be_billed_is_one_sentence(word, said, capsys):
    pytest.importorskip("hydra")
    assert main(["gpu=h100", word]) == 2
    said_so = capsys.readouterr().err
    assert said in said_so and said_so.count("\n") == 1
