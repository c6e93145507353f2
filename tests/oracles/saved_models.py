"""SavedModels of the shape of the released REMEDIS ones, with random weights, for the tests.

The network is written here a second time, in plain TensorFlow after big_transfer's description, and
shares no code with ours: it is the oracle. Layout and names follow what is known of the published
files and vary over what is not.
"""

import zlib

import numpy as np
import tensorflow as tf

UNITS = {14: (1, 1, 1, 1), 50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}


def shapes(depth: int, width: float) -> dict[str, tuple[int, ...]]:
    """BiT's names and shapes, in the order of the layers."""
    base = int(64 * width)
    found = {"root_block/standardized_conv2d/kernel": (7, 7, 3, base)}
    incoming = base
    for block, units in enumerate(UNITS[depth]):
        inner = base * 2**block
        for unit in range(units):
            name = f"block{block + 1}/unit{unit + 1:02d}"
            for branch, channels, kernel in (
                ("a", incoming, (1, 1, incoming, inner)),
                ("b", inner, (3, 3, inner, inner)),
                ("c", inner, (1, 1, inner, 4 * inner)),
            ):
                found[f"{name}/{branch}/group_norm/gamma"] = (channels,)
                found[f"{name}/{branch}/group_norm/beta"] = (channels,)
                if branch == "a" and unit == 0:
                    projection = f"{name}/a/proj/standardized_conv2d/kernel"
                    found[projection] = (1, 1, incoming, 4 * inner)
                found[f"{name}/{branch}/standardized_conv2d/kernel"] = kernel
            incoming = 4 * inner
    found["group_norm/gamma"] = found["group_norm/beta"] = (incoming,)
    return found


def draw(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A parameter by its name. Gamma and beta are random too: at 1 and 0 a swap would hide."""
    values = np.random.default_rng([zlib.crc32(name.encode()), seed]).standard_normal(shape)
    if name.endswith("gamma"):
        values = 1 + 0.3 * values
    else:
        values *= 0.3 if name.endswith("beta") else 0.1
    return values.astype(np.float32)


def _convolve(x, kernel, stride):
    mean, variance = tf.nn.moments(kernel, [0, 1, 2], keepdims=True)
    kernel = (kernel - mean) / tf.sqrt(variance + 1e-10)
    side = kernel.shape[0] // 2
    x = tf.pad(x, [[0, 0], [side, side], [side, side], [0, 0]])
    return tf.nn.conv2d(x, kernel, stride, "VALID")


def _normalise(x, gamma, beta):
    channels = x.shape[-1]
    groups = 32 if channels >= 64 else max(1, channels // 4)
    size = tf.shape(x)
    grouped = tf.reshape(x, [size[0], size[1], size[2], groups, channels // groups])
    mean, variance = tf.nn.moments(grouped, [1, 2, 4], keepdims=True)
    grouped = (grouped - mean) / tf.sqrt(variance + 1e-5)
    normalised = tf.reshape(grouped, [size[0], size[1], size[2], channels])
    return tf.nn.relu(normalised * tf.reshape(gamma, [-1]) + tf.reshape(beta, [-1]))


def forward(weights, images, depth, scaled, final_norm):
    """The feature map of a BiT network on images in [0, 1]."""

    def norm(name, x):
        return _normalise(x, weights[f"{name}/gamma"], weights[f"{name}/beta"])

    def conv(name, x, stride=1):
        return _convolve(x, weights[f"{name}/standardized_conv2d/kernel"], stride)

    x = images * 2 - 1 if scaled else images
    x = conv("root_block", x, 2)
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    for block, units in enumerate(UNITS[depth]):
        for unit in range(units):
            name = f"block{block + 1}/unit{unit + 1:02d}"
            stride = 2 if block > 0 and unit == 0 else 1
            active = norm(f"{name}/a/group_norm", x)
            shortcut = conv(f"{name}/a/proj", active, stride) if unit == 0 else x
            y = conv(f"{name}/a", active)
            y = conv(f"{name}/b", norm(f"{name}/b/group_norm", y), stride)
            x = shortcut + conv(f"{name}/c", norm(f"{name}/c/group_norm", y))
    return norm("group_norm", x) if final_norm else x


def build(
    folder,
    *,
    depth=14,
    width=0.25,
    scaled=True,
    final_norm=False,
    pooled=False,
    prefix="base_model/resnet/",
    rename=lambda name: name,
    reorder=lambda names: names,
    four_dimensional=False,
    kind="module",
    size=None,
    batch=None,
    before=lambda images: images,
    wrap=lambda features, images: features,
    extra=(),
    more=(),
    more_functions=None,
):
    """Writes a SavedModel.

    Args:
        folder: Where.
        depth: A key of `UNITS`.
        width: Multiplier.
        scaled: Whether the graph brings [0, 1] to [-1, 1].
        final_norm: Whether the output has passed the last GroupNorm and ReLU. The variables are
            there either way.
        pooled: Mean over positions.
        prefix: Before the names of variables.
        rename: BiT's name -> name of the variable, without the prefix.
        reorder: BiT's names -> the order in which the variables are made.
        four_dimensional: GroupNorm's parameters as (1, 1, 1, C).
        kind: "module" (tf.Module), "hub" (a callable object with training=False and lists of
            variables, as TensorFlow Hub has them) or "signature" (nothing but serving_default).
        size: Fixed side of the input; any if None.
        batch: Fixed size of the batch; any if None.
        before: What is done to the images first.
        wrap: (features, images) -> what is returned.
        extra: (name, shape) of further variables.
        more: Further variables themselves.
        more_functions: Further signatures.

    Returns:
        The weights by BiT's names, as NumPy arrays.
    """
    all_shapes = shapes(depth, width)
    values = {name: draw(name, shape) for name, shape in all_shapes.items()}
    weights = {}
    for name in reorder(list(values)):
        value = values[name]
        if four_dimensional and value.ndim == 1:
            value = value[None, None, None]
        weights[name] = tf.Variable(value, name=prefix + rename(name))
    others = [tf.Variable(np.ones(shape, np.float32), name=name) for name, shape in extra]
    others += more
    spec = tf.TensorSpec([batch, size, size, 3], tf.float32, name="images")

    def features(images):
        found = forward(weights, before(images), depth, scaled, final_norm)
        return wrap(tf.reduce_mean(found, [1, 2]) if pooled else found, images)

    signatures = more_functions
    if kind == "module":

        class Encoder(tf.Module):
            def __init__(self):
                super().__init__()
                self.weights = list(weights.values())
                self.others = others

            @tf.function(input_signature=[spec])
            def __call__(self, images):
                return features(images)

        root = Encoder()
    else:
        root = tf.train.Checkpoint()
        root.variables = [*weights.values(), *others]
        root.trainable_variables = list(weights.values())
        if kind == "hub":

            @tf.function
            def call(inputs, training=False):
                return features(inputs)

            for training in (True, False):
                call.get_concrete_function(inputs=spec, training=training)
            root.__call__ = call
        else:
            function = tf.function(lambda images: {"output_0": features(images)})
            signatures = function.get_concrete_function(spec)
    tf.saved_model.save(root, str(folder), signatures=signatures)
    return values
