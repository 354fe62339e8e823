"""One program on the SDK's provider and on otlpfast's, and all that can be seen of both, compared.

``ops`` has what programs are made of, ``cast`` what their lines call by name, ``drawing`` makes random ones, ``run``
runs and compares them, and ``shown`` says what a span shows. What the two may differ in is in ``DIFFERENCES``.
"""

from __future__ import annotations

from .run import Compared, compare

__all__ = ["DIFFERENCES", "Compared", "compare"]

# Everything that is not compared, or made equal before it is. Each has its reason in docs/compatibility.md.
DIFFERENCES = {
    "frames of the machinery": "a native tracer has none; stack traces lose those of the SDK, the API and contextlib",
    "the name of a span's class": "repr() says Span, not _Span",
    "a line that the SDK refuses": "otlpfast never raises; what follows such a line is not compared",
    "the place of otlpfast's processors": "they come last, whenever they were registered",
    "what otlpfast's processors log": "theirs, not the provider's; has tests of its own",
    "present times, addresses, random ids": "each run has its own; ids are compared by the order they are met in",
}
