"""Batches become views, on the accelerator: single operations and the recipes made of them."""

from remedis_jax.augment.blur import (
    blur_radius,
    gaussian_blur,
    gaussian_kernel,
    random_gaussian_blur,
)
from remedis_jax.augment.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    jitter_in_order,
    luminance,
    random_color_jitter,
    random_grayscale,
    shift_brightness,
    to_grayscale,
)
from remedis_jax.augment.crop import (
    center_crop_resize,
    crop_and_resize,
    flip_left_right,
    random_flip,
    random_patch,
    random_resized_crop,
    resize,
    sample_crop_box,
)
from remedis_jax.augment.equalize import equalize_histogram
from remedis_jax.augment.geometry import (
    alpha_for_rms,
    displacement_field,
    elastic_deform,
    random_elastic,
    random_rotation,
    rotate,
    smooth_field,
)
from remedis_jax.augment.recipes import RECIPE_NAMES, Recipe, get_recipe

__all__ = [
    "RECIPE_NAMES",
    "Recipe",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "alpha_for_rms",
    "blur_radius",
    "center_crop_resize",
    "crop_and_resize",
    "displacement_field",
    "elastic_deform",
    "equalize_histogram",
    "flip_left_right",
    "gaussian_blur",
    "gaussian_kernel",
    "get_recipe",
    "jitter_in_order",
    "luminance",
    "random_color_jitter",
    "random_elastic",
    "random_flip",
    "random_gaussian_blur",
    "random_grayscale",
    "random_patch",
    "random_resized_crop",
    "random_rotation",
    "resize",
    "rotate",
    "sample_crop_box",
    "shift_brightness",
    "smooth_field",
    "solarize",
    "to_grayscale",
]
