"""The random draws of a batch of views without the pixels: what a recipe would do to each image."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from remedis_jax.augment.blur import sample_sigma
from remedis_jax.augment.color import Jitter, sample_jitter
from remedis_jax.augment.crop import Size, center_box, sample_patch_corner, sample_resized_box
from remedis_jax.augment.geometry import sample_angle, sample_displacement
from remedis_jax.augment.recipes import Recipe
from remedis_jax.augment.streams import coin, draw_key


class ViewDraws(NamedTuple):
    """What the keys of B views decide. Every array has B rows; None for what the recipe never does.

    Attributes:
        box: int32 [B, 4]: top, left, height, width of the crop in pixels.
        equalize, elastic, flip, jitter, grayscale, blur, solarize: bool [B]: whether it is applied.
        angle: float32 [B], of the rotation, in degrees.
        color: Order and strengths of the jitter.
        sigma: float32 [B], of the blur, in pixels.
    """

    box: jax.Array
    equalize: jax.Array
    elastic: jax.Array
    flip: jax.Array
    jitter: jax.Array
    grayscale: jax.Array
    blur: jax.Array
    solarize: jax.Array
    angle: jax.Array | None
    color: Jitter | None
    sigma: jax.Array | None


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def draw_views(recipe: Recipe, keys: jax.Array, image_size: Size, size: int) -> ViewDraws:
    """Draw what `recipe(keys, images, size)` draws.

    The numbers come from the same functions and the same keys. Compiled by itself, a coordinate of
    a box may round to the other side, as between any two programs of XLA.

    Args:
        recipe: The recipe.
        keys: [B] typed keys.
        image_size: (H, W) of the images in pixels.
        size: Height and width of the views in pixels.

    Returns:
        The draws, without the elastic displacements (see `draw_displacement`).

    Raises:
        UserError: A patch is larger than the images.
    """
    view = (size, size)

    def box(key: jax.Array) -> jax.Array:
        if recipe.crop == "resized":
            sides = sample_resized_box(
                key,
                image_size,
                view,
                recipe.area_range,
                recipe.aspect_range,
                recipe.min_covered,
                recipe.crop_tries,
            )
        elif recipe.crop == "patch":
            sides = (*sample_patch_corner(key, image_size, view), *view)
        elif recipe.crop == "center":
            sides = center_box(image_size, view, recipe.center_proportion)
        else:
            sides = (0, 0, *image_size)
        return jnp.stack([jnp.asarray(side, jnp.int32) for side in sides])

    def draw(key: jax.Array) -> ViewDraws:
        def applied(operation: str) -> jax.Array:
            probability = getattr(recipe, f"{operation}_probability")
            if probability in (0, 1):
                return jnp.asarray(probability == 1)
            return coin(key, operation) < probability

        angle = color = sigma = None
        if recipe.rotation_degrees > 0:
            angle = sample_angle(draw_key(key, "rotation"), recipe.rotation_degrees)
        if recipe.jitter_probability > 0:
            additive = recipe.brightness_mode == "additive"
            color = sample_jitter(draw_key(key, "jitter"), *recipe.strengths, additive)
        if recipe.blur_probability > 0:
            sigma_key = draw_key(keys[0] if recipe.blur_sigma == "per_batch" else key, "blur")
            sigma = sample_sigma(sigma_key, recipe.blur_sigma_range)
        return ViewDraws(
            box=box(draw_key(key, "crop")),
            equalize=applied("equalize"),
            elastic=applied("elastic"),
            flip=applied("flip"),
            jitter=applied("jitter"),
            grayscale=applied("grayscale"),
            blur=applied("blur"),
            solarize=applied("solarize"),
            angle=angle,
            color=color,
            sigma=sigma,
        )

    return jax.vmap(draw)(keys)


@functools.partial(jax.jit, static_argnums=(0, 2))
def draw_displacement(recipe: Recipe, key: jax.Array, image_size: Size) -> jax.Array:
    """The elastic displacement that `recipe` draws for one image.

    Args:
        recipe: The recipe.
        key: uint32 [2], the data of one threefry key.
        image_size: (H, W) of the image in pixels.

    Returns:
        float32 [2, H, W]: rows, columns, in pixels.
    """
    key = draw_key(jax.random.wrap_key_data(key, impl="threefry2x32"), "elastic")
    field = sample_displacement(key, image_size, recipe.elastic_sigma, recipe.elastic_rms)
    return jnp.moveaxis(field, -1, 0)
