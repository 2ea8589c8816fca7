"""`llmos serve`, `ps` and `stop`: the server, what it has in memory, and freeing it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmos.cli.output import JSON, examples, human_bytes, out, print_json, say, table
from llmos.sdk.client import LLMOS
from llmos.settings import current

SERVER = typer.Option("--url", help="Address of the server. Default: http://LLMOS_HOST:LLMOS_PORT.")


def add_to(app: typer.Typer) -> None:
    serving = examples(
        "llmos serve",
        "llmos serve --port 9000 -m smollm2-135m-instruct",
        "LLMOS_API_KEY=… llmos serve --host 0.0.0.0 --tls-cert a.pem --tls-key b.pem",
    )
    app.command("serve", epilog=serving)(serve)
    app.command("ps", epilog=examples("llmos ps", "llmos ps --url http://127.0.0.1:9000 --json"))(ps)
    app.command("stop", epilog=examples("llmos stop smollm2-135m-instruct"))(stop)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Other than loopback needs a key.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one. Default: 8000.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Load this model at once. May be repeated.")] = None,
    insecure_http: Annotated[bool, typer.Option("--insecure-http", help="Listen on a non-loopback address without TLS.")] = False,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Private key (PEM).")] = None,
) -> None:
    """Serve models over HTTP to any OpenAI, Ollama or Anthropic client."""
    from llmos.server.serve import serve as run_server

    chosen: dict[str, Any] = {"host": host, "port": port}
    settings = current().model_copy(update={name: value for name, value in chosen.items() if value is not None})
    run_server(settings, preload=tuple(model or ()), insecure_http=insecure_http, tls_cert=tls_cert, tls_key=tls_key)


def ps(url: Annotated[str | None, SERVER] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """Models that a running server has in memory."""
    with LLMOS(_address(url), notify=say) as llmos:
        loaded = llmos.loaded()
    if json_output:
        print_json(loaded)
        return
    rows = [
        [str(item["name"]), _engine(item), human_bytes(item["memory_bytes"]), str(item["running"]), f"{item['idle_s']:.0f} s"]
        for item in loaded
    ]
    table(("MODEL", "ENGINE", "MEMORY", "RUNNING", "IDLE"), rows, empty="No model is in memory.")


def stop(model: Annotated[str, typer.Argument(help="Model to free.")], url: Annotated[str | None, SERVER] = None) -> None:
    """Free a model's memory in a running server. It is loaded again when somebody asks for it."""
    with LLMOS(_address(url), notify=say) as llmos:
        llmos.unload(model)
    out.print(model, markup=False)


def _engine(loaded: dict[str, Any]) -> str:
    return f"{loaded['engine']}, for batches" if loaded.get("for_batches") else str(loaded["engine"])


def _address(url: str | None) -> str:
    settings = current()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return url or f"http://{host}:{settings.port}"
