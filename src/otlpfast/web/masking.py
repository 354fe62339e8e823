"""What is never shown: credentials in URLs, and texts whose name says that they are secret.

Attributes are the application's own: instrumentation may be told to record headers, and a URL may have
anything in it. Whoever sees the page need not see that.
"""

from __future__ import annotations

import re

_SECRET_NAME = re.compile(
    r"authorization|cookie|passw(or)?d|secret|token|api[-_.]?key|credential|private[-_.]?key", re.IGNORECASE
)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s?#@]*(:[^/\s?#]*)?@")
_PARAMETER = re.compile(
    r"([?&;](?:[\w.-]*(?:token|secret|passw(?:or)?d|api[-_.]?key|signature|credential)[\w.-]*|sig|key|auth|code)=)"
    r"[^&;#\s]+",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Whether the value of an attribute of that name is masked, if it is a text."""
    return _SECRET_NAME.search(name) is not None


def masked(text: str) -> str:
    """The text without what URLs in it may have of credentials."""
    if "://" in text:
        text = _CREDENTIALS.sub("***@", text)
    if "=" in text:
        text = _PARAMETER.sub(r"\1***", text)
    return text
