"""The command `loris`. Starts quickly: the wizard and the training client are imported when needed."""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.messages.exit_codes import BROKEN_PIPE, EXIT_CODE_HELP, FAILED, INTERRUPTED
from tui.cli import export_options
from tui.state.settings import load_settings, set_llama_cpp_variable
from tui.text.translation import LANGUAGES, _, language_of_locale, render, set_language


def main(arguments: list[str] | None = None) -> int:
    """The entry point; returns the exit code."""
    encoding = terminal_encoding() if arguments is None else None
    given = [_decode_argument(word, encoding) for word in sys.argv[1:]] if arguments is None else arguments
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that is not UTF-8 shows ? instead of crashing Loris.
            stream.reconfigure(encoding=encoding, errors="replace")
    set_language(_language(given))  # before the help texts are made
    try:
        options = parser(given).parse_args(given)
        set_llama_cpp_variable()
        return _command(options)
    except BrokenPipeError:
        # The reader of our output has exited, as head does. The engine, if any, keeps running.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        # Output to a full disk, as in `loris run SPEC.yaml > log`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        reason = error.strerror or str(error)
        with suppress(OSError):
            words = _("Nothing more can be written here: {reason}. The run continues.").format(reason=reason)
            print(words, file=sys.stderr)  # noqa: T201
        return FAILED


def terminal_encoding() -> str | None:
    """The terminal's encoding when the locale's is not UTF-8; None when Python uses it already.

    Files and their names are UTF-8 in any locale: where needed, this process restarts itself in UTF-8 mode.
    """
    if not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        words = Path("/proc/self/cmdline").read_bytes().split(b"\0")[1:-1]  # sys.argv cannot always be encoded back
        os.execv(sys.executable, [os.fsencode(sys.executable), b"-Xutf8", *words])
    if "utf8" not in sys._xoptions or os.environ.get("PYTHONIOENCODING"):
        return None
    import locale

    return locale.getencoding()


def _decode_argument(word: str, encoding: str | None) -> str:
    """Decode an argument typed in `encoding`. The name of an existing file keeps its bytes."""
    raw = os.fsencode(word)
    for code in ("utf-8", encoding or "utf-8"):
        with suppress(UnicodeDecodeError):
            return word if os.path.lexists(raw) else raw.decode(code)
    return word


def _command(options: argparse.Namespace) -> int:
    if options.command in ("chat", "export") and options.cpu:
        from engine.runs.gpu import USE_CPU

        os.environ[USE_CPU] = "1"
    match options.command:
        case "run":
            from tui.cli.run import run_file

            return run_file(options.spec, options.json, options.allow_command, options.cpu, options.allow_rewards)
        case "rewards":
            from tui.cli.rewards import run_rewards

            return run_rewards(options.spec, options.json, options.cpu, options.allow_rewards)
        case "demo":
            from tui.cli.demo import run_demo

            return run_demo(options)
        case "data":
            from tui.cli.data import run_data

            return run_data(options.spec, options.json, None if options.all else options.rows)
        case "chat":
            from tui.cli.chat import run_chat

            return run_chat(options)
        case "export":
            if options.rest:
                from tui.cli.export_rest import run_rest

                return run_rest(options)
            from tui.cli.export import run_export

            return run_export(options)
        case "presets":
            from tui.cli.presets import list_presets

            return list_presets()
        case "attach":
            from tui.cli.wizard import attach

            return attach(options.run, options.lang)
        case "ls" | "status" | "logs" | "stop" | "resume":
            return _run_command(options)
        case _:
            from tui.cli.wizard import wizard

            return wizard(options.preset, options.lang, "home")


def _run_command(options: argparse.Namespace) -> int:
    from tui.cli import runs

    match options.command:
        case "ls":
            return runs.ls(options.json)
        case "status":
            return runs.status(options.run, options.json)
        case "logs":
            return runs.logs(options.run, options.follow)
        case "resume":
            changes = [*options.set, *(["model.use_cpu=true"] if options.cpu else [])]
            return runs.resume_run(options.run, changes, options.allow_command, options.allow_rewards)
        case _:
            return runs.stop_run(options.run, options.mode, options.grace)


def _language(given: list[str]) -> str:
    """The language of the help texts: from --lang, the settings, or the locale."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--lang")
    asked = None
    with suppress(argparse.ArgumentError):  # the real parser will report it
        asked = early.parse_known_args(given)[0].lang
    if asked in LANGUAGES:
        return str(asked)
    return load_settings().language or language_of_locale()


class _Version(argparse.Action):
    """Looks up versions only on request, because that takes longer than parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_ignored: object, **_more: object) -> None:
        from tui.cli.version import version_lines

        print("\n".join(version_lines()))  # noqa: T201
        parser.exit()


def _shared_options() -> argparse.ArgumentParser:
    """The options of every command. They also work before the command."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--lang",
        choices=list(LANGUAGES),
        default=argparse.SUPPRESS,
        help=_("language: {names}").format(names=", ".join(LANGUAGES.values())),
    )
    shared.add_argument("-h", "--help", action="help", help=_("show this help and exit"))
    return shared


def parser(given: list[str] | None = None) -> argparse.ArgumentParser:
    """The parser, with help in the current language. `given`: the arguments to parse, if known."""
    shared = _shared_options()
    top = argparse.ArgumentParser(
        prog="loris",
        parents=[_shared_options()],  # a separate one: the default below would apply to every command too
        add_help=False,
        description=_(
            "Fine-tune language models with Unsloth, in the terminal. Without a command, the wizard opens."
        ),
    )
    top.add_argument("--preset", metavar=_("NAME"), help=_("start the wizard from this preset"))
    top.add_argument("--version", action=_Version, nargs=0, help=_("show the version and exit"))
    top.set_defaults(lang=None)
    commands = top.add_subparsers(dest="command", metavar=_("COMMAND"), title=_("commands"))

    def command(name: str, summary: str, more: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=[shared],
            add_help=False,
            help=summary,
            description=summary,
            epilog=more,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    demo = command(
        "demo",
        _("try everything with a tiny model that needs no GPU and no network"),
        _("In a terminal, the wizard opens filled in and ready to start. Elsewhere it trains and prints lines.")
        + "\n"
        + _exit_codes("run"),
    )
    demo.add_argument(
        "method",
        nargs="?",
        default="sft",
        metavar="METHOD",
        help=_("how to train: sft (the default), full, cpt, dpo, orpo, kto, grpo or reward"),
    )
    _add_cpu(demo)
    run = command("run", _("train as a spec file or preset file says, without the wizard"), _exit_codes("run"))
    run.add_argument("spec", type=Path, metavar="SPEC.yaml", help=_("the run spec: a preset, or a run's spec.yaml"))
    run.add_argument("--json", action="store_true", help=_("print the engine's events as JSON lines instead"))
    run.add_argument(
        "--allow-command", action="store_true", help=_("run the spec's export.after_command after success")
    )
    _add_allow_rewards(run)
    _add_cpu(run)
    rewards = command(
        "rewards",
        _("try the rewards of a GRPO spec: answers of the base model, scored by every check"),
        _exit_codes("rewards"),
    )
    rewards.add_argument("spec", type=Path, metavar="SPEC.yaml", help=_("the run spec, for the method grpo"))
    rewards.add_argument("--json", action="store_true", help=_("print JSON instead"))
    _add_allow_rewards(rewards)
    _add_cpu(rewards)
    data = command(
        "data",
        _("show what a spec's dataset teaches: rows, lengths, mask, and what is wrong with it"),
        _exit_codes("data"),
    )
    data.add_argument(
        "spec", type=Path, metavar="SPEC.yaml", help=_("the run spec: a preset, or a run's spec.yaml")
    )
    data.add_argument("--json", action="store_true", help=_("print the report as JSON, as when not on a terminal"))
    rows = data.add_mutually_exclusive_group()
    rows.add_argument("--all", action="store_true", help=_("read every row, however long that takes"))
    rows.add_argument(
        "--rows", type=int, default=100_000, metavar="N", help=_("read at most this many rows (default 100000)")
    )
    chat = command(
        "chat",
        _("talk with a trained model: of an earlier run, or an adapter's folder"),
        _exit_codes("chat"),
    )
    _add_cpu(chat)
    if given is None or "chat" in given:  # its options come from the spec, which takes a moment to import
        from tui.cli.chat import add_arguments

        add_arguments(chat)
    export = command("export", _("export a trained run: adapter, merged model, GGUF"), _exit_codes("export"))
    export_options.add_arguments(export)
    _add_cpu(export)
    command("presets", _("list the presets that come with Loris, and your own"))
    _add_run_commands(command)
    return top


def _add_run_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands for runs that continue without a terminal."""

    def of_run(name: str, summary: str, more: str = "") -> argparse.ArgumentParser:
        added = command(name, summary, more)
        which = _("a run's name, its start, or its title; without one the newest active run")
        added.add_argument("run", nargs="?", default="", metavar="RUN", help=which)
        return added

    of_run("attach", _("open the screen of a run, wherever it was started"))
    listed = command("ls", _("list all runs, the active ones first"))
    listed.add_argument("--json", action="store_true", help=_("print JSON instead"))
    status = of_run("status", _("show the status of a run: step, loss, time, cost, and what went wrong"))
    status.add_argument("--json", action="store_true", help=_("print JSON instead"))
    logs = of_run("logs", _("print the end of a run's log"))
    logs.add_argument("-f", "--follow", action="store_true", help=_("follow until the run has ended"))
    stop = of_run(
        "stop",
        _("stop a run, wait until its engine has ended, and print what survived"),
        _exit_codes("stop"),
    )
    how = stop.add_mutually_exclusive_group()
    for flag, mode, words in (
        ("--save", "save", _("stop after the step in progress and save the adapter (the default)")),
        ("--now", "now", _("stop at once, keeping what is complete on disk")),
        ("--discard", "discard", _("stop at once, without an adapter")),
    ):
        how.add_argument(flag, dest="mode", action="store_const", const=mode, default="save", help=words)
    grace_help = _("seconds without a response after which it is terminated")
    stop.add_argument("--grace", type=float, metavar=_("SECONDS"), help=grace_help)
    resume = of_run("resume", _("resume a run that was interrupted, from its newest complete checkpoint"))
    change = _("change a setting, such as training.max_steps=200; may be given several times")
    resume.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=change)
    allow_command = _("run the spec's export.after_command after success")
    resume.add_argument("--allow-command", action="store_true", help=allow_command)
    _add_allow_rewards(resume)
    _add_cpu(resume)


def _add_allow_rewards(command: argparse.ArgumentParser) -> None:
    words = _("run the spec's grpo.rewards_file, as it is now")
    command.add_argument("--allow-rewards", action="store_true", help=words)


def _add_cpu(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cpu", action="store_true", help=_("use the processor, although there is a GPU"))


def _exit_codes(command: str) -> str:
    """The exit codes, for a command's help."""
    return "\n".join(
        [_("exit codes:"), *(f"  {code:<5}{render(words)}" for code, words in EXIT_CODE_HELP[command].items())]
    )
