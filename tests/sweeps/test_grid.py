"""What a grid plans, and what it refuses before anything runs."""

import shlex

import pytest

from remedis_jax.errors import UserError
from remedis_jax.sweeps.grid import Grid, is_grid
from remedis_jax.training.config import load_config


def test_every_arm_gets_the_same_points_with_the_first_seed(grid):
    cells = grid.cells()
    points = {arm: [cell.axes for cell in cells if cell.arm == arm] for arm, _ in grid.arms}
    assert points["imagenet"] == points["simclr"] and len(set(points["simclr"])) == 4
    assert {cell.seed for cell in cells} == {3} and len({cell.name for cell in cells}) == 8
    assert cells[-1].overrides[-5:] == (
        "init=b", "optimizer.learning_rate=0.1", "optimizer.weight_decay=0.0001", "seed=3",
        "data.fraction_seed=3",
    )  # fmt: skip
    assert all(cell.tests == () for cell in cells)


def test_a_cell_is_a_command_whose_config_has_its_values(grid):
    cell = grid.cells()[5]
    words = shlex.split(cell.command)
    assert words[:2] == ["remedis", "train"]
    config = load_config(
        words[words.index("--config") + 1],
        tuple(words[i + 1] for i, word in enumerate(words) if word == "--set"),
    )
    assert (config.init, config.seed, config.data.fraction_seed) == ("b", 3, 3)
    assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == (0.01, 1e-4)


def test_the_final_cell_of_the_seed_that_chose_is_the_run_of_the_grid(grid):
    chosen = grid.cells()[2].axes
    finals = grid.final_cells({"imagenet": chosen, "simclr": chosen})
    assert [(cell.arm, cell.seed) for cell in finals] == [
        ("imagenet", 3), ("imagenet", 4), ("simclr", 3), ("simclr", 4),
    ]  # fmt: skip
    assert finals[0].run == grid.cells()[2].run and finals[1].run.startswith(finals[1].name)
    assert finals[0].overrides == grid.cells()[2].overrides
    assert all(cell.tests == grid.tests for cell in finals)


def test_overrides_of_the_command_line_are_those_of_every_cell(config):
    grid = Grid.of(config, ("total_steps=7",))
    assert all("total_steps=7" in cell.overrides for cell in grid.cells())


MISTAKES = {
    "weigth": ({"weigth": 1}, "no field 'weigth'"),
    "no arms": ({"arms": ()}, "'arms' is empty"),
    "same arm": ({"arms": (("a", "x"), ("a", "y"))}, "the arm 'a' twice"),
    "same folder": ({"arms": (("a b", "x"), ("a-b", "y"))}, "the cell 'cells/grid/a-b"),
    "unknown metric": ({"metric": "acuracy"}, "'acuracy' is unknown"),
    "unknown level": ({"level": "patients"}, "'patients' is unknown"),
    "unknown key": ({"axes": (("optimizer.rate", (1.0,)),)}, "optimizer.rate"),
    "test field": ({"tests": (("a", {"filter": {}}),)}, "no field 'filter'"),
    "no validation": ({"overrides": ("data.validation={}",)}, "no validation rows"),
    "unlabelled": ({"base": "experiments/contrastive/simclr.py"}, "fraction"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_before_anything_runs(config, mistake):
    changes, named = MISTAKES[mistake]
    for name, value in changes.items():
        config[name] = value
    if mistake == "unlabelled":
        named = "no validation rows"
    with pytest.raises(UserError, match=named) as caught:
        Grid.of(config)
    assert caught.value.remedy or mistake == "unknown key"
    assert "\n" not in str(caught.value)


def test_the_grid_of_the_protocol():
    config = load_config("experiments/finetune/grid.py:task=t2,manifest=x.csv,arms=a=x;b=y")
    grid = Grid.of(config)
    assert is_grid(config) and len(grid.cells()) == 2 * 7 * 4
    rates = dict(grid.axes)["optimizer.learning_rate"]
    assert rates[0] == pytest.approx(10**-3.5, rel=1e-3) and len(rates) == 7
    assert rates[-1] == pytest.approx(10**-0.5, rel=1e-3)
    ratios = [b / a for a, b in zip(rates, rates[1:])]
    assert ratios == pytest.approx([10**0.5] * 6, rel=2e-3)
    assert dict(grid.axes)["optimizer.weight_decay"] == (0.0, 1e-5, 1e-4, 1e-3)


@pytest.mark.parametrize("argument", ["arms=a", "arms=a=x;a=y", "rates=1e-3;fast"])
def test_an_argument_that_is_no_list_is_named(argument):
    with pytest.raises(UserError, match=argument.partition("=")[0]):
        load_config(f"experiments/finetune/grid.py:manifest=x.csv,{argument}")


def test_every_task_has_a_grid():
    for task in ("t1", "t2", "t3", "t4", "t5", "t6", "classify"):
        config = load_config(
            f"experiments/finetune/grid.py:task={task},manifest=x.csv,arms=a=x,site=hospital_a,"
            "ood_site=hospital_b,seeds=0;1,tiny"
        )
        grid = Grid.of(config)
        assert grid.seeds == (0, 1)
        assert [test["where"]["site"] for _, test in grid.tests] == ["hospital_a", "hospital_b"]
        run = load_config(grid.base, grid.cells()[0].overrides)
        assert run.data.train.site == run.data.validation.site == "hospital_a"
        assert run.select == "best"
