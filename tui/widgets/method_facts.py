"""A training method's numbers as texts: its metrics with their lights, and scored answers of the model."""

from itertools import groupby

from rich.cells import cell_len, set_cell_size

from engine.config.methods import METHODS
from engine.config.methods.method import Light
from engine.protocol.events import Completions, ScoredAnswer
from engine.protocol.state import RunState
from tui.plots.sparkline import sparkline
from tui.text.metrics import LEVELS, in_order, lights_of, number, title_of
from tui.text.sanitize import visible
from tui.text.translation import _, render
from tui.widgets.facts import MUTED, Part

TITLE_CELLS, VALUE_CELLS, CURVE_CELLS = 32, 9, 14  # three values fit into 80 columns


def method_parts(method: str, state: RunState, unicode: bool = True) -> list[Part]:
    """The lights with their reasons, then each metric: now, at the start, on the held-out rows, and its curve."""
    parts: list[Part] = [(_(METHODS[method].title) + "\n", "bold")] if method in METHODS else []
    curves = state.metric_curves
    if not curves:
        return [*parts, (_("The method's numbers appear here with the first steps."), MUTED)]
    lights = lights_of(method, state)
    for light in lights:
        parts += _light(light)
    signs = {light.metric: light for light in reversed(lights)}
    held_out = _("held-out") if state.eval_metrics else ""
    heads = (_("now"), _("start"), *filter(None, (held_out,)))
    parts.append((" " * (TITLE_CELLS + 3) + "".join(map(_cell, heads)) + "\n", MUTED))
    for key in in_order(curves):
        curve = curves[key]
        sign, _words, style = LEVELS[signs[key].level] if key in signs else (" ", "", "")
        values = [curve.values[-1], curve.values[0], *([state.eval_metrics.get(key)] if held_out else [])]
        title = set_cell_size(title_of(key), TITLE_CELLS)
        parts += [
            (f"{sign} ", style),
            (f"{title} ", MUTED),
            ("".join(_cell(number(value)) for value in values), ""),
            (sparkline(curve, CURVE_CELLS, unicode) + "\n", "$success"),
        ]
    return parts


def _cell(text: str) -> str:
    """A column of the table, at least one blank wide at its end."""
    return set_cell_size(text, max(VALUE_CELLS, cell_len(text) + 1))


def _light(light: Light) -> list[Part]:
    sign, words, style = LEVELS[light.level]
    return [(f"{sign} {_(words)}  ", style), (visible(render(light.message)) + "\n", "")]


def scored_parts(state: RunState) -> list[Part]:
    """The newest answers that the model wrote in training, then those of the trial, each with its scores."""
    parts: list[Part] = []
    if latest := state.completions:
        parts += [(_("Written at step {step}").format(step=latest.step) + "\n", "bold"), *_answers(latest)]
    if state.trial:
        parts += [("\n", "")] if parts else []
        parts += [(_("Trial of the rewards, before training") + "\n", "bold"), *_answers(state.trial)]
    return parts or [(_("Answers of the model and their scores appear here."), MUTED)]


def _answers(scored: Completions) -> list[Part]:
    parts: list[Part] = []
    if len(scored.answers) > 1 and len({answer.reward for answer in scored.answers}) == 1:
        parts += [
            ("✗ ", "bold $error"),
            (_("All have the same score: nothing can be learned from them.") + "\n", ""),
        ]
    for prompt, answers in groupby(scored.answers, key=lambda answer: answer.prompt):
        parts.append(("» " + " ".join(visible(prompt).split()) + "\n", "bold"))
        for answer in answers:
            parts += _answer(answer)
    return parts


def _answer(answer: ScoredAnswer) -> list[Part]:
    """The reward, the score of each check (– where it does not apply), then the text."""
    scores = [f"{visible(name)} {number(score) or '–'}" for name, score in answer.scores.items()]
    if answer.cut:
        scores.append(_("cut"))
    facts = f"  {' · '.join(scores)}" if scores else ""
    return [
        (f"  {number(answer.reward)}", "bold"), (facts + "\n", MUTED),
        ("  " + visible(answer.answer).strip().replace("\n", "\n  ") + "\n", ""),
    ]  # fmt: skip
