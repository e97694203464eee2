"""What calls that were settled have taught: how long a model's answers usually are, and how much input calls bring that
their bodies do not show.

It is known in this process only, of what was used last, and learned anew after a start.
"""

from __future__ import annotations

from .caches import SharedCache
from .core.bounds import Call

SEED = 16_384
"""Tokens allowed for input that a body does not show, until calls of the project and model have told. Of recorded calls
that do not show all, nine in ten brought less.
"""
LEAST, MOST = 1_024, 2_097_152
"""Tokens that are allowed at least, and at most: no model reads more at once."""
KEPT = 4096
"""Models of organizations, and of projects, of which something is remembered."""

Whose = tuple[str, str, str | None]
"""Organization, project (or what stands in its place), model."""


class Learned:
    """Any thread may ask and teach; of what is taught at the same moment nothing is lost."""

    def __init__(self) -> None:
        self._outputs: SharedCache[tuple[str, str | None], float] = SharedCache(KEPT)
        self._allowances: SharedCache[Whose, int] = SharedCache(KEPT)

    def usual_output(self, org: str, model: str | None) -> int | None:
        """Output tokens that a call of the model usually takes, all choices together; None where that is not known."""
        usual = self._outputs.get((org, model))
        return None if usual is None else round(usual)

    def allowance(self, org: str, project: str, call: Call) -> int:
        """Input tokens to allow for what the body of a call, or of each line of a batch, does not show; 0 where it
        shows all.
        """
        if not call.opaque:
            return 0
        each = self._allowances.get((org, project, call.model)) or SEED
        return each * (sum(line.opaque for line in call.lines) or 1)

    def take(self, org: str, project: str, call: Call, shown: int, input: int, output: int) -> None:
        """A call was settled: it used so many tokens, and its body showed at most `shown` of the input.

        An answer moves what is usual by an eighth of the difference. What the input was above what was shown is allowed
        for from then on, and a quarter more, since conversations grow; where it was less, the allowance falls by a
        64th, so that what one call in a hundred brings is not forgotten between two of them.
        """
        if call.generates:
            self._outputs.change(
                (org, call.model), lambda usual: output if usual is None else usual + (output - usual) / 8
            )
        if call.opaque:
            hidden = min(max(0, input - shown) * 5 // 4, MOST)
            self._allowances.change(
                (org, project, call.model), lambda allowed: max(LEAST, hidden, _lower(allowed or SEED))
            )


def _lower(allowed: int) -> int:
    return allowed - allowed // 64
