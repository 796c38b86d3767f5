"""`python -m engine.proof`: takes requests as JSON lines on stdin, answers with progress and a report on stdout.

A new request cancels the one before; the end of stdin ends the process. What libraries print goes to stderr.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from typing import NoReturn

import msgspec

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.protocol.data_report import AnyProof, ProofFailed, ProofProgress, ProofRequest, decode_request, encode
from engine.runtime.environment import hub_is_reachable, installed_versions, set_environment
from engine.runtime.explain import explain


def main() -> NoReturn:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # libraries print to stdout, too
    requests: queue.SimpleQueue[ProofRequest] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            requests.put(decode_request(line))
        os._exit(0)  # whoever asked is gone

    threading.Thread(target=read, daemon=True).start()

    def cancelled() -> bool:
        return not requests.empty()  # whoever asks again, or calls it off, waits

    def tell(found: AnyProof) -> None:
        answers.write(encode(found) + b"\n")

    request = requests.get()
    tell(ProofProgress(number=request.number, stage="importing"))
    set_environment(installed_versions())
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # nothing forks here, and both cores are wanted
    if not hub_is_reachable():
        os.environ["HF_HUB_OFFLINE"] = "1"

    from engine.proof.prove import ProofCancelled, prove  # imports unsloth
    from engine.proof.tokenizers import Tokenizers

    tokenizers = Tokenizers()

    def answer(number: int, spec: RunSpec, most_rows: int | None) -> None:
        def progress(found: ProofProgress) -> None:
            tell(msgspec.structs.replace(found, number=number))

        try:
            report = prove(spec, tokenizers, progress, cancelled, most_rows)
            tell(msgspec.structs.replace(report, number=number))
        except ProofCancelled:
            pass
        except Exception as error:
            if not isinstance(error, UserError):
                traceback.print_exc()
            tell(ProofFailed(number=number, **explain(error).event_fields()))

    while True:
        while not requests.empty():
            request = requests.get()
        if request.spec is not None:
            answer(request.number, request.spec, request.most_rows)
        request = requests.get()


if __name__ == "__main__":
    main()
