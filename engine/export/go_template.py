"""A chat template as Ollama writes them, in Go's template language, derived from a renderer's output.

The renderer (the tokenizer's Jinja template, or the Alpaca prompt) renders a conversation of marked turns; what
it puts around the marks is the template. It is used only if it renders other conversations to the same text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Messages = Sequence[Mapping[str, str]]
Renderer = Callable[[Messages], str]

_SYSTEM, _USER, _ANSWER, _LAST = "LorisMarkSystem", "LorisMarkFirst", "LorisMarkAnswer", "LorisMarkLast"
_BETWEEN = "\n\n"  # after a system text that the template rejects: it goes before the first question


class NoTemplate(ValueError):
    """The renderer does something that cannot be written as this kind of template."""


@dataclass(frozen=True)
class GoTemplate:
    """The texts around turns. `only_last`: the model does not see turns before the last.

    `start`: before the first turn, without a system text; `before_system`, `after_system`: around that,
    which is `system`: "first", or in the "last" question. `answer`: between question and answer; `question`:
    between answer and question; `end`: after the last question.
    """

    start: str
    before_system: str
    after_system: str
    system: Literal["first", "last", "unused"]
    answer: str
    question: str
    end: str
    only_last: bool = False

    def render(self, messages: Messages) -> str:
        """The text that Ollama makes of a conversation with this template."""
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        turns = [m for m in messages if m["role"] != "system"]
        if self.only_last:
            return self.start + turns[-1]["content"] + self.end
        first = system and self.system == "first"
        text = self.before_system + system + self.after_system if first else self.start
        for number, turn in enumerate(turns):
            last = number == len(turns) - 1
            if turn["role"] == "user":
                if last and system and self.system == "last":
                    text += self.before_system + system + self.after_system
                text += turn["content"] + (self.end if last else self.answer)
            else:
                text += turn["content"] + ("" if last else self.question)
        return text

    def go(self) -> str:
        """The template in Go's language."""
        w = _literal
        last = "{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        if self.only_last:
            turn = f"{{{{ if $last }}}}{w(self.start)}{{{{ .Content }}}}{w(self.end)}{{{{ end }}}}"
            return f"{{{{ range $i, $_ := .Messages }}}}{last}{turn}{{{{ end }}}}"
        start = w(self.start)
        if self.system == "first":
            with_system = f"{w(self.before_system)}{{{{ .System }}}}{w(self.after_system)}"
            start = f"{{{{ if .System }}}}{with_system}{{{{ else }}}}{start}{{{{ end }}}}"
        system = ""
        if self.system == "last":
            with_system = f"{w(self.before_system)}{{{{ $.System }}}}{w(self.after_system)}"
            system = f"{{{{ if and $last $.System }}}}{with_system}{{{{ end }}}}"
        asked = (
            f"{system}{{{{ .Content }}}}{{{{ if $last }}}}{w(self.end)}{{{{ else }}}}{w(self.answer)}{{{{ end }}}}"
        )
        answered = f"{{{{ .Content }}}}{{{{ if not $last }}}}{w(self.question)}{{{{ end }}}}"
        return (
            f"{start}{{{{ range $i, $_ := .Messages }}}}{last}"
            f'{{{{ if eq .Role "user" }}}}{asked}{{{{ else if eq .Role "assistant" }}}}{answered}{{{{ end }}}}'
            "{{ end }}"
        )


def derive(render: Renderer) -> GoTemplate:
    """The template of a renderer whose text ends where the answer starts. Raises `NoTemplate`."""
    plain = _cut(_turns(render, (_USER, _ANSWER, _LAST)), (_USER, _ANSWER, _LAST))
    if plain is None:
        last = _cut(_turns(render, (_LAST,)), (_LAST,))
        if last is None:
            raise NoTemplate("the turns are not all in the text")
        found = GoTemplate(last[0], "", "", "unused", "", "", last[1], only_last=True)
        _check_agreement(found, render, systems=False)
        return found
    start, answer, question, end = plain
    found = GoTemplate(start, "", _BETWEEN, "unused", answer, question, end)
    try:
        text = _turns(render, (_SYSTEM, _USER, _ANSWER, _LAST))
    except NoTemplate:
        text = ""  # it rejects a system text, as Gemma's does
    if first := _cut(text, (_SYSTEM, _USER, _ANSWER, _LAST)):
        found = GoTemplate(start, first[0], first[1], "first", answer, question, end)
    elif (late := _cut(text, (_USER, _ANSWER, _SYSTEM, _LAST))) and late[2].startswith(question):
        found = GoTemplate(start, late[2].removeprefix(question), late[3], "last", answer, question, end)
    elif text and _SYSTEM in text:
        raise NoTemplate("the system text stands where none is known to")
    _check_agreement(found, render, systems=found.system != "unused")
    if found.system == "unused":  # put it before the first question: better than to leave it out
        found = GoTemplate(start, start, _BETWEEN, "first", answer, question, end)
    return found


def _check_agreement(found: GoTemplate, render: Renderer, *, systems: bool) -> None:
    """Raises `NoTemplate` unless template and renderer give the same text for other conversations."""
    one, two, three = ("Hello, {name}!", "你好，世界。", 'A "third"\nline')
    for turns in ((one,), (one, two, three), (two, one, one, three, two)):
        talk = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
        for system in ("", "Answer briefly. 请用中文。") if systems else ("",):
            whole = [{"role": "system", "content": system}, *talk] if system else talk
            if found.render(whole) != _text(render, whole):
                raise NoTemplate("another conversation is written in another way")


def _turns(render: Renderer, marks: tuple[str, ...]) -> str:
    roles = {_SYSTEM: "system", _ANSWER: "assistant"}
    return _text(render, [{"role": roles.get(mark, "user"), "content": mark} for mark in marks])


def _text(render: Renderer, messages: Messages) -> str:
    try:
        return render(messages)
    except Exception as error:  # templates raise what they like
        raise NoTemplate(str(error)) from error


def _cut(text: str, marks: tuple[str, ...]) -> tuple[str, ...] | None:
    """The pieces between the marks; None unless each occurs exactly once, in this order."""
    pieces, rest = [], text
    for mark in marks:
        if text.count(mark) != 1 or mark not in rest:
            return None
        before, _, rest = rest.partition(mark)
        pieces.append(before)
    return (*pieces, rest)


def _literal(text: str) -> str:
    """Text escaped for a Go template."""
    return text.replace("{{", '{{ "{{" }}')
