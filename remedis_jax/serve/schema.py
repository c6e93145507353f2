"""What the service answers, for the OpenAPI page and for those who write a client."""

from typing import Any

from pydantic import BaseModel, Field

from remedis_jax.serve.body import FIELD, IMAGE_TYPES, MULTIPART


class ImageReference(BaseModel):
    """Which image of the request."""

    index: int = Field(description="Its place in the request, from 0.")
    name: str | None = Field(description="The file name that the client gave, if any.")


class Problem(BaseModel):
    """Why a request was turned away."""

    problem: str
    remedy: str
    image: ImageReference | None = Field(description="The image that it is about, if it is one.")


class Health(BaseModel):
    """The service is ready."""

    status: str
    weights: str = Field(description="Hash (SHA-256) of the weights.")


class ModelCard(BaseModel):
    """What the weights are."""

    weights: str = Field(description="Hash (SHA-256) of the weights.")
    stage: str = Field(description="What made them, such as 'simclr' or 'import:bit'.")
    architecture: dict[str, Any]
    contract: dict[str, Any] = Field(description="What is done to an image before the network.")
    preprocessing: list[str] = Field(description="The contract in words.")
    classes: list[str] = Field(description="Empty where there is no classifier.")
    kind: str | None = Field(description="'softmax', 'sigmoid', or null without a classifier.")
    calibrated: bool
    licence: dict[str, Any]
    use: str


class EmbeddedImage(ImageReference):
    embedding: list[float]


class Embeddings(BaseModel):
    """One feature vector per image, in the order of the request."""

    weights: str
    contract: dict[str, Any]
    images: list[EmbeddedImage]


class PredictedImage(ImageReference):
    probabilities: dict[str, float]


class Predictions(BaseModel):
    """Probabilities of every class per image, in the order of the request."""

    weights: str
    contract: dict[str, Any]
    kind: str = Field(description="'softmax': they sum to 1; 'sigmoid': each is for itself.")
    calibrated: bool = Field(
        description="Whether a temperature fitted on validation data was applied."
    )
    note: str
    images: list[PredictedImage]


REQUEST_BODY = {
    "required": True,
    "description": f"One image as the body, or several in parts called {FIELD!r} of a form.",
    "content": {
        MULTIPART: {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {
                    FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
            }
        },
        **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in IMAGE_TYPES},
    },
}

PROBLEMS = {
    400: "Empty body or malformed form.",
    401: "The bearer token is missing or wrong.",
    408: "The body came too slowly.",
    413: "An image, the request or the number of images is too large.",
    415: "Content type that is no image's.",
    422: "An image cannot be decoded, or breaks the contract.",
    503: "Busy; try again after the seconds in Retry-After.",
}
