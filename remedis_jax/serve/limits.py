"""How much the service takes on at a time."""

import dataclasses

from remedis_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on memory, work and time. All defaults are ours.

    Attributes:
        image_bytes: Largest image file.
        images: Most images in a request.
        request_bytes: Largest body of a request.
        waiting_images: Most images of all requests that are being decoded or wait for the network;
            beyond that a request is turned away.
        body_seconds: Longest time for a body to arrive.
        pixels: Largest image, decoded.

    Raises:
        UserError: A bound is not positive, or excludes what another allows.
    """

    image_bytes: int = 32 * 2**20
    images: int = 64
    request_bytes: int = 256 * 2**20
    waiting_images: int = 256
    body_seconds: float = 60.0
    pixels: int = 100_000_000

    def __post_init__(self):
        if min(dataclasses.astuple(self)) <= 0:
            raise UserError("A limit of the service is not positive.", "Give numbers above 0.")
        if self.request_bytes < self.image_bytes or self.waiting_images < self.images:
            raise UserError(
                "The limits of the service exclude one another.",
                "A request is at least as large as an image (--max-request-mib, --max-image-mib),"
                f" and has at most {self.waiting_images} images (--max-images).",
            )

    @property
    def held_bytes(self) -> int:
        """Most bytes of bodies of all requests together; two of the largest."""
        return 2 * self.request_bytes
