"""Reads and runs a SavedModel, in a process of its own: the only part that imports TensorFlow.

A SavedModel is a program: before it is loaded `graph` checks what it can do, and what is
loaded is a pruned copy of what was checked. Variables are read from the checkpoint, without the
graph.

Standard library, NumPy and TensorFlow only, since the interpreter may be that of another
environment. `process` starts it with the path of a request (JSON) and reads back
answer.json from the request's folder: {"done": {...}} or {"refused": {"problem", "remedy"}}.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# ours: no published model reads more pixels a side, or more images at once.
_LARGEST_SIDE = 2048
_LARGEST_BATCH = 256


def _beside(name):
    """A module in this file's folder; the folder is not on the import path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


graph = _beside("graph")
checkpoint = _beside("checkpoint")
Refused = graph.Refused


class Call:
    """A function of a loaded SavedModel, with everything but the images filled in.

    Attributes:
        described: How it is called, in words.
        shape: Of the images; None where any size goes.
    """

    def __init__(self, tf, loaded, program):
        function = (
            loaded.signatures[program.called] if program.signature else loaded.__call__
        )
        suitable, unsuitable = [], []
        for concrete in getattr(function, "concrete_functions", None) or [function]:
            structure = concrete.structured_input_signature
            leaves = tf.nest.flatten(structure)
            reason = _why_unsuitable(tf, leaves)
            if reason:
                unsuitable.append(reason)
            else:
                # Of training=True and training=False the latter is meant.
                flags = sum(leaf is True for leaf in leaves)
                suitable.append((flags, len(suitable), structure))
        if not suitable:
            raise Refused(
                f"has no function that reads one batch of images ({'; '.join(unsuitable)})",
                "Save it so that it takes float32 [batch, height, width, 3] and nothing else.",
            )
        _, _, self._structure = min(suitable, key=lambda option: option[:2])
        self._tf = tf
        self._function = function
        leaves = tf.nest.flatten(self._structure)
        spec = next(leaf for leaf in leaves if _is_image(tf, leaf))
        self.shape = [None] * 4 if spec.shape.rank is None else spec.shape.as_list()
        others = [leaf for leaf in leaves if leaf is not spec and leaf is not None]
        self.described = ("signature " if program.signature else "") + program.called
        if others:
            filled = [False if isinstance(leaf, tf.TensorSpec) else leaf for leaf in others]
            self.described += f" with {', '.join(map(repr, filled))} besides the images"

    def __call__(self, images):
        """What the function returns for a batch: a tensor, or a structure of several."""
        tf = self._tf

        def fill(leaf):
            if not isinstance(leaf, tf.TensorSpec):
                return leaf
            return tf.constant(images) if _is_image(tf, leaf) else tf.constant(False)

        args, kwargs = tf.nest.map_structure(fill, self._structure)
        return self._function(*args, **kwargs)

    def sizes(self, wanted):
        """The sizes to probe: those wanted, with what the model fixes put in their place."""
        sizes = []
        for height, width in wanted:
            size = [self.shape[1] or height, self.shape[2] or width]
            if size not in sizes:
                sizes.append(size)
        if max(map(max, sizes)) > _LARGEST_SIDE:
            raise Refused(
                f"reads images of {sizes[0][0]} x {sizes[0][1]} pixels",
                f"At most {_LARGEST_SIDE} a side are supported.",
            )
        return sizes


def _is_image(tf, leaf):
    return isinstance(leaf, tf.TensorSpec) and leaf.dtype != tf.bool


def _why_unsuitable(tf, leaves):
    specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]
    images = [spec for spec in specs if _is_image(tf, spec)]
    if len(images) != 1 or len(specs) != len(
        [leaf for leaf in leaves if hasattr(leaf, "dtype")]
    ):
        return "it takes " + (", ".join(f"{s.name} {s.shape}" for s in specs) or "no tensor")
    (image,) = images
    shape = image.shape
    if image.dtype != tf.float32:
        return f"it takes {image.dtype.name} and not float32"
    if shape.rank not in (None, 4) or (shape.rank == 4 and shape[3] not in (None, 3)):
        return f"it takes shape {shape} and not [batch, height, width, 3]"
    if any(spec.shape.rank != 0 for spec in specs if spec is not image):
        return "it takes a second tensor"
    return ""


def _named_tensors(tf, value, name=""):
    """Tensors of a nested structure, named by their keys joined by "/"."""
    if isinstance(value, (list, tuple)):
        value = value._asdict() if hasattr(value, "_asdict") else dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {name: value} if tf.is_tensor(value) else {}
    found = {}
    for key, part in value.items():
        found.update(_named_tensors(tf, part, f"{name}/{key}" if name else str(key)))
    return found


def _pick(tensors, wanted):
    names = ", ".join(sorted(tensors))
    if wanted is not None:
        if wanted not in tensors:
            raise Refused(
                f"has no output {wanted!r}",
                f"It has {names}." if names.strip() else "It has one output without a name.",
            )
        return wanted
    if len(tensors) != 1:
        raise Refused(
            f"has {len(tensors)} outputs: {names}" if tensors else "has no output",
            "Name the one that is meant (output=...).",
        )
    return next(iter(tensors))


def run_probes(tf, call, request, out):
    """Calls the model on the probe batch at each size and writes its outputs.

    Returns:
        {"output": its name, "runs": list of {"size", "input", "output", "error"}}; "input" and
        "output" are files, "output" is None where there is an error.
    """
    source = np.load(request["images"], allow_pickle=False)
    sizes = call.sizes(request["sizes"] or [source.shape[1:3]])
    count = call.shape[0] or len(source)
    if count > _LARGEST_BATCH:
        raise Refused(f"reads {count} images at once", f"At most {_LARGEST_BATCH} are supported.")
    taken, runs = None, []
    for index, (height, width) in enumerate(sizes):
        run = {"size": [height, width], "input": f"input{index}.npy", "output": None, "error": None}
        runs.append(run)
        batch = _batch(source, count, height, width)
        np.save(out / run["input"], batch)
        try:
            returned = call(batch)
        except (tf.errors.OpError, *checkpoint.TENSORFLOW_RAISES) as error:
            if index == 0:
                raise Refused(
                    f"does not run on {count} x {height} x {width} x 3 ({_first_line(error)})",
                    "Give the size of its images (size=...)." if call.shape[1] is None else "",
                ) from None
            run["error"] = _first_line(error)
            continue
        tensors = _named_tensors(tf, returned)
        taken = _pick(tensors, request["output"])
        value = tensors[taken]
        if value.dtype != tf.float32:
            raise Refused(f"returns {value.dtype.name} and not float32", "Save it in float32.")
        run["output"] = f"output{index}.npy"
        np.save(out / run["output"], value.numpy())
    return {"output": taken, "runs": runs}


def _batch(source, count, height, width):
    """[count, height, width, 3] from [N, H, W, 3], whose images repeat beyond their edges."""
    images, rows, columns = source.shape[:3]
    batch = source[np.arange(count) % images]
    batch = batch[:, np.arange(height) % rows][:, :, np.arange(width) % columns]
    return np.ascontiguousarray(batch)


def _first_line(error):
    text = str(getattr(error, "message", None) or error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def _decode_error():
    from google.protobuf.message import DecodeError

    return DecodeError


def answer(request, out):
    """Does what a request asks for.

    Args:
        request: {"folder", "images" (.npy), "sizes" ([[h, w], ...] or None for that of the
            images), "output" (name or None), "variables" (whether to read them), "own_export"}.
        out: Folder for the results.

    Returns:
        {"tensorflow", "variables", "called", "shape", "output", "runs"}.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    tf.config.set_visible_devices([], "GPU")
    folder = Path(request["folder"])
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except _decode_error():
        raise Refused(
            "has a truncated or damaged saved_model.pb", "Copy or download the folder again."
        ) from None
    program = graph.check_program(saved_model, request["own_export"])
    result = {"tensorflow": tf.__version__, "variables": None}
    if request["variables"]:
        nodes = saved_model.meta_graphs[0].object_graph_def.nodes
        prefix = folder / "variables" / "variables"
        try:
            result["variables"] = checkpoint.read_variables(tf, nodes, prefix, out)
        except checkpoint.Damaged as error:
            raise Refused(
                f"has {error}",
                "Copy or download the folder again; variables.index belongs to the data files.",
            ) from None

    graph.prune(program)
    pruned = out / "pruned"
    pruned.mkdir()
    (pruned / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    os.symlink(folder / "variables", pruned / "variables", target_is_directory=True)
    try:
        loaded = tf.saved_model.load(str(pruned))
    # Whatever TensorFlow makes of a damaged graph; the process has nothing else to do after it.
    except Exception as error:
        raise Refused(
            f"cannot be loaded by TensorFlow {tf.__version__} "
            f"({type(error).__name__}: {_first_line(error)})",
            "Copy it again, or give an interpreter with the TensorFlow that wrote it.",
        ) from error
    call = Call(tf, loaded, program)
    result.update(called=call.described, shape=call.shape)
    result.update(run_probes(tf, call, request, out))
    return result


def main(path):
    """Answers the request in a file; see the module."""
    path = Path(path)
    request = json.loads(path.read_text(encoding="utf-8"))
    try:
        found = {"done": answer(request, path.parent)}
    except Refused as refused:
        found = {"refused": {"problem": refused.problem, "remedy": refused.remedy}}
    (path.parent / "answer.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[-1])
