"""Starts the engine of a run if none is running, waits until it is ready, and ends it again."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from engine.client.backend import POLL_SECONDS, RealBackend
from engine.client.connection import Connection, EngineGone
from engine.client.engine_client import EngineClient
from engine.config.paths import runs_folder
from engine.config.run_spec import ModelSpec, RunSpec, TrainingSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol.events import Stage
from engine.runs.folder import RunFolder
from engine.runs.model_folder import is_reward_model

LEAVE_SECONDS = 20.0  # for an engine to exit, which may have to clean up an export

# Receives the engine's stage and the log line that it is writing, such as a download's progress bar.
OnWait = Callable[[Stage, str], None]


async def wait_for_engine(client: EngineClient, on_wait: OnWait, exports: bool = False) -> None:
    """Return when the attached run's engine accepts requests, or refuses them with a message.

    An engine is started if none is running and there is a result to load. `on_wait` is called whenever its
    arguments change. `exports`: wait until the engine can export; raise if it is training.
    Raises `UserError` when no engine will answer.
    """
    launched = False
    reported: tuple[Stage, str] | None = None
    while True:
        if client.folder is None:
            raise UserError("no_run", say("No run is open."))
        alive = client.alive  # before `catch_up`, so that its final events are read
        await client.catch_up()
        state = client.state
        coming = client.is_launching
        if coming:
            launched = True  # by this call, or by one that was cancelled
        elif launched and state.failed:
            raise UserError(state.failed.code, state.failed.message, state.failed.hint)
        elif alive:
            if not state.ended and not state.failed and _is_ready(state.stage, exports):
                return
        elif launched:
            raise EngineGone(
                "engine_gone",
                say("The engine did not start. Its log says why: {path}", path=str(client.folder.log)),
            )
        elif state.trained or client.folder.has_result:
            try:
                client.serve()
            except OSError as error:
                reason = error.strerror or str(error)
                raise UserError(
                    "not_started", say("The engine could not be started: {reason}", reason=reason)
                ) from error
            launched = coming = True
        elif state.failed:
            raise UserError(state.failed.code, state.failed.message, state.failed.hint)
        else:
            raise EngineGone("engine_gone", say("No engine is running, and this run has no trained model to load."))
        waits_for: tuple[Stage, str] = ("starting", "") if coming or state.ended else (state.stage, client.log_line)
        if waits_for != reported:
            reported = waits_for
            on_wait(*waits_for)
        await asyncio.sleep(POLL_SECONDS)


def _is_ready(stage: Stage, exports: bool) -> bool:
    """Raises `UserError` if `exports` in a stage from which no export is possible."""
    if exports and stage in ("ready", "preparing", "training"):
        raise UserError("busy", say("This run is being trained: wait until it is done."))
    return stage == "serving" if exports else stage not in ("starting", "loading")


@asynccontextmanager
async def serving(
    folder: RunFolder | None,
    on_wait: OnWait,
    model: str = "",
    exports: bool = False,
    stay: bool = False,
    spec: RunSpec | None = None,
) -> AsyncIterator[tuple[Connection, EngineClient]]:
    """A connection to the engine of a run once it is ready, and its client: see `wait_for_engine`.

    An engine that was started here is ended on exit, or ends by itself if this process is killed, unless `stay`.
    Without a folder, a temporary run is created: of `spec`, or one whose engine loads `model`, a name or path.
    Raises `SpecError` when that fails.
    """
    backend = RealBackend(ends_with_caller=not stay)
    client = EngineClient(backend)
    try:
        if folder:
            client.attach(folder)
            await client.catch_up()
        else:
            method = "reward" if is_reward_model(Path(model)) else "sft"
            chat = RunSpec(name="chat", model=ModelSpec(model_name=model), training=TrainingSpec(method=method))
            await client.warm_up(spec or chat)
        await wait_for_engine(client, on_wait, exports)
        assert client.folder is not None
        yield await backend.connection(client.folder), client
    finally:
        await client.drop_warm()
        await backend.close(LEAVE_SECONDS)


def find_target(target: str) -> tuple[RunFolder | None, Path | None]:
    """What to chat with: (the run of this name or folder, None) or (None, the folder of an adapter or model).

    Raises `UserError`.
    """
    typed = Path(os.path.expanduser(target))
    for path in (typed, runs_folder() / target):
        if (path / "spec.yaml").is_file():
            run = RunFolder(Path(os.path.realpath(path)))
            require_result(run)
            return run, None
    if any((typed / name).is_file() for name in ("adapter_config.json", "config.json")):
        return None, typed.absolute()
    raise UserError(
        "no_such_run",
        say('"{target}" is neither a run nor the folder of an adapter or model.', target=target),
        say("A run's name is its folder's, below {folder}.", folder=str(runs_folder())),
        "run",
    )


def require_result(run: RunFolder) -> None:
    """Raises `UserError` for an untrained run: an engine would need half a minute to find that out."""
    if not run.has_result:
        message = say("The run {run} has no trained model.", run=run.name)
        raise UserError("not_trained", message, say("Train it first: loris run SPEC.yaml"), "run")
