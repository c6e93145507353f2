"""Eight images that show whether two programs compute the same network.

Hard, non-constant borders matter most: between inputs in [0, 1] and in [-1, 1] BiT's zero-mean
kernels and GroupNorm leave a difference mainly where the zero padding of the convolutions meets the
image, so smooth images with dark margins would pass with the wrong range.
"""

import numpy as np


def probe_images(height: int, width: int | None = None, count: int = 8) -> np.ndarray:
    """Bright smooth gradients, stripes and noise that reach to every border.

    Args:
        height: In pixels.
        width: In pixels; as `height` if None.
        count: How many.

    Returns:
        float32 [count, height, width, 3] in [0, 1]; the same values on every machine.
    """
    width = width or height
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    columns = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    images = np.empty((count, height, width, 3), np.float32)
    for index in range(count):
        generator = np.random.default_rng([index, height, width])
        tilt = generator.uniform(-1, 1, (2, 1, 1, 3)).astype(np.float32)
        smooth = 0.6 + 0.3 * (tilt[0] * (rows - 0.5) + tilt[1] * (columns - 0.5))
        stripes = 0.2 * np.sign(np.sin(2 * np.pi * (index + 2) * (rows + columns)))
        noise = generator.uniform(-0.25, 0.25, (height, width, 3)).astype(np.float32)
        images[index] = np.clip(smooth + stripes + noise, 0, 1)
    return images
