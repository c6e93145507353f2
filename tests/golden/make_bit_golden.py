"""Writes bit.npz: logits of `transformers` BitForImageClassification (PyTorch) on a random R50x1.

Needs the extra `oracles`. Run from the root of the checkout:
    python -m tests.golden.make_bit_golden
"""

from pathlib import Path

import numpy as np
import torch
from transformers import BitConfig, BitForImageClassification

from tests.golden.bit_case import CLASSES, SIZES, draw, images


def our_name(theirs: str) -> str:
    """Path in our parameter tree of a name in the transformers state dict."""
    if theirs == "bit.embedder.convolution.weight":
        return "encoder/root_block/standardized_conv2d/kernel"
    kind = {"weight": "gamma", "bias": "beta"}[theirs.rsplit(".", 1)[1]]
    if theirs.startswith("bit.norm."):
        return f"encoder/group_norm/{kind}"
    if theirs.startswith("classifier."):
        return {"gamma": "head/dense/kernel", "beta": "head/dense/bias"}[kind]
    _, _, _, stage, _, layer, part, *_ = theirs.split(".")
    unit = f"encoder/block{int(stage) + 1}/unit{int(layer) + 1:02d}"
    if part == "downsample":
        return f"{unit}/a/proj/standardized_conv2d/kernel"
    branch = "abc"[int(part[-1]) - 1]
    leaf = f"group_norm/{kind}" if part.startswith("norm") else "standardized_conv2d/kernel"
    return f"{unit}/{branch}/{leaf}"


def oracle() -> BitForImageClassification:
    config = BitConfig(layer_type="preactivation", num_labels=CLASSES)
    model = BitForImageClassification(config).eval()
    state = {}
    for name, value in model.state_dict().items():
        shape = tuple(value.shape)
        if len(shape) == 4:  # OIHW here, HWIO there
            ours = draw(our_name(name), (shape[2], shape[3], shape[1], shape[0]))
            ours = ours.transpose(3, 2, 0, 1)
        elif len(shape) == 2:
            ours = draw(our_name(name), shape[::-1]).T
        else:
            ours = draw(our_name(name), shape)
        state[name] = torch.from_numpy(np.ascontiguousarray(ours))
    model.load_state_dict(state, strict=True)
    return model


def logits() -> dict[str, np.ndarray]:
    """Name of the size -> [2, CLASSES] float32."""
    model = oracle()
    result = {}
    with torch.no_grad():
        for height, width in SIZES:
            batch = torch.from_numpy(images(height, width).transpose(0, 3, 1, 2).copy())
            result[f"logits_{height}x{width}"] = model(batch).logits.numpy()
    return result


if __name__ == "__main__":
    np.savez(Path(__file__).with_name("bit.npz"), **logits())
