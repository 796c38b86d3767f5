"""The run spec: everything that decides what a run does, under the libraries' own names.

Each field has its label and a paragraph of help for beginners; the wizard, the YAML errors and the documentation
all use them. Defaults are those of the Unsloth notebooks. Long sections are in their own modules.
"""

from typing import Annotated, Literal, get_type_hints

from engine.config.dataset import DatasetSpec
from engine.config.export import ExportSpec
from engine.config.lora import TARGET_MODULES, LoraSpec
from engine.config.methods import METHODS, MethodSections
from engine.config.prompts import Prompt
from engine.config.section import Section, about
from engine.config.training import TrainingSpec
from engine.messages.message import N_

__all__ = [
    "SECTIONS", "TARGET_MODULES", "DatasetSpec", "ExportSpec", "GenerationSpec", "LoraSpec", "ModelSpec", "RunSpec",
    "Section", "TrainingSpec", "about", "sections_of",
]  # fmt: skip


class ModelSpec(Section, frozen=True, kw_only=True):
    """The base model and how to load it: the arguments of `FastLanguageModel.from_pretrained`."""

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
    load_in_8bit: Annotated[
        bool,
        about(
            N_("Load in 8-bit"),
            N_(
                "Keeps the frozen base weights in 8 bits instead of 4: twice the memory, closer to the original. "
                "It needs a GPU."
            ),
        ),
    ] = False
    full_finetuning: Annotated[
        bool,
        about(
            N_("Train the whole model"),
            N_(
                "Trains all weights instead of a small adapter (full fine-tuning). It can learn more and forget "
                "more, needs 4 to 8 times the memory, and saves a whole model. It cannot load in 4-bit."
            ),
        ),
    ] = False
    new_tokens: Annotated[
        tuple[str, ...],
        about(
            N_("New tokens"),
            N_(
                "Texts that become one token each, such as <think>, one a line; known ones stay as they are. The "
                "embeddings grow, and embed_tokens and lm_head are trained in full, which costs much memory."
            ),
        ),
    ] = ()
    use_cpu: Annotated[
        bool,
        about(
            N_("Use the processor"),
            N_(
                "Trains on the processor although this machine has a GPU: right for a tiny model only, or while "
                "the GPU is out of order. Where there is no GPU, Loris uses the processor anyway."
            ),
        ),
    ] = False


class GenerationSpec(Section, frozen=True, kw_only=True):
    """How answers are sampled, in the chat and for the test prompts."""

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
            N_("Samples among the likeliest words that add up to this probability. 1 turns it off."),
            gt=0,
            le=1,
        ),
    ] = 1.0
    top_k: Annotated[
        int,
        about(N_("Top-k"), N_("Samples among this many likeliest words. 0 turns it off."), ge=0, le=1_000_000),
    ] = 0
    repetition_penalty: Annotated[
        float,
        about(
            N_("Repetition penalty"),
            N_("Above 1, words that were already used become less likely. 1 turns it off."),
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
        tuple[str | Prompt, ...],
        about(
            N_("Test prompts"),
            N_(
                "Asked once before and once after training, so that you can compare the answers. One a line. With "
                'an input, as Alpaca data has it: {"instruction": "...", "input": "..."}'
            ),
        ),
    ] = ("Who are you?",)
    prompts_at_checkpoints: Annotated[
        bool,
        about(
            N_("Test prompts at checkpoints"),
            N_(
                "Also asks the test prompts each time a checkpoint is saved, so that you can pick the best one, of "
                "as many as save_total_limit keeps. "
                "The losses stay the same; each answer takes as long as one in the chat."
            ),
        ),
    ] = False


class RunSpec(MethodSections, frozen=True, kw_only=True):
    """All settings of a run. As YAML: `spec.yaml` in a run folder, or a preset."""

    name: Annotated[str, about(N_("Name"), N_("What to call this run or preset."))] = ""
    description: Annotated[str, about(N_("Description"), N_("A sentence on what it is for."))] = ""
    model: ModelSpec = ModelSpec()
    dataset: DatasetSpec = DatasetSpec()
    lora: LoraSpec = LoraSpec()
    training: TrainingSpec = TrainingSpec()
    generation: GenerationSpec = GenerationSpec()
    export: ExportSpec = ExportSpec()

    @property
    def with_vllm(self) -> float | None:
        """The share of the card's memory for vLLM, if it shall write the answers of GRPO."""
        asked = self.training.method == "grpo" and self.grpo.use_vllm
        return self.grpo.vllm_gpu_memory_utilization if asked else None

    @property
    def scores(self) -> bool:
        """Whether its model scores texts instead of writing them: it is loaded with a score head."""
        return METHODS[self.training.method].scores


_METHOD_SECTIONS: dict[str, type[Section]] = get_type_hints(MethodSections)
SECTIONS: dict[str, type[Section]] = {
    "model": ModelSpec,
    "dataset": DatasetSpec,
    "lora": LoraSpec,
    "training": TrainingSpec,
    **_METHOD_SECTIONS,
    "generation": GenerationSpec,
    "export": ExportSpec,
}


def sections_of(method: str) -> list[str]:
    """The sections that a training method uses, in order: all but those of other methods."""
    return [name for name in SECTIONS if name == method or name not in _METHOD_SECTIONS]
