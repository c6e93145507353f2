"""One named recipe per method and modality: from a batch of images to a batch of views."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from remedis_jax.augment.blur import (
    SIGMA_RANGE,
    blur_radius,
    gaussian_blur,
    random_gaussian_blur,
    sample_sigma,
)
from remedis_jax.augment.color import luminance, random_color_jitter, solarize, to_grayscale
from remedis_jax.augment.crop import (
    AREA_RANGE,
    ASPECT_RANGE,
    CENTER_PROPORTION,
    MIN_COVERED,
    TRIES,
    Size,
    center_crop_resize,
    flip_left_right,
    random_patch,
    random_resized_crop,
    resize,
)
from remedis_jax.augment.equalize import Mapping, equalize_histogram
from remedis_jax.augment.geometry import random_elastic, random_rotation
from remedis_jax.augment.streams import coin, draw_key
from remedis_jax.errors import UserError

Crop = Literal["resized", "patch", "center", "resize"]
Brightness = Literal["multiplicative", "additive"]
BlurSigma = Literal["per_example", "per_batch"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is done to an image, in this order, and with which probability.

    Histogram equalisation, elastic deformation, rotation, crop to the view's size, flip, colour
    jitter, greyscale, clip to [0, 1], blur, solarise, clip: the order of the released REMEDIS code,
    with BYOL's solarisation. All options at their defaults are the ImageNet recipe of SimCLR v2.
    A frozen dataclass, so it hashes and may be a static argument of `jax.jit`.

    Example:
        >>> recipe = get_recipe("simclr_small")
        >>> keys = jax.random.split(jax.random.key(0), len(images))
        >>> views = jax.jit(recipe, static_argnums=2)(keys, images, 32)

    Raises:
        UserError: An option is out of range or not one of its choices.
    """

    name: str = "simclr"

    # Crop. 'resized': random area and shape, resampled; 'patch': random place, no resampling;
    # 'center': central box, resampled; 'resize': the whole image, resampled.
    crop: Crop = "resized"
    area_range: tuple[float, float] = AREA_RANGE  # official-code
    aspect_range: tuple[float, float] = ASPECT_RANGE  # official-code, times the view's ratio
    min_covered: float = MIN_COVERED  # official-code: raises the least area to 10 %
    crop_tries: int = TRIES  # ours (official-code: 100)
    center_proportion: float = CENTER_PROPORTION  # official-code
    antialias: bool = False  # official-code: TF2 bicubic without antialiasing
    flip_probability: float = 0.5  # official-code

    # Colour. The strengths of the four operations are multiplied by `strength`.
    jitter_probability: float = 0.8  # official-code
    strength: float = 1.0  # official-code: ImageNet
    brightness: float = 0.8  # official-code
    contrast: float = 0.8  # official-code
    saturation: float = 0.8  # official-code
    hue: float = 0.2  # official-code
    brightness_mode: Brightness = "multiplicative"  # official-code: v2, REMEDIS; v1 is additive
    grayscale_probability: float = 0.2  # official-code

    # Blur. Sigma in pixels of the view. 'per_batch' (official-code) draws one sigma for all
    # images of a call, from the key of the first; 'per_example' (ours) keeps an example's view a
    # function of its own key.
    blur_probability: float = 0.5  # official-code
    blur_sigma_range: tuple[float, float] = SIGMA_RANGE  # official-code
    blur_sigma: BlurSigma = "per_example"
    solarize_probability: float = 0.0  # authors-code: BYOL's, off for SimCLR

    # Radiology. Rotation is uniform in +- rotation_degrees; 0 is off (official-code default).
    rotation_degrees: float = 0.0
    equalize_probability: float = 0.0
    equalize_mapping: Mapping = "cdf"  # official-code
    elastic_probability: float = 0.0
    # Simard 2003: 4 pixels of 29.
    elastic_sigma: float = 4 / 29
    # ours: 2 pixels of 224. REMEDIS calls elastic_deform(image, 2) but released no such function,
    # so the unit of its 2 is unknown.
    elastic_rms: float = 2 / 224
    # The images are grey even if they have three channels: work on their luminance, and copy the
    # result to all channels. A third of the work, and no colour operation can tint them.
    grey: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if isinstance(getattr(self, field.name), list):  # as config files write ranges
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        for option, choices in _CHOICES.items():
            _check_known(getattr(self, option), choices, f"value of '{option}'")
        for option, (holds, rule) in _RULES.items():
            value = getattr(self, option)
            try:
                valid = holds(value)
            except (TypeError, ValueError):  # another type, or another number of values
                valid = False
            if not valid:
                raise UserError(f"Augmentation option '{option}' is {value!r}.", f"Give {rule}.")

    @property
    def is_random(self) -> bool:
        """Whether a view depends on its key."""
        coins = (
            self.equalize_probability,
            self.flip_probability,
            self.grayscale_probability,
            self.solarize_probability,
        )
        draws = (
            self.rotation_degrees,
            self.elastic_probability,
            self.jitter_probability,
            self.blur_probability,
        )
        return self.crop in ("resized", "patch") or any(0 < p < 1 for p in coins) or any(draws)

    @property
    def strengths(self) -> tuple[float, float, float, float]:
        """Of brightness, contrast, saturation and hue, times `strength`."""
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        return tuple(strength * self.strength for strength in strengths)

    def __call__(self, keys: jax.Array | None, images: jax.Array, size: int) -> jax.Array:
        """Make one view of every image.

        A view depends on its own key and image only, not on its place in the batch or on the
        number of devices (unless `blur_sigma='per_batch'`). For two views call twice with other
        keys.

        Args:
            keys: [B] typed threefry keys, one per example; may be None if not `is_random`.
            images: uint8 or uint16 [B, H, W, C], or float32 in [0, 1]; C = 1 or 3. For C = 1
                saturation, hue and greyscale change nothing.
            size: Height and width of the views in pixels, fixed at compile time.

        Returns:
            float32 [B, size, size, C] in [0, 1].

        Raises:
            UserError: Wrong rank, dtype, number of channels or of keys, or a patch larger than
                the images.
        """
        check_images(images)
        if keys is None:
            if self.is_random:
                raise UserError(
                    f"Recipe '{self.name}' is random and was given no keys.",
                    "Pass one key per image: jax.random.split(key, len(images)).",
                )
            keys = jax.random.split(jax.random.key(0), images.shape[0])
        check_keys(keys, images.shape[0])
        batch_sigma = None
        if self.blur_sigma == "per_batch":
            batch_sigma = sample_sigma(draw_key(keys[0], "blur"), self.blur_sigma_range)
        view = jax.vmap(self._view, in_axes=(0, 0, None, None))
        return view(keys, images, size, batch_sigma)

    def _view(
        self, key: jax.Array, image: jax.Array, size: int, batch_sigma: jax.Array | None
    ) -> jax.Array:
        channels = image.shape[-1]
        if image.dtype in (jnp.uint8, jnp.uint16):
            # As tf.image.convert_image_dtype.
            image = image.astype(jnp.float32) * (1 / jnp.iinfo(image.dtype).max)
        if self.grey:
            image = luminance(image)

        def maybe(
            operation: str,
            probability: float,
            change: Callable[[jax.Array, jax.Array], jax.Array],
            image: jax.Array,
        ) -> jax.Array:
            """`change(key, image)` with `probability`."""
            if probability == 0:
                return image
            changed = change(draw_key(key, operation), image)
            if probability == 1:
                return changed
            return jnp.where(coin(key, operation) < probability, changed, image)

        image = maybe("equalize", self.equalize_probability, self._equalize, image)
        image = maybe("elastic", self.elastic_probability, self._elastic, image)
        image = maybe("rotation", float(self.rotation_degrees > 0), self._rotate, image)
        image = self._crop(draw_key(key, "crop"), image, (size, size))
        image = maybe("flip", self.flip_probability, _flip, image)
        image = maybe("jitter", self.jitter_probability, self._jitter, image)
        image = maybe("grayscale", self.grayscale_probability, _grayscale, image)
        image = jnp.clip(image, 0.0, 1.0)

        def blurred(key: jax.Array, image: jax.Array) -> jax.Array:
            if batch_sigma is None:
                return random_gaussian_blur(key, image, self.blur_sigma_range)
            return gaussian_blur(image, batch_sigma, blur_radius(size))

        image = maybe("blur", self.blur_probability, blurred, image)
        image = maybe("solarize", self.solarize_probability, _solarize, image)
        # Sums of kernel weights exceed one by rounding.
        image = jnp.clip(image, 0.0, 1.0)
        return jnp.broadcast_to(image, (size, size, channels))

    def _equalize(self, key: jax.Array, image: jax.Array) -> jax.Array:
        del key
        return equalize_histogram(image, self.equalize_mapping)

    def _elastic(self, key: jax.Array, image: jax.Array) -> jax.Array:
        return random_elastic(key, image, self.elastic_sigma, self.elastic_rms)

    def _rotate(self, key: jax.Array, image: jax.Array) -> jax.Array:
        return random_rotation(key, image, self.rotation_degrees)

    def _crop(self, key: jax.Array, image: jax.Array, size: Size) -> jax.Array:
        if self.crop == "patch":
            return random_patch(key, image, size)
        if self.crop == "center":
            return center_crop_resize(image, size, self.center_proportion, self.antialias)
        if self.crop == "resize":
            return resize(image, size, self.antialias)
        return random_resized_crop(
            key,
            image,
            size,
            self.area_range,
            self.aspect_range,
            self.min_covered,
            self.crop_tries,
            self.antialias,
        )

    def _jitter(self, key: jax.Array, image: jax.Array) -> jax.Array:
        additive = self.brightness_mode == "additive"
        return random_color_jitter(key, image, *self.strengths, additive_brightness=additive)


_CHOICES: dict[str, tuple[str, ...]] = {
    "crop": get_args(Crop),
    "brightness_mode": get_args(Brightness),
    "blur_sigma": get_args(BlurSigma),
    "equalize_mapping": get_args(Mapping),
}
_OPTIONS = tuple(field.name for field in dataclasses.fields(Recipe) if field.name != "name")

_Rule = tuple[Callable[[Any], bool], str]
_PROBABILITY: _Rule = (lambda p: 0 <= p <= 1, "a probability between 0 and 1")
_STRENGTH: _Rule = (lambda v: v >= 0, "a number of 0 or more")
_SWITCH: _Rule = (lambda v: isinstance(v, bool), "true or false")


def _increasing(highest: float) -> _Rule:
    def holds(bounds: tuple[float, float]) -> bool:
        low, high = bounds
        return 0 < low <= high <= highest

    limit = "" if highest == float("inf") else f" and at most {highest:g}"
    return holds, f"two numbers above 0{limit}, the lower first"


_RULES: dict[str, _Rule] = {
    **{option: _PROBABILITY for option in _OPTIONS if option.endswith("_probability")},
    **{option: _STRENGTH for option in ("strength", "brightness", "contrast", "saturation", "hue")},
    "area_range": _increasing(1),
    "aspect_range": _increasing(float("inf")),
    "blur_sigma_range": _increasing(float("inf")),
    "min_covered": (lambda p: 0 <= p <= 1, "a fraction between 0 and 1"),
    "crop_tries": (lambda n: isinstance(n, int) and n >= 1, "a whole number of 1 or more"),
    "center_proportion": (lambda p: 0 < p <= 1, "a fraction above 0 and at most 1"),
    "antialias": _SWITCH,
    "grey": _SWITCH,
    "rotation_degrees": (lambda d: 0 <= d <= 180, "degrees between 0 and 180"),
    "elastic_sigma": (lambda s: s > 0, "a fraction of the shorter side above 0"),
    "elastic_rms": _STRENGTH,
}

# authors-code: BYOL's colours; also those of RELICv2, MoCo v3 and Barlow Twins (the PyTorch ones
# with multiplicative brightness).
_BYOL = {
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "brightness_mode": "additive",
}

_NO_COLOR = {"jitter_probability": 0.0, "grayscale_probability": 0.0, "blur_probability": 0.0}

_RECIPES: dict[str, dict[str, Any]] = {
    # official-code: SimCLR v2 and REMEDIS at strength 1.0.
    "simclr": {},
    # official-code: the CIFAR recipe of the SimCLR README.
    "simclr_small": {"strength": 0.5, "blur_probability": 0.0},
    # authors-code.
    "moco_v2": {
        "area_range": (0.2, 1.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
    },
    "byol_first": {**_BYOL, "blur_probability": 1.0},
    "byol_second": {**_BYOL, "blur_probability": 0.1, "solarize_probability": 0.2},
    "radiology": {
        "grey": True,
        "equalize_probability": 0.5,  # official-code
        "elastic_probability": 1.0,  # official-code: always, where the flag is on
        "rotation_degrees": 45.0,  # micle: CheXpert
        "strength": 0.5,  # micle: CheXpert
        "saturation": 0.0,
        "hue": 0.0,
        "grayscale_probability": 0.0,
        "blur_probability": 0.5,  # official-code (micle: none on CheXpert)
    },
    # official-code: crop and flip; REMEDIS adds rotation_degrees by task.
    "finetune": _NO_COLOR,
    # bit: random crop out of the resized image (160 -> 128 or 512 -> 480), random flip.
    "bit": {"crop": "patch", **_NO_COLOR},
    # official-code: central crop, no randomness. BiT instead evaluates with crop='resize'.
    "eval": {"crop": "center", "flip_probability": 0.0, **_NO_COLOR},
}

RECIPE_NAMES = tuple(_RECIPES)


def get_recipe(name: str, **overrides: Any) -> Recipe:
    """A named recipe, with options replaced.

    - 'simclr': SimCLR v2 on ImageNet, strength 1.0, with blur; also REMEDIS on colour images.
    - 'simclr_small': its CIFAR form, strength 0.5, no blur.
    - 'moco_v2': gentler crops and colours.
    - 'byol_first', 'byol_second': BYOL's two unlike views: one always blurred, one sometimes
      solarised.
    - 'radiology': grey images; equalisation, elastic deformation, rotation, brightness and
      contrast, blur.
    - 'finetune': random resized crop and flip.
    - 'bit': random patch and flip.
    - 'eval': central crop, deterministic.

    Args:
        name: One of `RECIPE_NAMES`.
        **overrides: Fields of `Recipe`, for example `rotation_degrees=15`.

    Raises:
        UserError: Unknown name, unknown option, or a value out of range.
    """
    _check_known(name, RECIPE_NAMES, "augmentation recipe")
    for option in overrides:
        _check_known(option, _OPTIONS, "augmentation option")
    return Recipe(name=name, **{**_RECIPES[name], **overrides})


def _flip(key: jax.Array, image: jax.Array) -> jax.Array:
    del key
    return flip_left_right(image)


def _solarize(key: jax.Array, image: jax.Array) -> jax.Array:
    del key
    return solarize(image)


def _grayscale(key: jax.Array, image: jax.Array) -> jax.Array:
    del key
    return to_grayscale(image)


def _check_known(value: Any, known: Iterable[str], what: str) -> None:
    known = tuple(known)
    if value in known:
        return
    close = difflib.get_close_matches(str(value), known, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise UserError(f"Unknown {what}: '{value}'.", f"{hint}Known: {', '.join(known)}.")


def check_images(images: jax.Array | np.ndarray) -> None:
    """Refuse images that are not [B, H, W, C] of a known dtype.

    Raises:
        UserError: Wrong rank, dtype or number of channels.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"Images have shape {tuple(images.shape)}.",
            "Augmentation takes [batch, height, width, channels] with 1 or 3 channels.",
        )
    if images.dtype not in (jnp.uint8, jnp.uint16, jnp.float32):
        raise UserError(
            f"Images have dtype {images.dtype}.",
            "Augmentation takes uint8 in 0..255, uint16 in 0..65535 or float32 in [0, 1].",
        )


def check_keys(keys: jax.Array, batch: int) -> None:
    """Refuse keys that are not [batch] typed threefry keys.

    Raises:
        UserError: Wrong number, dtype or kind.
    """
    if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.shape != (batch,):
        raise UserError(
            f"Keys have shape {tuple(keys.shape)} and dtype {keys.dtype} for {batch} images.",
            "Pass one typed key per image: jax.random.split(jax.random.key(seed), batch).",
        )
    if not str(jax.random.key_impl(keys)).startswith("threefry"):
        # vmapped draws of the 'rbg' generators depend on the place in the batch.
        raise UserError(
            f"Keys are of kind '{jax.random.key_impl(keys)}'.",
            "Use threefry keys, JAX's default: a view must not depend on its place in the batch.",
        )
