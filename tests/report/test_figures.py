"""Pictures show what they are given, hold no overlapping text, and never leave half a file."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.image import imread
from matplotlib.patches import FancyBboxPatch, Rectangle

from autopose.errors import UserError
from autopose.report import curves
from autopose.report.architecture_figure import architecture_figure, draw_architecture
from autopose.report.curves import BLUE, GREEN, ORANGE, draw_search_curves, draw_training_curves
from autopose.space import OPS, MacroSpace, Operation, builtin_architecture, operation

SPACES = {
    "paper": MacroSpace(),
    "one_branch": MacroSpace(channels=(16,), num_stages=1, modules_per_stage=1),
    "concat": MacroSpace(channels=(16, 32), num_stages=2, aggregation="concat"),
    "beta_per_module": MacroSpace(channels=(16, 32, 64), num_stages=1, beta_sharing="module"),
    "five_branches": MacroSpace(channels=(16, 32, 64, 128, 256), num_stages=4, beta_sharing="module"),
    "many_nodes": MacroSpace(nodes_individual=8, nodes_aggregation=3, num_stages=5),
}
SEPARABLE, DILATED = (
    Operation(f"3×3 {what} convolution", what[:3], colour, lambda c: 9 * c, lambda c: None)
    for what, colour in (("separable", "#009e73"), ("dilated", "#cc79a7"))
)
FOUND = {"algorithm": "bilevel", "seed": 3, "step": 55000, "reward": 0.41234, "reward_metric": "oks_ap"}


def make_architecture(name, alike=True):
    found = builtin_architecture("random", SPACES[name], 5)
    if alike:
        return found
    other = builtin_architecture("random", SPACES[name], 6).cells
    cells = tuple({**mine, "individual_2": its["individual_1"]} for mine, its in zip(found.cells, other, strict=True))
    return replace(found, cells=cells)


def count_pixels(path, colour):
    pixels = imread(path)[..., :3]
    return int((np.abs(pixels - np.array(to_rgb(colour))) < 0.5 / 255).all(axis=-1).sum())


@pytest.mark.parametrize(
    "name, alike",
    [("paper", True), ("paper", False), ("one_branch", False), ("concat", False), ("five_branches", True)],
)
def test_architecture_shows_every_cell_and_edge(name, alike):
    architecture = make_architecture(name, alike)
    space, axes = architecture.macro_space, architecture_figure(architecture).axes[0]
    active = sum(sum(architecture.macro.rows[space.decision_of(m)]) for m in range(space.num_modules))
    blocks = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    assert len(blocks) == 3 * active + 2
    drawn = [cells[n].ops for cells in architecture.cells for n in cells if not (alike and n == "individual_2")]
    squares = [patch.get_facecolor()[:3] for patch in axes.patches if isinstance(patch, Rectangle)]
    for op in OPS:
        assert squares.count(to_rgb(operation(op).colour)) == 1 + sum(ops.count(op) for ops in drawn)


@pytest.mark.parametrize("name", SPACES)
def test_architecture_text_neither_overlaps_nor_leaves_the_picture(name):
    figure = architecture_figure(replace(make_architecture(name, alike=False), found_by=FOUND))
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = figure.axes[0].texts
    boxes = [text.get_window_extent(renderer) for text in texts]
    for box, text in zip(boxes, texts, strict=True):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    for (i, first), (j, second) in combinations(enumerate(boxes), 2):
        apart = first.x1 <= second.x0 or second.x1 <= first.x0 or first.y1 <= second.y0 or second.y1 <= first.y0
        assert apart, (texts[i], texts[j])
    assert figure.bbox.width <= 1600 or SPACES[name].num_modules > 8


def test_titles_of_other_packages_operations_keep_off_the_next_square():
    outside = tuple(f"{__name__}:{name}" for name in ("SEPARABLE", "DILATED"))
    figure = architecture_figure(builtin_architecture("random", SPACES["paper"], 5, outside))
    renderer, axes = FigureCanvasAgg(figure).get_renderer(), figure.axes[0]
    titles = {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}
    squares = [patch.get_window_extent(renderer) for patch in axes.patches if isinstance(patch, Rectangle)]
    for title in (SEPARABLE.title, DILATED.title):
        assert not any(titles[title].overlaps(square) for square in squares), title


def test_architecture_tells_how_it_was_found():
    architecture = replace(make_architecture("paper"), found_by=FOUND | {"dataset": "a$b_{$", "candidates": []})
    texts = [text.get_text() for text in architecture_figure(architecture).axes[0].texts]
    assert "found by bilevel  ·  on a$b_{$  ·  seed 3  ·  55000 iterations  ·  reward 0.4123 (oks_ap)" in texts
    beta = str(architecture.macro)[1:-1].split()
    assert [f"Stage {i + 1}   β = {row}" for i, row in enumerate(beta)] == [t for t in texts if t.startswith("Stage")]


def test_architecture_of_odd_or_no_origin_is_written(tmp_path):
    architecture = replace(make_architecture("paper"), found_by={"dataset": "a$b_{$", "reward": None, "seed": [1]})
    draw_architecture(architecture, tmp_path / "architecture.png")
    assert imread(tmp_path / "architecture.png").shape[1] >= 1600
    texts = architecture_figure(replace(architecture, found_by={})).axes[0].texts
    assert "origin not recorded" in [text.get_text() for text in texts]


def test_inactive_branch_is_marked_and_pale():
    space = MacroSpace(channels=(16, 32), num_stages=1)
    axes = architecture_figure(builtin_architecture("single_scale", space)).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert sum("of 8×  (never active)" in text for text in texts) == 2
    assert not any("of 4×  (never active)" in text for text in texts)
    faces = [patch.get_facecolor() for patch in axes.patches]
    edges_individual, edges_aggregation = 4 * 1 + 6, 2 * 2 + 1
    assert faces.count(to_rgba(operation("conv_3x3").colour, 0.35)) == edges_individual + edges_aggregation


def search_rows(epochs, first=0):
    return [
        {
            "epoch": epoch,
            "tau": 5 - 0.1 * epoch,
            "loss_train": 2e-3 * 0.9**epoch,
            "loss_val": 2.1e-3 * 0.9**epoch,
            "supernet_reward": 0.01 * epoch,
            "entropy_alpha": {"0": 1.79 - 0.01 * epoch, "1": 1.7, "mean": 1.74},
            "entropy_policy": 8.3 * 0.97**epoch,
            "reward": 0.009 * epoch if epoch >= 3 else None,
            "reward_noise": 0.01,
            "share": {"skip": 0.1, "pool": 0.2},
        }
        for epoch in range(first, first + epochs)
    ]


def test_search_curves_show_only_what_there_is(tmp_path):
    path = tmp_path / "curves.png"
    draw_search_curves(search_rows(12), path)
    assert count_pixels(path, ORANGE) > 1000 and count_pixels(path, BLUE) > 1000
    rows = [{**row, "reward": None, "loss_val": None} for row in search_rows(12)]
    draw_search_curves(rows, path)
    assert count_pixels(path, ORANGE) == 0 and count_pixels(path, BLUE) > 1000


def test_a_search_without_a_policy_says_so_and_rounding_is_no_curve(monkeypatch):
    figures = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path, dpi: figures.append(figure))
    rows = [{"epoch": n, "supernet_reward": 0.1 * n, "entropy_alpha": {"mean": 1.79 + 1e-8 * n}} for n in range(3)]
    rows = [{**row, "supernet_beta": "[111 111 111]"} for row in rows]
    draw_search_curves(rows, "curves.png")
    entropy, policy, reward, _ = figures[0].axes
    assert entropy.get_ylim()[1] - entropy.get_ylim()[0] > 0.03
    assert [text.get_text() for text in policy.texts] == ["no policy in this search"]
    assert reward.lines[0].get_label().endswith(", β [111 111 111]")


@pytest.mark.parametrize("epochs, word", [(3, "untrained policy"), (4, "of the policy")])
def test_the_reward_before_a_policy_is_trained_is_not_called_its_own(epochs, word, monkeypatch):
    figures = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path, dpi: figures.append(figure))
    draw_search_curves(search_rows(epochs), "curves.png")
    labels = [line.get_label() for line in figures[0].axes[2].lines]
    assert any(label.endswith(word) for label in labels if "supernet" in label)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(search_rows(1), id="one_row"),
        pytest.param([{"epoch": 0}, {"epoch": 1, "reward": None, "entropy_alpha": None}], id="nothing_known"),
        pytest.param([{"epoch": 0, "loss_train": 0.0, "loss_val": float("nan"), "reward": -0.2}], id="not_positive"),
        pytest.param(search_rows(2) + [{"epoch": 2, "loss_train": 1e-3}] + search_rows(2, 3), id="gap"),
        pytest.param([], id="empty"),
    ],
)
def test_curves_are_drawn_from_incomplete_rows(rows, tmp_path, recwarn):
    draw_search_curves(rows, tmp_path / "search.png", "PCK")
    draw_training_curves(rows, tmp_path / "training.png")
    for name in ("search.png", "training.png"):
        assert imread(tmp_path / name)[..., :3].min() < 0.5
    assert not [warning for warning in recwarn if warning.category is UserWarning]


@pytest.mark.parametrize(
    "metrics, shown",
    [({"AP": 0.5}, True), ({"Mean": 88.0, "Hip": 1.0}, True), ({"PCK": 70.0}, True), ({"AP": -1.0}, False)],
    ids=["coco", "mpii", "pck", "not_annotated"],
)
def test_training_curves_show_the_metric_of_the_dataset(metrics, shown, tmp_path):
    rows = [{"epoch": e, "loss": 1e-3 / (e + 1), "lr": 1e-3 * 0.1 ** (e // 5)} for e in range(10)]
    rows[4]["metrics"] = rows[9]["metrics"] = metrics
    draw_training_curves(rows, tmp_path / "curves.png")
    assert (count_pixels(tmp_path / "curves.png", GREEN) > 200) == shown
    assert count_pixels(tmp_path / "curves.png", BLUE) > 200


def test_failed_writes_are_one_sentence_and_leave_nothing(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "occupied").write_text("a file")
    for path in (tmp_path / "occupied" / "curves.png", tmp_path / "folder.png"):
        with pytest.raises(UserError, match="cannot write the picture"):
            draw_training_curves([], path)
    with pytest.raises(UserError, match="no suffix of a picture"):
        draw_training_curves([], tmp_path / "curves.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "occupied"]


def test_pyplot_is_never_imported():
    modules = "autopose.report.curves, autopose.report.architecture_figure"
    code = f"import sys, {modules}; sys.exit('matplotlib.pyplot' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0
