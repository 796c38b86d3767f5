"""`python -m engine.proof`: reads requests as JSON lines on stdin, writes progress and reports to stdout.

A new request cancels the previous one; the end of stdin ends the process. Output of libraries goes to stderr.
"""

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
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # libraries print to stdout too
    requests: queue.SimpleQueue[ProofRequest] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            requests.put(decode_request(line))
        os._exit(0)  # the client has ended

    threading.Thread(target=read, daemon=True).start()

    def cancelled() -> bool:
        return not requests.empty()  # a new request, or one that cancels, is waiting

    def send(found: AnyProof) -> None:
        answers.write(encode(found) + b"\n")

    request = requests.get()
    send(ProofProgress(number=request.number, stage="importing"))
    set_environment(installed_versions())
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # nothing forks here, so all cores can be used
    if not hub_is_reachable():
        os.environ["HF_HUB_OFFLINE"] = "1"

    from engine.proof.prove import ProofCancelled, prove  # imports unsloth
    from engine.proof.tokenizers import TokenizerCache

    tokenizers = TokenizerCache()

    def answer(number: int, spec: RunSpec, most_rows: int | None) -> None:
        def progress(found: ProofProgress) -> None:
            send(msgspec.structs.replace(found, number=number))

        try:
            report = prove(spec, tokenizers, progress, cancelled, most_rows)
            send(msgspec.structs.replace(report, number=number))
        except ProofCancelled:
            pass
        except Exception as error:
            if not isinstance(error, UserError):
                traceback.print_exc()
            send(ProofFailed(number=number, **explain(error).event_fields()))

    while True:
        while not requests.empty():
            request = requests.get()
        if request.spec is not None:
            answer(request.number, request.spec, request.most_rows)
        request = requests.get()


if __name__ == "__main__":
    main()
