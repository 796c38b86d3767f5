"""The proof screen: what it shows, what its keys change in the draft, and that it never blocks the keys."""

from __future__ import annotations

import msgspec
import pytest
from textual.pilot import Pilot

from engine.protocol.data_report import AnswerSummary, at_length
from tests.helpers.fake_prover import FAILED, LENGTHS, MEASURING, REPORT, STOPPED, FakeProver, proven
from tests.helpers.fake_run import screen_text
from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, at_step, settle
from tui.app import LorisApp
from tui.plots.length_plot import LengthPlot, columns, length_covering
from tui.screens.live import LiveScreen
from tui.screens.proof import ProofScreen
from tui.text.proof import facts
from tui.widgets.problem_list import ProblemList
from tui.widgets.token_view import LEARNED, MASKED, TokenPane, token_lines

SIZES = [(80, 24), (120, 36)]


def app_with(prover: FakeProver, **options: object) -> LorisApp:
    return LorisApp(language="en", preset="demo", backend=RecordingBackend(), prover=prover, **options)  # type: ignore[arg-type]


async def open_proof(pilot: Pilot[None], app: LorisApp, step: str = "dataset") -> ProofScreen:
    await settle(pilot)
    app.go(step)
    await until(pilot, at_step(pilot, step))
    await pilot.press("f7")
    await until(pilot, lambda: isinstance(app.screen, ProofScreen))
    screen = app.screen
    assert isinstance(screen, ProofScreen)
    return screen


def shown(pilot: Pilot[None]) -> str:
    return screen_text(pilot.app)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES)
async def test_the_mask_can_be_read_without_colour(size: tuple[int, int]) -> None:
    app = app_with(FakeProver())
    async with app.run_test(size=size) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "good to train" in shown(pilot))
        lines = shown(pilot).splitlines()
        answer = next(line for line in lines if "懒猴" in line)
        question = next(line for line in lines if "谁" in line)
        assert answer.lstrip().startswith(LEARNED)
        assert "<|im_end|>" in answer  # the end is a token, and learned
        assert question.lstrip().startswith(MASKED)
        await pilot.press("v")
        assert "<|im_start|>assistant" in shown(pilot)
        assert MASKED not in shown(pilot)
        await pilot.press("v")
        assert '"question": "你是 谁？"' in shown(pilot)
        await pilot.press("n")
        assert "Row 2 (2/3)" in shown(pilot)
        await pilot.press("p", "p")
        assert "Row 3 (3/3)" in shown(pilot)


def test_token_lines_fit_the_width_and_each_shows_whether_it_is_learned() -> None:
    row = proven(1, "why " * 30, "because\nso " * 20)
    for width in (10, 31, 78):
        lines = token_lines(row.tokens, width)
        assert all(line.cell_length <= width for line in lines)
        for gutter, learned in ((LEARNED, True), (MASKED, False)):
            text = "".join(line.plain[2:].replace("↵", "\n") for line in lines if line.plain.startswith(gutter))
            assert text == "".join(view.text for view in row.tokens if view.learned is learned)


async def test_the_line_moves_and_the_numbers_follow_until_enter_sets_it() -> None:
    prover = FakeProver()
    app = app_with(prover)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "good to train" in shown(pilot))
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.focused, LengthPlot))
        seen = set()
        for _ in range(12):
            await pilot.press("left")
            plot = app.screen.query_one(LengthPlot)
            now = at_length(REPORT, plot.at)
            await pilot.pause()
            assert f"At {plot.at} tokens: {now.rows_cut} rows are cut" in shown(pilot)
            seen.add(now.rows_cut)
        assert len(seen) > 3
        await pilot.press("end")
        assert app.screen.query_one(LengthPlot).at == 2240
        await pilot.press("enter")
        await until(pilot, lambda: len(prover.asked) == 2)
        assert app.draft["model.max_seq_length"] == 2240
        assert prover.asked[1].model.max_seq_length == 2240


def test_lengths_cover_the_share_that_they_say() -> None:
    rows = sum(n for _, n in LENGTHS)
    for share in (0.5, 0.9, 0.99, 1.0):
        length = length_covering(LENGTHS, share)
        assert sum(n for tokens, n in LENGTHS if tokens <= length) >= rows * share
        assert sum(n for tokens, n in LENGTHS if tokens < length) < rows * share
    assert sum(columns(LENGTHS, 2500, 40)) == rows
    assert columns(LENGTHS, 2500, 40)[-1] == 0


async def test_a_digit_applies_a_fix_and_measures_again() -> None:
    prover = FakeProver(answers=lambda spec: (MEASURING, REPORT if spec.dataset.drop_bad_rows else STOPPED))
    app = app_with(prover)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "that stop training" in shown(pilot))
        text = shown(pilot)
        assert "[red]answer[/] is empty" in text  # shown, not obeyed
        assert '{"question": null}' in text
        assert "1 Leave these rows out" in text
        await pilot.press("1")
        await until(pilot, lambda: "good to train" in shown(pilot))
        assert app.draft["dataset.drop_bad_rows"] is True
        assert not app.screen.query_one(ProblemList).items
        await pilot.press("1")  # nothing is left to fix
        await settle(pilot)
        assert len(prover.asked) == 2


async def test_enter_on_a_fix_applies_it_and_on_a_problem_shows_its_row() -> None:
    prover = FakeProver(answers=lambda spec: (STOPPED,))
    app = app_with(prover)
    async with app.run_test(size=(120, 36)) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: isinstance(app.focused, ProblemList))
        await pilot.press("enter")
        await until(pilot, lambda: "Row 3 (3/3)" in shown(pilot))
        app.screen.query_one(ProblemList).focus()
        await pilot.press("down", "down", "down", "enter")
        await until(pilot, lambda: app.draft["model.max_seq_length"] == 2240)


async def test_escape_stops_the_measuring_first_and_leaves_then() -> None:
    prover = FakeProver(hangs=True)
    app = app_with(prover)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "(24%)" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: prover.cancelled == 1)
        await until(pilot, lambda: "Ctrl+R starts it" in shown(pilot))
        prover.hangs = False
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "good to train" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, at_step(pilot, "dataset"))
        await pilot.press("f7")  # the report is still there: nothing is measured twice
        await until(pilot, lambda: "good to train" in shown(pilot))
        assert len(prover.asked) == 2


async def test_only_a_relevant_change_is_measured_again() -> None:
    prover = FakeProver()
    app = app_with(prover)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "good to train" in shown(pilot))
        for path, value, asked in (
            ("lora.r", 8, 1),
            ("dataset.test_size", 0.1, 2),  # the report tells how many rows are kept apart for it
            ("dataset.split", "train[:5]", 3),
        ):
            app.draft[path] = value
            app.go("dataset")
            await until(pilot, at_step(pilot, "dataset"))
            await pilot.press("f7")
            await until(pilot, lambda: "good to train" in shown(pilot))
            await settle(pilot)
            assert len(prover.asked) == asked, path


async def test_a_failure_leads_to_its_setting() -> None:
    app = app_with(FakeProver(answers=lambda spec: (FAILED,)))
    async with app.run_test(size=(80, 24)) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "There is no model here: /models/[nope]" in shown(pilot))
        assert "Choose a model on the Model screen." in shown(pilot)
        await until(pilot, lambda: isinstance(app.focused, ProblemList))
        await pilot.press("down", "enter")
        await until(pilot, at_step(pilot, "model"))


async def test_any_row_can_be_requested_by_its_number() -> None:
    far = proven(512, answer="a far row")
    prover = FakeProver(
        answers=lambda spec: (REPORT,) if spec.dataset.split == "train" else (_replaced(REPORT, examples=(far,)),)
    )
    app = app_with(prover)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "good to train" in shown(pilot))
        await pilot.press("g", *"99999999", "enter")
        assert "Type a number from 1 to" in shown(pilot)
        await pilot.press("ctrl+u", *"512", "enter")
        await until(pilot, lambda: "Row 512" in shown(pilot))
        assert prover.asked[-1].dataset.split == "train[511:512]"
        assert "a far row" in shown(pilot)


def _replaced(report: object, **changes: object) -> object:
    import msgspec

    return msgspec.structs.replace(report, **changes)  # type: ignore[type-var]


async def test_the_review_lists_the_stops_and_does_not_start() -> None:
    backend = RecordingBackend()
    prover = FakeProver(answers=lambda spec: (STOPPED,))
    app = LorisApp(language="en", preset="demo", backend=backend, prover=prover)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("review")
        await until(pilot, at_step(pilot, "review"))
        await settle(pilot)
        assert "not proven yet" in shown(pilot)
        await pilot.press("f7")
        await until(pilot, lambda: "that stop training" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, at_step(pilot, "review"))
        await settle(pilot)
        assert "Rows that cannot be learned: 2" in shown(pilot)
        await pilot.press("ctrl+r")
        await settle(pilot)
        assert not backend.specs
        app.screen.query_one("#wrong").focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ProofScreen))
        app.draft["dataset.drop_bad_rows"] = True  # another spec, to which the report does not apply
        await pilot.press("escape")
        await until(pilot, at_step(pilot, "review"))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))


async def test_the_worker_ends_with_the_app() -> None:
    prover = FakeProver()
    app = app_with(prover)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "good to train" in shown(pilot))
        assert isinstance(app.screen.query_one(TokenPane), TokenPane)
        await pilot.press("ctrl+q")
    assert prover.closed


@pytest.mark.parametrize("size", SIZES)
async def test_both_sides_of_a_pair_are_shown_with_their_lengths(size: tuple[int, int]) -> None:
    pair = msgspec.structs.replace(
        proven(1, answer="Hello there."), rejected=proven(1, answer="Go away now please.")
    )
    summary = AnswerSummary(pairs=90, equal=2, chosen_longer=45, chosen_tokens=12.4, rejected_tokens=9.6, good=0)
    report = msgspec.structs.replace(REPORT, examples=(pair,), answers=summary, tied_rows=3)
    app = app_with(FakeProver(lambda spec: [report]))
    async with app.run_test(size=size) as pilot:
        await open_proof(pilot, app)
        await until(pilot, lambda: "✓ chosen" in shown(pilot))
        pane = pilot.app.screen.query_one(TokenPane)
        text = str(pane._body.render())
        chosen, rejected = text.split("✗ rejected")
        assert "Hello there." in chosen
        assert "Go away now please." in rejected
        for side, row in ((chosen, pair), (rejected, pair.rejected)):
            assert row
            assert f"{row.length} tokens, {row.learned} learned" in side
            assert LEARNED in side
            assert MASKED in side
        await pilot.press("v")
        assert LEARNED not in str(pane._body.render())
        assert "<|im_start|>assistant\n Go away" in str(pane._body.render())
    lines = "\n".join(facts(report))
    assert "Pairs: 90; 2 of equal answers. Chosen is the longer one in 50%." in lines
    assert "Mean tokens learned: 12 of a chosen answer, 10 of a rejected one." in lines
    assert "no answer is better: 3 rows" in lines


def test_votes_and_prompts_in_sentences() -> None:
    votes = msgspec.structs.replace(REPORT, answers=AnswerSummary(good=3, bad=1))
    assert "Votes: 3 good, 1 bad (75% good)." in facts(votes)
    prompts = "\n".join(facts(msgspec.structs.replace(REPORT, learns_answers=False)))
    assert "The model writes the answers itself." in prompts
    assert "lose their whole answer" not in prompts
