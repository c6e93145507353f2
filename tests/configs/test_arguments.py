"""What the arguments of the tasks' and modalities' configs do, and which are refused."""

import pytest

from remedis_jax.errors import UserError
from remedis_jax.tasks.specification import CLINICAL, get_task
from remedis_jax.tasks.task import MODALITIES
from remedis_jax.training.build import make_objective, make_plan
from remedis_jax.training.config import load_config
from remedis_jax.training.sharding import make_mesh


def finetune(name, arguments=""):
    return load_config(f"experiments/finetune/{name}.py:{arguments}")


def contrastive(name, arguments=""):
    return load_config(f"experiments/contrastive/{name}.py:{arguments}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("finetune/t1.py:protocol=bayes", "hyperrule, grid-point, linear"),
        ("finetune/t5.py:loss=weibull", "discrete_time or cox"),
        ("finetune/t6.py:level=patient", "breast or exam"),
        ("finetune/t1.py:loss=cox", "no argument 'loss'"),
        ("finetune/t2.py:fraction=half", "not a float"),
        ("finetune/classify.py:task=t9", "no task 't9'"),
        ("contrastive/fundus.py:method=dino", "simclr, moco_v2"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_there_is(config, message):
    with pytest.raises(UserError, match=message):
        load_config(f"experiments/{config}")


@pytest.mark.parametrize("name", CLINICAL)
def test_a_fraction_a_seed_and_a_site_reach_the_data(name):
    config = finetune(name, "fraction=0.1,seed=3,site=hospital_b,init=runs/a,model=r152x2,size=96")
    assert (config.data.fraction, config.data.fraction_seed, config.seed) == (0.1, 3, 3)
    assert config.data.train.to_dict() == {"split": "train", "site": "hospital_b"}
    assert config.data.validation.to_dict() == {"split": "val", "site": "hospital_b"}
    assert (config.init, config.model.name, config.augment.size) == ("runs/a", "r152x2", 96)
    # The central crop of predictions is the official 0.875 of what the host keeps.
    assert config.augment.size / config.data.size == pytest.approx(0.875, abs=0.005)
    assert config.select == "best" and config.select_metric == get_task(name).metric


def test_other_columns_take_the_place_of_the_tasks():
    config = finetune("t1", "labels=dx,group=lesion_id,case=lesion_id")
    assert (config.data.labels, config.data.readers) == (("dx",), ())
    assert (config.data.group, config.data.case, config.data.case_images) == (
        "lesion_id", "lesion_id", 4,
    )  # fmt: skip
    single = finetune("t6", "case=none,group=none")
    assert (single.data.case, single.data.case_images, single.data.views) == ("", 0, ())
    assert single.data.group == "" and single.batch_size == 128
    # Other findings are their own classes.
    other = finetune("t3", "labels=edema+pneumonia")
    assert other.data.labels == ("edema", "pneumonia") and other.data.classes == ()
    assert other.data.uncertain == "ignore"


def test_batches_of_cases_are_counted_in_images():
    for name in CLINICAL:
        config = finetune(name)
        assert config.batch_size * max(config.data.case_images, 1) == 128
    assert finetune("t5", "protocol=grid-point").batch_size * 8 == 256


def test_linear_evaluation_trains_the_head_alone():
    config = finetune("t4", "protocol=linear")
    assert (config.freeze, config.total_epochs, config.schedule) == ("encoder", 90.0, "cosine")


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", ["simclr", "moco_v2", "barlow_twins", "micle"])
def test_a_modality_is_a_methods_own_config_on_its_images(modality, method):
    config = contrastive(modality, f"method={method},held_out=labelled.csv,seed=2")
    own = load_config(f"experiments/contrastive/{method}.py")
    assert config.stage == method and config.seed == 2
    assert config.optimizer.to_dict() == own.optimizer.to_dict()
    assert config.objective.to_dict() == own.objective.to_dict()
    assert config.batch_size == own.batch_size and config.total_epochs == own.total_epochs
    grey = modality in ("chest_xray", "mammography")
    assert config.data.channels == (1 if grey else 3)
    assert config.augment.recipe == ("radiology" if grey else own.augment.recipe)
    assert config.data.held_out[0]["where"]["split"] == ["val", "test"]
    assert bool(config.data.case) == (method == "micle")
    # Its options are those that the recipe has.
    make_objective(config, make_plan(config, 10_000), make_mesh(1), ())


def test_the_tiny_forms_of_a_kind_share_their_computation():
    def computation(config):
        shared = ("batch_size", "augment", "model", "optimizer", "schedule", "total_steps")
        return {name: config.to_dict()[name] for name in shared}

    by_channels = {}
    for modality in MODALITIES:
        config = contrastive(modality, "tiny")
        by_channels.setdefault(config.data.channels, []).append(computation(config))
    assert all(found == same[0] for same in by_channels.values() for found in same)
    tuned = [computation(finetune(name, "tiny")) for name in CLINICAL]
    assert all(found == tuned[0] for found in tuned)
