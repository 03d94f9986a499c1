"""threads=auto: the number is measured and said, the network stays as it is, and other commands refuse to guess."""

import time
from types import SimpleNamespace

import pytest
import torch

from autopose.config import Config
from autopose.errors import UserError
from autopose.runs.memory import plain_passes
from autopose.runs.precision import FP32
from autopose.runs.threads import choose_threads
from autopose.space import MacroSpace
from autopose.space.builtin import all_on_conv3

CPU = SimpleNamespace(device=torch.device("cpu"))


@pytest.fixture
def two_threads():
    """PyTorch takes two."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return all_on_conv3(MacroSpace((4, 8), 1, 1, 1, 1, 4)).network(3, 1)


@pytest.mark.parametrize(("seconds", "chosen"), [({1: 0.04, 2: 0.01}, 2), ({1: 0.01, 2: 0.03}, 1)], ids=str)
def test_the_faster_number_is_kept_and_said(two_threads, network, caplog, seconds, chosen):
    shapes = []

    def passes(images):
        shapes.append(tuple(images.shape))
        time.sleep(seconds[torch.get_num_threads()])

    with caplog.at_level("INFO", "autopose"):
        choose_threads("auto", network, (48, 64), 8, passes, CPU)
    assert torch.get_num_threads() == chosen
    assert set(shapes) == {(2, 3, 64, 48)} and len(shapes) == 2 * (1 + 3)
    assert caplog.messages[-1].startswith(f"threads    {chosen} (auto: a step of 2 image(s) takes ")


def test_several_threads_must_be_worth_their_cores(two_threads, network, monkeypatch):
    for several, chosen in ((0.95, 1), (0.85, 2)):
        torch.set_num_threads(2)
        monkeypatch.setattr("autopose.runs.threads.seconds_with", lambda threads, call, several=several: [1.0, several])
        choose_threads("auto", network, (32, 32), 1, print, CPU)
        assert torch.get_num_threads() == chosen


def test_a_step_is_timed_and_nothing_of_the_network_moves(two_threads, network):
    before, mode = {name: t.clone() for name, t in network.state_dict().items()}, network.state.mode
    choose_threads("auto", network, (32, 32), 2, plain_passes(network, FP32, network), CPU)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert network.state.mode == mode and all(p.grad is None for p in network.parameters())


def test_nothing_is_timed_where_there_is_no_choice(network, caplog):
    def refused(images):
        raise AssertionError("a step was timed")

    count = torch.get_num_threads()
    with caplog.at_level("INFO", "autopose"):
        choose_threads(0, network, (32, 32), 2, refused, CPU)
        choose_threads(2, network, (32, 32), 2, refused, CPU)
        assert not caplog.messages
        torch.set_num_threads(1)
        choose_threads("auto", network, (32, 32), 2, refused, CPU)
        torch.set_num_threads(2)
        choose_threads("auto", network, (32, 32), 2, refused, SimpleNamespace(device=torch.device("cuda")))
    torch.set_num_threads(count)
    assert caplog.messages == [
        "threads    1 (auto: PyTorch takes no more)", "threads    2 (auto: device cuda computes)"
    ]  # fmt: skip


def test_what_threads_may_be():
    assert [Config(task=task, threads="auto").threads for task in ("search", "train")] == ["auto", "auto"]
    for task, threads, said in (
        ("evaluate", "auto", "threads=auto times steps of search and train: give a number, or 0"),
        ("train", "many", "threads must be auto or a whole number, but is 'many'"),
        ("train", 1.5, "threads must be auto or a whole number, but is 1.5"),
        ("train", -1, "threads must be"),
    ):
        with pytest.raises(UserError, match=said):
            Config(task=task, threads=threads)
