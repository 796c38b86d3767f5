"""The panes next to a run's loss curve."""

from __future__ import annotations

from engine.protocol.state import fold


def test_answers_at_checkpoints_are_between_before_and_after() -> None:
    from engine.protocol import events as ev
    from tui.widgets.facts import answer_parts

    def answered(text: str, adapter: bool, step: int | None = None) -> ev.Answered:
        return ev.Answered(
            prompt="Who?", answer=text, adapter=adapter, tokens=3, seconds=1, finish_reason="eos", step=step
        )

    state = fold([
        answered("base", False), answered("at forty\nlines", True, 40), answered("at 120", True, 120),
        answered("final", True),
    ])  # fmt: skip
    text = "".join(part[0] for part in answer_parts(state))
    places = [text.index(words) for words in ("base", "step  40 │ at forty lines", "step 120 │ at 120", "final")]
    assert places == sorted(places)
    assert text.count("after") == 1
