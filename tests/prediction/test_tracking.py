"""Numbers that stay with people, and joints that tremble less."""

import numpy as np

from autopose.prediction.predictor import People
from autopose.prediction.tracking import HIDDEN, OneEuro, Tracker

SIGMAS = (0.05,) * 5


def people(*centres) -> People:
    """A person of 40 px around every centre."""
    shape = np.array([[0, -20], [-10, 0], [10, 0], [-8, 20], [8, 20.0]])
    joints = np.array([shape + centre for centre in centres]).reshape(-1, 5, 2)
    boxes = np.array([[x - 20, y - 20, 40, 40, 1.0] for x, y in centres]).reshape(-1, 5)
    return People(joints, np.ones(joints.shape[:2]), boxes, np.ones(len(joints)))


def test_two_who_pass_each_other_keep_their_numbers():
    tracker = Tracker(SIGMAS, 25)
    for step in range(20):
        a, b = (20 + 4 * step, 50), (100 - 4 * step, 90)
        order = (a, b) if step % 2 else (b, a)
        _, numbers = tracker(people(*order))
        if step == 0:
            of_a, of_b = numbers[1], numbers[0]
        assert list(numbers) == ([of_a, of_b] if step % 2 else [of_b, of_a])


def test_a_newcomer_gets_a_new_number_and_who_comes_back_soon_the_old_one():
    tracker = Tracker(SIGMAS, 25)
    assert list(tracker(people((30, 30)))[1]) == [0]
    assert list(tracker(people((31, 30), (200, 30)))[1]) == [0, 1]
    for _ in range(5):
        assert list(tracker(people((200, 30)))[1]) == [1]
    assert list(tracker(people((31, 30), (200, 30)))[1]) == [0, 1]
    for _ in range(HIDDEN + 1):
        tracker(people())
    assert list(tracker(people((31, 30)))[1]) == [2]


def test_the_filter_halves_trembling_and_follows_motion():
    draws, rate = np.random.default_rng(0), 30.0
    still, moving = OneEuro(rate), OneEuro(rate)
    noise = draws.normal(0, 1.0, (90, 5, 2))
    filtered = np.array([still(100 + n, 40.0) for n in noise])[30:]
    assert filtered.std(0).mean() < 0.5 * noise[30:].std(0).mean()
    path = np.arange(90)[:, None, None] * np.array([6.0, 0.0]) + np.zeros((90, 5, 2))
    followed = np.array([moving(p, 40.0) for p in path])
    assert np.abs(followed[-1] - path[-1]).max() < 6.0
