"""What the libraries are told before they are imported: by the engine, and by the worker that proves datasets."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

PACKAGES = ("loris-tui", "unsloth", "unsloth_zoo", "torch", "transformers", "trl", "peft", "datasets",
            "bitsandbytes", "xformers", "triton")  # fmt: skip
HUB_SECONDS = 4.0


def versions() -> dict[str, str]:
    """The versions of what matters, read from their metadata: nothing is imported."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def set_environment(installed: dict[str, str]) -> None:
    """What the libraries read from the environment when they are imported. What the user set is kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loris"
    compiled = cache / "unsloth-{}-torch-{}".format(
        installed.get("unsloth", "none"), installed.get("torch", "none")
    )
    defaults = {
        # Unsloth fetches a file from the Hub to count its users, which stalls for minutes without a network.
        "UNSLOTH_DISABLE_STATISTICS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "DISABLE_TELEMETRY": "1",
        # It also writes the modules that it generates into the working directory: keep them for all runs.
        "UNSLOTH_COMPILE_LOCATION": str(compiled),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def hub_is_near() -> bool:
    """Whether the Hub answers within a few seconds. Its library tries for a minute and a half, per file."""
    proxies = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    if os.environ.get("HF_HUB_OFFLINE") or any(os.environ.get(name) for name in proxies):
        return True  # decided already, or not to be told from here
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    answered = threading.Event()

    def knock() -> None:
        with suppress(OSError), socket.create_connection((endpoint.hostname or "", port), HUB_SECONDS):
            answered.set()

    # A thread, for looking up a name takes as long as the resolver likes.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return answered.is_set()
