# ruff: noqa: T201
"""Implements the engine's protocol without an engine: FAKE_PLAY names the scenario."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from engine.config.change import Change
from engine.messages.message import say
from engine.protocol import commands as cmd
from engine.protocol import events as ev
from engine.runs.folder import RunFolder

PLAY = os.environ["FAKE_PLAY"]
CARD = ev.Device(kind="cuda", name="Pretend T4", total_bytes=16 << 30)
STEPS = 5


class FakeEngine:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.events = folder.events.open("ab", buffering=0)
        self.stop = asyncio.Event()
        self.now = asyncio.Event()
        self.over = asyncio.Event()

    def emit(self, event: ev.AnyEvent) -> None:
        import msgspec

        self.events.write(ev.encode(msgspec.structs.replace(event, time=time.time(), elapsed=time.monotonic())))

    def stage(self, stage: ev.Stage) -> None:
        self.emit(ev.StageChanged(stage=stage))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cancelled: set[int] = set()
        tasks = set()
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                task = asyncio.create_task(self.answer(cmd.decode_command(line), writer, cancelled))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def answer(self, command: cmd.AnyCommand, writer: asyncio.StreamWriter, cancelled: set[int]) -> None:
        def reply(reply: cmd.AnyReply) -> None:
            writer.write(cmd.encode(reply) + b"\n")

        match command:
            case cmd.Generate(messages=messages):
                for letter in messages[-1].content:
                    if command.id in cancelled:
                        reply(cmd.Done(id=command.id, finish_reason="cancelled"))
                        return
                    reply(cmd.Token(id=command.id, text=letter))
                    await asyncio.sleep(0.02)
                reply(cmd.Done(id=command.id, tokens=len(messages[-1].content), finish_reason="eos"))
            case cmd.Cancel(target=target):
                cancelled.add(target)
                reply(cmd.Done(id=command.id))
            case cmd.Export():
                reply(cmd.Refused(id=command.id, code="nope", message=say("No {what}.", what="export"), field="x"))
            case cmd.Train(spec=spec):
                reply(cmd.Done(id=command.id, path=spec.dataset.path))
            case cmd.Deliver():
                for share in (1, 2):
                    reply(cmd.ExportProgress(id=command.id, step="copying", done=share, total=2))
                if PLAY == "undelivered":
                    reply(cmd.Refused(id=command.id, code="undelivered", message=say("Missing.")))
                else:
                    self.emit(
                        ev.Exported(kind="merged_16bit", path="/drive/merged_16bit", total_bytes=5, seconds=0)
                    )
                    self.emit(ev.Undelivered())
                    reply(cmd.Done(id=command.id))
            case cmd.Stop(mode=mode):
                self.stop.set()
                if mode != "save":
                    self.now.set()
                reply(cmd.Done(id=command.id))
            case cmd.SaveCheckpoint():
                os._exit(9)  # dies without answering
            case _:
                self.over.set()
                reply(cmd.Done(id=command.id))

    async def train(self) -> int:
        if PLAY == "fail":
            self.emit(ev.Failed(code="x", message=say("Out of memory."), hint=say("Lower the batch size.")))
            print("the last words of a library")
            return 1
        if PLAY == "memory":
            values = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
            changes = tuple(Change(field=f"training.{name}", value=value) for name, value in values.items())
            self.emit(ev.Failed(code="out_of_memory", message=say("Out of memory."), changes=changes))
            return 1
        if PLAY == "fail_field":
            self.emit(ev.Failed(code="x", message=say("No such {x}.", x="repository"), field="model.model_name"))
            return 2
        self.stage("loading")
        if PLAY == "slow_loading":
            await self.over.wait()
            return 0
        self.emit(
            ev.ModelLoaded(
                model_name="m\x1b]0;evil\x07", parameters=10**9, dtype="float16", load_in_4bit=True, device=CARD,
                reserved_bytes=1 << 30,
            )
        )  # fmt: skip
        self.emit(ev.Answered(prompt="Who are you?", answer="A base.", adapter=False, tokens=3, seconds=1,
                              finish_reason="eos"))  # fmt: skip
        self.stage("preparing")
        self.emit(ev.TrainingStarted(total_steps=STEPS, num_train_epochs=1, effective_batch_size=8, optim="adamw",
                                     dtype="float16", reserved_bytes=1 << 30))  # fmt: skip
        self.stage("training")
        step = 0
        while not self.stop.is_set() and (step < STEPS or PLAY == "until_stop"):
            step += 1
            self.emit(ev.Step(step=step, epoch=0.1, loss=3 / step, learning_rate=1e-4, tokens_per_second=99.0,
                              reserved_bytes=2 << 30, peak_reserved_bytes=3 << 30))  # fmt: skip
            if PLAY == "die" and step == 3:
                print("about to vanish", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(0.02)
        outcome: ev.Outcome = "stopped" if self.stop.is_set() else "completed"
        self.emit(ev.TrainingFinished(outcome=outcome, steps=step, train_loss=1.0, seconds=61, device=CARD,
                                      start_reserved_bytes=1 << 30, peak_reserved_bytes=3 << 30))  # fmt: skip
        self.stage("saving")
        self.folder.adapter.mkdir()
        self.emit(ev.Exported(kind="adapter", path=str(self.folder.adapter), total_bytes=5, seconds=0))
        self.emit(ev.Answered(prompt="Who are you?", answer="A loris.", adapter=True, tokens=3, seconds=1,
                              finish_reason="eos"))  # fmt: skip
        if PLAY in ("delivering", "undelivered"):
            self.emit(ev.Undelivered(missing=("merged_16bit", "merged_16bit → drive")))
            self.stage("exporting")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.now.wait(), 1.0)
            if PLAY == "undelivered" or self.now.is_set():
                return 4
            self.emit(ev.Undelivered())
        return 0


async def main() -> int:
    folder = RunFolder(Path(sys.argv[1]))
    lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if PLAY == "crash":
        raise ModuleNotFoundError("No module named 'unsloth'")
    engine = FakeEngine(folder)
    engine.emit(ev.EngineStarted(pid=os.getpid(), hostname="here", versions={}))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: os._exit(terminated(engine)))
    folder.socket.parent.mkdir(mode=0o700, exist_ok=True)
    server = await asyncio.start_unix_server(engine.serve, folder.socket)
    try:
        if "--wait" in sys.argv or "--serve" in sys.argv:
            if PLAY == "slow_loading":
                engine.stage("loading")
                await engine.over.wait()
            if PLAY == "fail":
                engine.emit(ev.Failed(code="x", message=say("The model's files are gone."), hint=say("Look.")))
                return 1
            if PLAY == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            engine.stage("serving" if "--serve" in sys.argv else "ready")
            await engine.over.wait()
            code = 0
        else:
            code = await engine.train()
        await asyncio.sleep(0.05)
        engine.emit(ev.EngineEnded(exit_code=code))
        return code
    finally:
        server.close()
        folder.socket.unlink(missing_ok=True)


def terminated(engine: FakeEngine) -> int:
    engine.emit(ev.CheckpointSaved(step=1, path="checkpoints/checkpoint-1"))
    engine.emit(ev.EngineEnded(exit_code=143))
    return 143


if __name__ == "__main__":
    print("arguments", sys.argv[2:], "niceness", os.nice(0), "leader", os.getsid(0) == os.getpid(), flush=True)
    sys.exit(asyncio.run(main()))
