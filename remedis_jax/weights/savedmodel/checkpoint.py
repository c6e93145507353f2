"""Reads the variables of a SavedModel from its checkpoint, without loading the model.

Standard library, NumPy and TensorFlow only: `worker` loads this file by its path.
"""

import math

import numpy as np

# What TensorFlow raises over damaged files and calls that do not fit, besides its own errors.
TENSORFLOW_RAISES = (AssertionError, LookupError, TypeError, ValueError, RuntimeError)


class Damaged(Exception):
    """The checkpoint does not hold what the SavedModel says it holds."""


def read_variables(tf, nodes, prefix, out):
    """Writes every float32 variable to a file and describes all variables, in the file's order.

    Each variable's value is found by following the same names of children through the SavedModel's
    object graph and the checkpoint's, as TensorFlow restores it.

    Args:
        tf: TensorFlow.
        nodes: Of the SavedModel's object graph.
        prefix: Path of the checkpoint without its endings.
        out: Folder for the .npy files.

    Returns:
        List of {"name", "path", "shape", "dtype", "file"}; "file" is None unless float32.

    Raises:
        Damaged: A variable has no value of its shape, or the files are truncated or damaged.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    stored = trackable_object_graph_pb2.TrackableObjectGraph()
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        stored.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        return _read(tf, reader, nodes, stored.nodes, prefix, out)
    except (tf.errors.OpError, DecodeError, *TENSORFLOW_RAISES) as error:
        # The str() of a KeyError is in quotes.
        reason = str(error.args[0] if isinstance(error, LookupError) and error.args else error)
        first = (reason.strip().splitlines() or [type(error).__name__])[0][:200]
        raise Damaged(f"unreadable variables ({first})") from None


def _read(tf, reader, nodes, stored, prefix, out):
    shapes = reader.get_variable_to_shape_map()
    keys, paths = _keys_and_paths(nodes, stored)
    available = sum(path.stat().st_size for path in prefix.parent.glob("variables.data-*"))
    described = []
    total = 0
    for index, node in enumerate(nodes):
        if node.WhichOneof("kind") != "variable":
            continue
        name = node.variable.name or paths.get(index, f"object {index}")
        shape = [dim.size for dim in node.variable.shape.dim]
        dtype = tf.dtypes.as_dtype(node.variable.dtype).name
        entry = {"name": name, "path": "", "shape": shape, "dtype": dtype, "file": None}
        described.append(entry)
        if index not in paths:
            # An optimiser's slot: it belongs to no attribute.
            entry["dtype"] += " without a value"
            continue
        entry["path"] = paths[index]
        if shapes.get(keys.get(index)) != shape:
            raise Damaged(f"no value of shape {tuple(shape)} for variable {name}")
        if dtype != "float32":
            continue
        # Before anything is allocated: an index can claim any shape.
        total += 4 * math.prod(shape)
        if total > available:
            raise Damaged(f"truncated variables (more than the {available:,} bytes of their files)")
        value = reader.get_tensor(keys[index])
        if value.dtype != np.float32:
            raise Damaged(f"variable {name} stored as {value.dtype}")
        entry["file"] = f"variable{index:05d}.npy"
        np.save(out / entry["file"], value)
    return described


def _keys_and_paths(nodes, stored):
    """{index of a node: key of its value} and {index: path from the root}, breadth first."""
    keys, paths = {}, {0: ""}
    waiting = [(0, 0)]
    for index, other in waiting:
        for attribute in stored[other].attributes:
            if attribute.name == "VARIABLE_VALUE":
                keys[index] = attribute.checkpoint_key
        children = {child.local_name: child.node_id for child in stored[other].children}
        for child in nodes[index].children:
            if child.node_id in paths or child.local_name not in children:
                continue
            if not 0 <= children[child.local_name] < len(stored):
                raise Damaged("a checkpoint whose object graph points outside itself")
            before = f"{paths[index]}/" if paths[index] else ""
            paths[child.node_id] = before + child.local_name
            waiting.append((child.node_id, children[child.local_name]))
    return keys, paths
