"""The control socket: serves up to MAX_CLIENTS clients, on threads that the main thread never waits for."""

import os
import queue
import socket
import stat
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from engine.messages.message import say
from engine.protocol.commands import (
    MAX_REQUEST_BYTES,
    AnyCommand,
    AnyReply,
    Cancel,
    CancelExport,
    CancelPush,
    Done,
    Refused,
    SaveCheckpoint,
    Shutdown,
    Stop,
    decode_command,
    encode,
)
from engine.runtime.control import QUEUED, Control, Job

REPLIES_WAITING = 4096  # a client with more unread replies is disconnected
SEND_SECONDS = 30  # and so is one that reads nothing for this long
MAX_CLIENTS = 64


def _make_private_folder(folder: Path) -> None:
    """Make the folder, or check that it is ours and closed to others. Raises OSError."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{folder} does not belong to this user")
    if status.st_mode & 0o077:
        raise PermissionError(f"{folder} can be opened by others: chmod 700 it")


class Server:
    """Listens until `close`. Start it only while holding the run's lock: it deletes a stale socket."""

    def __init__(self, path: Path, control: Control) -> None:
        """Bind and start listening. Raises OSError."""
        self._path, self._control = path, control
        _make_private_folder(path.parent)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        self._socket.listen(128)
        self._slots = threading.BoundedSemaphore(MAX_CLIENTS)
        threading.Thread(target=self._accept, name="loris-accept", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            if self._slots.acquire(blocking=False):
                _Client(connection, self._control, self._slots)
            else:
                connection.close()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._path.unlink(missing_ok=True)
        self._socket.close()


class _Client:
    """One connection: a thread that reads requests, and one that writes replies from a bounded queue."""

    def __init__(self, connection: socket.socket, control: Control, slots: threading.BoundedSemaphore) -> None:
        self._connection, self._control, self._slots = connection, control, slots
        self._replies: queue.Queue[AnyReply | None] = queue.Queue(REPLIES_WAITING)
        # A timeout for sending only: reading waits without limit.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        control.count_client(+1)
        for target in (self._read, self._write):
            threading.Thread(target=target, name=f"loris-client{target.__name__}", daemon=True).start()

    def reply(self, reply: AnyReply) -> None:
        """Queue a reply. A client that reads too slowly is disconnected."""
        try:
            self._replies.put_nowait(reply)
        except queue.Full:
            self._hang_up()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _write(self) -> None:
        try:
            while (reply := self._replies.get()) is not None:
                self._connection.sendall(encode(reply) + b"\n")
        except OSError:
            pass
        finally:
            self._hang_up()
            self._connection.close()

    def _read(self) -> None:
        try:
            with self._connection.makefile("rb") as lines:
                while line := lines.readline(MAX_REQUEST_BYTES + 1):
                    if len(line) > MAX_REQUEST_BYTES:
                        self._refuse_long_line(line, lines)
                    elif line.strip():
                        self._handle(line)
        except (OSError, ValueError):
            pass
        finally:
            self._control.cancel_all(self)
            self._control.count_client(-1)
            self._slots.release()
            try:
                self._replies.put_nowait(None)  # after the replies that are queued already
            except queue.Full:
                self._hang_up()

    def _refuse_long_line(self, line: bytes, lines: IO[bytes]) -> None:
        """Skip the rest of a line that is too long, and refuse it."""
        while line and not line.endswith(b"\n"):
            line = lines.readline(MAX_REQUEST_BYTES)
        message = say("A request can have at most {bytes} bytes.", bytes=MAX_REQUEST_BYTES)
        self.reply(Refused(id=0, code="too_long", message=message))

    def _handle(self, line: bytes) -> None:
        """Execute one request, or queue it for the main thread."""
        try:
            command = decode_command(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = str(error)[:300]
            message = say("The engine does not understand this request: {reason}", reason=reason)
            self.reply(Refused(id=_request_id(line), code="malformed", message=message))
            return
        if refused := self._control.refusal(command):
            self.reply(refused)
        elif type(command).__name__ in QUEUED:
            self._control.submit(Job(command, self.reply, self))
        else:
            self.reply(self._act_at_once(command))

    def _act_at_once(self, command: AnyCommand) -> AnyReply:
        """Set the flag of a command that acts at once."""
        control = self._control
        match command:
            case Stop(mode=mode):
                control.request_stop(mode)
            case SaveCheckpoint():
                control.checkpoint.set()
            case Shutdown():
                control.end()
            case CancelExport() if not control.cancel_exports():
                return Refused(id=command.id, code="no_such_request", message=say("Nothing is being exported."))
            case CancelPush() if not control.on_cancel_push():
                return Refused(id=command.id, code="no_such_request", message=say("Nothing is being pushed."))
            case Cancel() if not control.cancel(command, self):
                return Refused(
                    id=command.id, code="no_such_request", message=say("That request has already ended.")
                )
        return Done(id=command.id)


class _RequestId(msgspec.Struct):
    """The one field that is read from a malformed request."""

    id: int = 0


def _request_id(line: bytes) -> int:
    """The id of a malformed request, or 0."""
    try:
        return msgspec.json.decode(line, type=_RequestId).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
