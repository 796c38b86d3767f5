"""The section `training` of a run spec."""

from typing import Annotated, Literal

from engine.config.methods import MethodName
from engine.config.optimizers import OptimizerName, ScheduleName
from engine.config.section import Section, about
from engine.messages.message import N_


class TrainingSpec(Section, frozen=True, kw_only=True):
    """The training method and its arguments, with the names of `trl.SFTConfig`."""

    method: Annotated[
        MethodName,
        about(
            N_("Method"),
            N_("How the model is taught. sft, supervised fine-tuning, has it learn the answers of the dataset."),
        ),
    ] = "sft"
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
    per_device_eval_batch_size: Annotated[
        int,
        about(
            N_("Evaluation batch size"),
            N_(
                "How many held-out rows go through the card at once. 0 takes the batch size of the training; "
                "lower it if the memory runs out while evaluating."
            ),
            ge=0,
            le=4096,
        ),
    ] = 0
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
                "Stop after this many weight updates. 60 is a quick first try. Give epochs instead, and this is -1."
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
                "How many times to go through all examples, instead of a number of steps. 1 to 3 is usual; more "
                "tends to learn the examples by heart."
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
            N_(
                "The learning rate climbs from zero over this many steps, which avoids a rough start. In a "
                "training of 5 steps or fewer the default is half of them."
            ),
            ge=0,
            le=1_000_000,
        ),
    ] = 5
    warmup_ratio: Annotated[
        float,
        about(
            N_("Warm-up share"),
            N_(
                "The warm-up as a share of all steps, instead of a number of them: 0.03 to 0.1 is usual for "
                "long runs."
            ),
            ge=0,
            lt=1,
        ),
    ] = 0.0
    lr_scheduler_type: Annotated[
        ScheduleName,
        about(
            N_("Schedule"),
            N_(
                "How the learning rate falls after the warm-up. linear is the usual; cosine falls later; those "
                "with min_lr end at a tenth. reduce_lr_on_plateau and greedy follow the loss on held-out rows."
            ),
        ),
    ] = "linear"
    optim: Annotated[
        OptimizerName,
        about(
            N_("Optimizer"),
            N_(
                "adamw_8bit keeps the optimizer's memory small and needs a GPU; on a CPU Loris uses "
                "adamw_torch_fused instead and reports it."
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
    max_grad_norm: Annotated[
        float,
        about(
            N_("Gradient clipping"),
            N_(
                "Updates larger than this are scaled down, so that one odd batch does no harm. 1 is the usual; "
                "0 turns it off."
            ),
            ge=0,
            le=1000,
        ),
    ] = 1.0
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
    save_strategy: Annotated[
        Literal["steps", "epoch"],
        about(
            N_("Checkpoints by"),
            N_(
                "Whether checkpoints are saved every so many steps, or at the end of each epoch. With 0 steps "
                "between them, neither."
            ),
        ),
    ] = "steps"
    eval_strategy: Annotated[
        Literal["steps", "epoch"],
        about(
            N_("Evaluate by"),
            N_(
                "Whether the held-out rows are measured every so many steps, or at the end of each epoch. Counts "
                "only if rows are held out."
            ),
        ),
    ] = "steps"
    eval_steps: Annotated[
        int,
        about(
            N_("Evaluate every"),
            N_("Measure the loss on the held-out rows every so many steps. Counts only if rows are held out."),
            ge=1,
            le=10_000_000,
        ),
    ] = 20
    eval_accumulation_steps: Annotated[
        int,
        about(
            N_("Evaluation accumulation"),
            N_(
                "After how many batches of held-out rows the results move from the card to the machine's memory. 0 "
                "moves them at the end; lower it if the card's memory runs out while evaluating."
            ),
            ge=0,
            le=65_536,
        ),
    ] = 0
    load_best_model_at_end: Annotated[
        bool,
        about(
            N_("Keep the best"),
            N_(
                "At the end, takes the checkpoint with the lowest loss on the held-out rows rather than the last "
                "weights. Evaluate as often as a checkpoint is saved."
            ),
        ),
    ] = False
    early_stopping_patience: Annotated[
        int,
        about(
            N_("Early stopping"),
            N_(
                "Ends the training when the loss on the held-out rows has not come down for so many evaluations. 3 "
                "is usual; 0 never does."
            ),
            ge=0,
            le=1000,
        ),
    ] = 0
    early_stopping_threshold: Annotated[
        float,
        about(
            N_("Early stopping: least gain"),
            N_("By how much the loss on the held-out rows must come down to count as better."),
            ge=0,
            le=100,
        ),
    ] = 0.0
    neftune_noise_alpha: Annotated[
        float,
        about(
            N_("NEFTune noise"),
            N_(
                "Adds noise to the embeddings while training, which can make answers richer. 5 is usual; 0 adds "
                "none. It changes the losses."
            ),
            ge=0,
            le=100,
        ),
    ] = 0.0
    train_sampling_strategy: Annotated[
        Literal["random", "group_by_length", "sequential"],
        about(
            N_("Order of rows"),
            N_(
                "random shuffles the rows. group_by_length puts rows of like length into a batch: less padding, so "
                "it is faster where lengths differ much. sequential keeps the order of the file."
            ),
        ),
    ] = "random"
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
                "If the memory runs out, resume from the last checkpoint with a smaller setting: half the "
                "batch size and twice the accumulation, which learns the same; if the batch size is 1, half "
                "the context length; then 4-bit. Off: the run stops and says what to change."
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
