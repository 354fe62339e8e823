"""One program on the SDK's provider and on otlpfast's, and all that can be seen of both, compared.

``ops`` has what programs are made of, ``cast`` what their lines call by name, ``sources`` and ``drawing``
make random ones, ``run`` runs and compares them, ``shown`` says what a span shows.

What is not compared, or made equal before it is (each has its reason in docs/compatibility.md):

- frames of the machinery: a native tracer has none; stack traces lose those of SDK, API and contextlib;
- the names of the classes of spans, which repr() and AttributeError tell;
- what follows a line that the SDK refuses: otlpfast never raises;
- the place of otlpfast's processors: they come last, whenever they were registered;
- how often an attribute too many is warned of: here each time;
- what otlpfast's processors log: theirs, not the provider's;
- present times, addresses and random ids: each run has its own.
"""

from __future__ import annotations

from .run import Compared, compare

__all__ = ["Compared", "compare"]
