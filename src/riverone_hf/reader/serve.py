"""How do other programs ask the model? An OpenAI-compatible server, on this machine only unless told otherwise.

Why not `transformers serve` (transformers 5.23)? Each of these points was seen by running it with a model of ours:

- It does not load a model with remote code: it looks the architecture up in transformers itself and ends with an
  AttributeError, `--trust-remote-code` or not; with our classes put in, it then does not know the model's modality.
- A field it does not know is refused (422); the benchmark's and other clients send such fields.
- `max_tokens` is not clamped: a prompt longer than the context is read all the same and keeps the server busy for
  minutes, while everybody waits, because requests are answered one after the other.
- Bad base64, an unreadable image or missing `messages` are a 500 without a text; other errors are not in OpenAI's form.
- An image may be an address or a local path: a client makes the server fetch or open it. Nothing limits a body.

With our classes put in it did pass images, transparent ones included, literal `<image>` text, interleaved images and
`chat_template_kwargs` rightly. Too little of it would remain in a wrapper, so this is a small application over the
reader's own generation, and the model's code is never executed from its folder.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from riverone_hf.errors import MissingExtraError, ServeError
from riverone_hf.reader.loading import load_model, resolve
from riverone_hf.reader.serve_app import build_app
from riverone_hf.reader.serve_request import Limits

LOOPBACK = ("127.0.0.1", "localhost", "::1")
GRACE = 10
"""Seconds that running answers get to finish after SIGTERM or Ctrl-C."""


def serve(
    model: str | PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
    limits: Limits | None = None,
    key: str | None = None,
    ready: Callable[[str, str], None] | None = None,
) -> None:
    """Serve a model folder or Hub id until SIGTERM or Ctrl-C.

    Args:
        port: 0 takes a free one.
        name: what requests call the model; default: the folder's name or the Hub id. MODEL as given is accepted too.
        ready: called with (URL of the API, name) once connections are accepted.

    Raises:
        ModelFolderError: MODEL is no complete model. ServeError: host or port cannot be used.
        MissingExtraError: the `serve` extra is not installed.
    """
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("uvicorn", "serve") from None
    listener = listen(host, port)
    try:
        folder, _ = resolve(model, revision)
        loaded, processor = load_model(folder, device=device)
        names = served_names(model, name)
        app = build_app(loaded, processor, names, limits, batch_size, key)
        # Neither bodies nor headers are ever logged; warnings are.
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE, server_header=False
        )
        server = uvicorn.Server(config)
        with _ends_cleanly(server):
            if ready is not None:
                shown = f"[{host}]" if ":" in host else host
                ready(f"http://{shown}:{listener.getsockname()[1]}/v1", names[0])
            server.run(sockets=[listener])
    finally:
        listener.close()


def served_names(model: str | PathLike[str], name: str | None = None) -> Sequence[str]:
    """What requests may call the model; the first is its name in answers and in `/v1/models`."""
    given = str(model)
    default = Path(given).expanduser().resolve().name if Path(given).expanduser().is_dir() else given
    return tuple(dict.fromkeys([name or default, given]))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ServeError: the address is not of this machine, or the port is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise ServeError(f"cannot listen on {host}:{port} ({why}). Remedy: another --port, or --port 0") from None


@contextlib.contextmanager
def _ends_cleanly(server: Any) -> Iterator[None]:
    """SIGTERM is a normal end, also before uvicorn handles it and when uvicorn, having stopped, sends it on."""

    def stop(*_: Any) -> None:
        server.should_exit = True

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
