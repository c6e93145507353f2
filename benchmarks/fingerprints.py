"""How far apart fingerprints of different images are, and those of copies of one.

    python benchmarks/fingerprints.py --manifest FOLDER/manifest.csv:GROUP_COLUMN ... [--phantom]

For each set: how many of 256 bits separate the nearest images of different groups (least, and the
share of images below the threshold), and how many separate copies from their originals.

With `--candidates` (pip install imagehash) the usual hashes are put beside it: each with the
largest threshold at which no two images of different groups of the set count as copies, and the
share of the copies that are found with that.
"""

import argparse
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from remedis_jax.data.decode import decode_pixels, inspect
from remedis_jax.data.fingerprints import (
    FINGERPRINT_BYTES,
    NEAR_DUPLICATE_BITS,
    fingerprint,
    near_pairs,
)
from remedis_jax.data.manifest import Columns, read_manifest
from remedis_jax.data.phantom import PhantomSize, write_phantom
from remedis_jax.data.reading import Reading

COPIES = 400  # images of a set that are copied


def as_jpeg(grey: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG and back."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return decode_pixels(buffer.getvalue(), Reading(1))[:, :, 0]


def as_png(pixels: np.ndarray) -> np.ndarray:
    """The luma of a PNG file with these pixels, as data checks read it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return inspect(buffer.getvalue()).pixels


def resized(grey: np.ndarray, factor: float) -> np.ndarray:
    """At another size, by Pillow's bicubic."""
    height, width = (max(8, round(side * factor)) for side in grey.shape)
    return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))


def cut(grey: np.ndarray) -> np.ndarray:
    """Without 1.5% at each border."""
    top, left = (max(1, round(0.015 * side)) for side in grey.shape)
    return grey[top:-top, left:-left]


CHANGES = {
    "JPEG 95": lambda grey: as_jpeg(grey, 95),
    "JPEG 75": lambda grey: as_jpeg(grey, 75),
    "JPEG 50": lambda grey: as_jpeg(grey, 50),
    "x 0.5": lambda grey: resized(grey, 0.5),
    "x 0.75": lambda grey: resized(grey, 0.75),
    "x 2": lambda grey: resized(grey, 2),
    "x 0.5, JPEG 75": lambda grey: as_jpeg(resized(grey, 0.5), 75),
    "10% brighter": lambda grey: np.clip(1.1 * grey + 5, 0, 255).astype(np.uint8),
    "borders cut": cut,
    "16-bit PNG": lambda grey: as_png(grey.astype(np.uint16) * 257),
    "grey as RGB": lambda grey: as_png(np.repeat(grey[:, :, None], 3, axis=2)),
    "mirrored": lambda grey: cv2.flip(grey, 1),
    "turned by 90": lambda grey: cv2.rotate(grey, cv2.ROTATE_90_CLOCKWISE),
}
# What candidates are compared by: the copies that people make without meaning to.
USUAL = ("JPEG 95", "JPEG 75", "JPEG 50", "x 0.5", "x 0.75", "x 2", "10% brighter")


def of_imagehash(name: str, side: int):
    """A hash of the library imagehash as a function of grey pixels, uint8 [side * side / 8]."""
    import imagehash

    function = getattr(imagehash, name)
    return lambda grey: np.packbits(function(Image.fromarray(grey), hash_size=side).hash)


def candidates() -> dict[str, object]:
    """Name -> function from grey pixels to uint8 [8 or 32]."""
    found = {"256-bit pHash, ours": fingerprint}
    for name, label in (("phash", "pHash"), ("dhash", "dHash"), ("average_hash", "aHash")):
        for side in (8, 16):
            found[f"{side * side}-bit {label}, imagehash"] = of_imagehash(name, side)
    return found


def bits_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In how many bits rows of fingerprints differ."""
    return np.bitwise_count(a ^ b).sum(axis=-1).astype(int)


def nearest_of_another_group(hashes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each image the least distance to one of another group."""
    words = np.ascontiguousarray(hashes).view(np.uint64)
    nearest = np.full(len(hashes), 8 * FINGERPRINT_BYTES)
    for i in range(len(hashes)):
        apart = np.bitwise_count(words ^ words[i]).sum(axis=1)
        others = apart[groups != groups[i]]
        nearest[i] = others.min(initial=8 * FINGERPRINT_BYTES)
    return nearest


def measure(name: str, images: list[np.ndarray], groups: np.ndarray) -> None:
    """Prints the line of one set, and one for each kind of copy."""
    hashes = np.stack([fingerprint(grey) for grey in images])
    nearest = nearest_of_another_group(hashes, groups)
    pairs, _ = near_pairs(hashes, None, NEAR_DUPLICATE_BITS)
    strangers = sum(groups[a] != groups[b] for a, b in pairs.tolist())
    quantiles = ", ".join(f"{np.quantile(nearest, q):.0f}" for q in (0, 0.001, 0.01, 0.5))
    print(f"\n{name}: {len(images):,} images of {len(set(groups)):,} groups")
    print(f"  nearest of another group, least / 0.1% / 1% / median: {quantiles} bits;")
    print(f"  pairs of different groups within {NEAR_DUPLICATE_BITS} bits: {strangers}")
    chosen = np.linspace(0, len(images) - 1, min(COPIES, len(images))).astype(int)
    for change, apply in CHANGES.items():
        apart = np.array(
            [int(bits_apart(fingerprint(apply(images[i])), hashes[i])) for i in chosen]
        )
        found = (apart <= NEAR_DUPLICATE_BITS).mean()
        middle, high = np.median(apart), np.quantile(apart, 0.99)
        print(f"  {change:<16} median {middle:3.0f}, 99% below {high:3.0f}; found {found:6.1%}")


def compare(name: str, images: list[np.ndarray], groups: np.ndarray) -> None:
    """Prints what each candidate finds where it raises no false alarm."""
    print(f"\n{name}: {len(images):,} images of {len(set(groups)):,} groups")
    chosen = np.linspace(0, len(images) - 1, min(COPIES, len(images))).astype(int)
    copied = {change: [CHANGES[change](images[i]) for i in chosen] for change in USUAL}
    for candidate, function in candidates().items():
        hashes = np.stack([function(grey) for grey in images])
        most = int(nearest_of_another_group(hashes, groups).min()) - 1
        shares = {
            change: np.mean([
                bits_apart(function(copy), hashes[i]) <= most
                for copy, i in zip(copies, chosen, strict=True)
            ])
            for change, copies in copied.items()
        }  # fmt: skip
        listed = ", ".join(f"{change} {share:.0%}" for change, share in shares.items())
        mean = np.mean(list(shares.values()))
        print(f"  {candidate:<24} within {most:3d} bits: {mean:6.1%} ({listed})")


def open_set(path: Path, group: str | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Luma and group of every image of a manifest."""
    rows = read_manifest(path, Columns(group=group))
    images = [
        decode_pixels(rows.store.read(name), Reading(1, True))[:, :, 0] for name in rows.images
    ]
    return images, np.asarray(rows.groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", action="append", default=[], help="PATH[:GROUP_COLUMN]")
    parser.add_argument("--phantom", action="store_true", help="the demo's generated films too")
    parser.add_argument("--candidates", action="store_true", help="the usual hashes beside it")
    parser.add_argument("--tiny", action="store_true", help="a small phantom, to see that it runs")
    options = parser.parse_args()
    show = compare if options.candidates else measure
    for text in options.manifest:
        path, _, group = text.partition(":")
        show(path, *open_set(Path(path), group or None))
    if options.phantom:
        with tempfile.TemporaryDirectory() as folder:
            scale = PhantomSize.tiny() if options.tiny else PhantomSize()
            write_phantom(Path(folder), size=32, scale=scale)
            for part, group in (("pool", "patient_id"), ("labelled", "patient_id")):
                show(f"phantom, {part}", *open_set(Path(folder) / part / "manifest.csv", group))


if __name__ == "__main__":
    main()
