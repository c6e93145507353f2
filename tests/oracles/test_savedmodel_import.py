"""SavedModels of every likely shape are read rightly; what is not one of ours is refused unrun."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from remedis_jax.errors import UserError
from remedis_jax.weights.artifact import flatten
from remedis_jax.weights.savedmodel import process, worker
from remedis_jax.weights.savedmodel.importer import import_savedmodel
from tests.oracles import saved_models
from tests.oracles.saved_models import build

NORM = ["group_norm/gamma", "group_norm/beta"]


@pytest.fixture
def here(monkeypatch):
    """The worker's work without a new process, which costs seconds; two tests start a real one."""

    def run(command, **options):
        worker.main(command[-1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(process.subprocess, "run", run)


def counters(name):
    """As TensorFlow makes names unique."""
    return name.replace("group_norm", "group_norm_3").replace("/kernel", "_12/kernel_1")


# Each combination of scaling and norm; everything else varies over them.
CASES = {
    "in-raw-map": dict(scaled=True, final_norm=False, pooled=False),
    "in-raw-pooled": dict(
        scaled=True, final_norm=False, pooled=True, kind="hub", prefix="module/resnet50x1/", size=64
    ),
    "in-norm-map": dict(scaled=True, final_norm=True, pooled=False, kind="signature", size=64),
    "in-norm-pooled": dict(
        scaled=True, final_norm=True, pooled=True, prefix="", rename=counters, batch=2
    ),
    "out-raw-map": dict(
        scaled=False, final_norm=False, kind="hub", prefix="", four_dimensional=True, size=64
    ),
    "out-raw-pooled": dict(
        scaled=False, final_norm=False, pooled=True, kind="signature", prefix="a/b/c/resnet/"
    ),
    "out-norm-map": dict(
        scaled=False, final_norm=True, rename=lambda name: f"{name}_1", size=64, batch=1
    ),
    "out-norm-pooled": dict(scaled=False, final_norm=True, pooled=True, kind="hub", size=64),
}


@pytest.mark.parametrize("case", CASES)
def test_every_variant_is_decided_rightly(tmp_path, here, case):
    options = CASES[case]
    weights = build(tmp_path / "model", **options, extra=[("head/dense/kernel", (512, 5))])
    lines = []
    found = import_savedmodel(tmp_path / "model", size=64, progress=lines.append)

    inside, norm = options["scaled"], options["final_norm"]
    decision = json.loads(json.dumps(found.decision))
    assert decision["scaling"] == ("inside" if inside else "outside")
    assert decision["value_range"] == ([-1, 1] if inside else [0, 1])
    assert decision["final_norm"] is found.spec.final_norm is norm
    assert decision["pooled"] is options.get("pooled", False)
    assert decision["matched_by"] == "name"
    assert found.spec.name == "r14x0.25"

    params = flatten(found.params)
    expected = {f"encoder/{k}": v for k, v in weights.items() if norm or k not in NORM}
    assert params.keys() == expected.keys()
    for name, value in params.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name], err_msg=name)

    left_out = " ".join(decision["left_out"])
    assert "head/dense/kernel (512, 5)" in left_out
    prefix = options.get("prefix", "base_model/resnet/")
    assert (f"{prefix}group_norm" in left_out) is not norm

    sizes = 1 if "size" in options else 2
    assert len(decision["parity"]) == 4 * sizes
    agreeing = [row["relative"] for row in decision["parity"] if row["agrees"]]
    others = [row["relative"] for row in decision["parity"] if not row["agrees"]]
    assert len(agreeing) == sizes and max(agreeing) < 2e-5 and min(others) > 0.01
    assert found.table == [line for line in lines if line in found.table]
    assert sum("<- agrees" in line for line in found.table) == sizes
    assert len(decision["saved_model_sha256"]) == 64


def late_projection(names):
    kept = [name for name in names if "/proj/" not in name]
    for name in names:
        if "/proj/" in name:
            kept.insert(kept.index(name.replace("/a/proj/", "/c/")) + 1, name)
    return kept


def beta_first(names):
    pairs = {"gamma": "beta", "beta": "gamma"}
    return [name.rsplit("/", 1)[0] + "/" + pairs.get(name.rsplit("/", 1)[1], "kernel")
            for name in names]  # fmt: skip


@pytest.mark.parametrize(
    "reorder",
    [
        lambda names: names,
        beta_first,
        late_projection,
        lambda names: late_projection(beta_first(names)),
    ],
)
def test_nameless_variables_are_matched_by_order(tmp_path, here, reorder):
    weights = build(
        tmp_path / "model",
        rename=lambda name: "w",
        prefix="",
        reorder=reorder,
        size=64,
        extra=[("step", ()), ("projection_head", (512, 16))],
    )
    found = import_savedmodel(tmp_path / "model")
    assert found.decision["matched_by"] == "order"
    assert sum(row["agrees"] for row in found.decision["parity"]) == 1
    params = flatten(found.params)
    for name, value in weights.items():
        if name not in NORM:
            np.testing.assert_array_equal(params[f"encoder/{name}"], value, err_msg=name)
    assert found.decision["left_out"] == [
        "w (512,)", "w (512,)", "step ()", "projection_head (512, 16)",
    ]  # fmt: skip


def test_variables_without_names_are_matched_by_their_path(tmp_path, here):
    values = {n: saved_models.draw(n, s) for n, s in saved_models.shapes(14, 0.25).items()}
    root = tf.Module()
    variables = {}
    for name, value in values.items():
        *parents, leaf = name.split("/")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                setattr(module, parent, tf.Module())
            module = getattr(module, parent)
        variables[name] = tf.Variable(value)
        setattr(module, leaf, variables[name])
    root.__call__ = tf.function(
        lambda x: saved_models.forward(variables, x, 14, True, True),
        input_signature=[tf.TensorSpec([None, 64, 64, 3])],
    )
    tf.saved_model.save(root, str(tmp_path / "model"))
    found = import_savedmodel(tmp_path / "model")
    assert found.decision["matched_by"] == "path" and found.spec.final_norm
    for name, value in flatten(found.params["encoder"]).items():
        np.testing.assert_array_equal(value, values[name])


def test_of_two_networks_the_one_that_is_run_is_taken(tmp_path, here):
    other = {n: saved_models.draw(n, s, 9) for n, s in saved_models.shapes(14, 0.25).items()}
    spare = [tf.Variable(value, name=f"target/{name}") for name, value in other.items()]
    weights = build(tmp_path / "model", size=64, prefix="online/", more=spare)
    found = import_savedmodel(tmp_path / "model")
    assert found.decision["matched_detail"] == "online/"
    root = flatten(found.params)["encoder/root_block/standardized_conv2d/kernel"]
    np.testing.assert_array_equal(root, weights["root_block/standardized_conv2d/kernel"])
    assert "target/group_norm/beta (512,)" in found.decision["left_out"]


def test_a_prescribed_reading_has_to_agree(tmp_path, here):
    build(tmp_path / "model", size=64, scaled=True, final_norm=False)
    lines = []
    with pytest.raises(UserError, match="does not compute.*prescribed reading.*1e-04 is allowed"):
        import_savedmodel(tmp_path / "model", scaling="outside", progress=lines.append)
    assert any("relative" in line for line in lines) and not any("agrees" in x for x in lines)
    with pytest.raises(UserError, match="does not compute.*prescribed.*Leave scaling"):
        import_savedmodel(tmp_path / "model", final_norm=True)
    found = import_savedmodel(tmp_path / "model", scaling="inside", final_norm=False)
    assert found.decision["scaling"] == "inside"
    with pytest.raises(UserError, match="scaling='both'"):
        import_savedmodel(tmp_path / "model", scaling="both")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda features, images: features * 1.001,
        lambda features, images: features + 0.01 * tf.reduce_max(images),
        lambda features, images: tf.nn.relu(features),
    ],
)
def test_an_output_that_is_another_one_is_refused(tmp_path, here, wrap):
    build(tmp_path / "model", size=64, wrap=wrap)
    with pytest.raises(UserError, match="does not compute what this network computes"):
        import_savedmodel(tmp_path / "model")


def test_another_preparation_of_the_input_is_refused(tmp_path, here):
    build(tmp_path / "model", size=64, scaled=False, before=lambda x: (x - 0.45) / 0.22)
    with pytest.raises(UserError, match="its input is prepared in another way"):
        import_savedmodel(tmp_path / "model")


def test_padding_that_differs_only_at_odd_sizes_is_found(tmp_path, here, monkeypatch):
    def same(x, kernel, stride):
        mean, variance = tf.nn.moments(kernel, [0, 1, 2], keepdims=True)
        kernel = (kernel - mean) / tf.sqrt(variance + 1e-10)
        return tf.nn.conv2d(x, kernel, stride, "SAME")

    monkeypatch.setattr(saved_models, "_convolve", same)
    build(tmp_path / "model")
    with pytest.raises(UserError, match="does not compute what this network computes"):
        import_savedmodel(tmp_path / "model", size=64)


def test_sizes(tmp_path, here):
    build(tmp_path / "free", wrap=lambda f, x: tf.ensure_shape(f, [None, 2, 2, 512]))
    lines = []
    found = import_savedmodel(tmp_path / "free", size=64, progress=lines.append)
    assert found.decision["input_shape"] == [None, None, None, 3]
    assert [run["size"] for run in found.decision["not_compared"]] == [[97, 75]]
    assert any("not compared at 97x75" in line for line in lines)
    with pytest.raises(UserError, match="does not run on 3 x 96 x 96.*Give the size"):
        import_savedmodel(tmp_path / "free", size=96)
    build(tmp_path / "fixed", size=64)
    with pytest.raises(UserError, match="reads images of 64 pixels and size=96"):
        import_savedmodel(tmp_path / "fixed", size=96)


def test_outputs(tmp_path, here):
    build(tmp_path / "one", size=64, wrap=lambda f, x: {"features": f})
    assert import_savedmodel(tmp_path / "one").decision["output"] == "features"
    build(tmp_path / "two", size=64, wrap=lambda f, x: {"map": f, "more": [f * 2, f * 3]})
    with pytest.raises(UserError, match="has 3 outputs: map, more/0, more/1"):
        import_savedmodel(tmp_path / "two")
    with pytest.raises(UserError, match="has no output 'x'.*It has map"):
        import_savedmodel(tmp_path / "two", output="x")
    assert import_savedmodel(tmp_path / "two", output="map").decision["output"] == "map"
    build(tmp_path / "head", size=64, pooled=True, wrap=lambda f, x: f[:, :10])
    with pytest.raises(UserError, match=r"returns \(3, 10\) where this network gives"):
        import_savedmodel(tmp_path / "head")
    build(tmp_path / "none", size=64, wrap=lambda f, x: f * 0)
    with pytest.raises(UserError, match="returns zeros"):
        import_savedmodel(tmp_path / "none")
    build(tmp_path / "nan", size=64, wrap=lambda f, x: tf.math.log(-tf.abs(f)))
    with pytest.raises(UserError, match="not finite"):
        import_savedmodel(tmp_path / "nan")
    build(tmp_path / "kept", size=64, pooled=True, wrap=lambda f, x: f[:, None, None])
    assert import_savedmodel(tmp_path / "kept").decision["pooled"]


def save(folder, function, *specs, **attributes):
    """A SavedModel of one function."""
    root = tf.Module()
    for name, value in attributes.items():
        setattr(root, name, value)
    root.__call__ = tf.function(function, input_signature=list(specs) or [IMAGE])
    tf.saved_model.save(root, str(folder))
    return folder


IMAGE = tf.TensorSpec([None, 64, 64, 3], tf.float32, name="images")


def test_what_is_no_bit_is_refused(tmp_path, here):
    weight = tf.Variable(tf.ones([3, 4]), name="dense/kernel")
    folder = save(tmp_path / "dense", lambda x: x @ weight, weight=weight)
    with pytest.raises(UserError, match="holds no BiT network"):
        import_savedmodel(folder)
    build(tmp_path / "part", size=64, rename=lambda n: n.replace("block2/unit01/b", "x"))
    with pytest.raises(UserError, match="missing: block2/unit01/b"):
        import_savedmodel(tmp_path / "part")
    half = tf.Variable(tf.ones([3, 4], tf.float16), name="w")
    folder = save(tmp_path / "half", lambda x: x @ tf.cast(half, tf.float32), w=half)
    with pytest.raises(UserError, match="holds no BiT network"):
        import_savedmodel(folder)


def test_inputs_of_another_form_are_refused(tmp_path, here):
    weight = tf.Variable(1.0)
    for name, spec, message in (
        ("bytes", tf.TensorSpec([None, 64, 64, 3], tf.uint8), "uint8 and not float32"),
        ("first", tf.TensorSpec([None, 3, 64, 64]), "not .batch, height, width, 3"),
        ("huge", tf.TensorSpec([None, 5000, 5000, 3]), "reads images of 5000 x 5000"),
        ("many", tf.TensorSpec([100_000, 64, 64, 3]), "reads 100000 images at once"),
    ):
        folder = save(tmp_path / name, lambda x: tf.cast(x, tf.float32) * weight, spec, w=weight)
        with pytest.raises(UserError, match=message):
            import_savedmodel(folder)
    folder = save(tmp_path / "two", lambda x, y: x * y * weight, IMAGE, IMAGE, w=weight)
    with pytest.raises(UserError, match="no function that reads one batch of images"):
        import_savedmodel(folder)
    root = tf.Module()
    root.w = weight
    functions = {
        name: tf.function(lambda x: {"y": x * weight}).get_concrete_function(IMAGE)
        for name in ("a", "b")
    }
    tf.saved_model.save(root, str(tmp_path / "signatures"), signatures=functions)
    with pytest.raises(UserError, match="more than one signature: a, b"):
        import_savedmodel(tmp_path / "signatures")


def hostile(target):
    """Functions that leave the process or depend on more than their input."""
    name = str(target)

    def write(x):
        tf.io.write_file(name, "was here")
        return x

    def nested(x):
        return tf.function(write)(x)

    def branch(x):
        return tf.cond(tf.reduce_sum(x) > -1, lambda: write(x), lambda: x)

    def loop(x):
        return tf.while_loop(lambda i, x: i < 1, lambda i, x: (i + 1, write(x)), [0, x])[1]

    def python(x):
        def leave(y):
            target.write_text("was here")
            return y

        y = tf.py_function(leave, [x], tf.float32)
        return tf.ensure_shape(y, x.shape)

    def numpy(x):
        def leave(y):
            target.write_text("was here")
            return y

        return tf.ensure_shape(tf.numpy_function(leave, [x], tf.float32), x.shape)

    def printed(x):
        tf.print("was here", output_stream=f"file://{name}")
        return x

    def read(x):
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

    def listed(x):
        return x + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32)

    def noise(x):
        return x + tf.random.normal(tf.shape(x))

    def save(x):
        tf.raw_ops.SaveV2(prefix=name, tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return x

    return {
        "WriteFile": [write, nested, branch, loop],
        "EagerPyFunc": [python],
        "PyFunc": [numpy],
        "PrintV2": [printed],
        "ReadFile": [read],
        "MatchingFiles": [listed],
        "RandomStandardNormal": [noise],
        "SaveV2": [save],
    }


def test_programs_are_refused_by_the_operation_that_leaves_them(tmp_path, here):
    target = tmp_path / "trace"
    for operation, functions in hostile(target).items():
        for index, function in enumerate(functions):
            folder = save(tmp_path / f"{operation}{index}", function, w=tf.Variable(1.0))
            named = rf"__call__ reaches (\w+, )*{operation}, .*nothing of it"
            with pytest.raises(UserError, match=named):
                import_savedmodel(folder)
    assert not list(tmp_path.glob("trace*"))


@pytest.mark.parametrize("kind", ["WriteFile", "EagerPyFunc"])
def test_a_hostile_program_is_not_run(tmp_path, kind):
    """In the real process, and with the proof that running it would leave a trace."""
    target = tmp_path / "trace"
    folder = save(tmp_path / "model", hostile(target)[kind][0], w=tf.Variable(1.0))
    tf.saved_model.load(str(folder))(np.zeros([1, 64, 64, 3], np.float32))
    assert target.exists()
    target.unlink()
    with pytest.raises(UserError, match=f"__call__ reaches {kind}, "):
        import_savedmodel(folder)
    assert not target.exists()


def test_programs_in_what_is_not_called_are_refused_as_well(tmp_path, here):
    root = tf.Module()
    root.w = tf.Variable(1.0)
    root.__call__ = tf.function(lambda x: x * root.w, input_signature=[IMAGE])

    @tf.function(input_signature=[IMAGE])
    def served(x):
        tf.io.write_file(str(tmp_path / "trace"), "was here")
        return {"y": x * root.w}

    tf.saved_model.save(root, str(tmp_path / "model"), signatures=served)
    with pytest.raises(UserError, match="signatures/serving_default reaches WriteFile, "):
        import_savedmodel(tmp_path / "model")
    assert not (tmp_path / "trace").exists()


def test_training_functions_beside_the_encoder_are_tolerated_and_not_loaded(tmp_path, here):
    step = tf.Variable(0.0)

    @tf.function(input_signature=[IMAGE])
    def train(x):
        step.assign_add(1.0)
        return {"y": x + tf.random.normal(tf.shape(x)) * step}

    build(tmp_path / "model", size=64, more=[step], more_functions={"train": train})
    found = import_savedmodel(tmp_path / "model")
    assert found.decision["scaling"] == "inside"


def test_tables_assets_and_tensorflow_1_are_refused(tmp_path, here):
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words), tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        ),
        0,
    )
    weight = tf.Variable(1.0)
    folder = save(tmp_path / "table", lambda x: x * weight, table=table, w=weight)
    with pytest.raises(UserError, match="object of kind (resource|asset)"):
        import_savedmodel(folder)

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 64, 64, 3])
        y = x * tf.compat.v1.get_variable("w", [], use_resource=True)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "v1"), {"x": x}, {"y": y})
    with pytest.raises(UserError, match="is of TensorFlow 1"):
        import_savedmodel(tmp_path / "v1")


def test_damaged_files_are_refused(tmp_path, here):
    build(tmp_path / "model", size=64)
    data = tmp_path / "model" / "variables" / "variables.data-00000-of-00001"
    index = tmp_path / "model" / "variables" / "variables.index"
    program = tmp_path / "model" / "saved_model.pb"

    def refused(path, content, message):
        whole = path.read_bytes()
        path.write_bytes(content(whole))
        with pytest.raises(UserError, match=message):
            import_savedmodel(tmp_path / "model")
        path.write_bytes(whole)

    def flipped(content):
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]

    refused(data, lambda b: b[: len(b) // 2], "truncated variables|unreadable variables")
    refused(data, lambda b: b[:-100], "unreadable variables")
    refused(data, flipped, "unreadable variables")
    refused(index, lambda b: b[: len(b) // 2], "unreadable variables")
    refused(index, lambda b: b"", "unreadable variables")
    refused(program, lambda b: b[: len(b) // 2], "truncated or damaged saved_model.pb")
    refused(program, lambda b: b"", "holds 0 graphs")
    refused(program, lambda b: b"\x80\x04K\x01.", "damaged saved_model.pb")
    import_savedmodel(tmp_path / "model")
    build(tmp_path / "other", width=0.5, size=64)
    shutil.copytree(tmp_path / "other/variables", tmp_path / "model/variables", dirs_exist_ok=True)
    with pytest.raises(UserError, match="no value of shape"):
        import_savedmodel(tmp_path / "model")


def test_a_real_r50x1_in_the_real_process(tmp_path):
    weights = build(tmp_path / "model", depth=50, width=1, pooled=True, kind="hub", size=64)
    found = import_savedmodel(tmp_path / "model", python=sys.executable)
    assert found.spec.name == "r50x1" and not found.spec.final_norm
    assert found.decision["scaling"] == "inside" and found.decision["pooled"]
    agreeing = [row["relative"] for row in found.decision["parity"] if row["agrees"]]
    assert len(agreeing) == 1 and agreeing[0] < 5e-5
    params = flatten(found.params["encoder"])
    for name, value in params.items():
        np.testing.assert_array_equal(value, weights[name])
    assert sorted(params) == sorted(set(weights) - set(NORM))
    assert not [name for name in os.listdir(tmp_path) if name != "model"]
