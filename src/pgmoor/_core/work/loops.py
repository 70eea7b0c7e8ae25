"""Whether the block of a loop over `retrying()` can be repeated, from where it is.

When a block has ended, `__aexit__` can't tell whether the loop goes on or a `return` is on its way.
Python's bytecode can. Where it can't be read, the answer is no, and the caller gets the error.
"""

from __future__ import annotations

import dis
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# They do nothing that a program could notice.
_IDLE = frozenset(
    {"END_SEND", "POP_TOP", "NOP", "RESUME", "CACHE", "EXTENDED_ARG", "TO_BOOL", "NOT_TAKEN"}
    | {"POP_EXCEPT", "COPY_FREE_VARS"}
)
_STEPS = 50


def goes_on(frame: FrameType) -> bool:
    """Return whether an `async for` goes on after the `await` that *frame* is in.

    False unless nothing else comes between.
    """
    code = list(dis.get_instructions(frame.f_code))
    places = {instruction.offset: index for index, instruction in enumerate(code)}
    sends = [i for i in code if i.opname == "SEND" and i.offset <= frame.f_lasti]
    if not sends:
        return False
    at = places.get(sends[-1].argval, len(code))
    for _ in range(_STEPS):
        if at >= len(code):
            return False
        name, target = code[at].opname, code[at].argval
        if name in _IDLE:
            at += 1
        elif name.startswith("JUMP_FORWARD") or (name.startswith("POP_JUMP") and "TRUE" in name):
            at = places.get(target, len(code))
        elif name.startswith("JUMP_BACKWARD"):
            back = places.get(target, len(code))
            return back < len(code) and code[back].opname == "GET_ANEXT"
        else:
            return False
    return False
