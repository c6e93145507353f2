"""The ONNX graph of a BiT network: half a dozen kinds of node.

Written node by node instead of traced from JAX: the network is one formula repeated, and a tracer
turns it into eight times as many nodes, bound to one image size, with the weights standardised
again at every call.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from remedis_jax.models.bit import UNITS, BiTSpec, group_count
from remedis_jax.weights.architecture import HEAD_BIAS, HEAD_KERNEL, ROOT, encoder_spec
from remedis_jax.weights.artifact import Artifact, flatten
from remedis_jax.weights.exports.outputs import temperature

# opset 17 has all that is used and is read by onnxruntime 1.12 (2022) and newer.
_OPSET, _IR_VERSION = 17, 8
_SMALL = 2**12
_GROUP_NORM_EPS, _STANDARDISATION_EPS = 1e-5, 1e-10


class _Graph:
    """Nodes and weights in the making; every method adds one operation and names its result."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def node(self, kind: str, inputs: Iterable[str], name: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def weight(self, name: str, values) -> str:
        self.weights[name] = values
        return name

    def group_norm_relu(self, x: str, name: str, gamma: np.ndarray, beta: np.ndarray) -> str:
        """GroupNorm as an instance norm over the flattened groups; [B, C, H, W]."""
        groups = group_count(len(gamma))
        shape = self.weight(f"groups_{groups}", np.array([0, groups, -1], np.int64))
        ones = self.weight(f"ones_{groups}", np.ones(groups, np.float32))
        zeros = self.weight(f"zeros_{groups}", np.zeros(groups, np.float32))
        grouped = self.node("Reshape", (x, shape), f"{name}/grouped")
        eps = _GROUP_NORM_EPS
        grouped = self.node(
            "InstanceNormalization", (grouped, ones, zeros), f"{name}/normalised", epsilon=eps
        )
        # The shape it had: batch, height and width are free.
        shape = self.node("Shape", (x,), f"{name}/shape")
        x = self.node("Reshape", (grouped, shape), f"{name}/restored")
        gamma = self.weight(f"{name}/gamma", gamma[:, None, None])
        beta = self.weight(f"{name}/beta", beta[:, None, None])
        x = self.node("Mul", (x, gamma), f"{name}/scaled")
        x = self.node("Add", (x, beta), f"{name}/shifted")
        return self.node("Relu", (x,), f"{name}/relu")

    def convolution(
        self, x: str, name: str, kernel: np.ndarray, stride: int = 1, padding: int = 0
    ) -> str:
        """Convolution with a standardised kernel, HWIO here and OIHW there."""
        weight = self.weight(name, np.ascontiguousarray(_standardise(kernel).transpose(3, 2, 0, 1)))
        return self.node(
            "Conv",
            (x, weight),
            f"{name}/convolution",
            kernel_shape=kernel.shape[:2],
            strides=[stride] * 2,
            pads=[padding] * 4,
        )


def _standardise(kernel: np.ndarray) -> np.ndarray:
    """As `models.bit.standardise`, in float64."""
    centred = kernel - kernel.mean(axis=(0, 1, 2), dtype=np.float64)
    variance = np.square(centred).mean(axis=(0, 1, 2))
    return (centred / np.sqrt(variance + _STANDARDISATION_EPS)).astype(np.float32)


def _encoder(graph: _Graph, x: str, spec: BiTSpec, params: Mapping[str, np.ndarray]) -> str:
    """From [B, 3, H, W] in the network's value range to features [B, D]."""
    if spec.stem == "bit":
        x = graph.convolution(x, ROOT, params[ROOT], stride=2, padding=3)
        # The pooling's own padding would be minus infinity.
        pads = graph.weight("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        x = graph.node("Pad", (x, pads), "root_block/padded")
        x = graph.node("MaxPool", (x,), "root_block/pool", kernel_shape=[3, 3], strides=[2, 2])
    else:
        stride = 2 if spec.stem == "cifar_stride2" else 1
        x = graph.convolution(x, ROOT, params[ROOT], stride, padding=1)
    for block, units in enumerate(UNITS[spec.depth], 1):
        for unit in range(1, units + 1):
            stride = 2 if block > 1 and unit == 1 else 1
            x = _unit(graph, x, f"block{block}/unit{unit:02d}", params, stride)
    if spec.final_norm:
        gamma, beta = (params[f"group_norm/{kind}"] for kind in ("gamma", "beta"))
        x = graph.group_norm_relu(x, "group_norm", gamma, beta)
    return graph.node("ReduceMean", (x,), "features", axes=[2, 3], keepdims=0)


def _unit(graph: _Graph, x: str, name: str, params: Mapping[str, np.ndarray], stride: int) -> str:
    shortcut = x
    for branch, padding in (("a", 0), ("b", 1), ("c", 0)):
        norm, kernel = f"{name}/{branch}/group_norm", f"{name}/{branch}/standardized_conv2d/kernel"
        x = graph.group_norm_relu(x, norm, params[f"{norm}/gamma"], params[f"{norm}/beta"])
        projection = f"{name}/{branch}/proj/standardized_conv2d/kernel"
        if projection in params:
            shortcut = graph.convolution(x, projection, params[projection], stride)
        x = graph.convolution(x, kernel, params[kernel], stride if branch == "b" else 1, padding)
    return graph.node("Add", (x, shortcut), f"{name}/sum")


def write_onnx(
    path: Path, artifact: Artifact, metadata: Mapping[str, str], largest_in_one_file: int
) -> None:
    """Writes an artefact's network.

    Args:
        path: Ends in .onnx; larger weights go to the same name with ".data" after it.
        artifact: Weights and card.
        metadata: For the file's `metadata_props`.
        largest_in_one_file: From how many bytes of weights on they get a file of their own.

    Raises:
        OSError: It cannot be written.
    """
    spec, head = encoder_spec(artifact.card), artifact.card["head"]
    graph = _Graph()
    x = "images"
    low, high = spec.value_range
    if (low, high) != (0.0, 1.0):
        for kind, value in (("Mul", high - low), ("Add", low)):
            number = graph.weight(f"input/{kind}", np.float32(value))
            x = graph.node(kind, (x, number), f"input/{kind.lower()}")
    x = graph.node("Transpose", (x,), "input/channels_first", perm=[0, 3, 1, 2])
    _encoder(graph, x, spec, flatten(artifact.params["encoder"]))
    outputs = {"features": spec.output_dim}
    if head is not None:
        outputs |= dict.fromkeys(("logits", "probabilities"), len(head["classes"]))
        params = flatten(artifact.params["head"])
        kernel = graph.weight(f"head/{HEAD_KERNEL}", params[HEAD_KERNEL])
        bias = graph.weight(f"head/{HEAD_BIAS}", params[HEAD_BIAS])
        x = graph.node("Gemm", ("features", kernel, bias), "logits")
        if temperature(head) != 1:
            number = graph.weight("temperature", np.float32(temperature(head)))
            x = graph.node("Div", (x, number), "logits/scaled")
        squash = {"softmax": "Softmax", "sigmoid": "Sigmoid"}[head["kind"]]
        graph.node(squash, (x,), "probabilities")
    free = ["batch", "height", "width"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            spec.name,
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [*free, 3])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
                for name, size in outputs.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="remedis_jax",
    )
    helper.set_model_props(model, dict(metadata))
    total = sum(values.nbytes for values in graph.weights.values())
    if total < largest_in_one_file:
        tensors = (onnx.numpy_helper.from_array(v, name) for name, v in graph.weights.items())
        model.graph.initializer.extend(tensors)
    else:
        _write_outside(model, graph.weights, path.with_name(f"{path.name}.data"))
    path.write_bytes(model.SerializeToString())


def _write_outside(model: onnx.ModelProto, weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Large weights into a file of their own, which the model then names."""
    with open(path, "wb") as file:
        for name, values in weights.items():
            if values.nbytes < _SMALL:
                # onnxruntime wants to see constants that decide shapes without opening the file.
                model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
                continue
            # Aligned, so that the file can be mapped into memory.
            file.write(bytes(-file.tell() % 4096))
            tensor = model.graph.initializer.add(
                name=name,
                dims=values.shape,
                data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
                data_location=TensorProto.EXTERNAL,
            )
            entries = {"location": path.name, "offset": file.tell(), "length": values.nbytes}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            file.write(np.ascontiguousarray(values).data)
