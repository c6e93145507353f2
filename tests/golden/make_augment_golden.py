"""Writes augment.npz: what TensorFlow 2 computes for the image operations of the official recipes.

Needs TensorFlow, which remedis_jax does not; run by hand, in any environment that has it:

    python tests/golden/make_augment_golden.py

Only TensorFlow's own operations are called here, on images made from a fixed seed, so the file is
the same on every run. tensorflow_addons is discontinued; its rotation is one call of
`ImageProjectiveTransformV3`, which is made directly.
"""

import math
import pathlib

import numpy as np
import tensorflow as tf

OUT = pathlib.Path(__file__).with_name("augment.npz")

# (top, left, height, width) of the crop, then (height, width) of the result. In the first three
# every kernel argument is a multiple of 1/1024, so TensorFlow's table lookup is exact.
DYADIC = [(2, 3, 16, 16, 32, 8), (0, 1, 8, 16, 32, 32), (3, 0, 16, 8, 16, 16)]
GENERAL = [(0, 0, 19, 27, 32, 32), (5, 7, 11, 9, 13, 24), (1, 2, 17, 23, 7, 5)]
CENTER = [(19, 27, 16, 16), (27, 19, 16, 16), (21, 21, 12, 24), (40, 33, 32, 32), (25, 24, 15, 9)]
SAMPLED = [(40, 50, 3 / 4, 4 / 3, 0.08, 1.0), (60, 33, 3 / 2, 8 / 3, 0.2, 0.6)]
DRAWS = 4000


def photograph(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """uint8 image with smooth shades, noise, a grey patch and saturated pixels."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / (3 + i) + i) * np.cos(x / (4 + i)) for i in range(channels)]
    image = 128 + 90 * np.stack(waves, -1) + rng.normal(0, 25, (height, width, channels))
    image = np.clip(np.rint(image), 0, 255)
    image[:4, :5] = image[:4, :5, :1]
    image[-2:, -3:] = 255
    image[-1, :3] = 0
    return image.astype(np.uint8)


def gaussian(image: tf.Tensor, sigma: float, radius: int) -> tf.Tensor:
    taps = tf.exp(-(tf.range(-radius, radius + 1, dtype=tf.float32) ** 2) / (2 * sigma**2))
    taps = tf.tile((taps / tf.reduce_sum(taps))[:, None, None, None], [1, 1, image.shape[-1], 1])
    image = image[None]
    for kernel in (tf.transpose(taps, [1, 0, 2, 3]), taps):
        image = tf.nn.depthwise_conv2d(image, kernel, strides=[1, 1, 1, 1], padding="SAME")
    return image[0]


def rotate(image: tf.Tensor, degrees: float) -> tf.Tensor:
    """The output-to-input affine map that tensorflow_addons builds for an angle."""
    height, width, _ = image.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x_shift = ((width - 1) - (cos * (width - 1) - sin * (height - 1))) / 2
    y_shift = ((height - 1) - (sin * (width - 1) + cos * (height - 1))) / 2
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.constant([[cos, -sin, x_shift, sin, cos, y_shift, 0, 0]], tf.float32),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]


def equalized(levels: np.ndarray) -> np.ndarray:
    """REMEDIS' mapping of whole grey levels, with TensorFlow's histogram."""
    counts = tf.histogram_fixed_width(tf.cast(levels, tf.float32), [0.0, 255.0], nbins=256)
    cumulative = tf.cumsum(counts)
    smallest = tf.reduce_min(tf.boolean_mask(cumulative, cumulative > 0))
    numerator = tf.cast(cumulative - smallest, tf.float32) * 255.0
    table = tf.cast(tf.round(numerator / float(levels.size - 1)), tf.uint8)
    return tf.gather(table, tf.cast(levels, tf.int32)).numpy()


def center_box(height: int, width: int, out_height: int, out_width: int) -> list[int]:
    aspect, proportion = tf.constant(out_width / out_height), tf.constant(0.875)
    if aspect > width / height:
        box = [proportion / aspect * width, proportion * width]
    else:
        box = [proportion * height, proportion * aspect * height]
    box_height, box_width = (int(tf.math.rint(side)) for side in box)
    return [(height - box_height + 1) // 2, (width - box_width + 1) // 2, box_height, box_width]


def resized_crop(image: tf.Tensor, box: list[int], size: list[int]) -> np.ndarray:
    crop = tf.image.crop_to_bounding_box(image, *box)
    return tf.image.resize(crop, size, method="bicubic", antialias=False).numpy()


def cases() -> dict[str, np.ndarray]:
    """Every recorded input and output by name."""
    rng = np.random.default_rng(20230)
    gold: dict[str, np.ndarray] = {}

    gold["rgb"] = photograph(rng, 19, 27, 3)
    rgb = tf.constant(gold["rgb"] / np.float32(255))
    for factor in (0.2, 0.7, 1.8):
        gold[f"contrast_{factor}"] = tf.image.adjust_contrast(rgb, factor).numpy()
        gold[f"saturation_{factor}"] = tf.image.adjust_saturation(rgb, factor).numpy()
    for delta in (-0.2, 0.05, 0.2, 0.6):
        gold[f"hue_{delta}"] = tf.image.adjust_hue(rgb, delta).numpy()
    gold["brightness_additive_0.3"] = tf.image.adjust_brightness(rgb, 0.3).numpy()
    gold["grayscale"] = tf.image.rgb_to_grayscale(rgb).numpy()

    # Order hue, contrast, brightness, saturation, on an image that a cubic kernel overshot.
    distorted = rgb * 1.1 - 0.05
    for change in (
        lambda image: tf.image.adjust_hue(image, 0.13),
        lambda image: tf.image.adjust_contrast(image, 1.6),
        lambda image: image * 0.8,
        lambda image: tf.image.adjust_saturation(image, 1.5),
    ):
        distorted = tf.clip_by_value(change(distorted), 0.0, 1.0)
    gold["jitter_3102"] = distorted.numpy()

    for kind, cases in (("dyadic", DYADIC), ("general", GENERAL)):
        gold[f"crop_{kind}"] = np.array(cases, np.int32)
        for i, (*box, height, width) in enumerate(cases):
            gold[f"crop_{kind}_{i}"] = resized_crop(rgb, box, [height, width])
    gold["center"] = np.array(CENTER, np.int32)
    gold["center_box"] = np.array([center_box(*case) for case in CENTER], np.int32)

    gold["blur_image"] = photograph(rng, 41, 33, 3)
    blur_image = tf.constant(gold["blur_image"] / np.float32(255))
    for sigma in (0.1, 0.9, 2.0):
        gold[f"blur_{sigma}"] = gaussian(blur_image, sigma, int((41 // 10) / 2)).numpy()

    for degrees in (-37.0, 10.0, 90.0):
        gold[f"rotate_{degrees}"] = rotate(rgb, degrees).numpy()

    gold["grey"] = photograph(rng, 23, 31, 1)
    gold["equalized"] = equalized(gold["grey"])

    whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
    gold["sampled"] = np.array(SAMPLED)
    for i, (height, width, *ranges) in enumerate(SAMPLED):
        boxes = []
        for draw in range(DRAWS):
            begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
                [height, width, 3],
                whole,
                seed=[i, draw],
                min_object_covered=0.1,
                aspect_ratio_range=ranges[:2],
                area_range=ranges[2:],
                max_attempts=100,
            )
            boxes.append([*begin.numpy()[:2], *size.numpy()[:2]])
        gold[f"sampled_{i}"] = np.array(boxes, np.uint8)

    return gold


def main() -> None:
    np.savez_compressed(OUT, **cases())
    print(f"{OUT.name}: {OUT.stat().st_size / 1e3:.0f} kB, TensorFlow {tf.__version__}")


if __name__ == "__main__":
    main()
