"""What is frozen stays, deep layers learn slowly, and the best validation is what is kept."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import remedis_jax
from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiTSpec
from remedis_jax.models.freezing import depth_below_head, frozen_mask, rate_multipliers
from remedis_jax.training.config import load_config
from remedis_jax.training.optimizers import make_optimizer
from remedis_jax.training.selection import Selection
from remedis_jax.weights.architecture import encoder_shapes
from remedis_jax.weights.artifact import flatten, load_artifact, unflatten

CONFIG = "experiments/finetune/classify.py:task=phantom,tiny"


def network():
    """The names of a small network; every parameter is two ones, so that little is compiled."""
    names = [f"encoder/{name}" for name in encoder_shapes(BiTSpec.from_name("r14x0.25"))]
    return unflatten({name: np.ones(2, np.float32) for name in [*names, "head/dense/kernel"]})


def moved(optimizer, steps=1):
    """By how much each parameter's first number moves, under gradients of one."""
    params = start = network()
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        params = optax.apply_updates(params, updates)
    return {
        name: float(np.ravel(flatten(start)[name] - value)[0])
        for name, value in flatten(params).items()
    }, state


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ("root", ("block1", "block2", "block3", "block4", "group_norm")),
        ("block2", ("block3", "block4", "group_norm")),
        ("block4", ("group_norm",)),
        ("encoder", ()),
    ],
)
def test_what_is_frozen_neither_moves_nor_has_a_state(freeze, trained):
    optimizer = make_optimizer(
        "sgd", lambda step: 0.1, weight_decay=0.5, exclude="^$", freeze=freeze, clip_norm=1e6
    )
    movement, state = moved(optimizer, steps=2)
    moving = {name for name, by in movement.items() if by}
    expected = {
        name
        for name in movement
        if name.startswith("head/") or name.split("/")[1] in trained
    }
    assert moving == expected
    # One momentum buffer for each trained parameter and none for the others.
    buffers = [leaf for leaf in jax.tree.leaves(state) if np.ndim(leaf)]
    assert len(buffers) == len(expected)
    assert {name for name, held in flatten_tree(frozen_mask(network(), freeze)) if held} == (
        set(movement) - expected
    )


def flatten_tree(tree):
    return [
        ("/".join(key.key for key in path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def test_each_block_below_the_head_learns_slower():
    optimizer = make_optimizer("sgd", lambda step: 0.1, weight_decay=0.0, layer_decay=0.5)
    movement, _ = moved(optimizer)
    expected = {
        "head/dense/kernel": 0.1,
        "encoder/group_norm/gamma": 0.05,
        "encoder/block4/unit01/a/group_norm/gamma": 0.05,
        "encoder/block3/unit01/c/standardized_conv2d/kernel": 0.025,
        "encoder/block2/unit01/a/proj/standardized_conv2d/kernel": 0.0125,
        "encoder/block1/unit01/b/group_norm/beta": 0.00625,
        "encoder/root_block/standardized_conv2d/kernel": 0.003125,
    }
    for name, by in expected.items():
        np.testing.assert_allclose(movement[name], by, rtol=1e-4)
    multipliers = dict(flatten_tree(rate_multipliers(network(), "block1", 0.5)))
    for name, by in movement.items():
        frozen = "/block1/" in name or "/root_block/" in name
        np.testing.assert_allclose(multipliers[name], 0 if frozen else by / 0.1, rtol=1e-4)
    with pytest.raises(ValueError, match="projection"):
        depth_below_head("projection_head/dense_0/kernel")


def test_a_head_that_warms_up_alone_leaves_the_encoder_as_it_was():
    settings = {"weight_decay": 0.5, "exclude": "^$", "momentum": 0.9}
    warm = make_optimizer("sgd", lambda step: 0.1, head_only_steps=3, **settings)
    movement, _ = moved(warm, steps=3)
    assert {name for name, by in movement.items() if by} == {"head/dense/kernel"}
    # Afterwards the encoder goes as if it began then: no momentum was gathered.
    later, _ = moved(warm, steps=4)
    first, _ = moved(make_optimizer("sgd", lambda step: 0.1, **settings), steps=1)
    name = "encoder/block2/unit01/a/group_norm/gamma"
    np.testing.assert_allclose(later[name], first[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"freeze": "block7"}, "block7"),
        ({"layer_decay": 0.0}, "layer_decay"),
    ],
)
def test_what_cannot_be_is_named(changes, named):
    with pytest.raises(UserError, match=named):
        moved(make_optimizer("sgd", lambda step: 0.1, weight_decay=0.0, **changes))


def selection(**settings):
    defaults = {"keep_best": False, "patience": 0, "lower_is_better": False}
    return Selection("validation_auroc", **(defaults | settings))


def test_the_first_of_equal_values_is_the_best_and_patience_counts_from_it(tmp_path):
    watched = selection(patience=3)
    for step, value in enumerate([0.5, 0.7, 0.7, 0.6, 0.65], 1):
        assert not watched.exhausted
        watched.look(step, {"auroc": value}, {}, tmp_path)
    assert watched.exhausted and (watched.best_step, watched.best) == (2, 0.7)
    lower = Selection("validation_log_loss", True, False, 0)
    for step, value in enumerate([0.5, 0.4, 0.6], 1):
        lower.look(step, {"log_loss": value}, {}, tmp_path)
    assert lower.best_step == 2 and not lower.exhausted


def test_a_run_that_goes_on_has_decided_the_same(tmp_path):
    whole, lines = selection(patience=2), []
    for step, value in ((5, 0.5), (10, 0.8), (15, 0.7), (20, 0.9)):
        whole.look(step, {"auroc": value}, {}, tmp_path)
        lines += [json.dumps({"step": step, "loss": 1.0})]
        lines += [json.dumps({"step": step, "validation_auroc": value})]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 25, "valid')
    again = selection(patience=2)
    again.replay(tmp_path / "metrics.jsonl", 15)
    assert (again.best_step, again.exhausted) == (10, False)
    again.look(20, {"auroc": 0.9}, {}, tmp_path)
    assert again == whole


def test_a_metric_that_the_validation_does_not_give_is_named(tmp_path):
    with pytest.raises(UserError, match="no auroc.*accuracy"):
        selection().look(3, {"accuracy": 1.0}, {}, tmp_path)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"select": "first"}, "select"),
        ({"early_stopping": -1}, "early_stopping"),
        ({"select": "best", "data.validation": {}}, "validation rows"),
    ],
)
def test_selections_that_cannot_be_are_named(settings, named):
    overrides = tuple(f"{key}={value}" for key, value in settings.items())
    config = load_config(CONFIG, overrides)
    with pytest.raises(UserError, match=named):
        Selection.of(config, frozenset())


@pytest.fixture(scope="module")
def selected(tiny_phantom, tmp_path_factory):
    """A run of 8 steps that keeps the best of four validations, and its metrics."""
    workdir = tmp_path_factory.mktemp("selected") / "run"
    overrides = (
        f"data.manifest={tiny_phantom}/labelled/manifest.csv", "devices=1", "total_steps=8",
        "checkpoint_steps=3", "validation_steps=2", "select=best", "select_metric=log_loss",
        # So large a rate that the best is not the last.
        "optimizer.learning_rate=3.0", "schedule=constant",
    )  # fmt: skip
    result = remedis_jax.train(CONFIG, workdir, overrides=overrides)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return workdir, result, rows, overrides


def test_the_weights_are_those_of_the_best_validation(selected, tiny_phantom, tmp_path):
    workdir, result, rows, overrides = selected
    losses = {r["step"]: r["validation_log_loss"] for r in rows if "validation_log_loss" in r}
    assert sorted(losses) == [2, 4, 6, 8]
    assert result.best_step == min(losses, key=losses.get) < 8 and result.steps == 8
    assert result.best == losses[result.best_step]
    # A run that ends there has the same weights.
    short = remedis_jax.train(
        CONFIG, tmp_path / "short",
        overrides=(*overrides, f"total_steps={result.best_step}", "select=last"),
    )  # fmt: skip
    one, other = (flatten(load_artifact(r.weights).params) for r in (result, short))
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
    assert not (workdir / "best.safetensors").exists()


def test_a_run_without_progress_stops_early(selected, tmp_path):
    _, result, rows, overrides = selected
    lines = []
    stopped = remedis_jax.train(
        CONFIG, tmp_path / "stopped",
        overrides=(*overrides, "early_stopping=1", "total_steps=8"), announce=lines.append,
    )  # fmt: skip
    losses = [r["validation_log_loss"] for r in rows if "validation_log_loss" in r]
    first_worse = next(i for i in range(1, 4) if losses[i] >= min(losses[:i]))
    assert stopped.steps == 2 * (first_worse + 1)
    assert (stopped.steps == 8) or any("stopped early" in line for line in lines)


def test_frozen_features_are_made_once_and_train_the_same_head(selected, tiny_phantom, tmp_path):
    """Same head as by seeing the images at every step, and the encoder is that it began with."""
    lines, found = [], {}
    parent = selected[1]
    for name, recipe in (("once", "eval"), ("always", "finetune")):
        options = "{'crop': 'resize', 'flip_probability': 0.0}" if recipe == "finetune" else "{}"
        found[name] = remedis_jax.train(
            CONFIG, tmp_path / name,
            overrides=(
                f"data.manifest={tiny_phantom}/labelled/manifest.csv", "devices=1",
                f"init={parent.weights}", "freeze=encoder", f"augment.recipe={recipe}",
                f"augment.options={options}", "augment.evaluation={'crop': 'resize'}",
                "optimizer.learning_rate=0.1",
            ),
            announce=lines.append,
        )  # fmt: skip
    assert sum("are made once" in line for line in lines) == 1
    one, other = (flatten(load_artifact(found[name].weights).params) for name in found)
    begun = flatten(load_artifact(parent.weights).params)
    for name, values in one.items():
        if name.startswith("encoder/"):
            np.testing.assert_array_equal(values, begun[name])
        np.testing.assert_allclose(values, other[name], rtol=1e-4, atol=1e-6)
    assert np.abs(one["head/dense/kernel"]).max() > 0
