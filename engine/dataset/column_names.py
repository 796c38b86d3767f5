"""The usual names of columns, in lower case. Of each role, the most certain names come first."""

MESSAGE_COLUMNS = ("messages", "conversations")
CHAT_NAMES = (*MESSAGE_COLUMNS, "contents", "conversation", "dialogue", "dialog", "chat", "turns", "对话")
TEXT_NAMES = ("text", "content", "文本", "内容")
SYSTEM_NAMES = ("system", "system_prompt", "systeminstruction", "system_instruction", "系统")
QUESTIONS = (
    "instruction", "instructions", "question", "prompt", "query", "problem", "request", "user", "human", "input",
    "source", "title", "问题", "指令", "提问", "问",
)  # fmt: skip
ANSWERS = (
    "output", "outputs", "response", "answer", "completion", "solution", "reply", "target", "assistant", "answers",
    "summary", "回答", "答案", "输出", "回复", "答",
)  # fmt: skip
# A context is a third column that goes with a question.
CONTEXTS = ("input", "inputs", "context", "passage", "background", "document", "article", "输入", "上下文")

# Of pairs, votes and prompts, whose data names its prompt more often than its instruction.
PROMPTS = ("prompt", "question", "instruction", "input", "query", "problem", "问题", "指令", "提示词")
VOTES = ("label", "vote", "rating", "feedback", "thumbs", "标签", "评价")
PAIRS = (
    ("chosen", "rejected"), ("response_j", "response_k"), ("win", "lose"), ("winner", "loser"),
    ("better_answer", "worse_answer"), ("better_response", "worse_response"), ("better", "worse"),
    ("chosen_response", "rejected_response"), ("chosen_answer", "rejected_answer"),
    ("preferred", "dispreferred"), ("preferred", "rejected"), ("accepted", "rejected"),
    ("preferred_response", "rejected_response"), ("win_response", "lose_response"),
    ("选中", "拒绝"), ("好回答", "差回答"), ("选中的回答", "被拒的回答"),
)  # fmt: skip
PAIR_SCORES = (
    ("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"), ("rating_chosen", "rating_rejected"),
    ("chosen_reward", "rejected_reward"), ("reward_chosen", "reward_rejected"),
)  # fmt: skip
# Two answers of which another column names the better one, or gives scores.
ANSWER_STEMS = ("answer", "response", "output", "completion", "reply", "conversation", "message", "summary", "回答")
SUFFIXES = (("_a", "_b"), ("_0", "_1"), ("_1", "_2"), ("a", "b"), ("0", "1"), ("1", "2"))
WINNERS = (
    "preference", "preferred", "winner", "better_response_id", "better", "choice", "chosen", "label", "vote",
    "better_id", "chosen_id", "preferred_response", "更好", "偏好",
)  # fmt: skip
SCORE_STEMS = ("score", "rating", "reward", "评分")
# Lists of answers, and the keys of an answer that is an object.
ANSWER_LISTS = (
    "responses", "answers", "completions", "outputs", "generations", "candidates", "replies", "response",
    "completion", "回答",
)  # fmt: skip
SCORE_LISTS = ("scores", "ratings", "rewards", "score", "rating", "reward", "ranks", "rank", "ranking", "评分")
ANSWER_KEYS = ("text", "response", "answer", "content", "completion", "output", "generation")
SCORE_KEYS = ("score", "overall_score", "rating", "reward", "pm_score", "rank")
# The right answer to a prompt, with which a check compares.
REFERENCES = (
    "answer", "solution", "ground_truth", "target", "reference", "expected", "expected_answer", "final_answer",
    "gold", "label", "output", "response", "completion", "答案", "参考答案",
)  # fmt: skip
