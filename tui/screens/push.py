"""The push screen: uploads an export to the Hub through the engine, and verifies it afterwards."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from importlib import import_module
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button, Footer, Static
from textual.worker import Worker

from engine.client.serving import wait_for_engine
from engine.hub.errors import HubError, token_source
from engine.hub.model_card import draft_card
from engine.hub.push_target import check_target
from engine.hub.search import license_of
from engine.messages.errors import UserError
from engine.protocol.commands import CancelPush, Push, Refused
from engine.protocol.events import Exported, Pushed, PushFailed, Pushing
from tui.screens.base import LorisScreen, RunChanged
from tui.screens.wizard import Form
from tui.text.amounts import size
from tui.text.errors import with_hint
from tui.text.export import format_name
from tui.text.run_states import describe_waiting
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.editors import ChoiceEditor, ChoicesWanted, Edited, LineEditor, SwitchEditor
from tui.widgets.text_block import TextBlock
from tui.widgets.top_bar import TopBar

DEBOUNCE_SECONDS = 0.6  # without a keystroke, before the Hub is queried
STEPS = {
    "checking": N_("checking the repository"),
    "uploading": N_("uploading"),
    "verifying": N_("comparing the Hub's files with those here"),
}


class PushScreen(LorisScreen):
    """A token typed here is sent to the engine and kept only in its memory."""

    CSS = """
    PushScreen #form { height: 1fr; padding: 1 1 0 1; scrollbar-size-vertical: 1; }
    PushScreen #form > Static { height: auto; width: 1fr; }
    PushScreen .row { height: auto; }
    PushScreen .row Static { width: 14; height: 1; text-style: bold; }
    PushScreen .row Input { width: 1fr; }
    PushScreen #look { color: $foreground-muted; }
    PushScreen #look.-wrong, PushScreen #progress.-wrong { color: $text-error; }
    PushScreen #card-title { margin-top: 1; text-style: bold; }
    PushScreen #card { height: 38vh; margin-bottom: 1; }
    PushScreen #progress { height: auto; max-height: 5; padding: 0 1; }
    PushScreen #progress.-done { color: $text-success; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "push", N_("Push"), id="push.push", tooltip=N_("Push it to the Hub")),
        Binding("ctrl+g", "cancel", N_("Cancel"), id="push.cancel", tooltip=N_("Cancel the push")),
        Binding("escape", "back", N_("Back"), id="push.back", tooltip=N_("Back; a push continues")),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._pushing: Worker[None] | None = None
        self._license = ""
        self._written_card = ""  # the last generated card: a different text is the user's
        self._own_status = False  # whether the status is this screen's, not the engine's
        self._user_chose = False  # whether the user chose the export

    def compose(self) -> ComposeResult:
        names = tuple(self._exports)
        run = self.loris.session.folder.name if self.loris.session.folder else ""
        yield TopBar()
        with Form(id="form", can_focus=False):  # up and down move between fields
            with Horizontal(classes="row"):
                yield Static(_("What"), markup=False)
                yield ChoiceEditor(names, names[-1] if names else "", id="what")
            with Horizontal(classes="row"):
                yield Static(_("Repository"), markup=False)
                yield LineEditor(run, placeholder=_("owner/name, or a name alone"), id="repo")
            with Horizontal(classes="row"):
                yield Static(_("Private"), markup=False)
                yield SwitchEditor(True, id="private")
            with Horizontal(classes="row"):
                yield Static(_("Token"), markup=False)
                token = LineEditor("", placeholder=describe_token_source(), id="token")
                token.password = True
                yield token
            yield Static(id="look", markup=False)
            with Horizontal(classes="row", id="replace-row"):
                yield Static(_("Replace"), markup=False)
                yield SwitchEditor(False, id="replace")
            yield Static(
                _("Model card, sent along as README.md: change it as you like"), id="card-title", markup=False
            )
            yield TextBlock("", id="card")
            yield Button(_("Push to the Hub"), id="go", variant="primary", compact=True)
        yield Static(id="progress", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#replace-row").display = False
        self.query_one("#repo").focus()
        self._write_first_card()
        self._check_repo()
        self._show()

    def on_run_changed(self, _message: RunChanged) -> None:
        self._own_status = False
        self._update_choices()
        self._show()

    def _update_choices(self) -> None:
        """Add new exports to the choices; select the newest unless the user has chosen."""
        what, names = self.query_one("#what", ChoiceEditor), tuple(self._exports)
        if what.choices != names:
            what.choices = names
            if not self._user_chose:
                what.value = names[-1]
            what.refresh()
            self._write_card()

    def _show(self) -> None:
        """Show the engine's last event of a push."""
        session = self.loris.session
        self.query_one(TopBar).show(
            " · ".join(filter(None, (_("Push"), session.folder.name if session.folder else "")))
        )
        state = session.state
        if self._own_status:
            return
        if state.pushing:
            self._show_status(describe_push_progress(state.pushing), "")
        elif state.push_failed:
            self._show_status(describe_push_failure(state.push_failed), "-wrong")
        elif state.pushes:
            self._show_status(describe_pushed(state.pushes[-1]), "-done")

    def _show_status(self, words: str, tone: str, own: bool = False) -> None:
        self._own_status = own
        progress = self.query_one("#progress", Static)
        progress.update(visible(words))
        for name in ("-done", "-wrong"):
            progress.set_class(tone == name, name)

    @property
    def _exports(self) -> dict[str, Exported]:
        return exports_by_name(self.loris.session.state.exports)

    @property
    def _chosen(self) -> Exported | None:
        return self._exports.get(self.query_one("#what", ChoiceEditor).value)

    # Before the push

    def on_edited(self, event: Edited) -> None:
        sender = event.sender.id
        self._user_chose = self._user_chose or sender == "what"
        if sender in ("repo", "token"):
            self._check_repo()
        if sender in ("what", "repo"):
            self._write_card()

    def on_choices_wanted(self, event: ChoicesWanted) -> None:
        self.action_push()

    def _write_card(self) -> None:
        """Generate the card again, unless the user has edited it."""
        session, chosen = self.loris.session, self._chosen
        card = self.query_one("#card", TextBlock)
        if session.folder is None or chosen is None or card.text != self._written_card:
            return
        repo = self.query_one("#repo", LineEditor).value.strip()
        self._written_card = draft_card(session.folder, chosen.kind, repo, self._license, _)
        card.text = self._written_card

    @work(group="drafts")
    async def _write_first_card(self) -> None:
        """Generate the card without the license, then with it."""
        await asyncio.to_thread(import_module, "huggingface_hub.repocard")  # takes 0.3 s; keys must not wait for it
        self._write_card()
        spec = self.loris.session.spec
        if spec is None:
            return
        try:
            self._license = await asyncio.to_thread(license_of, spec.model.model_name)
        except UserError:
            return  # the card says that the license is unknown
        self._write_card()

    @work(exclusive=True, group="look")
    async def _check_repo(self) -> None:
        """Show what the repository contains, and whether this token can write to it."""
        await asyncio.sleep(DEBOUNCE_SECONDS)
        repo, token = self.query_one("#repo", LineEditor).value.strip(), self._token
        look = self.query_one("#look", Static)
        if not repo:
            look.update(_("Give the repository a name."))
            return
        if not token and not token_source():
            look.update(_("Nobody is logged in: type a token with write access (it is not stored)."))
            return
        look.update(_("Looking…"))
        try:
            found = await asyncio.to_thread(check_target, repo, token)
        except HubError as error:
            look.set_class(True, "-wrong")
            look.update("✗ " + visible(with_hint(error.message, error.hint)))
            return
        look.set_class(False, "-wrong")
        self.query_one("#replace-row").display = found.files > 0
        look.update("✓ " + visible(f"{render(found.message)} {_('Token of {user}.').format(user=found.user)}"))

    @property
    def _token(self) -> str:
        return self.query_one("#token", LineEditor).value.strip()

    # The push

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_push()

    def action_push(self) -> None:
        if self._pushing is not None or self.loris.session.state.pushing:
            self.notify(_("A push is already running."))
            return
        self._pushing = self._push()

    @work(group="push")
    async def _push(self) -> None:
        chosen, session = self._chosen, self.loris.session
        repo = self.query_one("#repo", LineEditor).value.strip()
        try:
            if chosen is None or not repo:
                self.query_one("#repo").focus()
                return
            await wait_for_engine(
                session, lambda *waits: self._show_status("… " + describe_waiting(*waits), "", own=True)
            )
            command = Push(
                id=0,
                kind=chosen.kind,
                path=chosen.path,
                repo_id=repo,
                private=self.query_one("#private", SwitchEditor).value is True,
                card=self.query_one("#card", TextBlock).text,
                token=self._token,
                replace=self.query_one("#replace", SwitchEditor).value is True,
            )
            first = STEPS["checking"]
            self._show_status("… " + _(first), "", own=True)
            async with aclosing(session.ask(command)) as replies:
                async for reply in replies:
                    if isinstance(reply, Refused) and self.is_here:
                        self._refused(reply)
        except UserError as error:
            self._show_status("✗ " + visible(render(error.message)), "-wrong", own=True)
        finally:
            self._pushing = None

    def _refused(self, reply: Refused) -> None:
        if not self.loris.session.state.push_failed:
            self._show_status("✗ " + render(reply.message), "-wrong", own=True)
        field = {"repo_id": "#repo", "token": "#token"}.get(reply.field)
        if field:
            self.query_one(field).focus()

    @work(group="cancel")
    async def action_cancel(self) -> None:
        try:
            async with aclosing(self.loris.session.ask(CancelPush(id=0))) as replies:
                async for reply in replies:
                    if isinstance(reply, Refused):
                        self.notify(visible(render(reply.message)), markup=False)
        except UserError as error:
            self.notify(visible(render(error.message)), markup=False)

    def action_back(self) -> None:
        if self.loris.session.state.pushing:
            self.notify(_("The push continues; this screen tells when it is done."))
        self.loris.go("save")


def exports_by_name(exports: Sequence[Exported]) -> dict[str, Exported]:
    """The last export of each label, the newest last."""
    found: dict[str, Exported] = {}
    for export in exports:
        name = export_label(export)
        found.pop(name, None)
        found[name] = export
    return found


def export_label(export: Exported) -> str:
    """The export's name among the choices."""
    return format_name(export.kind, export.quantizations)


def describe_token_source() -> str:
    """Where the token comes from when the field is empty."""
    source = token_source()
    return _("empty: that of {source}").format(source=source) if source else _("hf_…, it is not stored")


def describe_push_progress(event: Pushing) -> str:
    """The progress of a push."""
    words = "… " + _(STEPS.get(event.step, event.step)) + (f" {event.file}" if event.file else "")
    if event.total_bytes:
        share = 100 * event.done_bytes // event.total_bytes
        words += f", {size(event.done_bytes)} / {size(event.total_bytes)} ({share}%)"
    if event.waiting:
        words += " · " + _("the Hub is busy: again in {count} s").format(count=round(event.waiting))
    return words


def describe_pushed(event: Pushed) -> str:
    """What is on the Hub after a push."""
    shut = _("private") if event.private else _("public")
    return "✓ " + _("At {url} ({shut}): {files} files, {size}, each compared with the one here.").format(
        url=event.url, shut=shut, files=event.files, size=size(event.total_bytes)
    )


def describe_push_failure(event: PushFailed) -> str:
    """Why a push failed, and what to do."""
    return "✗ " + with_hint(event.message, event.hint)
