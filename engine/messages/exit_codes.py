"""The exit codes of the engine and of every command."""

from engine.messages.message import Message, say

COMPLETED = 0  # trained and saved, exported, or answered
FAILED = 1
BAD_INPUT = 2  # a setting, an option or an input is wrong; nothing was done
STOPPED = 3  # training was stopped early, and the model was kept
UNDELIVERED = 4  # the model was kept, but not all exports, copies and pushes that the spec asks for are done
INTERRUPTED = 130  # by Ctrl-C, as a shell reports SIGINT
KILLED = 137  # by SIGKILL
BROKEN_PIPE = 141  # the reader of the output closed it
TERMINATED = 143  # by SIGTERM


def exit_code_of(field: str) -> int:
    """The exit code of a failure: `BAD_INPUT` if it names a field."""
    return BAD_INPUT if field else FAILED


# Printed in each command's --help.
EXIT_CODE_HELP: dict[str, dict[int, Message]] = {
    "run": {
        COMPLETED: say("trained and saved"),
        FAILED: say("the run failed, or the engine died"),
        BAD_INPUT: say("a setting or an input is wrong; nothing was trained"),
        STOPPED: say("stopped early with Ctrl-C, and the model was kept"),
        UNDELIVERED: say("the model was kept, but not everything was exported, copied or pushed as the spec asks"),
        INTERRUPTED: say("left with a second Ctrl-C while the engine continues, or stopped before training"),
        TERMINATED: say("ended by SIGTERM, with a checkpoint saved"),
    },
    "data": {
        COMPLETED: say("good to train"),
        FAILED: say("could not be measured"),
        BAD_INPUT: say("something would stop the training"),
        INTERRUPTED: say("left with Ctrl-C"),
    },
    "rewards": {
        COMPLETED: say("the checks tell the answers apart"),
        FAILED: say("the engine failed or refused"),
        BAD_INPUT: say("a setting or an input is wrong, or nothing can be learned"),
        INTERRUPTED: say("left with Ctrl-C"),
    },
    "stop": {
        COMPLETED: say("stopped"),
        FAILED: say("it had to be ended by force"),
        BAD_INPUT: say("there is no such run"),
        UNDELIVERED: say("the model was kept, but not everything was exported, copied or pushed as the spec asks"),
    },
    "chat": {
        COMPLETED: say("answered"),
        FAILED: say("the engine failed or refused"),
        BAD_INPUT: say("a wrong name or option"),
        INTERRUPTED: say("left with Ctrl-C"),
    },
    "export": {
        COMPLETED: say("exported and checked, and pushed where that was asked for"),
        FAILED: say("it failed; nothing incomplete is left"),
        BAD_INPUT: say("an option is wrong, or it does not fit the disk; nothing was started"),
        UNDELIVERED: say("with --rest: something is still missing"),
        INTERRUPTED: say("cancelled with Ctrl-C; nothing incomplete is left"),
    },
}
