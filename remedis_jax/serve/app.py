"""The application: what each address answers."""

import asyncio
import contextlib
import hmac
import io
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from remedis_jax import __version__
from remedis_jax.errors import UserError
from remedis_jax.serve import schema
from remedis_jax.serve.batching import Batcher
from remedis_jax.serve.body import Body, HeldBytes, Upload
from remedis_jax.serve.engine import Engine
from remedis_jax.serve.guard import Guard
from remedis_jax.serve.limits import Limits
from remedis_jax.serve.refusal import BODY_READ, Refusal

_DOCS = "/docs"
_USE = "research only, not for clinical use"
_NPY = "application/x-npy"
_CALIBRATED = "Calibrated with a temperature that was fitted on validation data."
_NOT_CALIBRATED = (
    "Not calibrated: these numbers order images, and are not the frequencies of a finding."
)


def create_app(
    engine: Engine,
    limits: Limits,
    *,
    token: str | None = None,
    hosts: list[str] | None = None,
) -> ASGIApp:
    """The service as an ASGI application.

    Args:
        engine: The network.
        limits: What a request may ask for.
        token: Bearer token that every address under /v1 asks for; None for none.
        hosts: Names under which the service may be addressed; None for any. Named where it is
            bound to this machine, so that a web page cannot reach it under a name of its own.

    Returns:
        The application.
    """
    service = _Service(engine, limits)
    guarded = [Depends(_token_check(token))] if token is not None else []
    app: FastAPI = FastAPIOffline(
        docs_url=_DOCS,
        redoc_url=None,
        title="remedis_jax",
        version=__version__,
        summary=f"Embeddings and predictions of medical images; {_USE}.",
        lifespan=service.lifespan,
        # Without the first, the page would ask a site on the internet to validate it.
        swagger_ui_parameters={"validatorUrl": None, "defaultModelsExpandDepth": 0},
    )
    problems = {
        status: {"model": schema.Problem, "description": text}
        for status, text in schema.PROBLEMS.items()
        if status != 401 or token is not None
    }
    body = {"openapi_extra": {"requestBody": schema.REQUEST_BODY}}
    no_classifier = {409: {"model": schema.Problem, "description": "There is no classifier."}}
    npy = {
        "description": f"Features; with 'Accept: {_NPY}' a float32 array.",
        "content": {_NPY: {}},
    }
    app.add_api_route("/", _to_docs, include_in_schema=False)
    app.add_api_route("/health", service.health, response_model=schema.Health)
    app.add_api_route(
        "/v1/model", service.describe, response_model=schema.ModelCard, dependencies=guarded
    )
    app.add_api_route(
        "/v1/embed", service.embed, methods=["POST"], response_model=schema.Embeddings,
        responses={200: npy} | problems, dependencies=guarded, **body,
    )  # fmt: skip
    app.add_api_route(
        "/v1/predict", service.predict, methods=["POST"], response_model=schema.Predictions,
        responses=problems | no_classifier, dependencies=guarded, **body,
    )  # fmt: skip
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _failed)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    paths = frozenset(
        ("/", "/health", "/openapi.json", _DOCS, "/v1/model", "/v1/embed", "/v1/predict")
    )
    return Guard(app, paths, _DOCS)


class _Service:
    """The answers, and what they share."""

    def __init__(self, engine: Engine, limits: Limits):
        self._engine = engine
        self._model = engine.model
        self._limits = limits
        self._held = HeldBytes(limits.held_bytes)
        self._batcher = Batcher(engine, limits.waiting_images)
        # Each decodes an image of up to `limits.pixels`: a bound on memory as well.
        self._decoders = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "decoder")

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        async with self._batcher:
            yield
        self._decoders.shutdown()

    async def health(self) -> dict[str, Any]:
        """Whether the service is ready; it answers only once every program is compiled."""
        return {"status": "ready", "weights": self._model.sha256}

    async def describe(self) -> dict[str, Any]:
        """What the weights are, what they read, and under which terms."""
        card = self._model.card
        return {
            "weights": self._model.sha256,
            "stage": card["stage"],
            "architecture": card["encoder"],
            "contract": self._model.contract.to_json(),
            "preprocessing": self._model.contract.sentences(),
            "classes": list(self._model.classes),
            "kind": self._model.kind,
            "calibrated": self._model.calibrated,
            "licence": card.get("licence") or {},
            "use": card.get("use") or _USE,
        }

    async def embed(self, request: Request) -> Response:
        """Pooled features of each image."""
        references, rows = await self._compute(request, "embed")
        if request.headers.get("accept") == _NPY:
            stream = io.BytesIO()
            np.save(stream, rows)
            return Response(
                stream.getvalue(), media_type=_NPY, headers={"X-Weights": self._model.sha256}
            )
        images = [
            reference | {"embedding": row.tolist()}
            for reference, row in zip(references, rows, strict=True)
        ]
        return JSONResponse(self._of_weights() | {"images": images})

    async def predict(self, request: Request) -> Response:
        """Probabilities of each class for each image."""
        references, rows = await self._compute(request, "predict")
        images = [
            reference | {"probabilities": dict(zip(self._model.classes, row.tolist(), strict=True))}
            for reference, row in zip(references, rows, strict=True)
        ]
        calibrated = self._model.calibrated
        return JSONResponse(
            self._of_weights()
            | {
                "kind": self._model.kind,
                "calibrated": calibrated,
                "note": f"{_CALIBRATED if calibrated else _NOT_CALIBRATED} For {_USE}.",
                "images": images,
            }
        )

    def _of_weights(self) -> dict[str, Any]:
        return {"weights": self._model.sha256, "contract": self._model.contract.to_json()}

    async def _compute(
        self, request: Request, output: str
    ) -> tuple[list[dict[str, Any]], np.ndarray]:
        """References to the images of a request, and a row for each."""
        if output not in self._engine.outputs:
            raise Refusal(
                409,
                f"These weights come from {self._model.card['stage']} and have no classifier.",
                "Ask for /v1/embed, or start the service with weights that were fine-tuned.",
            )
        body = Body(request, self._limits, self._held)
        try:
            with self._batcher.admit(1):
                pass  # full already: say so before anything is read
            uploads = await body.read()
            references = [upload.reference for upload in uploads]
            with self._batcher.admit(len(uploads)):
                prepared = await self._prepare(uploads)
                del uploads
                body.release()
                rows = await self._batcher.run(output, prepared)
        finally:
            body.release()
        if not np.isfinite(rows).all():
            raise Refusal(
                500,
                "The network's output is not a number for at least one image.",
                "The weights are damaged or overflow; check them with remedis embed.",
            )
        return references, rows

    async def _prepare(self, uploads: list[Upload]) -> list[np.ndarray]:
        """Decodes by the contract; the first image that it refuses ends the request."""
        loop = asyncio.get_running_loop()
        decoded = await asyncio.gather(
            *(
                loop.run_in_executor(self._decoders, self._engine.prepare, each.data, each.called)
                for each in uploads
            ),
            return_exceptions=True,
        )
        for upload, result in zip(uploads, decoded, strict=True):
            if isinstance(result, UserError):
                raise Refusal(422, result.problem, result.remedy, image=upload.reference)
            if isinstance(result, BaseException):
                raise result
        return decoded


def _token_check(token: str):
    scheme = HTTPBearer(
        auto_error=False, description="The token that the service was started with."
    )

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise Refusal(
                401,
                "The bearer token is missing or wrong.",
                "Send the header 'Authorization: Bearer TOKEN'.",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check


async def _to_docs() -> Response:
    return RedirectResponse(_DOCS)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Refusal(
        error.status_code,
        f"{error.detail}.",
        f"The addresses and their methods are listed at {_DOCS}.",
        headers=dict(error.headers or {}),
    ).response()


async def _failed(request: Request, error: Exception) -> Response:
    # Whether the rest of the body is read makes no difference to a defect.
    request.scope[BODY_READ] = True
    return Refusal(
        500, "The service failed.", "This is a defect; its log says where it happened."
    ).response()
