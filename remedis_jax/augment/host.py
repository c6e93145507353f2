"""The recipes on the host: the views that the accelerator would make, made by numpy and OpenCV.

For machines without an accelerator, or with one that should not wait for its own augmentation. The
random numbers are drawn by JAX, by the functions that the recipes use, so a view is a function of
its key here as there; only the arithmetic on the pixels is written twice. It treats one image at a
time and does what was drawn for it, where a compiled batch computes every operation for every
image and then chooses: on processors that is several times faster.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import jax
import numpy as np

from remedis_jax.augment import host_color
from remedis_jax.augment.draws import ViewDraws, draw_displacement, draw_views
from remedis_jax.augment.host_crop import resample
from remedis_jax.augment.host_equalize import equalize_histogram
from remedis_jax.augment.host_geometry import (
    elastic_deform,
    gaussian_blur,
    remap_is_exact,
    rotate,
)
from remedis_jax.augment.recipes import Recipe, check_images, check_keys
from remedis_jax.augment.workspace import Workspace
from remedis_jax.data.processors import usable_processors
from remedis_jax.errors import UserError

# The threads are ours; OpenCV's would only take turns with them.
cv2.setNumThreads(1)
# XLA's on processors, in bytes. Putting 128 views of 224 pixels on the device takes 0.4 ms if their
# memory has it and 42 ms if it does not (measured), because they are copied then.
_ALIGNMENT = 64


class HostAugment:
    """Makes views of batches on the host, equal to those of the recipes.

    Equal means within 5e-5 of the device's pixels in [0, 1] from images of 256 pixels, 2e-4 from
    1024 (measured: 3e-5 and 7e-5 of the crop, whose places float32 rounds on the device, 2e-5 and
    1e-4 of rotation and elastic deformation, 2e-6 of each colour operation, 5e-7 of the blur,
    nothing of patch and flip). The rest is up to rounding, here as between two kinds of device:
    a crop box may differ by a pixel where its sides fall half-way between two; a colour pixel in
    an equalised image by a level (see `host_equalize`).

    Args:
        recipes: One for each view of an example.
        size: Height and width of the views in pixels.
        threads: Images in the making at a time. None for one per usable processor (ours).

    Raises:
        UserError: A recipe cannot be followed here; `supports` says which can.

    Example:
        >>> augment = HostAugment((get_recipe("simclr"),) * 2, 224)
        >>> views = augment(keys, batch["image"])  # float32 [B, 2, 224, 224, 3]
    """

    def __init__(self, recipes: Sequence[Recipe], size: int, threads: int | None = None):
        for recipe in recipes:
            if not self.supports(recipe):
                raise UserError(
                    f"Recipe '{recipe.name}' rotates or deforms, and OpenCV {cv2.__version__} on"
                    " this machine interpolates at rounded places.",
                    "Install opencv-python-headless 5 or newer, or augment on the device.",
                )
        self.recipes = tuple(recipes)
        self.size = size
        self.threads = usable_processors() if threads is None else threads
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="augment")
        self._local = threading.local()
        self._cpu = _cpu_device()

    @staticmethod
    def supports(recipe: Recipe) -> bool:
        """Whether the host can make the views of `recipe`: all, or with OpenCV 4 most."""
        moves = recipe.rotation_degrees > 0 or recipe.elastic_probability > 0
        return not moves or remap_is_exact()

    def __call__(self, keys: jax.Array | None, images: np.ndarray) -> np.ndarray:
        """Make every view of every image.

        A view depends on its own key and image only, not on the number of threads or on its place
        in the batch (unless `blur_sigma='per_batch'`).

        Args:
            keys: [B, V] typed threefry keys for V recipes; may be None if no recipe is random.
            images: uint8 or uint16, or float32 in [0, 1]: [B, H, W, C], or [B, V, H, W, C] with
                an image for each view. C = 1 or 3.

        Returns:
            float32 [B, V, size, size, C] in [0, 1], new memory that JAX can take over without a
            copy where the processor is the device.

        Raises:
            UserError: Wrong rank, dtype, number of channels or of keys, or a patch larger than
                the images.
        """
        count = len(self.recipes)
        images = np.ascontiguousarray(images)
        if images.ndim != 5:
            images = images[:, None]
            check_images(images[:, 0])
            images = np.broadcast_to(images, (len(images), count, *images.shape[2:]))
        check_images(images[:, 0])
        if images.shape[1] != count:
            raise UserError(
                f"Images have shape {images.shape} for {count} views.",
                "Pass [batch, height, width, channels], or one image for each view.",
            )
        batch, image_size = len(images), images.shape[2:4]
        keys = self._checked(keys, batch)
        drawn = [
            _to_rows(draw_views(recipe, keys[:, view], image_size, self.size))
            for view, recipe in enumerate(self.recipes)
        ]
        key_data = np.asarray(jax.random.key_data(keys))
        views = _aligned((batch, count, self.size, self.size, images.shape[-1]))

        def make(example: int) -> None:
            work = self._workspace()
            for view, recipe in enumerate(self.recipes):
                self._view(
                    recipe,
                    drawn[view][example],
                    key_data[example, view],
                    images[example, view],
                    views[example, view],
                    work,
                )

        for _ in self._pool.map(make, range(batch)):
            pass
        return views

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _checked(self, keys: jax.Array | None, batch: int) -> jax.Array:
        """The keys, [B, V], on the host."""
        count = len(self.recipes)
        if keys is None:
            for recipe in self.recipes:
                if recipe.is_random:
                    raise UserError(
                        f"Recipe '{recipe.name}' is random and was given no keys.",
                        "Pass one key per view.",
                    )
            with jax.default_device(self._cpu):
                return jax.random.split(jax.random.key(0), (batch, count))
        if keys.shape != (batch, count):
            raise UserError(
                f"Keys have shape {keys.shape} for {batch} images and {count} views.",
                "Pass one typed key per view: jax.random.split(key, (batch, views)).",
            )
        keys = jax.device_put(keys, self._cpu)
        for view in range(count):
            check_keys(keys[:, view], batch)
        return keys

    def _workspace(self) -> Workspace:
        if not hasattr(self._local, "workspace"):
            self._local.workspace = Workspace()
        return self._local.workspace

    def _view(
        self,
        recipe: Recipe,
        drawn: ViewDraws,
        key_data: np.ndarray,
        image: np.ndarray,
        out: np.ndarray,
        work: Workspace,
    ) -> None:
        top, left, height, width = drawn.box
        part = (slice(top, top + height), slice(left, left + width))
        everywhere = (slice(None), slice(None))
        rotated = recipe.rotation_degrees > 0
        whole = drawn.equalize or drawn.elastic or rotated

        planes = _to_planes(image if whole else image[part], work)
        if recipe.grey:
            planes = host_color.luminance(planes)
        if drawn.equalize:
            equalize_histogram(planes, recipe.equalize_mapping, work)
        if drawn.elastic:
            with jax.default_device(self._cpu):
                field = np.asarray(draw_displacement(recipe, key_data, image.shape[:2]))
            planes = elastic_deform(planes, field, everywhere if rotated else part, work)
        if rotated:
            planes = rotate(planes, drawn.angle, part, work)
        elif whole and not drawn.elastic:
            planes = planes[:, *part]

        if recipe.crop != "patch":
            planes = resample(planes, self.size, recipe.antialias, drawn.flip, work)
        elif drawn.flip:
            planes = planes[:, :, ::-1]
        if not planes.flags.c_contiguous:
            copy = work.array("view", planes.shape)
            np.copyto(copy, planes)
            planes = copy

        if drawn.jitter:
            additive = recipe.brightness_mode == "additive"
            host_color.jitter_in_order(planes, drawn.color, additive, work)
        if drawn.grayscale:
            planes = host_color.to_grayscale(planes, work)
        host_color.clip(planes)
        if drawn.blur:
            planes = gaussian_blur(planes, drawn.sigma, work)
            host_color.clip(planes)
        if drawn.solarize:
            host_color.solarize(planes, work)
        if out.shape[-1] == 1:
            np.copyto(out[..., 0], planes[0])
        else:
            # One plane for three channels where they are equal.
            cv2.merge(list(planes) * (3 // len(planes)), dst=out)


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """A new float32 array that begins where XLA wants its arrays to begin."""
    count = math.prod(shape)
    memory = np.empty(count + _ALIGNMENT // 4, np.float32)
    first = -memory.ctypes.data % _ALIGNMENT // 4
    return memory[first : first + count].reshape(shape)


def _to_planes(image: np.ndarray, work: Workspace) -> np.ndarray:
    """[H, W, C] of any dtype to float32 [C, H, W] in [0, 1]."""
    shape = (image.shape[-1], *image.shape[:2])
    planes = work.array("planes", shape)
    if shape[0] == 1:
        separate = image[None, ..., 0]
    else:
        separate = work.array("separate", shape, image.dtype)
        cv2.split(image, list(separate))
    if image.dtype == np.float32:
        np.copyto(planes, separate)
    else:
        np.multiply(separate, np.float32(1 / np.iinfo(image.dtype).max), out=planes)
    return planes


def _to_rows(drawn: ViewDraws) -> list[ViewDraws]:
    """The draws of each view, as numpy scalars, from those of a batch."""
    arrays, structure = jax.tree.flatten(drawn)
    columns = [np.asarray(array) for array in arrays]
    return [jax.tree.unflatten(structure, row) for row in zip(*columns, strict=True)]


def _cpu_device() -> jax.Device:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise UserError(
            "JAX may not use the processor, which draws the random numbers of augmentation on the"
            f" host: {error}.",
            "Add cpu to JAX_PLATFORMS, or augment on the device.",
        ) from error
