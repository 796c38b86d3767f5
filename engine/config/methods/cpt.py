"""Continued pretraining, for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from engine.config.methods.method import Method
from engine.config.optimizers import FULL_MATRICES
from engine.config.section import Section, about
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec


class CptSpec(Section, frozen=True, kw_only=True):
    """Settings of continued pretraining."""

    embedding_learning_rate: Annotated[
        float,
        about(
            N_("Embedding learning rate"),
            N_(
                "The learning rate of embed_tokens and lm_head, which are trained in full. Take 2 to 10 times less "
                "than the learning rate. 0 uses the learning rate."
            ),
            ge=0,
            le=1,
        ),
    ] = 1e-5
    long_documents: Annotated[
        Literal["chunk", "cut"],
        about(
            N_("Long documents"),
            N_(
                "What to do with a text longer than the context length. chunk: learn it in pieces. cut: learn only "
                "its start."
            ),
        ),
    ] = "chunk"
    chunk_overlap: Annotated[
        int,
        about(
            N_("Overlap of pieces"),
            N_(
                "How many tokens of a piece are repeated at the start of the next one, so that no sentence loses "
                "its beginning. 0 repeats none."
            ),
            ge=0,
            le=1_048_576,
        ),
    ] = 0


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    if spec.cpt.chunk_overlap >= spec.model.max_seq_length:
        yield "cpt.chunk_overlap", say("The overlap must be shorter than the context length.")
    if spec.dataset.train_on_responses_only:
        yield "dataset.train_on_responses_only", say("Whole texts are learned, not answers: turn this off.")
    if spec.cpt.embedding_learning_rate and spec.training.optim.startswith(FULL_MATRICES):
        message = say("{optim} has one learning rate for all weights: set this to 0.", optim=spec.training.optim)
        yield "cpt.embedding_learning_rate", message


METHOD = Method(
    title=N_("Continued pretraining (CPT)"),
    description=N_(
        "The model reads texts and learns to continue them. Right for a new language or field; teach it to answer "
        "afterwards, with SFT."
    ),
    data=N_("Plain texts, long ones too, the more the better: megabytes rather than pages."),
    memory=N_("More than SFT: the embeddings and the last layer are trained in full, a large matrix each."),
    preset="demo-cpt",
    kinds=("text",),
    trainer="engine.training.methods.cpt",
    defaults={
        "training.learning_rate": 5e-5,
        "lora.r": 128,
        "lora.lora_alpha": 32,
        "lora.use_rslora": True,
        "lora.modules_to_save": ("embed_tokens", "lm_head"),
        "dataset.train_on_responses_only": False,
    },
    rules=rules,
    full_finetuning=True,
    loss_is_likelihood=True,
)
