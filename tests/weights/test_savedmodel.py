"""What of reading a SavedModel needs no TensorFlow: names, the decision, refusals, the process.

tests/oracles/test_savedmodel_import.py reads real ones.
"""

import json
import os
import shutil
import stat
import sys

import jax
import numpy as np
import pytest

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.models.bit import BiT, BiTSpec
from remedis_jax.weights.architecture import encoder_shapes
from remedis_jax.weights.artifact import flatten, unflatten
from remedis_jax.weights.savedmodel import importer, process
from remedis_jax.weights.savedmodel.exporter import export_savedmodel
from remedis_jax.weights.savedmodel.importer import import_savedmodel
from remedis_jax.weights.savedmodel.process import check_folder, folder_sha256, run_worker
from remedis_jax.weights.savedmodel.readings import (
    SCALINGS,
    Row,
    compare,
    decide,
    probe_images,
    table_lines,
    tolerance,
)
from remedis_jax.weights.savedmodel.variables import Variable, canonical, propose

SPEC = BiTSpec.from_name("r14x0.25")
NORM = ("group_norm/gamma", "group_norm/beta")


def listed(spec, rename=lambda name: name, keep=lambda name: True):
    return [
        Variable(rename(name), "", shape)
        for name, shape in encoder_shapes(spec).items()
        if keep(name)
    ]


@pytest.mark.parametrize(
    ("name", "prefix", "ours"),
    [
        ("group_norm/gamma:0", "", "group_norm/gamma"),
        ("a/resnet/group_norm_12/beta_1", "a/resnet/", "group_norm/beta"),
        (
            "m/block3/unit12/b/standardized_conv2d_7/kernel:0",
            "m/",
            "block3/unit12/b/standardized_conv2d/kernel",
        ),
        ("x/block1/unit1/a/group_norm/gamma", "x/", "block1/unit01/a/group_norm/gamma"),
        (
            "resnet_1/block4/unit01/a/proj_1/standardized_conv2d/kernel",
            "resnet_1/",
            "block4/unit01/a/proj/standardized_conv2d/kernel",
        ),
        ("root_block/standardized_conv2d/kernel", "", "root_block/standardized_conv2d/kernel"),
    ],
)
def test_our_part_of_a_name(name, prefix, ours):
    assert canonical(name) == (prefix, ours)


@pytest.mark.parametrize(
    "name",
    [
        "head/dense/kernel",
        "root_block/standardized_conv2d/kernel/Momentum",
        "block1/unit01/a/group_norm/gamma/ExponentialMovingAverage",
        "myroot_block/standardized_conv2d/kernel",
        "block1/unit01/d/standardized_conv2d/kernel",
        "group_norm/gammas",
        "my_group_norm/gamma",
    ],
)
def test_names_that_are_not_ours(name):
    assert canonical(name) is None


@pytest.mark.parametrize("network", ["r50x1", "r101x3", "r152x2"])
def test_variables_are_matched_by_their_names(network):
    spec = BiTSpec.from_name(network)
    variables = listed(spec, lambda name: f"base_model/resnet/{name}_1:0")
    variables = variables[::-1] + [Variable("head/kernel", "", (8, 2))]
    (match,) = propose(variables, "it")
    assert (match.matched_by, match.detail, match.spec) == ("name", "base_model/resnet/", spec)
    assert match.indices.keys() == encoder_shapes(spec).keys()
    for ours, index in match.indices.items():
        assert variables[index].name == f"base_model/resnet/{ours}_1:0"


def test_forms_of_names_and_shapes():
    assert Variable.of_shape("x", "", [1, 1, 1, 64], "float32").shape == (64,)
    assert Variable.of_shape("x", "", [1, 1, 64, 64], "float32").shape == (1, 1, 64, 64)
    # Without the last norm.
    (match,) = propose(listed(SPEC, keep=lambda name: name not in NORM), "it")
    assert not match.spec.final_norm
    # An optimiser's copy is left over, whichever comes first.
    copies = listed(SPEC, lambda name: f"{name}_1")
    for variables in (listed(SPEC) + copies, copies + listed(SPEC)):
        (match,) = propose(variables, "it")
        assert all(variables[i].name == ours for ours, i in match.indices.items())
    # Every part with a prefix of its own.
    own = propose(listed(SPEC, lambda name: f"{name.split('/')[0]}_layer/{name}"), "it")
    assert [match.spec for match in own] == [SPEC]
    # Two networks are two proposals.
    both = listed(SPEC, lambda n: f"online/{n}") + listed(SPEC, lambda n: f"target/{n}")
    assert [match.detail for match in propose(both, "it")] == ["online/", "target/"]
    # Names say nothing, paths do.
    by_path = [Variable("w", f"net/{v.name}", v.shape) for v in listed(SPEC)]
    (match,) = propose(by_path, "it")
    assert (match.matched_by, match.detail) == ("path", "net/")


def test_what_is_no_network_is_refused():
    part = listed(SPEC, keep=lambda name: name != "block3/unit01/b/group_norm/beta")
    with pytest.raises(UserError, match="1 missing: block3/unit01/b/group_norm/beta"):
        propose(part, "it")
    wide = listed(SPEC)
    wide[5] = Variable(wide[5].name, "", (7, 7))
    with pytest.raises(UserError, match="1 of another shape"):
        propose(wide, "it")
    half = [Variable(v.name, "", v.shape, "float16") for v in listed(SPEC)]
    with pytest.raises(UserError, match="holds no BiT network"):
        propose(half, "it")
    for shapes in ([], [(7, 7, 3, 64)], [(3, 3, 3, 16), (16,)], [(7, 7, 3, 3), (7, 7, 3, 4)]):
        with pytest.raises(UserError, match="it holds no BiT network"):
            propose([Variable("w", "", shape) for shape in shapes], "it")
    more = listed(SPEC, lambda name: "w") + [Variable("w", "", (3, 3, 7, 7))]
    with pytest.raises(UserError, match="holds no BiT network"):
        propose(more, "it")


def order_of(spec, gamma_first, projection_first):
    names = list(encoder_shapes(spec))
    if not projection_first:
        for name in [name for name in names if "/proj/" in name]:
            names.remove(name)
            names.insert(names.index(name.replace("/a/proj/", "/c/")) + 1, name)
    if not gamma_first:
        swap = {"gamma": "beta", "beta": "gamma"}
        names = [f"{n[: n.rindex('/')]}/{swap.get(n.split('/')[-1], 'kernel')}" for n in names]
    return names


@pytest.mark.parametrize("gamma_first", [True, False])
@pytest.mark.parametrize("projection_first", [True, False])
@pytest.mark.parametrize("network", ["r14x0.25", "r50x1", "r101x1"])
def test_order_stands_in_for_names(network, gamma_first, projection_first):
    spec = BiTSpec.from_name(network)
    order = order_of(spec, gamma_first, projection_first)
    shapes = encoder_shapes(spec)
    variables = [Variable("w", "", shapes[name]) for name in order]
    matches = propose([*variables, Variable("head", "", (5,))], "it")
    assert len(matches) == 4 and {match.matched_by for match in matches} == {"order"}
    assert {match.spec for match in matches} == {spec}
    read = [[ours for ours, i in sorted(m.indices.items(), key=lambda x: x[1])] for m in matches]
    assert read.count(order) == 1
    without = propose([v for v, n in zip(variables, order) if n not in NORM], "it")
    assert not any(match.spec.final_norm for match in without)


def rows(errors, size=(64, 64)):
    readings = [(s, n) for s in SCALINGS for n in (False, True)]
    return [Row(0, s, n, size, e * 7, e) for (s, n), e in zip(readings, errors)]


def test_the_reading_that_agrees_is_taken():
    assert decide(rows([1, 1e-5, 0.3, 0.2]), "it", 1e-4) == (0, "inside", True)
    assert decide(rows([1, 1, 9e-5, 1e-3]), "it", 1e-4) == (0, "outside", False)
    # The worst size counts.
    both = rows([1e-6, 1, 1, 1]) + rows([0.5, 1e-6, 1, 1], (97, 75))
    with pytest.raises(UserError, match="5.0e-01 of the largest output where 1e-04 is allowed"):
        decide(both, "it", 1e-4)
    nowhere = rows([1e-6, 1, 1, 1]) + rows([np.nan, 1, 1, 1], (97, 75))
    with pytest.raises(UserError, match="does not compute"):
        decide(nowhere, "it", 1e-4)
    assert nowhere[4].to_json()["relative"] is None
    several = rows([1, 1, 1, 1]) + [Row(1, "inside", False, (64, 64), 1e-6, 1e-6)]
    assert decide(several, "it", 1e-4) == (1, "inside", False)


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ([2e-4, 1, 1, 1], "does not compute what this network computes"),
        ([np.nan, np.nan, np.inf, np.nan], "does not compute"),
        ([2e-5, 1.9e-4, 1, 1], "cannot decide between two readings"),
        ([1e-9, 1e-7, 1, 1], "cannot decide"),
        ([0, 0, 1, 1], "cannot decide"),
    ],
)
def test_no_reading_is_taken_in_doubt(errors, message):
    with pytest.raises(UserError, match=message):
        decide(rows(errors), "it", 1e-4)


def test_what_is_prescribed_is_still_proven():
    found = rows([1, 1e-6, 0.3, 0.2])
    assert decide(found, "it", 1e-4, scaling="inside", final_norm=True) == (0, "inside", True)
    with pytest.raises(UserError, match="in the prescribed reading.*Leave scaling"):
        decide(found, "it", 1e-4, scaling="outside")
    with pytest.raises(UserError, match="in the prescribed reading"):
        decide(found, "it", 1e-4, final_norm=False)
    # Within tolerance, and yet another reading is clearly nearer.
    with pytest.raises(UserError, match="cannot decide"):
        decide(rows([5e-5, 1e-6, 1, 1]), "it", 1e-4, final_norm=False)
    without = [row for row in found if not row.final_norm]
    with pytest.raises(UserError, match="no parameters of a last GroupNorm"):
        decide(without, "it", 1e-4, final_norm=True)


def test_the_table_marks_what_agrees():
    found = rows([1e-6, 1, 1, 1]) + rows([2e-6, 1, 1, 1], (97, 75))
    lines = table_lines(found, (0, "inside", False), 1e-4)
    assert len(lines) == 10 and sum("<- agrees" in line for line in lines) == 2
    assert "97x75" in lines[5] and "2.00e-06  <- agrees" in lines[5]
    assert [tolerance(BiTSpec(depth=d)) for d in (14, 50, 101, 152)] == [1e-4, 1e-4, 1e-4, 5e-4]


def test_the_probe_has_hard_borders():
    images = probe_images(64)
    assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 1
    np.testing.assert_array_equal(images, probe_images(64))
    for image in images:
        for side in (image[0], image[-1], image[:, 0], image[:, -1]):
            assert side.std(axis=0).min() > 0.02


def random_weights(spec):
    generator = np.random.default_rng(0)
    return {
        name: (generator.standard_normal(shape) * 0.3 + name.endswith("gamma")).astype("f")
        for name, shape in encoder_shapes(spec).items()
    }


@pytest.fixture(scope="module")
def outputs():
    """Weights, images in [0, 1], and the map behind and before the last norm, of [-1, 1]."""
    flat = random_weights(SPEC)
    images = probe_images(40)
    maps = []
    for final_norm in (False, True):
        spec = BiTSpec.from_name(SPEC.name, final_norm=final_norm)
        apply = jax.jit(lambda p, x, spec=spec: BiT(spec).apply({"params": p}, x, pool=False))
        params = {k: v for k, v in flat.items() if final_norm or k not in NORM}
        maps.append(np.asarray(apply(unflatten(params), images * 2 - 1)))
    return flat, images, maps


@pytest.mark.parametrize("final_norm", [False, True])
def test_readings_are_compared(outputs, final_norm):
    flat, images, maps = outputs
    theirs = maps[final_norm]
    for pooled, output in (
        (False, theirs),
        (True, theirs.mean(axis=(1, 2))),
        (True, theirs.mean(axis=(1, 2), keepdims=True)),
    ):
        found, is_pooled = compare(0, SPEC, flat, [(images, output)], "it")
        assert is_pooled is pooled and len(found) == 4
        assert decide(found, "it", 1e-4) == (0, "inside", final_norm)
    found, _ = compare(0, SPEC, flat, [(images, theirs * np.float32(1.01))], "it")
    with pytest.raises(UserError, match="does not compute"):
        decide(found, "it", 1e-4)
    bare = {name: value for name, value in flat.items() if name not in NORM}
    found, _ = compare(0, SPEC, bare, [(images, theirs)], "it")
    assert len(found) == 2 and not any(row.final_norm for row in found)


def test_outputs_of_another_form_are_refused(outputs):
    flat, images, maps = outputs
    for output, message in (
        (maps[0] * 0, "returns zeros"),
        (maps[0] * np.float32(np.nan), "not finite"),
        (maps[0][..., :10], "returns .* where this network gives"),
        (maps[0].mean(axis=(1, 2))[:, :10], "Name the output"),
        (maps[0].mean(axis=(1, 2))[:1], "where this network gives"),
    ):
        with pytest.raises(UserError, match=message):
            compare(0, SPEC, flat, [(images, output)], "it")


@pytest.fixture
def folder(tmp_path):
    """Looks like a SavedModel from outside."""
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"program")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"data")
    return folder


def test_folders_that_are_no_saved_model_are_refused(tmp_path, folder, monkeypatch):
    assert check_folder(folder) == folder.resolve()
    with pytest.raises(UserError, match="does not exist"):
        check_folder(tmp_path / "none")
    with pytest.raises(UserError, match="is a file.*Unpack"):
        check_folder(folder / "saved_model.pb")
    with pytest.raises(UserError, match="no saved_model.pb.*is in .*model"):
        check_folder(tmp_path)
    with pytest.raises(UserError, match="no saved_model.pb.*Give the folder"):
        check_folder(folder / "variables")

    secret = tmp_path / "secret"
    secret.write_text("x")
    for target in (secret, tmp_path):
        (folder / "assets").symlink_to(target)
        with pytest.raises(UserError, match="assets is a link that leads out"):
            check_folder(folder)
        (folder / "assets").unlink()
    (folder / "inside").symlink_to("saved_model.pb")
    check_folder(folder)
    os.mkfifo(folder / "pipe")
    with pytest.raises(UserError, match="pipe is neither"):
        check_folder(folder)
    (folder / "pipe").unlink()

    monkeypatch.setattr(process, "_LARGEST_PROGRAM", 3)
    with pytest.raises(UserError, match="more than any such model"):
        check_folder(folder)
    monkeypatch.undo()
    for missing in ("variables.index", "variables.data-00000-of-00001"):
        (folder / "variables" / missing).unlink()
        with pytest.raises(UserError, match="holds no variables"):
            check_folder(folder)
        (folder / "variables" / missing).write_bytes(b"x")


def test_the_digest_is_of_names_and_contents(tmp_path, folder):
    digest = folder_sha256(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert folder_sha256(tmp_path / "copy") == digest
    (folder / "saved_model.pb").rename(folder / "other.pb")
    assert folder_sha256(folder) != digest


def interpreter(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


def test_the_process_explains_its_end(tmp_path, folder, monkeypatch):
    def run(script):
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        python = interpreter(tmp_path / "python", script)
        return run_worker(folder, work, np.zeros([1, 2, 2, 3], "f"), sizes=[(2, 2)], python=python)

    # Without its site-packages, an interpreter has neither NumPy nor TensorFlow.
    with pytest.raises(UserError, match=r"No module named 'numpy'.*remedis_jax\[tf\].*--python"):
        run(f'exec {sys.executable} -S "$@"')
    with pytest.raises(RunFailed, match="code -9 .*too little memory"):
        run("kill -9 $$")
    with pytest.raises(RunFailed, match=r"code 3 .*\(last words\)"):
        run("echo first >&2; echo last words >&2; exit 3")
    answer = {"refused": {"problem": "is refused: \x1b[2J so", "remedy": "Do that."}}
    with pytest.raises(UserError, match=r"model is refused: \?\[2J so. Do that."):
        run(f"echo '{json.dumps(answer)}' > answer.json")
    monkeypatch.setenv("XLA_FLAGS", "--of_this_jax_only")
    run("echo '{\"done\": {}}' > answer.json; env > environment")
    environment = (tmp_path / "work" / "environment").read_text()
    assert "CUDA_VISIBLE_DEVICES=-1" in environment and "XLA_FLAGS" not in environment
    monkeypatch.setattr(process, "_TIME_LIMIT", 0.2)
    with pytest.raises(RunFailed, match="did not finish"):
        run("exec sleep 20")
    monkeypatch.setenv(process.PYTHON_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UserError, match="none cannot be started.*--python"):
        run_worker(folder, tmp_path, np.zeros([1, 2, 2, 3], "f"), sizes=None)


def test_from_variables_to_an_artefacts_parts(folder, outputs, monkeypatch):
    flat, images, maps = outputs

    def worker(root, work, probe, *, sizes, python, output):
        assert root == folder.resolve() and sizes == [(40, 40), (97, 75)]
        described = []
        for index, (name, value) in enumerate(flat.items()):
            np.save(work / f"{index}.npy", value)
            entry = {"name": f"m/{name}", "path": "", "shape": value.shape, "dtype": "float32"}
            described.append(entry | {"file": f"{index}.npy"})
        described.append(
            {"name": "step", "path": "", "shape": [], "dtype": "int64", "file": None}
        )
        np.save(work / "in.npy", images)
        np.save(work / "out.npy", maps[0])
        good = {"size": [40, 40], "input": "in.npy", "output": "out.npy", "error": None}
        bad = {"size": [97, 75], "input": "in.npy", "output": None, "error": "no"}
        return {
            "tensorflow": "2", "variables": described, "called": "__call__", "output": "",
            "shape": [None] * 3 + [3], "runs": [good, bad],
        }  # fmt: skip

    monkeypatch.setattr(importer, "run_worker", worker)
    lines = []
    found = import_savedmodel(folder, size=40, name="cxr", progress=lines.append)
    assert found.spec == BiTSpec.from_name("r14x0.25", final_norm=False)
    params = flatten(found.params)
    assert params.keys() == {f"encoder/{name}" for name in flat if name not in NORM}
    for name, value in params.items():
        np.testing.assert_array_equal(value, flat[name.removeprefix("encoder/")])
    decision = json.loads(json.dumps(found.decision))
    assert decision["scaling"] == "inside" and decision["value_range"] == [-1, 1]
    assert decision["matched_by"] == "name" and decision["pooled"] is False
    assert sorted(decision["left_out"]) == [
        "m/group_norm/beta (512,)", "m/group_norm/gamma (512,)", "step () int64",
    ]  # fmt: skip
    assert decision["saved_model_sha256"] == folder_sha256(folder)
    assert any("not compared at 97x75: SavedModel cxr fails there (no)" in x for x in lines)
    assert any("left out, 3 variables" in line for line in lines)
    with pytest.raises(UserError, match="in the prescribed reading"):
        import_savedmodel(folder, size=40, scaling="outside")
    with pytest.raises(UserError, match="size=0"):
        import_savedmodel(folder, size=0)


def test_writing_one_needs_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    images = np.zeros([8, 4, 4, 3], np.float32)
    with pytest.raises(UserError, match=r"needs TensorFlow.*pip install 'remedis_jax\[tf\]'"):
        export_savedmodel(
            lambda p, x: x, {}, images, tmp_path / "out", expected=images, tolerance=0
        )
    assert not list(tmp_path.iterdir())
