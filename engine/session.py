"""The engine's main thread: load, train, save, then answer and export until nobody needs it."""

import gc
import os
import time
import traceback
from contextlib import nullcontext
from pathlib import Path

import unsloth  # noqa: F401  before transformers, trl and peft, which it patches

from engine.config.local_paths import absolute_paths, is_local
from engine.config.oom_fallback import WHOLE_MODEL_HINT, OutOfMemory, smaller_settings
from engine.config.run_spec import RunSpec
from engine.export.deliverables import Deliverable
from engine.export.delivery import Delivery
from engine.export.exports import Exports
from engine.export.push_queue import PushQueue
from engine.inference.generate import answer_prompts, generate
from engine.inference.other_adapter import OtherAdapter
from engine.inference.question import as_dicts, check_question
from engine.inference.scoring import score_answers
from engine.messages.errors import UserError, last_line
from engine.messages.exit_codes import COMPLETED, TERMINATED, UNDELIVERED
from engine.messages.message import N_, say
from engine.model import loading
from engine.model.hardware import has_gpu
from engine.model.vllm import vllm_arguments
from engine.preflight.tested_versions import changed_since
from engine.preflight.unfit import why_unfit
from engine.prompting.format_file import read_prompt_format
from engine.prompting.prompt_format import PromptFormat, prompt_format_for
from engine.protocol import events as ev
from engine.protocol.commands import (
    Deliver,
    Done,
    Export,
    Generate,
    Push,
    Refused,
    Score,
    ShowPrompt,
    Token,
    Train,
    TryRewards,
)
from engine.protocol.state import read_state
from engine.rewards.trial import try_rewards
from engine.runs import manifest
from engine.runs.folder import RunFolder
from engine.runs.summary_fields import write_run_spec
from engine.runtime import after_run
from engine.runtime.control import Control, Job
from engine.runtime.environment import installed_versions
from engine.runtime.explain import explain
from engine.runtime.ranks import is_distributed, is_main_process
from engine.runtime.recovery import RestartEngine, check_resume_rules, save_oom_fallback
from engine.training.method import Prepared
from engine.training.recipe import train
from engine.training.try_rewards import rows_of, try_spec

LEADER = is_main_process()
POLL_SECONDS, SAVE_RETRY_SECONDS = 1.0, 5.0
IDLE_MINUTES = 30.0


def idle_limit() -> float:
    """Seconds without a client after which the engine ends, because it occupies a GPU that may cost money."""
    try:
        return float(os.environ.get("LORIS_IDLE_MINUTES", IDLE_MINUTES)) * 60
    except ValueError:
        return IDLE_MINUTES * 60


class Session:
    """One model in memory, from load to export."""

    def __init__(self, folder: RunFolder, spec: RunSpec, control: Control) -> None:
        self._folder, self._spec = folder, spec
        self._control, self._record = control, control.record
        self._pushes = PushQueue(folder, spec.model.model_name, control)
        self._prompt_format = PromptFormat("plain")
        self._other_adapter = OtherAdapter()
        self._missing: list[Deliverable] = []  # of what the spec asks for after training
        self._loaded: loading.Loaded

    def run(self, *, wait: bool, serve: bool, exit_when_done: bool, resume: bool = False) -> int:
        """Do what the process was started for; returns its exit code. Raises `UserError` and other exceptions."""
        self._load(self._folder.result if serve else None)
        if serve:
            self._prompt_format = self._recorded_prompt_format()
        elif wait:
            self._record.enter("ready")
            self._carry_out_requests()
            if self._record.stage == "ready":
                return self._exit_code()
        if not serve:
            if not wait:
                # Without --resume, resume only a training that was interrupted.
                self._train(resume or not self._folder.result.exists())
            if self._control.terminate.is_set():
                return TERMINATED
            if LEADER:
                self._after_run()
            if exit_when_done or not LEADER or self._control.shutdown.is_set():
                return UNDELIVERED if self._missing else COMPLETED
        self._record.enter("serving")
        self._carry_out_requests()
        self._pushes.cancel()
        return self._exit_code()

    def _exit_code(self) -> int:
        return TERMINATED if self._control.terminate.is_set() else COMPLETED

    def _load(self, result: Path | None) -> None:
        """Load the model to train, or the result of the run, to answer."""
        self._record.enter("loading")
        if result and not self._folder.has_result:
            raise UserError(
                "adapter_missing",
                say("This run has no trained model."),
                say("Train it first, or check engine.log to see why it ended."),
                "run",
            )
        try:
            vllm = {} if result else vllm_arguments(self._spec)
            self._loaded = loading.load(self._spec.model, self._record, result, scores=self._spec.scores, vllm=vllm)
        except UserError:
            raise
        except Exception as error:
            raise self._with_smaller_settings(explain(error, "model.model_name"), loading=True) from error
        if self._loaded.tokenizer.chat_template:
            self._prompt_format = PromptFormat("messages")
        name = self._spec.model.model_name
        if kept := read_prompt_format(result or Path(name).expanduser()) if result or is_local(name) else None:
            self._prompt_format = kept

    def _recorded_prompt_format(self) -> PromptFormat:
        """The prompt format of the earlier run, from its events."""
        dataset = read_state(self._folder.events).dataset
        match dataset.format if dataset else "":
            case "alpaca" | "messages" | "plain" as kind:
                return prompt_format_for(self._spec.dataset, kind, self._loaded.tokenizer)
        return self._prompt_format

    def _train(self, resume: bool) -> None:
        """Train, save the result, answer the test prompts again, deliver. A failed export does not lose it."""
        record = self._record

        def ask(data: Prepared) -> None:
            self._prompt_format = data.method.prompt_format
            if LEADER and self._loaded.has_adapter:
                self._exports().keep_start_adapter()
            if self._spec.training.method == "grpo":
                stopped = self._control.stop.is_set
                try_rewards(self._loaded, self._spec, rows_of(data.train), record, stopped)
            self._ask_test_prompts(adapter=False)

        def on_checkpoint(step: int) -> None:
            if self._spec.generation.prompts_at_checkpoints:
                self._ask_test_prompts(adapter=True, step=step)

        checkpoint = manifest.newest_checkpoint(self._folder.checkpoints) if resume else None
        if checkpoint:
            check_resume_rules(checkpoint, self._spec)
            if changed := changed_since(self._folder.events, installed_versions()):
                record.emit(ev.Notice(code="versions_changed", message=changed, level="warning"))
        try:
            self._prompt_format = train(
                self._loaded, self._spec, self._folder, self._control, ask, checkpoint, on_checkpoint
            )
        except Exception as error:
            raise self._retry_or_fail(error) from error
        if self._control.terminate.is_set():
            return  # the checkpoint is on disk: a later engine resumes from it
        record.enter("saving")
        if LEADER:
            self._save_result()
            self._delivery().announce()
        gc.collect()
        self._ask_test_prompts(adapter=True)
        if LEADER:
            self._missing = self._delivery().run(self._control.terminate.is_set)

    def _retry_or_fail(self, error: Exception) -> Exception:
        """The exception for a failed training: `RestartEngine` to retry with less memory, if the spec allows it."""
        failure = self._with_smaller_settings(explain(error))
        if not isinstance(error, UserError):
            traceback.print_exception(error)
        changes = failure.changes if isinstance(failure, OutOfMemory) else ()
        if not (changes and self._spec.training.retry_out_of_memory) or is_distributed():
            return failure
        save_oom_fallback(self._folder, self._spec, changes, self._record)
        return RestartEngine()

    def _with_smaller_settings(self, failure: UserError, loading: bool = False) -> UserError:
        """The same failure; if memory ran out, with the settings that need less of it."""
        if isinstance(failure, OutOfMemory):
            host = failure.code == "out_of_host_memory" and self._record.stage == "preparing"
            failure.changes = smaller_settings(self._spec, has_gpu(), loading, host)
            if self._spec.model.full_finetuning and not host:
                failure.hint = WHOLE_MODEL_HINT
        return failure

    def _save_result(self) -> None:
        """Save the adapter, or the whole model. If the disk is full, wait and retry: the only copy is in memory."""
        deadline = time.monotonic() + idle_limit()
        warned = False
        while True:
            try:
                self._exports().export_result()
                return
            except Exception as error:
                why = explain(error)
                waits = why.code in ("disk_full", "not_writable") and time.monotonic() < deadline
                if not waits or self._control.ending:
                    raise
                if not warned:
                    warned = True
                    message = say(
                        "The result is not saved yet: {reason} Free some space in {folder}: Loris keeps trying.",
                        reason=str(why.message), folder=str(self._folder.path),
                    )  # fmt: skip
                    self._record.emit(ev.Notice(code="save_waits", message=message, level="warning"))
                self._control.wait_for_end(SAVE_RETRY_SECONDS)

    def _ask_test_prompts(self, *, adapter: bool, step: int | None = None) -> None:
        """Answer the spec's test prompts. A failure is only a warning: it must not end the run."""
        control = self._control
        if self._loaded.scores:
            if self._spec.generation.prompts:
                message = say("A reward model writes no answers: the test prompts are not asked.")
                self._record.emit(ev.Notice(code="prompts_skipped", message=message))
            return
        try:
            answer_prompts(
                self._loaded,
                self._prompt_format,
                self._spec.generation,
                self._record,
                adapter=adapter,
                cancelled=lambda: control.ending or (control.stop.is_set() and (not adapter or step is not None)),
                step=step,
            )
        except Exception as error:
            self._warn("prompt_failed", N_("A test prompt was not answered: {reason}"), error)

    def _warn(self, code: str, template: str, error: Exception) -> None:
        """Report a failure that does not end the run."""
        traceback.print_exception(error)
        reason = str(error) if isinstance(error, UserError) else last_line(error)
        self._record.emit(ev.Notice(code=code, message=say(template, reason=reason), level="warning"))

    def _carry_out_requests(self) -> None:
        """Carry out requests until a training ends, the engine is asked to end, or it was idle for too long."""
        control = self._control
        control.reset_idle_time()
        while not control.ending:
            job = control.next_job(POLL_SECONDS)
            if job is None:
                if self._record.stage == "ready" and self._folder.draft.exists() and control.orphaned:
                    control.shutdown.set()  # kept warm for a wizard that is gone: nobody will ever ask
                elif control.idle_seconds > idle_limit() and not self._pushes.running:
                    idle = say("No client was connected for {minutes} minutes: the engine ends.",
                               minutes=round(idle_limit() / 60, 1))  # fmt: skip
                    self._record.emit(ev.Notice(code="idle", message=idle))
                    control.shutdown.set()
                continue
            # The stage may have changed since the request was accepted.
            refused = control.refusal(job.command)
            if refused:
                job.reply(refused)
            elif isinstance(job.command, Push):
                self._pushes.start(job, job.command)  # runs in parallel, and replies by itself
                continue
            elif isinstance(job.command, Train):
                if self._accept(job, job.command):
                    control.job_done(job)
                    self._train(resume=False)
                    return
            else:
                answer = self._carry_out(job)
                control.job_done(job)
                job.reply(answer)  # last: a client with its reply must find the engine free
                control.reset_idle_time()
                continue
            control.job_done(job)
            control.reset_idle_time()

    def _accept(self, job: Job, command: Train) -> bool:
        """Accept a spec to train with; False, and a refusal sent, if it cannot be used."""
        spec = absolute_paths(command.spec)
        if why := why_unfit(spec, self._spec):
            job.reply(Refused.of(command.id, why))
        else:
            try:
                write_run_spec(self._folder, spec)
            except OSError as error:
                job.reply(Refused.of(command.id, explain(error)))
                return False
            self._spec = spec
            # The stage first: a client relies on it once it has the reply.
            self._record.enter("preparing")
            job.reply(Done(id=command.id))
            return True
        return False

    def _carry_out(self, job: Job) -> Done | Refused:
        """Answer or export, and return the last reply. An error ends only this request."""
        command, stage = job.command, self._record.stage
        try:
            if isinstance(command, Score):
                found = score_answers(
                    self._loaded, self._prompt_format, self._spec, command.prompt, command.answers
                )
                return Done(id=command.id, scores=found)
            if isinstance(command, Generate):
                return self._generate(job, command)
            if isinstance(command, Export):
                self._other_adapter.drop(self._loaded)
                return self._exports().handle_export(job, command)
            if isinstance(command, Deliver):
                return self._deliver(job, command)
            if isinstance(command, TryRewards):
                return self._try_rewards_of(job, command)
            assert isinstance(command, ShowPrompt)
            text = self._prompt_format.prompt(
                self._loaded.tokenizer, as_dicts(command.messages), command.generation.system_prompt
            )
            return Done(id=command.id, text=text)
        except Exception as error:
            if not isinstance(error, UserError):
                traceback.print_exc()
            return Refused.of(command.id, explain(error))
        finally:
            self._record.enter(stage)

    def _try_rewards_of(self, job: Job, command: TryRewards) -> Done:
        spec = absolute_paths(command.spec)
        if why := why_unfit(spec, self._spec):
            raise why
        cancelled = job.cancelled.is_set
        why_nothing = try_spec(self._loaded, spec, self._record, lambda: cancelled() or self._control.ending)
        return Done(id=command.id, note=why_nothing, finish_reason="cancelled" if cancelled() else "")

    def _delivery(self) -> Delivery:
        return Delivery(self._folder, self._spec, self._exports(), self._pushes, self._record, self._warn)

    def _after_run(self) -> None:
        missing = [one.label for one in self._missing]
        after_run.after_training(self._folder, self._spec, missing, self._record)

    def _deliver(self, job: Job, command: Deliver) -> Done:
        """Carry out what is missing, then the command after the run."""
        self._other_adapter.drop(self._loaded)

        def cancelled() -> bool:
            return job.cancelled.is_set() or self._control.ending

        self._missing = self._delivery().run(cancelled, (job, command.id), command.token)
        if cancelled():
            raise UserError("cancelled", say("Cancelled: what was done until then stays."))
        self._after_run()
        if self._missing:
            names = ", ".join(one.label for one in self._missing)
            raise UserError("undelivered", say("This is still missing: {names}.", names=names))
        return Done(id=command.id)

    def _exports(self) -> Exports:
        return Exports(self._folder, self._spec, self._loaded, self._prompt_format, self._control)

    def _generate(self, job: Job, command: Generate) -> Done:
        check_question(command, self._loaded)
        if job.cancelled.is_set():
            return Done(id=command.id, finish_reason="cancelled")
        other = command.other if command.adapter else self._start_adapter()
        with self._other_adapter.use(self._loaded, other) if other else nullcontext():
            answer = generate(
                self._loaded,
                self._prompt_format,
                as_dicts(command.messages),
                command.generation,
                adapter=command.adapter or bool(other),
                on_text=lambda text: job.reply(Token(id=command.id, text=text)),
                cancelled=lambda: job.cancelled.is_set() or self._control.ending,
            )
        return Done(
            id=command.id,
            tokens=answer.tokens,
            seconds=answer.seconds,
            finish_reason=answer.finish_reason,
            note=answer.likely_cause,
            prompt_tokens=answer.prompt_tokens,
            context_tokens=answer.context_tokens,
        )

    def _start_adapter(self) -> str:
        """The folder of the adapter that training continued from; empty if it began with the base model."""
        kept = self._folder.start_adapter
        return str(kept) if kept.is_dir() else ""
