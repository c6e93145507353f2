"""What an image looks like, in 256 bits that survive another name, another format, another size.

A perceptual hash of the kind called pHash (Zauner 2010, "Implementation and Benchmarking of
Perceptual Image Hash Functions"): the image is brought to 64 x 64 pixels of grey, and of the 255
lowest frequencies of its cosine transform after the mean each bit says whether it is above their
median.

The usual 64 bits do not tell medical images apart: two chest X-rays of different patients, or two
dermoscopies of different lesions, lie within 2 to 4 of 64 bits, which is where re-encoded copies
lie. Of 256 bits (`benchmarks/fingerprints.py` prints the whole table, docs/data.md keeps it):

* the nearest images of different patients or lesions differ in 42 bits or more (6,954 dermoscopies
  of 96 pixels), 52 (1,000 chest X-rays of 128 pixels), 30 (the demo's generated films, 32 pixels);
* copies differ in 20 or less in 99 of 100 cases: re-encoded as JPEG of quality 95 or 75, resized to
  three quarters or to twice the size, or (from 96 pixels on) to a half, or made 10% brighter.

Not found are mirrored or rotated copies, and tiny pictures (28 to 32 pixels) at half their size.
"""

import cv2
import numpy as np

# Several images are worked on at a time by threads of our own.
cv2.setNumThreads(1)

FINGERPRINT_BYTES = 32
# ours: between copies and different images, see above.
NEAR_DUPLICATE_BITS = 24
_SIDE, _LOW = 64, 16
# ours: an image whose greys span less has no picture that could be compared.
_FLATTEST = 8
# Fingerprints compared at a time; 32 MB of intermediate results.
_BLOCK = 2**20


def is_constant(grey: np.ndarray) -> bool:
    """Whether an image is all but of one grey.

    Args:
        grey: uint8 [H, W].
    """
    return int(grey.max()) - int(grey.min()) < _FLATTEST


def fingerprint(grey: np.ndarray) -> np.ndarray:
    """The perceptual hash of an image.

    Args:
        grey: uint8 [H, W].

    Returns:
        uint8 [32], 256 bits, of which the last is 0.
    """
    shrinks = min(grey.shape) > _SIDE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=method)
    frequencies = cv2.dct(small.astype(np.float32))[:_LOW, :_LOW].ravel()[1:]
    return np.packbits(frequencies > np.median(frequencies))


def near_pairs(a: np.ndarray, b: np.ndarray | None, most: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of fingerprints that differ in so many bits or fewer.

    Args:
        a: uint8 [N, 32].
        b: uint8 [M, 32]; None for the pairs within `a`, each once.
        most: Bits; -1 for no pair.

    Returns:
        (int64 [K, 2], the indices in `a` and `b`, in order of the first and then the second;
        int64 [K], in how many bits they differ).
    """
    first = np.ascontiguousarray(a, np.uint8).reshape(-1, FINGERPRINT_BYTES).view(np.uint64)
    second = first
    if b is not None:
        second = np.ascontiguousarray(b, np.uint8).reshape(-1, FINGERPRINT_BYTES).view(np.uint64)
    pairs, distances = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    height = max(1, _BLOCK // max(len(second), 1))
    for top in range(0, len(first) if most >= 0 and len(second) else 0, height):
        rows = first[top : top + height]
        # Within `a` a pair is looked at from its first member only.
        left = top if b is None else 0
        differing = np.zeros((len(rows), len(second) - left), np.uint16)
        for word in range(first.shape[1]):
            differing += np.bitwise_count(rows[:, None, word] ^ second[None, left:, word])
        near = differing <= most
        if b is None:
            near &= np.arange(len(second) - left) > np.arange(len(rows))[:, None]
        found = np.argwhere(near)
        pairs.append(found + [top, left])
        distances.append(differing[near].astype(np.int64))
    return np.concatenate(pairs), np.concatenate(distances)
