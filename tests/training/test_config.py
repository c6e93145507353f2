"""Config strings and overrides: typed, locked, and helpful about misspellings."""

from pathlib import Path

import pytest

from remedis_jax.errors import UserError
from remedis_jax.training.build import make_objective, make_plan
from remedis_jax.training.config import (
    apply_overrides,
    differing_keys,
    load_config,
    parse_arg,
    stage_config,
    to_json,
)
from remedis_jax.training.sharding import make_mesh

ROOT = Path(__file__).parents[2]
STAGE_CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("bit", "contrastive", "finetune")
    for path in (ROOT / "experiments" / folder).glob("[a-z]*.py")
)


def test_arguments_take_the_type_of_their_default():
    arg = parse_arg("model=r26x2,tiny,steps=3,rate=1", model="", tiny=False, steps=0, rate=0.5)
    assert (arg.model, arg.tiny, arg.steps, arg.rate) == ("r26x2", True, 3, 1.0)


@pytest.mark.parametrize("text", ["modle=r50x1", "steps=x", "steps=1.5", "tiny=3"])
def test_wrong_arguments_are_refused(text):
    with pytest.raises(UserError):
        parse_arg(text, model="", tiny=False, steps=0)


def test_overrides_reach_every_kind_of_field():
    config = stage_config("simclr")
    apply_overrides(
        config,
        (
            "optimizer.learning_rate=1",
            "total_epochs=3",
            "data.train={'site': 'a'}",
            "data.labels=('x', 'y')",
            "augment.options={'strength': 0.5}",
            "data.manifest=a=b.csv",
        ),
    )
    assert config.optimizer.learning_rate == 1.0 and config.total_epochs == 3.0
    assert config.data.train.to_dict() == {"site": "a"}
    assert config.data.labels == ("x", "y") and config.data.manifest == "a=b.csv"


def test_a_duration_given_in_another_unit_takes_the_place_of_the_configs():
    config = load_config("experiments/contrastive/simclr.py", ("total_steps=7",))
    assert (config.total_steps, config.total_epochs) == (7, None)
    assert config.warmup_epochs == 10.0
    both = load_config("experiments/contrastive/simclr.py", ("total_steps=7", "total_epochs=2"))
    assert (both.total_steps, both.total_epochs) == (7, 2.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lerning_rate=1", "learning_rate"),
        ("optimiser.name=lars", "optimizer"),
        ("batch_size=many", "int"),
        ("batch_size", "key=value"),
        ("batch_size.x=1", "batch_size"),
    ],
)
def test_wrong_overrides_are_refused_with_a_hint(override, message):
    with pytest.raises(UserError, match=message):
        apply_overrides(stage_config("simclr"), (override,))


@pytest.mark.parametrize(
    ("method", "option", "message"),
    [
        ("simclr", "convention=both", "sum, mean"),
        ("simclr", "temperature=0.0", "above 0"),
        ("simclr", "head_layers=0", "at least 1"),
        ("relic", "alpha=-1.0", "at least 0"),
        ("relic", "kl_direction=sideways", "symmetric"),
        ("byol", "momentum=1.5", "at most 1"),
        ("byol", "hidden_dim=0", "at least 1"),
        ("barlow_twins", "projector=()", "widths"),
        ("moco_v2", "queue_size=100", "multiple"),
    ],
)
def test_wrong_options_of_a_method_are_refused_before_anything_runs(method, option, message):
    config = load_config(f"experiments/contrastive/{method}.py", (f"objective.{option}",))
    plan = make_plan(config, 1000)
    with pytest.raises(UserError, match=f"objective.{option.partition('=')[0]} .*{message}"):
        make_objective(config, plan, make_mesh(1), ())


def test_unknown_files_and_stages_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere.py"):
        load_config(str(tmp_path / "nowhere.py"))
    with pytest.raises(UserError, match="simsiam"):
        stage_config("simsiam")
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from remedis_jax.training.config import stage_config\n"
        "def get_config(arg):\n"
        "    config = stage_config('simclr')\n"
        "    config.batchsize = 3\n"
        "    return config\n"
    )
    with pytest.raises(UserError, match="batch_size"):
        load_config(str(broken))


@pytest.mark.parametrize("path", STAGE_CONFIGS)
def test_every_config_states_what_its_header_promises(path):
    header = (ROOT / path).read_text().split('"""')[1]
    for word in ("Command:", "Hardware:", "Time:", "Expected:"):
        assert word in header, f"{path} does not state its {word}"
    config = load_config(str(ROOT / path))
    assert config.is_locked


def test_difference_of_configs_names_dotted_keys():
    a = stage_config("simclr")
    b = stage_config("simclr")
    b.optimizer.momentum, b.seed = 0.5, 3
    assert differing_keys(to_json(a), to_json(b)) == ["optimizer.momentum", "seed"]
    assert differing_keys(to_json(a), to_json(a)) == []


@pytest.mark.parametrize("name", ["phantom", "ham10000", "chest_xray"])
def test_experiments_treat_every_arm_alike(name):
    config = load_config(str(ROOT / f"experiments/data_efficiency/{name}.py:data=folder"))
    assert config.is_locked and set(config.arm_order) == set(config.arms)
    # An arm is a place to start from and nothing else.
    keys = {"label", "start", "stages", "overrides"}
    assert {key for arm in config.arms.values() for key in arm} == keys
    assert not any(arm.overrides for arm in config.arms.values())
    assert "head" in config.finetune_ood.init_parts
    test_rows = (config.id_test.to_dict(), config.ood_test.to_dict())
    for stage in (config.finetune_id, config.finetune_ood):
        assert stage.data.train.to_dict() not in test_rows
        assert stage.data.group
    assert any("test" in str(entry["where"]) for entry in config.stages.contrastive.data.held_out)
