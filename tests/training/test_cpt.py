"""Long texts in pieces."""

from __future__ import annotations

from itertools import pairwise

# isort: off
import unsloth  # noqa: F401  first: it patches the others

# isort: on
from engine.config.run_spec import RunSpec
from engine.training.methods.cpt import CPT
from tests.helpers.engine_process import with_changes


def test_pieces_overlap_and_only_the_last_one_ends() -> None:
    method = object.__new__(CPT)
    method.spec = with_changes(RunSpec(), model={"max_seq_length": 16}, cpt={"chunk_overlap": 4})
    for length in range(1, 80):
        ids = list(range(length))
        pieces = method.divide(ids)
        assert len(pieces) == method.pieces(length)
        assert all(len(piece) == 16 for piece in pieces[:-1])
        assert all(one[-4:] == other[:4] for one, other in pairwise(pieces))
        assert pieces[0] + [token for piece in pieces[1:] for token in piece[4:]] == ids
        assert len(pieces) == 1 or len(pieces[-1]) > 4, "the last piece has more than the overlap"
