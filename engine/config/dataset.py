"""The section `dataset` of a run spec."""

from typing import Annotated, Literal

import msgspec

from engine.config.prompt_templates import ALPACA, with_names
from engine.config.section import Section, about
from engine.messages.message import N_


class DatasetSpec(Section, frozen=True, kw_only=True):
    """Where the examples come from and how each becomes training text."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "prompt_template", with_names(self.prompt_template))

    path: Annotated[
        str,
        about(
            N_("Dataset"),
            N_(
                "A file on this machine (JSON, JSONL, CSV, TSV, Parquet, Arrow or text; .gz and .zst too), a "
                "folder or a pattern such as data/*.jsonl, or a Hugging Face Hub id. A few hundred good "
                "examples teach more than many poor ones."
            ),
            min_length=1,
        ),
    ] = "yahma/alpaca-cleaned"
    name: Annotated[
        str,
        about(
            N_("Configuration"),
            N_("The configuration (subset) of a Hub dataset. Leave it empty if the dataset has only one."),
        ),
    ] = ""
    revision: Annotated[
        str,
        about(
            N_("Data revision"),
            N_("A branch, tag or commit of a Hub dataset, to pin the exact rows. Leave it empty for the newest."),
        ),
    ] = ""
    split: Annotated[
        str,
        about(
            N_("Split"),
            N_(
                "Which part to train on. A slice such as train[:1000] takes the first thousand rows, which is "
                "a good first try; train[:10%] takes a tenth."
            ),
            min_length=1,
        ),
    ] = "train"
    mix: Annotated[
        tuple[str, ...],
        about(
            N_("More data"),
            N_(
                "Other places to mix in, one a line: a file, folder or Hub id, then what differs from the usual, "
                "as in owner/name, split=train[:1000], name=en, revision=main, weight=0.5. A weight of 2 takes "
                "every row twice, 0.5 a random half. Columns with other names: output_column=reply."
            ),
        ),
    ] = ()
    sample_rows: Annotated[
        int,
        about(
            N_("Random sample"),
            N_("Train on so many rows, drawn at random from all of them. 0 uses every row."),
            ge=0,
            le=1_000_000_000,
        ),
    ] = 0
    sample_seed: Annotated[
        int,
        about(
            N_("Sample seed"),
            N_("Decides which rows are drawn for a sample or a weight. The same seed draws the same rows."),
            ge=0,
            le=2**32 - 1,
        ),
    ] = 3407
    format: Annotated[
        Literal["auto", "alpaca", "messages", "text", "preference", "votes", "prompts"],
        about(
            N_("Format"),
            N_(
                "alpaca: a question or instruction and its answer. messages: a list of turns. text: plain text. "
                "preference: a chosen and a rejected answer. votes: an answer and whether it was good. prompts: "
                "without an answer. auto looks at the rows and decides."
            ),
        ),
    ] = "auto"
    instruction_column: Annotated[
        str,
        about(
            N_("Instruction column"),
            N_(
                "The column that holds the task or question. It fills {instruction} in the prompt template. "
                "The usual name follows what is found in the data. A template such as {title}\\n{body} joins "
                "several columns; = and a text gives every row that text."
            ),
        ),
    ] = "instruction"
    input_column: Annotated[
        str,
        about(
            N_("Input column"),
            N_(
                "The column with extra context for the task. It fills {input} in the prompt template. Rows "
                "without it get an empty input. A template of columns, or = and a text, works too."
            ),
        ),
    ] = "input"
    output_column: Annotated[
        str,
        about(
            N_("Output column"),
            N_(
                "The column with the answer to learn. It fills {output} in the prompt template. A template "
                "of columns, such as {reasoning}\\n{answer}, works too."
            ),
        ),
    ] = "output"
    chosen_column: Annotated[
        str,
        about(
            N_("Chosen column"),
            N_(
                "In preference data, the column with the better answer, as text or turns. auto takes the usual "
                "name, chosen, or the better of two scored answers."
            ),
            min_length=1,
        ),
    ] = "auto"
    rejected_column: Annotated[
        str,
        about(
            N_("Rejected column"),
            N_("In preference data, the column with the worse answer. auto takes the usual name, rejected."),
            min_length=1,
        ),
    ] = "auto"
    label_column: Annotated[
        str,
        about(
            N_("Vote column"),
            N_("In votes, the column that says whether the answer was good: true or false, 1 or 0, up or down."),
            min_length=1,
        ),
    ] = "auto"
    system_column: Annotated[
        str,
        about(
            N_("System column"),
            N_(
                "The column with the system text of a chat, put first unless the turns have one. auto takes a "
                "column named system or system_prompt; = and a text gives every chat that text; empty is none."
            ),
        ),
    ] = "auto"
    encoding: Annotated[
        Literal["auto", "utf-8", "gb18030", "big5", "shift_jis", "euc_kr", "cp1252", "utf-16"],
        about(
            N_("Text encoding"),
            N_(
                "How the characters of a text file are stored. auto reads UTF-8 and UTF-16, and names any other. "
                "Files from Chinese Windows are often gb18030 (GBK), from Taiwan big5, from Western Europe cp1252."
            ),
        ),
    ] = "auto"
    messages_column: Annotated[
        str,
        about(
            N_("Messages column"),
            N_("The column with the list of turns. auto takes messages or conversations, whichever is there."),
        ),
    ] = "auto"
    role_names: Annotated[
        tuple[str, ...],
        about(
            N_("Names of roles"),
            N_(
                "For chats whose turns have names that Loris does not know, one a line: Alice=assistant, Bob=user. "
                "The roles are system, user, assistant and tool; *=assistant stands for every other name."
            ),
        ),
    ] = ()
    text_column: Annotated[
        str,
        about(
            N_("Text column"),
            N_(
                "The column of plain text to learn as it is, with the end-of-sequence token after it. auto takes "
                "a column named text or content."
            ),
        ),
    ] = "auto"
    written_with: Annotated[
        Literal["auto", "prompt_template", "chat_template"],
        about(
            N_("Write pairs with"),
            N_(
                "How questions and answers are written as text. prompt_template: with the prompt template. "
                "chat_template: as a chat of two turns, the best for instruct models. auto uses the prompt "
                "template, or the chat template when chats are mixed in."
            ),
        ),
    ] = "auto"
    prompt_template: Annotated[
        str,
        about(
            N_("Prompt template"),
            N_(
                "The text each Alpaca row is put into. It needs {instruction} and {output}; {input} is "
                "optional. Two or three {} in this order are understood too. The end-of-sequence token is added "
                "after it, or the model would never stop talking."
            ),
        ),
    ] = ALPACA
    chat_template: Annotated[
        str,
        about(
            N_("Chat template"),
            N_(
                "How turns are written as text. auto uses the template that comes with the model, which is "
                "right for instruct models. Base models have none: choose one by name, for instance chatml "
                "or llama-3.1, or give a file such as ./my.jinja."
            ),
            min_length=1,
        ),
    ] = "auto"
    train_on_responses_only: Annotated[
        bool,
        about(
            N_("Train on responses only"),
            N_(
                "Learn the answers, not the questions: the prompt's tokens are masked out of the loss. Usually "
                "gives better answers."
            ),
        ),
    ] = True
    instruction_part: Annotated[
        str,
        about(
            N_("Instruction marker"),
            N_(
                "The exact text that opens a user's turn. Leave it empty to have it found from the template; "
                "fill it in only if that fails."
            ),
        ),
    ] = ""
    response_part: Annotated[
        str,
        about(
            N_("Response marker"),
            N_("The exact text that opens an answer. Leave it empty to have it found from the template."),
        ),
    ] = ""
    test_size: Annotated[
        float,
        about(
            N_("Held out for evaluation"),
            N_(
                "The share of rows kept aside to measure the loss on text the model has not seen. 0 keeps "
                "none; 0.05 is a good start for a thousand rows or more."
            ),
            ge=0,
            le=0.5,
        ),
    ] = 0.0
    eval_path: Annotated[
        str,
        about(
            N_("Evaluation data"),
            N_("A file or Hub id of its own to measure the loss on. Leave it empty to use the dataset's own."),
        ),
    ] = ""
    eval_split: Annotated[
        str,
        about(
            N_("Evaluation split"),
            N_("The split to measure the loss on, such as test or validation[:200]. Leave it empty for none."),
        ),
    ] = ""
    missing_parts: Annotated[
        Literal["stop", "text", "accept"],
        about(
            N_("Parts that the text leaves out"),
            N_(
                "What to do when the text of a row leaves a part out, such as a tool call with a template without "
                "tools. stop: say so before training. text: write it as plain text, a system text before the "
                "first question. accept: train on what the template writes."
            ),
        ),
    ] = "stop"
    last_answer_only: Annotated[
        bool,
        about(
            N_("Learn only the last answer"),
            N_(
                "In chats of several turns, learn the last answer and read the earlier ones. Right for thinking "
                "models, whose templates leave out the thoughts of earlier answers."
            ),
        ),
    ] = False
    max_cut_share: Annotated[
        float,
        about(
            N_("Rows that may be cut"),
            N_(
                "The share of rows that may be longer than the context length. With more, the run is "
                "stopped before it starts, because what is cut off is not learned."
            ),
            ge=0,
            le=1,
        ),
    ] = 0.1
    drop_bad_rows: Annotated[
        bool,
        about(
            N_("Leave bad rows out"),
            N_(
                "Train on without the rows that cannot be read or written as text. They are listed in "
                "dropped.jsonl in the run's folder. Off: the first such row stops the run, with its number."
            ),
        ),
    ] = False
