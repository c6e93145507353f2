"""Every mistake is one line that names it, exit code 2, and nothing that looks like a run."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

NATURAL = "experiments/bit/natural.py:tiny"
FINETUNE = "experiments/finetune/classify.py:task=phantom,tiny"
SIMCLR = "experiments/contrastive/simclr.py:task=phantom,tiny"


@pytest.fixture
def labelled(tmp_path):
    """A small labelled folder that a test can spoil: (folder, table)."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(24):
        name = f"images/{i:02d}.png"
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20), np.uint8)
        Image.fromarray(pixels).save(folder / name)
        rows.append(
            {
                "image": name,
                "patient_id": f"{i // 2:03d}",
                "finding": "absent" if i // 2 % 2 else "present",
                "site": "here",
                "split": ("train", "train", "val", "test")[i // 6],
            }
        )
    table = pd.DataFrame(rows)
    table.to_csv(folder / "manifest.csv", index=False)
    return folder, table


def train(folder, workdir, *sets, config=FINETUNE):
    return (
        "train", "--config", config, "--workdir", workdir,
        "--set", f"data.manifest={folder / 'manifest.csv'}", "--set", "devices=1",
        *(part for text in sets for part in ("--set", text)),
    )  # fmt: skip


def test_missing_manifest(refused, tmp_path):
    line = refused(*train(tmp_path, tmp_path / "run"))
    assert "manifest.csv" in line
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_unreadable_image(refused, labelled, tmp_path):
    folder, _ = labelled
    (folder / "images/03.png").write_text("<html>not found</html>")
    (folder / "images/04.png").write_bytes(b"")
    line = refused(*train(folder, tmp_path / "run"))
    assert "03.png" in line and "04.png" in line and "row 5" in line


def test_column_that_does_not_exist(refused, labelled, tmp_path):
    folder, _ = labelled
    line = refused(*train(folder, tmp_path / "run", "data.group=patient"))
    assert "patient_id" in line


def test_label_typo(refused, labelled, tmp_path):
    folder, table = labelled
    table.loc[2, "finding"] = "presnt"
    table.to_csv(folder / "manifest.csv", index=False)
    line = refused(*train(folder, tmp_path / "run", "data.classes=('absent', 'present')"))
    assert "presnt" in line and "row 4" in line and "present" in line


def test_group_in_two_splits(refused, labelled, tmp_path):
    folder, table = labelled
    table.loc[23, "patient_id"] = "000"
    table.to_csv(folder / "manifest.csv", index=False)
    line = refused(*train(folder, tmp_path / "run"))
    assert "000" in line and "split" in line


def test_same_image_in_training_and_test(refused, labelled, tmp_path):
    folder, _ = labelled
    (folder / "images/23.png").write_bytes((folder / "images/00.png").read_bytes())
    line = refused(*train(folder, tmp_path / "run"))
    assert "00.png" in line and "23.png" in line


def test_unlabelled_pool_holds_a_test_patient(refused, labelled, tmp_path):
    folder, _ = labelled
    held_out = f"({{'manifest': '{folder / 'manifest.csv'}', 'group': 'patient_id'}},)"
    line = refused(
        *train(
            folder, tmp_path / "run", "data.group=patient_id", f"data.held_out={held_out}",
            config=SIMCLR,
        )  # fmt: skip
    )
    assert "000" in line


def test_empty_split(refused, labelled, tmp_path):
    folder, _ = labelled
    line = refused(*train(folder, tmp_path / "run", "data.train={'split': 'training'}"))
    assert "training" in line and "train" in line


def test_unknown_config_key(refused, labelled, tmp_path):
    line = refused(*train(labelled[0], tmp_path / "run", "optimizer.learningrate=1"))
    assert "learning_rate" in line
    assert not (tmp_path / "run").exists()


def test_unknown_augmentation_option(refused, labelled, tmp_path):
    line = refused(*train(labelled[0], tmp_path / "run", "augment.options={'strenght': 1}"))
    assert "strength" in line


def test_workdir_of_another_config(refused, remedis, labelled, tmp_path):
    folder, _ = labelled
    assert remedis(*train(folder, tmp_path / "run")).code == 0
    line = refused(*train(folder, tmp_path / "run", "seed=1"))
    assert "seed" in line and str(tmp_path / "run") in line


def test_workdir_with_other_things(refused, labelled, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    line = refused(*train(labelled[0], tmp_path / "run"))
    assert "not empty" in line
    assert (tmp_path / "run" / "thesis.tex").read_text() == "precious"


def test_batch_larger_than_the_pool(refused, labelled, tmp_path):
    line = refused(*train(labelled[0], tmp_path / "run", "batch_size=32", config=SIMCLR))
    assert "32" in line and "24" in line


def test_batch_that_does_not_divide_over_the_devices(refused, labelled, tmp_path):
    line = refused(*train(labelled[0], tmp_path / "run", "batch_size=12", "devices=8"))
    assert "12" in line and "8 devices" in line


def test_init_of_another_network(refused, remedis, labelled, tmp_path):
    folder, _ = labelled
    assert remedis(*train(folder, tmp_path / "first")).code == 0
    line = refused(
        *train(
            folder, tmp_path / "second", f"init={tmp_path / 'first'}", "model.stem=cifar",
            "model.name=r14x0.5",
        )  # fmt: skip
    )
    assert "r14x0.25" in line


def test_diverging_run_names_step_and_images(refused, labelled, tmp_path):
    folder, _ = labelled
    line = refused(
        *train(
            folder, tmp_path / "run", "optimizer.learning_rate=1e30", "optimizer.name=sgd",
            "total_steps=20", "warmup_steps=0",
        ),
        code=1,
    )  # fmt: skip
    assert "step" in line and "images/" in line and "learning_rate" in line
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_full_disk(refused, labelled, tmp_path):
    """/dev/full accepts to be opened and refuses every byte, as a full disk does."""
    folder, _ = labelled
    from remedis_jax.training.config import load_config, to_json
    from remedis_jax.training.workdir import write_json

    config = load_config(FINETUNE, (f"data.manifest={folder / 'manifest.csv'}", "devices=1"))
    run = tmp_path / "run"
    run.mkdir()
    write_json(run / "config.json", to_json(config))
    (run / "metrics.jsonl").symlink_to("/dev/full")
    line = refused(*train(folder, run), code=1)
    assert "No space left on device" in line and "metrics.jsonl" in line
    assert not (run / "weights.safetensors").exists()


def test_evaluating_weights_without_a_classifier(refused, remedis, labelled, tmp_path):
    folder, _ = labelled
    assert remedis(*train(folder, tmp_path / "run", "data.split=split", config=SIMCLR)).code == 0
    line = refused(
        "evaluate", folder / "manifest.csv", "--weights", tmp_path / "run", "--out", tmp_path / "e"
    )
    assert "simclr" in line and "Fine-tune" in line


def test_evaluating_an_unfinished_run(refused, labelled, tmp_path):
    (tmp_path / "run").mkdir()
    line = refused(
        "evaluate", labelled[0] / "manifest.csv",
        "--weights", tmp_path / "run", "--out", tmp_path / "e",
    )  # fmt: skip
    assert "not finished" in line


def test_reporting_on_nothing(refused, tmp_path):
    assert str(tmp_path) in refused("report", tmp_path)
