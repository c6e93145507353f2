"""`remedis serve`: weights behind a local HTTP service."""

from pathlib import Path
from typing import Annotated

import typer

_NEEDS = ("fastapi", "fastapi_offline", "python_multipart", "starlette", "uvicorn", "h11")


def serve(
    weights: Annotated[
        str,
        typer.Option(help="weights.safetensors, a run's folder, a registry name, or a URL."),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 127.0.0.1 is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any free one.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the bearer token that requests must carry.")
    ] = None,
    insecure: Annotated[bool, typer.Option(help="Serve other machines without a token.")] = False,
    max_image_mib: Annotated[int, typer.Option(help="Largest image file.", min=1)] = 32,
    max_images: Annotated[int, typer.Option(help="Most images in a request.", min=1)] = 64,
    max_request_mib: Annotated[int, typer.Option(help="Largest request.", min=1)] = 256,
    devices: Annotated[int | None, typer.Option(help="Devices to use; all if left out.")] = None,
    precision: Annotated[
        str, typer.Option(help="highest (float32 products), or default (the device's fastest).")
    ] = "highest",
) -> None:
    """Answer requests with embeddings and predictions: POST an image, get JSON.

    The page /docs describes the addresses and works without the internet. Ends on SIGTERM and
    Ctrl-C after finishing what is under way. Research only, not for clinical use.
    """
    from remedis_jax.errors import UserError

    try:
        from remedis_jax.serve import server
        from remedis_jax.serve.app import create_app
        from remedis_jax.serve.engine import Engine
        from remedis_jax.serve.limits import Limits
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDS:
            raise
        raise UserError(
            f"The service needs {error.name}, which is not installed.",
            "pip install 'remedis_jax[serve]'.",
        ) from None
    from remedis_jax.cli.console import Announcer
    from remedis_jax.evaluation.model import load
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    limits = Limits(
        image_bytes=max_image_mib * 2**20,
        images=max_images,
        request_bytes=max_request_mib * 2**20,
        waiting_images=max(Limits.waiting_images, 4 * max_images),
    )
    token = None if token_file is None else server.read_token(token_file)
    local = server.is_loopback(host)
    if not local and token is None and not insecure:
        raise UserError(
            f"--host {host} lets other machines in and there is no token.",
            "Add --token-file FILE, or --insecure if the network itself keeps strangers out.",
        )
    # Before the weights are loaded and compiled, which may take minutes.
    bound = server.bind(host, port)
    announce = Announcer()
    enable_compilation_cache()
    engine = Engine(load(weights, devices=devices, precision=precision))
    engine.warm_up(announce)
    app = create_app(
        engine, limits, token=token, hosts=[*server.LOCAL_NAMES, host] if local else None
    )
    server.run(app, bound, limits, announce)
