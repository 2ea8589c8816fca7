"""A small OpenAI-compatible endpoint over real HTTP, for the remote engine: it answers with the words it was given.

What it does beyond that is chosen by the model's name: `words`, `tools`, `endless` (until the connection goes), `silent` (no headers
before `release` is set), `broken` (ends early), `filtered`, `fails` (an error among the events), `status-NNN`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789"


class Endpoint(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.gone = threading.Event()  # a client closed its connection while it was being answered
        self.release = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def running() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        self.server.keys.append(self.headers.get("authorization", ""))
        model = body["model"]
        if model.startswith("status-"):
            self._json(int(model[7:]), {"error": {"message": "as asked"}})
        elif self.path == "/v1/embeddings":
            rows = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(body["input"])]
            self._json(200, {"data": rows[::-1]})
        elif self.path in ("/v1/chat/completions", "/v1/completions"):
            self._stream(body, chat=self.path.endswith("chat/completions"))
        else:
            self._json(404, {"error": {"message": "no such route"}})

    def _json(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, body: dict[str, Any], *, chat: bool) -> None:
        if body["model"] == "silent":
            self.server.release.wait()
        try:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for event in _events(body, chat=chat):
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
            if body["model"] != "broken":
                self.wfile.write(b": a comment\n\ndata: [DONE]\n\n")
        except OSError:
            self.server.gone.set()
        self.close_connection = True


def _events(body: dict[str, Any], *, chat: bool) -> Iterator[dict[str, Any]]:
    words = (body["messages"][-1]["content"] if chat else body["prompt"]).split()
    model = body["model"]
    if model == "fails":
        yield {"error": {"message": "out of memory over there"}}
        return
    if model == "tools":
        yield from _calls()
        return
    for place in range(10**9 if model == "endless" else len(words)):
        for index in range(body.get("n", 1)):
            yield {"choices": [_choice(index, words[place % len(words)] + " ", body, chat=chat)]}
    if model == "broken":
        return
    reason = {"filtered": "content_filter"}.get(model, "stop")
    for index in range(body.get("n", 1)):
        yield {"choices": [{"index": index, "finish_reason": reason, **({"delta": {}} if chat else {"text": ""})}]}
    counted = {"prompt_tokens": 7, "completion_tokens": len(words), "prompt_tokens_details": {"cached_tokens": 4}}
    yield {"choices": [], "usage": counted}


def _choice(index: int, text: str, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "finish_reason": None, **({"delta": {"content": text}} if chat else {"text": text})}
    if chat and body.get("logprobs"):
        top = [{"token": other, "logprob": value} for other, value in (("maybe", -3.0), (text, -0.5))][
            -body.get("top_logprobs", 0) or 2 :
        ]
        choice["logprobs"] = {
            "content": [{"token": text, "logprob": -0.5, "top_logprobs": top if body.get("top_logprobs") else []}]
        }
    elif not chat and body.get("logprobs") is not None:
        choice["logprobs"] = {"tokens": [text], "token_logprobs": [-0.5], "top_logprobs": [{"maybe": -3.0, text: -0.5}]}
    return choice


def _calls() -> Iterator[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city": '}},
        {"index": 1, "id": "call_b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": '"Paris"}'}},
    ]
    for part in parts:
        yield {"choices": [{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}]}
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
