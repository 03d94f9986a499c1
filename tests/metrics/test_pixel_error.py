"""Errors in px: known distances, unlabelled joints left out, missing predictions not hidden."""

import numpy as np
import pytest

from autopose.metrics.pck import extent_sizes
from autopose.metrics.pixel_error import MEDIAN, P95, RMSE, pixel_error_table, pixel_errors

NAMES = ("nose", "tail")


def test_known_distances():
    truth = np.zeros((4, 2, 2))
    predictions = np.array([[[3, 4], [0, 1]], [[6, 8], [0, 1]], [[0, 0], [0, 2]], [[5, 12], [100, 0]]], dtype=float)
    visible = np.array([[2, 1], [1, 2], [2, 2], [2, 0]])
    table = pixel_error_table(predictions, truth, visible, NAMES)
    errors = np.array([5, 10, 0, 13, 1, 1, 2])
    assert table[RMSE] == pytest.approx(np.sqrt((errors**2).mean()))
    assert table[MEDIAN] == 2 and table[P95] == 13
    assert (table["nose px"], table["tail px"]) == (7.5, 1)


def test_it_does_not_depend_on_where_the_people_stand():
    rng = np.random.default_rng(0)
    truth, visible = rng.uniform(0, 99, (9, 2, 2)), rng.integers(0, 3, (9, 2))
    predictions = truth + rng.normal(size=truth.shape)
    first = pixel_error_table(predictions, truth, visible, NAMES)
    assert pixel_error_table(predictions + 1e3, truth + 1e3, visible, NAMES) == pytest.approx(first)
    doubled = pixel_error_table(2 * predictions, 2 * truth, visible, NAMES)
    assert doubled == pytest.approx({name: 2 * value for name, value in first.items()})


def test_unlabelled_joints_do_not_count_and_missing_predictions_do():
    truth = np.zeros((3, 2, 2))
    predictions = np.array([[[1, 0], [9, 9]], [[1, 0], [9, 9]], [[np.nan, np.nan], [9, 9]]])
    table = pixel_error_table(predictions, truth, np.array([[2, 0]] * 3), NAMES)
    assert table[MEDIAN] == 1 and table[RMSE] == np.inf and np.isnan(table["tail px"])
    assert np.isnan(pixel_errors(predictions, truth, np.array([[2, 0]] * 3))[:, 1]).all()
    assert all(np.isnan(value) for value in pixel_error_table(predictions, truth, np.zeros((3, 2)), NAMES).values())


def test_the_extent_of_the_labelled_joints():
    joints = np.array([[[0, 0], [30, 10], [500, 500]], [[5, 5], [5, 5], [5, 5]], [[1, 1], [9, 9], [9, 9]]], dtype=float)
    visible = np.array([[2, 2, 0], [2, 2, 2], [2, 0, 0]])
    sizes = extent_sizes(joints, visible)
    assert sizes[0] == 30 and np.isnan(sizes[1:]).all()
