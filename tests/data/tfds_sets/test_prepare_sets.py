"""Building by name, without TensorFlow, from Python and from the command line."""

import subprocess
import sys

import pytest

from remedis_jax.data.tfds_sets import prepare as module
from remedis_jax.data.tfds_sets.prepare import builder_class, instructions, names, prepare
from remedis_jax.errors import UserError


@pytest.fixture
def aptos(tree):
    tree.table("train.csv", "id_code,diagnosis\n0007,2\n")
    tree.table("test.csv", "id_code\n0008\n")
    tree.image("train_images/0007.png")
    tree.image("test_images/0008.png")
    return tree


@pytest.mark.parametrize("name", names())
def test_every_set_is_complete(name, tmp_path):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_metadata

    builder = builder_class(name)(data_dir=str(tmp_path))
    assert builder.name == name and builder.info.version == "1.0.0"
    assert tfds.builder_cls(name) is builder_class(name)
    assert len(builder.info.description) > 100 and builder.info.homepage.startswith("https://")
    assert builder.info.citation.count("@") >= 1
    assert builder.info.redistribution_info.license
    tags = builder.get_metadata().tags
    assert tags and set(tags) <= set(dataset_metadata.valid_tags())
    assert "manual_dir/" in instructions(name)
    assert not any(line.startswith("    From") for line in instructions(name).splitlines())


def test_what_is_built_stays_until_told_otherwise(aptos, tmp_path):
    data = tmp_path / "data"
    assert prepare("aptos2019", aptos.folder, data).info.splits["train"].num_examples == 1
    aptos.table("train.csv", "id_code,diagnosis\n0007,2\n0009,3\n")
    aptos.image("train_images/0009.png")
    assert prepare("aptos2019", aptos.folder, data).info.splits["train"].num_examples == 1
    again = prepare("aptos2019", aptos.folder, data, overwrite=True)
    assert again.info.splits["train"].num_examples == 2


def test_what_is_built_is_read_without_the_code(aptos, tmp_path):
    import tensorflow_datasets as tfds

    prepare("aptos2019", aptos.folder, tmp_path / "data")
    (example,) = tfds.data_source(
        "aptos2019:1.0.0", split="train", data_dir=tmp_path / "data", builder_kwargs={}
    )
    assert example["id_code"] == b"0007" and example["image"].shape == (8, 8, 3)


def test_names_that_are_none(tmp_path):
    with pytest.raises(UserError, match="no builder for a data set 'aptos'. Did you mean 'aptos20"):
        prepare("aptos", tmp_path, tmp_path)


def test_nothing_downloaded_yet(tmp_path):
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match="no such folder, or nothing in it.* aptos2019' says"):
            prepare("aptos2019", folder, tmp_path / "data")


def test_beam_is_asked_for_in_vain(aptos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(UserError, match="pip install apache-beam"):
        prepare("aptos2019", aptos.folder, tmp_path / "data", beam_runner="DirectRunner")
    with pytest.raises(UserError, match="Options of Beam do nothing without a runner"):
        prepare("aptos2019", aptos.folder, tmp_path / "data", beam_options={"num_workers": 2})


def test_the_command_line(aptos, tmp_path, monkeypatch, capsys):
    from remedis_jax.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["remedis", "prepare", *arguments])
        try:
            main.main()
        except SystemExit as done:
            if done.code:
                raise
        return capsys.readouterr().out

    manual = ("aptos2019", "--manual-dir", str(aptos.folder), "--data-dir")
    assert "tfds:aptos2019:train  1 examples" in run(*manual, str(tmp_path / "data"))
    assert "manual_dir/B. Disease Grading" in run("idrid")
    assert "nih_chest_xray14" in run().splitlines()
    aptos.remove("test.csv")
    with pytest.raises(SystemExit) as left:
        run(*manual, str(tmp_path / "other"))
    assert left.value.code == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("remedis: error: ")]
    assert "test.csv: there is no such file. Download it" in line


def test_options_of_beam_on_the_command_line():
    from remedis_jax.cli.prepare import _beam_options

    assert _beam_options("direct_num_workers=4,streaming,region=eu") == {
        "direct_num_workers": 4,
        "streaming": True,
        "region": "eu",
    }
    assert _beam_options("") == {}


def test_nothing_needs_tensorflow():
    code = (
        "import sys\n"
        f"from {module.__name__} import builder_class, names\n"
        "[builder_class(name) for name in names()]\n"
        "assert not {'tensorflow', 'apache_beam', 'h5py', 'pydicom'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
