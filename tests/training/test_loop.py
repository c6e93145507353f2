"""The loop on every kind of stage: devices, metrics, event files, checkpoints, averages."""

import json

import jax
import numpy as np
import pytest

import remedis_jax
from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiTSpec
from remedis_jax.training.metric_writers import MetricWriter
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import flatten, load_artifact, save_artifact
from tests.weights.conftest import make_card, random_params

STAGES = {
    "simclr": ("experiments/contrastive/simclr.py:task=phantom,tiny", "pool"),
    "supervised": ("experiments/finetune/classify.py:task=phantom,tiny", "labelled"),
}


def train(folder, workdir, stage, *overrides):
    config, part = STAGES[stage]
    manifest = f"data.manifest={folder / part / 'manifest.csv'}"
    return remedis_jax.train(config, workdir, overrides=(manifest, *overrides))


def history(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_config_that_cannot_run_leaves_the_folder_free(tiny_phantom, tmp_path):
    with pytest.raises(UserError, match="total_steps and total_epochs"):
        train(tiny_phantom, tmp_path / "run", "supervised", "total_steps=3", "total_epochs=2")
    with pytest.raises(UserError, match="batch"):
        train(tiny_phantom, tmp_path / "run", "supervised", "batch_size=3", "devices=8")
    assert not (tmp_path / "run").exists()


# An untrained encoder gives all images nearly one embedding, and BatchNorm divides by what little
# they differ: rounding grows a thousandfold with each update. So SimCLR takes tiny steps here.
def test_the_number_of_devices_changes_nothing(tiny_phantom, tmp_path):
    """Here with SimCLR; the objectives' own tests have all of them, the supervised one too."""
    runs = {}
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        # The medical recipes compile longer than all else, and have tests of their own.
        overrides = (
            f"devices={devices}", "optimizer.learning_rate=1e-6", "augment.recipe=finetune",
            "augment.options={'crop': 'resize'}",
        )  # fmt: skip
        result = train(tiny_phantom, workdir, "simclr", *overrides)
        rows = [
            (row["step"], row[name])
            for row in history(workdir)
            for name in ("loss", "grad_norm")
            if name in row
        ]
        runs[devices] = (rows, flatten(load_artifact(result.weights).params))
    assert len(runs[1][0]) == 8
    np.testing.assert_allclose(runs[1][0], runs[8][0], rtol=2e-5)
    for name, values in runs[1][1].items():
        np.testing.assert_allclose(values, runs[8][1][name], atol=1e-6, err_msg=name)


def test_supervised_run_reports_validation_and_writes_event_files(tiny_phantom, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_phantom, tmp_path / "run", "supervised", "devices=1")
    rows = history(tmp_path / "run")
    steps = [row["step"] for row in rows if "loss" in row]
    assert steps == [1, 2, 3, 4]
    assert all(np.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows if "loss" in row)
    validation = [row for row in rows if "validation_auroc" in row]
    assert [row["step"] for row in validation] == [4]
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    logged = [event.value for event in events.Scalars("loss")]
    np.testing.assert_allclose(logged, [row["loss"] for row in rows if "loss" in row], rtol=1e-6)


def test_card_tells_architecture_preprocessing_and_lineage(tiny_phantom, tmp_path):
    parent = train(tiny_phantom, tmp_path / "parent", "simclr", "devices=1")
    child = train(
        tiny_phantom, tmp_path / "child", "supervised", "devices=1", f"init={parent.weights}"
    )
    card = load_artifact(child.weights).card
    assert card["encoder"]["name"] == "r14x0.25"
    assert card["head"] == {"kind": "softmax", "classes": ["absent", "present"]}
    assert card["preprocessing"]["size"] == 16 and card["preprocessing"]["channels"] == 1
    assert card["lineage"]["init"]["sha256"] == load_artifact(parent.weights).sha256
    assert card["lineage"]["init"]["stage"] == "simclr"
    assert load_artifact(parent.weights).card["head"] is None


def test_training_goes_on_from_imported_weights_as_they_are(tiny_phantom, tmp_path):
    """Unscaled input and no last norm, as a REMEDIS file may be: said in the config, checked."""
    spec = BiTSpec(14, 0.25, "cifar_stride2", final_norm=False, value_range=(0.0, 1.0))
    weights = tmp_path / "imported.safetensors"
    save_artifact(weights, random_params(spec), make_card(spec, antialias=False))

    def run(name, *more):
        return train(
            tiny_phantom, tmp_path / name, "supervised", "devices=1", f"init={weights}", *more
        )

    with pytest.raises(UserError, match=r"Set model.value_range=\(0.0, 1.0\)"):
        run("wrong")
    scaled = "model.value_range=(0.0, 1.0)"
    with pytest.raises(UserError, match="group_norm/beta is absent in .*dont_load"):
        run("no_norm", scaled)
    as_it_is = load_artifact(run("same", scaled, "model.final_norm=False").weights)
    assert encoder_spec(as_it_is.card) == spec
    assert as_it_is.card["preprocessing"]["value_range"] == [0, 1]
    assert as_it_is.card["licence"]["inherited"]["name"] == "Apache-2.0"
    # Or with a last norm that starts anew.
    grown = load_artifact(run("grown", scaled, "dont_load=('encoder/group_norm/',)").weights)
    assert grown.card["encoder"]["final_norm"] and "group_norm" in grown.params["encoder"]


def test_lines_of_steps_that_are_computed_again_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1}\n{"step": 2, "loss": 2}\n{"step": 3, "lo')
    writer = MetricWriter(tmp_path, after_step=1)
    writer.write(2, {"loss": 5.0})
    writer.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "loss": 1},
        {"step": 2, "loss": 5.0},
    ]


def test_same_command_same_bits(tiny_phantom, tmp_path):
    first = train(tiny_phantom, tmp_path / "first", "simclr", "devices=1")
    second = train(tiny_phantom, tmp_path / "second", "simclr", "devices=1")
    assert first.weights.read_bytes() == second.weights.read_bytes()
    other = train(tiny_phantom, tmp_path / "other", "simclr", "devices=1", "seed=1")
    assert first.weights.read_bytes() != other.weights.read_bytes()


def test_the_step_is_compiled_once(tiny_phantom, tmp_path, caplog):
    """What the first step is given must have the types of what it returns."""
    with jax.log_compiles(), caplog.at_level("WARNING"):
        train(tiny_phantom, tmp_path, "supervised", "devices=2", "optimizer.momentum=0.8")
    compiled = [m for m in caplog.messages if m.startswith("Compiling") and "train_step" in m]
    assert len(compiled) == 1


def test_eight_devices_are_really_there():
    assert jax.device_count() == 8
