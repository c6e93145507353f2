"""The peers of `input_pipeline.py`: the same files to the same two views, each as its users write.

Run by `input_pipeline.py` in a Python that has the peer's libraries; nothing of this project is
imported. Each makes the recipe of SimCLR: a random crop of 8 to 100 % resized to the view, a mirror
image, colour jitter of strength 1 with probability 0.8, greyscale with 0.2, blur with 0.5; of grey
images, crop, mirror image, brightness, contrast and blur. A line on standard input runs it once
over all files.
"""

import json
import os
import sys
import time
from pathlib import Path

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
SIGMA = (0.1, 2.0)


def blur_width(view: int) -> int:
    """A tenth of the view, odd, as SimCLR has it: 23 of 224."""
    return view // 10 // 2 * 2 + 1


def serve(run) -> None:
    """Runs once to load and compile everything, and then at each line of standard input."""
    run()
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        shape = run()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "shape": list(map(int, shape))}), flush=True)


def torch_side(paths, grey: bool, view: int, batch_size: int, cores: int, library: str) -> None:
    import torch

    if library == "albumentations":
        load = _albumentations(grey, view)
    else:
        load = _torchvision(grey, view, own_blur=library != "torchvision")

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, index):
            return load(paths[index])

    loader = torch.utils.data.DataLoader(
        Files(), batch_size=batch_size, shuffle=True, num_workers=cores, persistent_workers=True,
        worker_init_fn=lambda worker: torch.set_num_threads(1),
    )  # fmt: skip

    def run():
        for batch in loader:
            shape = batch.shape
        return shape

    serve(run)


def _torchvision(grey: bool, view: int, own_blur: bool):
    """Tensors of bytes as long as possible, which is how version 2 is fastest.

    Its blur multiplies with the whole square of the kernel. `own_blur` is what a user can do who
    has noticed: rows and columns one after the other.
    """
    import torch
    from torchvision import io
    from torchvision.transforms import v2

    width = blur_width(view)
    x = torch.arange(width, dtype=torch.float32) - width // 2

    def separable(image):
        sigma = float(torch.empty(1).uniform_(*SIGMA))
        kernel = torch.exp(-x.square() / (2 * sigma**2))
        kernel = (kernel / kernel.sum())[None, None]
        planes = torch.nn.functional.pad(image[:, None], [width // 2] * 4, "reflect")
        planes = torch.nn.functional.conv2d(planes, kernel[..., None])
        return torch.nn.functional.conv2d(planes, kernel[:, :, None])[:, 0]

    jitter = v2.ColorJitter(0.8, 0.8) if grey else v2.ColorJitter(0.8, 0.8, 0.8, 0.2)
    steps = [
        v2.RandomResizedCrop(
            view, AREA, ASPECT, v2.InterpolationMode.BICUBIC, antialias=True
        ),
        v2.RandomHorizontalFlip(),
        # Its colour operations do not take 16-bit integers.
        *([v2.ToDtype(torch.float32, scale=True)] if grey else []),
        v2.RandomApply([jitter], 0.8),
        *([] if grey else [v2.RandomGrayscale(0.2)]),
        *([v2.ToDtype(torch.float32, scale=True)] if own_blur else []),
        v2.RandomApply([separable if own_blur else v2.GaussianBlur(width, SIGMA)], 0.5),
        v2.ToDtype(torch.float32, scale=True),
    ]
    augment = v2.Compose(steps)

    def load(path):
        image = io.decode_image(io.read_file(path), io.ImageReadMode.UNCHANGED)
        if grey:
            # Resizing takes floats, not 16-bit integers.
            image = v2.functional.to_dtype(image, torch.float32, scale=True)
        return torch.stack([augment(image), augment(image)]).contiguous()

    return load


def _albumentations(grey: bool, view: int):
    import albumentations
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    hue = (0.0, 0.0) if grey else (0.8, 0.2)
    steps = [
        albumentations.RandomResizedCrop((view, view), AREA, ASPECT, cv2.INTER_CUBIC),
        albumentations.HorizontalFlip(),
        albumentations.ColorJitter((0.2, 1.8), (0.2, 1.8), *hue, p=0.8),
        *([] if grey else [albumentations.ToGray(p=0.2)]),
        albumentations.GaussianBlur(blur_limit=blur_width(view), sigma_limit=SIGMA, p=0.5),
        *([] if grey else [albumentations.ToFloat(max_value=255.0)]),
    ]
    augment = albumentations.Compose(steps)

    def load(path):
        if grey:
            pixels = cv2.imread(path, cv2.IMREAD_UNCHANGED)[:, :, None]
            pixels = pixels.astype(np.float32) / 65535
        else:
            pixels = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
        return np.stack([augment(image=pixels)["image"] for _ in range(2)])

    return load


def tf_side(paths, grey: bool, view: int, batch_size: int, cores: int) -> None:
    """As the official SimCLR code does it, blur by a separable convolution included."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    width = blur_width(view)

    def crop(image):
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image), tf.zeros([1, 0, 4]), min_object_covered=0.1,
            aspect_ratio_range=ASPECT, area_range=AREA, use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        return tf.image.resize(tf.slice(image, begin, size), (view, view), "bicubic")

    def chance(probability, change, image):
        return tf.cond(tf.random.uniform([]) < probability, lambda: change(image), lambda: image)

    def jitter(image):
        image = image * tf.random.uniform([], 0.2, 1.8)
        image = tf.image.random_contrast(image, 0.2, 1.8)
        if not grey:
            image = tf.image.random_saturation(image, 0.2, 1.8)
            image = tf.image.random_hue(image, 0.2)
        return tf.clip_by_value(image, 0.0, 1.0)

    def blur(image):
        sigma = tf.random.uniform([], *SIGMA)
        x = tf.range(-(width // 2), width // 2 + 1, dtype=tf.float32)
        kernel = tf.exp(-tf.square(x) / (2 * sigma**2))
        kernel = tf.tile(
            tf.reshape(kernel / tf.reduce_sum(kernel), [-1, 1, 1, 1]), [1, 1, image.shape[2], 1]
        )
        image = tf.nn.depthwise_conv2d(image[None], kernel, [1] * 4, "SAME")
        return tf.nn.depthwise_conv2d(image, tf.transpose(kernel, [1, 0, 2, 3]), [1] * 4, "SAME")[0]

    def make_view(image):
        image = tf.image.random_flip_left_right(crop(image))
        image.set_shape((view, view, 1 if grey else 3))
        image = chance(0.8, jitter, image)
        if not grey:
            to_grey = lambda x: tf.repeat(tf.image.rgb_to_grayscale(x), 3, -1)  # noqa: E731
            image = chance(0.2, to_grey, image)
        image = chance(0.5, blur, image)
        return tf.clip_by_value(image, 0.0, 1.0)

    def load(path):
        data = tf.io.read_file(path)
        if grey:
            image = tf.io.decode_png(data, channels=1, dtype=tf.uint16)
        else:
            image = tf.io.decode_jpeg(data, channels=3)
        image = tf.image.convert_image_dtype(image, tf.float32)
        return tf.stack([make_view(image), make_view(image)])

    files = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths))
    batches = files.map(load, tf.data.AUTOTUNE, deterministic=False)
    batches = batches.batch(batch_size).prefetch(2)

    def run():
        for batch in batches:
            shape = batch.shape
        return shape

    serve(run)


def main() -> None:
    library, folder, view, batch_size, cores = sys.argv[1:]
    folder = Path(folder)
    paths = sorted(str(path) for path in (folder / "images").iterdir())
    arguments = paths, paths[0].endswith(".png"), int(view), int(batch_size), int(cores)
    if library == "tf.data":
        tf_side(*arguments)
    else:
        torch_side(*arguments, library)


if __name__ == "__main__":
    main()
