"""Waits for the engine of a run: it is started where none lives, followed until it answers, and ended again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from engine.client.backend import POLL_SECONDS, RealBackend
from engine.client.connection import Connection, EngineGone
from engine.client.engine_client import EngineClient
from engine.config.paths import runs_folder
from engine.config.run_spec import ModelSpec, RunSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol.events import Stage
from engine.runs.folder import RunFolder

LEAVE_SECONDS = 20.0  # for an engine to end that may have an export to tidy up

# What is waited for: the stage that the engine is in, and the line that it is writing, such as a download's bar.
Tell = Callable[[Stage, str], None]


async def until_it_answers(client: EngineClient, tell: Tell, exports: bool = False) -> None:
    """Return when the attached run's engine takes requests, or refuses them in its own words.

    An engine is started where none lives and there is an adapter to load. `tell` is called as often as what is
    waited for changes. `exports`: wait until it can export, and not at all for one that trains.
    Raises `UserError` when no engine will answer.
    """
    launched = False
    told: tuple[Stage, str] | None = None
    while True:
        if client.folder is None:
            raise UserError("no_run", say("No run is open."))
        alive = client.alive  # asked first: what it wrote last is then there to read
        await client.catch_up()
        state = client.state
        coming = client.being_served
        if coming:
            launched = True  # by this call, or by one that was given up
        elif launched and state.failed:
            raise UserError(state.failed.code, state.failed.message, state.failed.hint)
        elif alive:
            if not state.ended and not state.failed and _answers(state.stage, exports):
                return
        elif launched:
            raise EngineGone(
                "engine_gone",
                say("The engine did not start. Its log says why: {path}", path=str(client.folder.log)),
            )
        elif state.trained or client.folder.has_adapter:
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
            raise EngineGone("engine_gone", say("No engine is running, and this run has no adapter to load."))
        waits_for: tuple[Stage, str] = ("starting", "") if coming or state.ended else (state.stage, client.doing)
        if waits_for != told:
            told = waits_for
            tell(*waits_for)
        await asyncio.sleep(POLL_SECONDS)


def _answers(stage: Stage, exports: bool) -> bool:
    """Raises `UserError` in a stage that leads to no export."""
    if exports and stage in ("ready", "preparing", "training"):
        raise UserError("busy", say("This run is being trained: wait until it is done."))
    return stage == "serving" if exports else stage not in ("starting", "loading")


@asynccontextmanager
async def serving(
    folder: RunFolder | None, tell: Tell, model: str = "", exports: bool = False
) -> AsyncIterator[tuple[Connection, EngineClient]]:
    """The engine of a run once it answers, and what is known of it: see `until_it_answers`.

    One that was started for this is ended with it. Without a folder, one is made for the length of this, with an
    engine that loads `model`, a name or path. Raises `SpecError` when that cannot be.
    """
    backend = RealBackend()
    client = EngineClient(backend)
    try:
        if folder:
            client.attach(folder)
            await client.catch_up()
        else:
            await client.warm_up(RunSpec(name="chat", model=ModelSpec(model_name=model)))
        await until_it_answers(client, tell, exports)
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
            need_adapter(run)
            return run, None
    if any((typed / name).is_file() for name in ("adapter_config.json", "config.json")):
        return None, typed.absolute()
    raise UserError(
        "no_such_run",
        say('"{target}" is neither a run nor the folder of an adapter or model.', target=target),
        say("A run's name is its folder's, below {folder}.", folder=str(runs_folder())),
        "run",
    )


def need_adapter(run: RunFolder) -> None:
    """Raises `UserError` for a run without one: an engine would need half a minute to find that out."""
    if not run.has_adapter:
        message = say("The run {run} has no trained adapter.", run=run.name)
        raise UserError("not_trained", message, say("Train it first: loris run SPEC.yaml"), "run")
