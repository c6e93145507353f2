"""Which part of an image a view shows: crop boxes, cubic resampling, the mirror image.

Images are float32 [H, W, C] in [0, 1]; sizes are (height, width). A cubic kernel overshoots, so a
resampled image may leave [0, 1] by a little: the recipes clip where the official code does.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from remedis_jax.errors import UserError

Box = tuple[jax.Array | int, jax.Array | int, jax.Array | int, jax.Array | int]
Size = tuple[int, int]

# Defaults of `crop_and_resize` and of the evaluation crop (official-code: simclr, REMEDIS).
AREA_RANGE = (0.08, 1.0)
ASPECT_RANGE = (3 / 4, 4 / 3)
MIN_COVERED = 0.1
CENTER_PROPORTION = 0.875
# ours: the official code tries 100 times. With these ranges, on images whose sides are within 1:2,
# less than one try in ten fails (measured), so ten in a row fail with probability below 1e-10.
TRIES = 10


def flip_left_right(image: jax.Array) -> jax.Array:
    """The mirror image: [H, W, C] to [H, W, C], left and right exchanged."""
    return image[:, ::-1]


def random_flip(key: jax.Array, image: jax.Array, probability: float = 0.5) -> jax.Array:
    """Mirror [H, W, C] left to right with `probability` (official-code: 0.5)."""
    return jnp.where(jax.random.bernoulli(key, probability), flip_left_right(image), image)


def sample_crop_box(
    key: jax.Array,
    image_size: Size,
    aspect_range: tuple[float, float] = ASPECT_RANGE,
    area_range: tuple[float, float] = AREA_RANGE,
    min_covered: float = MIN_COVERED,
    tries: int = TRIES,
) -> Box:
    """Draw a crop box as TensorFlow's `sample_distorted_bounding_box` does for the whole image.

    A try draws the aspect ratio (width / height) uniformly, then the *height* uniformly among the
    integers whose area is in range, and takes width = round(height * aspect). Small boxes are
    therefore more frequent than with torchvision, which draws the area uniformly. A box below
    `min_covered` of the image is refused, so official SimCLR crops hold at least 10 % of the
    image although the stated range begins at 8 %.

    Two differences from TensorFlow. All `tries` are drawn at once and the first valid one is taken;
    if none is valid (extreme shapes) the box is the whole image, as there. And the offsets are
    uniform over every position; TensorFlow never draws the last one, so its crops touch the lower
    and right border only when they span the image.

    Args:
        key: One typed PRNG key.
        image_size: (H, W) in pixels.
        aspect_range: Bounds of width / height of the box.
        area_range: Bounds of the box's area as a fraction of the image's.
        min_covered: Smallest accepted fraction of the image's area.
        tries: How many boxes are drawn.

    Returns:
        (top, left, height, width), int32 scalars in pixels, inside the image.

    Source: tensorflow/core/kernels/image/sample_distorted_bounding_box_op.cc.
    """
    rows, columns = image_size
    # One call for all numbers: on CPU, compiling a generator costs more than running it.
    numbers = jax.random.uniform(key, (2 * tries + 2,))
    aspect = aspect_range[0] + (aspect_range[1] - aspect_range[0]) * numbers[:tries]
    least, most = (fraction * rows * columns for fraction in area_range)

    def width_of(height: jax.Array) -> jax.Array:
        return jnp.rint(height * aspect)

    tallest = jnp.rint(jnp.sqrt(most / aspect))
    fitting = jnp.floor((columns + 0.5) / aspect)
    fitting = fitting - (width_of(fitting) > columns)
    tallest = jnp.where(width_of(tallest) > columns, fitting, tallest)
    tallest = jnp.minimum(tallest, rows)
    shortest = jnp.minimum(jnp.rint(jnp.sqrt(least / aspect)), tallest)
    height = shortest + jnp.floor(numbers[tries:-2] * (tallest - shortest + 1))

    # Rounding may push the area just out of range; one pixel of height brings it back.
    height = jnp.where(height * width_of(height) < least, height + 1, height)
    height = jnp.where(height * width_of(height) > most, height - 1, height)
    width = width_of(height)
    area = height * width
    valid = (area >= max(least, 1)) & (area <= most) & (height <= rows) & (width <= columns)
    valid &= area >= min_covered * rows * columns

    first = jnp.argmax(valid)
    found = valid[first]
    box_height = jnp.where(found, height[first], rows)
    box_width = jnp.where(found, width[first], columns)
    top = jnp.floor(numbers[-2] * (rows - box_height + 1))
    left = jnp.floor(numbers[-1] * (columns - box_width + 1))
    top, left, box_height, box_width = (
        side.astype(jnp.int32) for side in (top, left, box_height, box_width)
    )
    return top, left, box_height, box_width


def _keys_cubic(distance: jax.Array) -> jax.Array:
    """The cubic convolution kernel with a = -1/2 (Keys 1981), zero from distance 2 on."""
    x = jnp.abs(distance)
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))


def _resampling_matrix(start, length, output: int, source: int, antialias: bool) -> jax.Array:
    """[output, source] weights that resample pixels start .. start + length - 1 to `output`."""
    start = jnp.asarray(start, jnp.float32)
    length = jnp.asarray(length, jnp.float32)
    scale = length / output
    stretch = jnp.maximum(scale, 1.0) if antialias else 1.0
    centre = start + (jnp.arange(output, dtype=jnp.float32) + 0.5) * scale - 0.5
    pixel = jnp.arange(source, dtype=jnp.float32)
    weight = _keys_cubic((centre[:, None] - pixel[None, :]) / stretch)
    # Pixels outside the box do not exist for the crop: what is left is normalised to one.
    inside = (pixel >= start) & (pixel < start + length)
    weight = jnp.where(inside[None, :], weight, 0.0)
    return weight / weight.sum(axis=1, keepdims=True)


def crop_and_resize(image: jax.Array, box: Box, size: Size, antialias: bool = False) -> jax.Array:
    """Cut a box out of an image and resample it with a cubic kernel.

    Pixel centres are at half integers, the kernel is Keys' with a = -1/2, and taps outside the
    box are dropped and the others renormalised. With `antialias=False` (official-code) this is
    TF2's `tf.image.resize(crop, size, 'bicubic')`, except that TF rounds the kernel argument to
    1/1024; with `antialias=True` the kernel widens when shrinking, as in PIL and torchvision.
    TF1's `resize_bicubic`, which the REMEDIS release calls, is another function (a = -3/4, no
    half-pixel offset) and is not offered.

    Args:
        image: float32 [H, W, C].
        box: (top, left, height, width) in pixels, integers or int32 scalars.
        size: (height, width) of the result.
        antialias: Whether the kernel grows with the reduction.

    Returns:
        float32 [height, width, C], beyond [0, 1] by the kernel's overshoot.

    Reference: Keys, Cubic convolution interpolation for digital image processing, 1981.
    """
    top, left, height, width = box
    vertical = _resampling_matrix(top, height, size[0], image.shape[0], antialias)
    horizontal = _resampling_matrix(left, width, size[1], image.shape[1], antialias)
    # Full precision: accelerators would otherwise round the pixels to bfloat16 or TF32.
    narrow = jnp.einsum("hwc,xw->hxc", image, horizontal, precision="highest")
    return jnp.einsum("yh,hxc->yxc", vertical, narrow, precision="highest")


def resize(image: jax.Array, size: Size, antialias: bool = False) -> jax.Array:
    """Resample a whole image [H, W, C] to `size`; kernel and `antialias` as `crop_and_resize`."""
    return crop_and_resize(image, (0, 0, image.shape[0], image.shape[1]), size, antialias)


def sample_resized_box(
    key: jax.Array,
    image_size: Size,
    size: Size,
    area_range: tuple[float, float] = AREA_RANGE,
    aspect_range: tuple[float, float] = ASPECT_RANGE,
    min_covered: float = MIN_COVERED,
    tries: int = TRIES,
) -> Box:
    """The box of `random_resized_crop`: `sample_crop_box` with the aspect ratio that of `size`.

    Args:
        key: One typed PRNG key.
        image_size: (H, W) in pixels.
        size: (height, width) that the box will be resampled to.
        area_range, min_covered, tries: See `sample_crop_box`.
        aspect_range: Bounds of the box's aspect ratio relative to that of `size`.

    Returns:
        (top, left, height, width), int32 scalars in pixels, inside the image.
    """
    target = size[1] / size[0]
    relative = (aspect_range[0] * target, aspect_range[1] * target)
    return sample_crop_box(key, image_size, relative, area_range, min_covered, tries)


def random_resized_crop(
    key: jax.Array,
    image: jax.Array,
    size: Size,
    area_range: tuple[float, float] = AREA_RANGE,
    aspect_range: tuple[float, float] = ASPECT_RANGE,
    min_covered: float = MIN_COVERED,
    tries: int = TRIES,
    antialias: bool = False,
) -> jax.Array:
    """Cut a random box and resample it to `size`: the crop of SimCLR.

    Args:
        key: One typed PRNG key.
        image: float32 [H, W, C].
        size: (height, width) of the result.
        area_range, min_covered, tries: See `sample_crop_box`.
        aspect_range: Bounds of the box's aspect ratio relative to that of `size`.
        antialias: See `crop_and_resize`.

    Returns:
        float32 [height, width, C].
    """
    box = sample_resized_box(
        key, image.shape[:2], size, area_range, aspect_range, min_covered, tries
    )
    return crop_and_resize(image, box, size, antialias)


def sample_patch_corner(key: jax.Array, image_size: Size, size: Size) -> jax.Array:
    """The corner of `random_patch`: int32 [2], (top, left) in pixels, each place equally likely.

    Raises:
        UserError: The image is smaller than the patch.
    """
    rows, columns = image_size
    if rows < size[0] or columns < size[1]:
        raise UserError(
            f"A patch of {size[0]} x {size[1]} does not fit into images of {rows} x {columns}.",
            "Resize the images to at least the patch size, or use a crop that resamples.",
        )
    places = jnp.array([rows - size[0] + 1, columns - size[1] + 1])
    return jax.random.randint(key, (2,), 0, places)


def random_patch(key: jax.Array, image: jax.Array, size: Size) -> jax.Array:
    """Cut [height, width, C] out of [H, W, C] at a uniformly drawn place, without resampling (bit).

    Raises:
        UserError: The image is smaller than the patch.
    """
    top, left = sample_patch_corner(key, image.shape[:2], size)
    return jax.lax.dynamic_slice(image, (top, left, 0), (*size, image.shape[-1]))


def center_box(
    image_size: Size, size: Size, proportion: float = CENTER_PROPORTION
) -> tuple[int, int, int, int]:
    """The box of `center_crop_resize`: (top, left, height, width) in pixels."""
    rows, columns = image_size
    aspect = size[1] / size[0]
    if aspect > columns / rows:
        height, width = round(proportion / aspect * columns), round(proportion * columns)
    else:
        height, width = round(proportion * rows), round(proportion * aspect * rows)
    return (rows - height + 1) // 2, (columns - width + 1) // 2, height, width


def center_crop_resize(
    image: jax.Array,
    size: Size,
    proportion: float = CENTER_PROPORTION,
    antialias: bool = False,
) -> jax.Array:
    """Cut the central box with the aspect ratio of `size` and resample it: the evaluation view.

    The box keeps `proportion` of the side that limits it (official-code: 0.875); odd margins put
    the larger half above and to the left, as the official code does.

    Args:
        image: float32 [H, W, C].
        size: (height, width) of the result.
        proportion: Kept fraction of the limiting side, in (0, 1].
        antialias: See `crop_and_resize`.

    Returns:
        float32 [height, width, C].
    """
    box = center_box(image.shape[:2], size, proportion)
    return crop_and_resize(image, box, size, antialias)
