"""Holds rows out for evaluation, before weights and duplicates multiply them: no text is on both sides."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from datasets import Dataset

from engine.messages.errors import UserError
from engine.messages.message import Message, say


@dataclass(frozen=True)
class HeldOut:
    """Indices into the rows. `train`: as they are trained on, a row of weight 2 twice; `held_out`: each text once.

    `kept_apart`: the other rows with a text that is held out. They are on neither side.
    """

    train: list[int]
    held_out: list[int]
    kept_apart: int


def text_key(*texts: str) -> bytes:
    """What equal rows have in common: 8 bytes, as there may be millions of them."""
    joined = "\0".join(texts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def hold_out(keys: Sequence[Hashable], drawn: Sequence[int], share: float, seed: int) -> HeldOut:
    """Hold out a share of the different rows. `keys`: of each row, equal for duplicates; `drawn`: the rows to train
    on, as indices into `keys`. Without duplicates and weights the same rows are held out as by `datasets`.

    Raises `UserError` if there are too few different rows.
    """
    first: dict[Hashable, int] = {}
    for index in sorted(set(drawn)):
        first.setdefault(keys[index], index)
    try:
        parts = Dataset.from_dict({"row": list(first.values())}).train_test_split(test_size=share, seed=seed)
    except ValueError as error:
        raise UserError(
            "dataset_too_small",
            say("A share of {share} cannot be held out of {rows} different rows.", rows=len(first), share=share),
            say("Set it to 0, or add data."),
            "dataset.test_size",
        ) from error
    held_out = list(parts["test"]["row"])
    held_keys = {keys[index] for index in held_out}
    train = list(parts["train"]["row"])
    once = set(train)
    for index in drawn:
        if index in once:
            once.remove(index)  # its first use is in place
        elif keys[index] not in held_keys:
            train.append(index)
    apart = sum(keys[index] in held_keys for index in set(drawn)) - len(held_out)
    return HeldOut(train, held_out, apart)


def describe_kept_apart(count: int) -> Message:
    return say(
        "Rows kept apart: {count}. They are equal to rows held out for evaluation, so they are not trained on.",
        count=count,
    )


def describe_overlap(count: int) -> Message:
    return say(
        "Rows of the evaluation data that are trained on as well: {count}. The evaluation loss says less about new "
        "text than it seems.",
        count=count,
    )
