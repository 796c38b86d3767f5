"""The chat without its screen: who can answer, which messages each receives, notes on answers."""

from dataclasses import dataclass
from pathlib import Path

from engine.config.prompt_templates import placeholders
from engine.protocol.commands import ChatMessage, Done
from engine.runs.folder import RunFolder
from engine.runs.run_list import RunSummary, list_runs
from tui.state.run_session import Answer, RunSession, Turn
from tui.text.amounts import rate
from tui.text.translation import _


@dataclass(frozen=True)
class Speaker:
    """Who answers: the base model, the run's adapter, or the adapter of another run's folder.

    Without `adapter`, `other` is the folder of the adapter that the run's training continued from.
    """

    adapter: bool
    other: str = ""

    @property
    def name(self) -> str:
        if not self.adapter:
            return _("before training") if self.other else _("base model")
        return Path(self.other).name if self.other else _("with the adapter")


BASE, ADAPTER = Speaker(False), Speaker(True)


def speaker_name(speaker: Speaker, whole: bool) -> str:
    """Who answers, for users. `whole`: the run trained all weights, so there is no adapter."""
    return _("trained model") if whole and speaker == ADAPTER else speaker.name


def can_adapt(session: RunSession) -> bool:
    """Whether a trained model can answer: this run's, or an adapter that the model came with."""
    return session.state.trained or bool(session.state.model and session.state.model.has_adapter)


def speaker_before(session: RunSession) -> Speaker:
    """The model before training: the base model, or the adapter that training continued from."""
    if session.folder and session.state.trained and session.state.continues_adapter:
        return Speaker(False, str(session.folder.start_adapter))
    return BASE


def lacks_base(session: RunSession) -> bool:
    """Whether all weights were trained, so that neither the base model nor another adapter can answer."""
    return session.state.whole


def speaker_choices(other: str, before: Speaker = BASE) -> list[tuple[Speaker, ...]]:
    """The choices of who answers, in the order that the key cycles through. `before`: see `speaker_before`."""
    found: list[tuple[Speaker, ...]] = [(ADAPTER,), (before,), (before, ADAPTER)]
    return [*found, (ADAPTER, Speaker(True, other))] if other else found


def other_runs(folder: RunFolder | None, model: str) -> list[RunSummary]:
    """The other runs with an adapter on this model. Reads part of each run: call it in a thread."""
    return [run for run in list_runs() if run.trained and run.model == model and run.folder != folder
            and not run.folder.model.is_dir()]  # fmt: skip


def messages_for(before: tuple[Turn, ...], asked: Turn, speaker: Speaker) -> tuple[ChatMessage, ...]:
    """The conversation for this model: its own answers where there are any, else another's."""
    messages = []
    for turn in before:
        given = [a for a in turn.answers if a.text and not a.failed]
        mine = next(
            (a for a in given if (a.adapter, a.other) == (speaker.adapter, speaker.other)),
            given[0] if given else None,
        )
        if mine:
            messages += [ChatMessage("user", turn.question, turn.input), ChatMessage("assistant", mine.text)]
    return (*messages, ChatMessage("user", asked.question, asked.input))


def takes_input(session: RunSession) -> bool:
    """Whether the run's prompt template has a place for an input next to the question."""
    dataset = session.state.dataset
    trained_on_pairs = dataset is not None and dataset.format == "alpaca"
    return bool(trained_on_pairs and session.spec and "input" in placeholders(session.spec.dataset.prompt_template))


def best_answer(turns: list[Turn]) -> Answer | None:
    """The last complete answer; of several in one turn the last one, which is the adapter's."""
    given = [a for turn in turns for a in turn.answers if a.text and not a.failed]
    return given[-1] if given else None


def answer_note(tokens: int, seconds: float, done: Done | None = None) -> str:
    """A note on an answer: its length, speed, and use of the context."""
    parts = [_("{count} tokens").format(count=tokens), rate(tokens, seconds)]
    if done and done.finish_reason == "length":
        parts.append(_("cut at {count} tokens").format(count=tokens))
    elif done and done.finish_reason == "cancelled":
        parts.append(_("stopped"))
    if done and done.context_tokens:
        used = done.prompt_tokens + done.tokens
        parts.append(_("context {used}/{limit}").format(used=used, limit=done.context_tokens))
    return " · ".join(part for part in parts if part)
