"""Environment variables to set before the libraries are imported: for the engine and the dataset check worker."""

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


def installed_versions() -> dict[str, str]:
    """{package: version} of the installed PACKAGES, from their metadata: imports nothing."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def set_environment(installed: dict[str, str]) -> None:
    """Set the variables that the libraries read when they are imported. Keeps what the user has set."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loris"
    compiled = cache / "unsloth-{}-torch-{}".format(
        installed.get("unsloth", "none"), installed.get("torch", "none")
    )
    defaults = {
        # Unsloth downloads a file from the Hub to count its users, which hangs for minutes without a network.
        "UNSLOTH_DISABLE_STATISTICS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "DISABLE_TELEMETRY": "1",
        # Unsloth writes its generated modules into the working directory: share them between all runs instead.
        "UNSLOTH_COMPILE_LOCATION": str(compiled),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def hub_is_reachable() -> bool:
    """Whether the Hub answers within HUB_SECONDS. Its library retries for a minute and a half per file."""
    proxies = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    if os.environ.get("HF_HUB_OFFLINE") or any(os.environ.get(name) for name in proxies):
        return True  # decided already, or cannot be checked through a proxy
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    answered = threading.Event()

    def connect() -> None:
        with suppress(OSError), socket.create_connection((endpoint.hostname or "", port), HUB_SECONDS):
            answered.set()

    # In a thread, because a DNS lookup has no timeout of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return answered.is_set()
