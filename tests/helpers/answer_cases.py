"""Typical rows of pairs, votes and prompts: what each training method reads in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.helpers.dataset_cases import BOT, USER

Row = dict[str, Any]
ASKED, YO, NO = [USER], [BOT], [{"role": "assistant", "content": "No"}]
HH = "\n\nHuman: Hi\n\nAssistant: Hey\n\nHuman: Who?\n\nAssistant: "
HH_PROMPT = "user: Hi\nassistant: Hey\nuser: Who?"


@dataclass(frozen=True)
class AnswerCase:
    """A row, and what is read in it. `prompt`: the turns before the answer. `good`: of a vote.

    `answer`: the chosen, voted or right one.
    """

    name: str
    method: str
    row: Row
    kind: str
    prompt: str
    answer: str
    rejected: str | None = None
    good: bool | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def pair(name: str, row: Row, prompt: str = "user: Hi", answer: str = "Yo", rejected: str = "No",
         **settings: Any) -> AnswerCase:  # fmt: skip
    return AnswerCase(name, "dpo", row, "preference", prompt, answer, rejected, settings=settings)


def vote(name: str, row: Row, good: bool, prompt: str = "user: Hi", **settings: Any) -> AnswerCase:
    return AnswerCase(name, "kto", row, "votes", prompt, "Yo", good=good, settings=settings)


def asked(name: str, row: Row, answer: str = "", prompt: str = "user: Hi", **settings: Any) -> AnswerCase:
    return AnswerCase(name, "grpo", row, "prompts", prompt, answer, settings=settings)


TWO = {"prompt": "Hi", "answer_a": "No", "answer_b": "Yo"}
CASES = [
    # Pairs: a column for each answer
    pair("texts", {"prompt": "Hi", "chosen": "Yo", "rejected": "No"}),
    pair("question and system", {"system": "S", "question": "Hi", "chosen": "Yo", "rejected": "No"},
         "system: S\nuser: Hi"),
    pair("instruction and input", {"instruction": "Hi", "input": "you", "chosen": "Yo", "rejected": "No"},
         "user: Hi\n\nyou"),
    pair("turns", {"prompt": ASKED, "chosen": YO, "rejected": NO}),
    pair("turns in JSON", {"prompt": '[{"role": "user", "content": "Hi"}]', "chosen": "Yo", "rejected": "No"}),
    pair("a prompt of turns, answers of text", {"prompt": ASKED, "chosen": "Yo", "rejected": "No"}),
    pair("a prompt of text, answers of turns", {"prompt": "Hi", "chosen": YO, "rejected": NO}),
    pair("a prompt that the chats repeat as text (ultrafeedback)",
         {"prompt": "Hi", "chosen": ASKED + YO, "rejected": ASKED + NO, "score_chosen": 8.5, "score_rejected": 6}),
    pair("a prompt that the chats repeat as turns",
         {"prompt": ASKED, "chosen": ASKED + YO, "rejected": ASKED + NO}),
    pair("whole chats", {"chosen": ASKED + YO, "rejected": ASKED + NO}),
    pair("ShareGPT with a conversation (LLaMA-Factory)",
         {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "Yo"},
          "rejected": {"from": "gpt", "value": "No"}}),
    pair("whole dialogues in text (hh-rlhf)", {"chosen": HH + "Yo", "rejected": HH + "No"}, HH_PROMPT),
    pair("texts with a common start", {"chosen": "Q: Hi\nA: Yo", "rejected": "Q: Hi\nA: No"}, "user: Q: Hi\nA:"),
    pair("response_j/response_k", {"question": "Hi", "response_j": "Yo", "response_k": "No"}),
    pair("win/lose", {"prompt": "Hi", "lose": "No", "win": "Yo"}),
    pair("better_answer/worse_answer", {"query": "Hi", "better_answer": "Yo", "worse_answer": "No"}),
    pair("names in Chinese", {"问题": "Hi", "选中": "Yo", "拒绝": "No"}),
    pair("columns named by the user", {"q": "Hi", "x": "Yo", "y": "No"},
         instruction_column="q", chosen_column="x", rejected_column="y"),
    # Pairs: two answers, and which is better
    pair("a winner by letter", TWO | {"preference": "b"}),
    pair("a winner by name", TWO | {"winner": "answer_b"}),
    pair("a winner by model (arena)",
         {"conversation_a": ASKED + NO, "conversation_b": ASKED + YO, "winner": "model_b"}),
    pair("a winner by number from 0 (SafeRLHF)",
         {"prompt": "Hi", "response_0": "No", "response_1": "Yo", "better_response_id": 1}),
    pair("a winner by number from 1", {"prompt": "Hi", "output_1": "No", "output_2": "Yo", "preference": 2.0}),
    pair("two answers with two scores", TWO | {"score_a": 1, "score_b": "2.5"}),
    pair("scores by the answers' names",
         {"prompt": "Hi", "response_1": "Yo", "response_2": "No", "response_1_score": 4, "response_2_score": 3}),
    # Pairs: lists of answers
    pair("a list of answers, a list of scores",
         {"prompt": "Hi", "responses": ["so", "No", "Yo"], "scores": [2, 1, 3]}),
    pair("a list of answers with ratings",
         {"instruction": "Hi", "completions": [{"response": "No", "overall_score": 1.0},
                                               {"response": "Yo", "overall_score": 9.0}]}),
    pair("a list of answers with ranks (nectar)",
         {"prompt": "Hi", "answers": [{"answer": "Yo", "rank": 1.0}, {"answer": "so", "rank": 2.0},
                                      {"answer": "No", "rank": 7.0}]}),
    pair("lists in JSON", {"prompt": "Hi", "generations": '["Yo", "No"]', "rating": "[5, 1]"}),
    # Votes
    vote("true and false", {"prompt": "Hi", "completion": "Yo", "label": True}, True),
    vote("0 and 1", {"question": "Hi", "answer": "Yo", "label": 0}, False),
    vote("up and down", {"prompt": "Hi", "response": "Yo", "feedback": "thumbs_up"}, True),
    vote("turns", {"prompt": ASKED, "completion": YO, "label": "false"}, False),
    vote("whole chats", {"messages": ASKED + YO, "label": True}, True),
    vote("columns named by the user", {"q": "Hi", "a": "Yo", "v": "1.0"}, True,
         instruction_column="q", output_column="a", label_column="v"),
    AnswerCase("pairs as votes", "kto", {"prompt": "Hi", "chosen": "Yo", "rejected": "No"}, "preference",
               "user: Hi", "Yo", "No"),
    # Prompts
    asked("text alone", {"prompt": "Hi"}),
    asked("turns alone", {"prompt": ASKED}),
    asked("turns and an answer", {"prompt": ASKED, "answer": "3"}, "3"),
    asked("GSM8K", {"question": "Hi", "answer": "So it is\n#### 3"}, "So it is\n#### 3"),
    asked("a solution", {"problem": "Hi", "solution": "3"}, "3"),
    asked("ground_truth, not as text", {"prompt": "Hi", "ground_truth": 3, "level": "easy"}, "3"),
    asked("chats that end with a question", {"messages": ASKED, "target": "3"}, "3"),
    asked("chats that end with an answer", {"messages": ASKED + YO}, "Yo"),
    asked("columns named by the user", {"q": "Hi", "r": "3"}, "3", instruction_column="q", output_column="r"),
]  # fmt: skip
