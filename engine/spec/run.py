"""The run spec: everything that decides what a run does, under the libraries' own names.

Each field carries its label and a paragraph of help for a first-timer; the wizard, the YAML errors and the
documentation all read them from here. Defaults are those of the Unsloth notebooks.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.spec.prompts import ALPACA
from engine.spec.text import N_

TargetModule = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGET_MODULES: tuple[TargetModule, ...] = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
)  # fmt: skip


def about(title: str, description: str, **bounds: Any) -> Meta:
    """The label, the help and the bounds of a field. `title` and `description` are marked with `N_`."""
    return Meta(title=title, description=description, **bounds)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of fields: one screen of the wizard, one block of the YAML file."""


class ModelSpec(Section, frozen=True, kw_only=True):
    """Which base model to load and how: the arguments of `FastLanguageModel.from_pretrained`."""

    model_name: Annotated[
        str,
        about(
            N_("Model"),
            N_(
                "A Hugging Face Hub id or a folder on this machine; a folder with an earlier LoRA adapter "
                "works too. Names ending in bnb-4bit are already quantised: quicker to download, and they "
                "fit small cards. Start with 1B to 3B parameters; 8B needs about 8 GB of GPU memory."
            ),
            min_length=1,
        ),
    ] = "unsloth/Llama-3.2-3B-Instruct-bnb-4bit"
    revision: Annotated[
        str,
        about(
            N_("Revision"),
            N_(
                "A branch, tag or commit of the Hub repository, to pin the exact weights. Leave it empty for "
                "the newest."
            ),
        ),
    ] = ""
    max_seq_length: Annotated[
        int,
        about(
            N_("Context length"),
            N_(
                "The longest example in tokens; longer ones are cut at the end, answer first. 2048 suits most "
                "chat data. Doubling it roughly doubles the memory used by activations."
            ),
            ge=16,
            le=1_048_576,
        ),
    ] = 2048
    dtype: Annotated[
        Literal["auto", "float16", "bfloat16", "float32"],
        about(
            N_("Precision"),
            N_(
                "The number format for computing. auto takes bfloat16 on Ampere cards and newer, float16 on "
                "T4 and V100, float32 on a CPU. Change it only if you know why."
            ),
        ),
    ] = "auto"
    load_in_4bit: Annotated[
        bool,
        about(
            N_("Load in 4-bit"),
            N_(
                "Keeps the frozen base weights in 4 bits (QLoRA): a quarter of the memory for a small loss of "
                "quality. Leave it on unless the model fits your card easily. It needs a GPU."
            ),
        ),
    ] = True


class DatasetSpec(Section, frozen=True, kw_only=True):
    """Where the examples come from and how each becomes the text that is learned."""

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
                "every row twice, 0.5 a random half."
            ),
        ),
    ] = ()
    sample_rows: Annotated[
        int,
        about(
            N_("Random sample"),
            N_("Train on so many rows, drawn at random from all of them. 0 takes every row."),
            ge=0,
            le=1_000_000_000,
        ),
    ] = 0
    sample_seed: Annotated[
        int,
        about(
            N_("Seed of the sample"),
            N_("Decides which rows are drawn for a sample or a weight. The same seed draws the same rows."),
            ge=0,
            le=2**32 - 1,
        ),
    ] = 3407
    format: Annotated[
        Literal["auto", "alpaca", "messages", "text"],
        about(
            N_("Format"),
            N_(
                "alpaca: columns with a question or instruction and its answer. messages: a column with a list "
                "of turns. text: a column of plain text to learn as it is. auto looks at the rows and decides."
            ),
        ),
    ] = "auto"
    instruction_column: Annotated[
        str,
        about(
            N_("Instruction column"),
            N_(
                "The column that holds the task or question. It fills {instruction} in the prompt text. The "
                "usual name follows what is found in the data. A template such as {title}\\n{body} joins "
                "several columns; = and a text gives every row that text."
            ),
        ),
    ] = "instruction"
    input_column: Annotated[
        str,
        about(
            N_("Input column"),
            N_(
                "The column with extra context for the task. It fills {input} in the prompt text. Rows "
                "without it get an empty input. A template of columns, or = and a text, works too."
            ),
        ),
    ] = "input"
    output_column: Annotated[
        str,
        about(
            N_("Output column"),
            N_(
                "The column with the answer to learn. It fills {output} in the prompt text. A template of "
                "columns, such as {reasoning}\\n{answer}, works too."
            ),
        ),
    ] = "output"
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
    messages_column: Annotated[
        str,
        about(
            N_("Messages column"),
            N_("The column with the list of turns. auto takes messages or conversations, whichever is there."),
        ),
    ] = "auto"
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
                "How questions and answers are written as text. prompt_template: with the prompt text. "
                "chat_template: as a chat of two turns, the best for instruct models. auto takes the prompt "
                "text, or the chat template when chats are mixed in."
            ),
        ),
    ] = "auto"
    prompt_template: Annotated[
        str,
        about(
            N_("Prompt text"),
            N_(
                "The text each Alpaca row is put into. It needs {instruction} and {output}; {input} is "
                "optional. The end-of-sequence token is added after it, or the model would never stop talking."
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
                "or llama-3.1."
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
    max_cut_share: Annotated[
        float,
        about(
            N_("Rows that may be cut"),
            N_(
                "The share of rows that may be longer than the context length. With more, the run is stopped "
                "before it starts, for what is cut off is not learned."
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


class LoraSpec(Section, frozen=True, kw_only=True):
    """The adapter that is trained: the arguments of `FastLanguageModel.get_peft_model`."""

    r: Annotated[
        int,
        about(
            N_("Rank"),
            N_(
                "How many directions each adapted matrix may learn. 16 is a good start; 8 is lighter; 32 to "
                "128 learn more, cost more memory and overfit sooner."
            ),
            ge=1,
            le=1024,
        ),
    ] = 16
    lora_alpha: Annotated[
        int,
        about(
            N_("Alpha"),
            N_(
                "How strongly the adapter counts: its update is scaled by alpha divided by rank. Take the same "
                "number as the rank, or twice as much."
            ),
            ge=1,
            le=4096,
        ),
    ] = 16
    lora_dropout: Annotated[
        float,
        about(
            N_("Dropout"),
            N_(
                "The share of adapter inputs zeroed at random while training. 0 is the fastest, and right for "
                "most runs; 0.1 may help when a small dataset is learned by heart."
            ),
            ge=0,
            lt=1,
        ),
    ] = 0.0
    target_modules: Annotated[
        tuple[TargetModule, ...],
        about(
            N_("Adapted layers"),
            N_(
                "Which matrices get an adapter. All seven give the best quality. Dropping gate, up and down "
                "saves memory."
            ),
            min_length=1,
        ),
    ] = TARGET_MODULES
    bias: Annotated[
        Literal["none", "all", "lora_only"],
        about(N_("Bias"), N_("Whether bias terms are trained too. none is the fastest and the usual choice.")),
    ] = "none"
    use_gradient_checkpointing: Annotated[
        Literal["unsloth"] | bool,
        about(
            N_("Gradient checkpointing"),
            N_(
                "Recomputes activations instead of keeping them. unsloth saves the most memory and allows the "
                "longest texts; false is the fastest if memory is plentiful."
            ),
        ),
    ] = "unsloth"
    random_state: Annotated[
        int,
        about(
            N_("Adapter seed"),
            N_("The seed of the adapter's first random weights. The same seed repeats the same run."),
            ge=0,
            le=2**32 - 1,
        ),
    ] = 3407
    use_rslora: Annotated[
        bool,
        about(
            N_("Rank-stabilised LoRA"),
            N_("Scales by alpha divided by the square root of the rank. Worth a try at rank 64 and above."),
        ),
    ] = False
    loftq_config: Annotated[
        None,
        about(N_("LoftQ"), N_("LoftQ initialisation is off in Loris, as in the notebooks: keep this null.")),
    ] = None


class TrainingSpec(Section, frozen=True, kw_only=True):
    """The training arguments, as `trl.SFTConfig` spells them."""

    per_device_train_batch_size: Annotated[
        int,
        about(
            N_("Batch size"),
            N_(
                "How many examples go through the card at once. 2 fits most cards; more is faster until the "
                "memory is full."
            ),
            ge=1,
            le=4096,
        ),
    ] = 2
    gradient_accumulation_steps: Annotated[
        int,
        about(
            N_("Gradient accumulation"),
            N_(
                "How many batches are added up before the weights change. Batch size times this is the "
                "effective batch; 8 is a good size. It costs time, not memory."
            ),
            ge=1,
            le=65_536,
        ),
    ] = 4
    max_steps: Annotated[
        int,
        about(
            N_("Steps"),
            N_(
                "Stop after this many weight updates. 60 is a quick first try. Set -1 to train for whole "
                "epochs instead."
            ),
            ge=-1,
            le=10_000_000,
        ),
    ] = 60
    num_train_epochs: Annotated[
        float,
        about(
            N_("Epochs"),
            N_(
                "How many times to go through all examples. Counts only when steps is -1. 1 to 3 is usual; "
                "more tends to learn the examples by heart."
            ),
            gt=0,
            le=10_000,
        ),
    ] = 1.0
    learning_rate: Annotated[
        float,
        about(
            N_("Learning rate"),
            N_(
                "How large each update is. 2e-4 suits LoRA; lower it to 2e-5 for long runs, or if the loss "
                "jumps about."
            ),
            gt=0,
            le=1,
        ),
    ] = 2e-4
    warmup_steps: Annotated[
        int,
        about(
            N_("Warm-up steps"),
            N_("The learning rate climbs from zero over this many steps, which avoids a rough start."),
            ge=0,
            le=1_000_000,
        ),
    ] = 5
    lr_scheduler_type: Annotated[
        Literal["linear", "cosine", "constant", "constant_with_warmup"],
        about(
            N_("Schedule"),
            N_("How the learning rate falls after the warm-up. linear is the usual; cosine falls later."),
        ),
    ] = "linear"
    optim: Annotated[
        Literal["adamw_8bit", "paged_adamw_8bit", "adamw_torch", "adamw_torch_fused"],
        about(
            N_("Optimizer"),
            N_(
                "adamw_8bit keeps the optimizer's memory small and needs a GPU; on a CPU Loris takes "
                "adamw_torch_fused instead and says so."
            ),
        ),
    ] = "adamw_8bit"
    weight_decay: Annotated[
        float,
        about(
            N_("Weight decay"),
            N_("Pulls weights gently towards zero, against overfitting. 0.01 is the usual."),
            ge=0,
            le=1,
        ),
    ] = 0.01
    seed: Annotated[
        int,
        about(
            N_("Seed"),
            N_("Fixes the order of the examples. The same seed and settings repeat the same loss curve."),
            ge=0,
            le=2**32 - 1,
        ),
    ] = 3407
    logging_steps: Annotated[
        int,
        about(
            N_("Log every"),
            N_("Report the loss every so many steps. 1 draws the full curve."),
            ge=1,
            le=100_000,
        ),
    ] = 1
    save_steps: Annotated[
        int,
        about(
            N_("Checkpoint every"),
            N_("Save a checkpoint every so many steps, so that a crash costs little. 0 saves only at the end."),
            ge=0,
            le=10_000_000,
        ),
    ] = 50
    save_total_limit: Annotated[
        int,
        about(
            N_("Checkpoints kept"),
            N_("Older checkpoints beyond this number are deleted to save disk."),
            ge=1,
            le=1000,
        ),
    ] = 2
    eval_steps: Annotated[
        int,
        about(
            N_("Evaluate every"),
            N_("Measure the loss on the held-out rows every so many steps. Counts only if rows are held out."),
            ge=1,
            le=10_000_000,
        ),
    ] = 20
    packing: Annotated[
        bool,
        about(
            N_("Packing"),
            N_(
                "Joins short examples to fill the context. Faster for short texts; leave it off for a first "
                "run. It cannot be combined with training on responses only."
            ),
        ),
    ] = False
    dataset_num_proc: Annotated[
        int,
        about(
            N_("Data processes"),
            N_("How many processes prepare the data. 2 is enough for most."),
            ge=1,
            le=256,
        ),
    ] = 2
    retry_out_of_memory: Annotated[
        bool,
        about(
            N_("Retry when memory runs out"),
            N_(
                "If the memory runs out, go on by itself from the last checkpoint with a smaller setting: half the "
                "batch size and twice the accumulation, which learns the same; if the batch size is 1, half the "
                "context length; then 4-bit. Off: the run stops and says what to change."
            ),
        ),
    ] = False
    report_to: Annotated[
        Literal["none", "tensorboard", "wandb", "trackio"],
        about(
            N_("Report to"),
            N_("Send the curves to a tracker as well. Its package must be installed. none sends nothing."),
        ),
    ] = "none"
    output_dir: Annotated[
        str,
        about(
            N_("Output folder"),
            N_(
                "Where the run's folder is made. Leave it empty for Loris's own folder. On a rented machine, "
                "choose a mounted disk that survives it."
            ),
        ),
    ] = ""


class GenerationSpec(Section, frozen=True, kw_only=True):
    """How answers are sampled, in the chat and for the comparison before and after training."""

    max_new_tokens: Annotated[
        int,
        about(
            N_("Longest answer"),
            N_("The answer is cut after this many tokens. A token is about three quarters of an English word."),
            ge=1,
            le=131_072,
        ),
    ] = 128
    temperature: Annotated[
        float,
        about(
            N_("Temperature"),
            N_("How freely words are chosen. 0 always takes the likeliest; 1.5 with min_p 0.1 is lively."),
            ge=0,
            le=5,
        ),
    ] = 1.5
    min_p: Annotated[
        float,
        about(
            N_("Min-p"),
            N_("Drops words less likely than this share of the likeliest one. 0.1 keeps high temperatures sane."),
            ge=0,
            le=1,
        ),
    ] = 0.1
    top_p: Annotated[
        float,
        about(
            N_("Top-p"),
            N_("Samples among the likeliest words that add up to this. 1 switches it off."),
            gt=0,
            le=1,
        ),
    ] = 1.0
    top_k: Annotated[
        int,
        about(N_("Top-k"), N_("Samples among this many likeliest words. 0 switches it off."), ge=0, le=1_000_000),
    ] = 0
    repetition_penalty: Annotated[
        float,
        about(
            N_("Repetition penalty"),
            N_("Above 1, words already said become less likely. 1 switches it off."),
            gt=0,
            le=10,
        ),
    ] = 1.0
    seed: Annotated[
        int,
        about(
            N_("Sampling seed"),
            N_("The same seed, prompt and settings give the same answer."),
            ge=0,
            le=2**32 - 1,
        ),
    ] = 3407
    system_prompt: Annotated[
        str,
        about(N_("System prompt"), N_("Put before every conversation. Leave it empty for none.")),
    ] = ""
    prompts: Annotated[
        tuple[str, ...],
        about(
            N_("Test prompts"),
            N_("Asked once before and once after training, so that you can compare the answers. One a line."),
        ),
    ] = ("Who are you?",)
    prompts_at_checkpoints: Annotated[
        bool,
        about(
            N_("Test prompts at checkpoints"),
            N_(
                "Also asks the test prompts each time a checkpoint is saved, so that you can pick the best one. "
                "The losses stay the same; each answer takes as long as one in the chat."
            ),
        ),
    ] = False


class ExportSpec(Section, frozen=True, kw_only=True):
    """What is saved when training ends. The LoRA adapter always is, in the run's folder."""

    merged_16bit: Annotated[
        bool,
        about(
            N_("Merged 16-bit model"),
            N_(
                "Also write the adapter merged into the base model, in 16 bits, as vLLM wants it. It takes "
                "as much disk as the full model: about 2 GB per billion parameters."
            ),
        ),
    ] = False
    copy_to: Annotated[
        str,
        about(
            N_("Copy to folder"),
            N_(
                "Also copy the results here, for instance to a mounted drive. The folder is made if missing; "
                "files already there are never overwritten."
            ),
        ),
    ] = ""
    after_command: Annotated[
        str,
        about(
            N_("Command after success"),
            N_(
                "A shell command to carry out once everything is saved, for instance to shut the rented machine "
                "down. It is carried out only when it was confirmed for the run."
            ),
        ),
    ] = ""


class RunSpec(Section, frozen=True, kw_only=True):
    """A whole run. As YAML this is `spec.yaml` of a run folder, and a preset."""

    name: Annotated[str, about(N_("Name"), N_("What to call this run or preset."))] = ""
    description: Annotated[str, about(N_("Description"), N_("A sentence on what it is for."))] = ""
    model: ModelSpec = ModelSpec()
    dataset: DatasetSpec = DatasetSpec()
    lora: LoraSpec = LoraSpec()
    training: TrainingSpec = TrainingSpec()
    generation: GenerationSpec = GenerationSpec()
    export: ExportSpec = ExportSpec()


SECTIONS: dict[str, type[Section]] = {
    "model": ModelSpec,
    "dataset": DatasetSpec,
    "lora": LoraSpec,
    "training": TrainingSpec,
    "generation": GenerationSpec,
    "export": ExportSpec,
}
