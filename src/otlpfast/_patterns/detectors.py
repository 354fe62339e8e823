"""The patterns that have names: e-mail addresses, card numbers, and secrets of well-known forms.

Of a match, what a group named ``secret`` has is replaced, or all of it where there is none.
"""

from __future__ import annotations

# Letters beyond ASCII, roughly: not the punctuation.
_LETTERS = (
    r"A-Za-z\u00c0-\u024f\u0370-\u1fff\u2c00-\u2dff\u3040-\ud7ff\uf900-\ufdff"
    r"\U00010000-\U0001efff\U00020000-\U0003ffff"
)
_EMAIL = (
    rf"[{_LETTERS}0-9._%+-]+(?:@|%40)"
    rf"(?:[{_LETTERS}0-9](?:[{_LETTERS}0-9-]*[{_LETTERS}0-9])?\.)+(?:[{_LETTERS}]{{2,}}|xn--[A-Za-z0-9]+)"
)

# How a candidate begins; where it ends, and whether it is one, is for the check of card numbers. They begin
# with 2 to 6; times in milli-, micro- and nanoseconds begin with 1.
_CARD = r"(?a)\b[2-6](?:[ -]?\d){12}"

_NAME = (
    r"(?:password|passwd|passphrase|passcode|\bpass|_pass|\bpwd|_pwd|secret|token|credentials?"
    r"|awsaccesskeyid|signature|\bsig|(?:access|account|api|auth|encryption|private|shared|signing|subscription)[_-]?key)"
    r"(?:[_-]?confirm(?:ation)?)?\d?(?:\]|%5D)?"
)
_SIGN = r"(?:=>|:=|==|=|:)"
_REST = r"[^\s\"'`&;,)\]}\\]"
# Not what stands for a value in a template or a statement, or is masked already: %s ? $1 :name {x} <x> ***
_LETTER = r"[^\s\d\"'`&;,)\]}\\(\[{<>?%$:=*|]"
_VALUE = rf"(?:{_LETTER}|\d|%[0-9A-Fa-f]{{2}}|[$?*][A-Za-z]){_REST}*"
_KEY = r"[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?"
_OPEN = r"(?:[\[(]\s*)?"  # a list of values, as in headers and queries that were parsed
_TOKEN_CHARACTERS = r"[A-Za-z0-9._~+/-]"

_TOKENS = (
    # password="…", 'token': ['…'], {\"api_key\": \"…\"}
    rf"(?i){_NAME}\\*[\"'`]?\s*{_SIGN}\s*{_OPEN}[bfru]{{0,2}}\"(?P<secret>(?:[^\"\\\n]|\\.)+)",
    rf"(?i){_NAME}\\*[\"'`]?\s*{_SIGN}\s*{_OPEN}[bfru]{{0,2}}'(?P<secret>(?:[^'\\\n]|\\.|'')+)",
    rf"(?i){_NAME}\\*[\"'`]?\s*{_SIGN}\s*\\+[\"'](?P<secret>[^\"'\\\n]+)",
    # password=…&, PASSWORD:…
    rf"(?i){_NAME}[\"'`]?{_SIGN}(?P<secret>{_VALUE})",
    # password: … where no sentence goes on: to the end of the line, or with a digit in it
    rf"(?im){_NAME}[\"'`]?[ \t]*{_SIGN}[ \t]+(?P<secret>{_VALUE})[ \t\r]*[,;]?$",
    rf"(?i){_NAME}[\"'`]?[ \t]*{_SIGN}[ \t]+(?P<secret>{_LETTER}{_REST}*?\d{_REST}*)",
    rf"(?i){_NAME}[\"'`]?[ \t]*{_SIGN}[ \t]+(?P<secret>\d{_REST}*[a-z]{_REST}*)",
    # Headers
    rf"(?i)\bauthorization[\"']?\s*[:=]\s*{_OPEN}[bru]?\"(?:[a-z-]+\s+)?(?P<secret>(?:[^\"\\\r\n]|\\.)+)",
    rf"(?i)\bauthorization[\"']?\s*[:=]\s*{_OPEN}[bru]?'(?:[a-z-]+\s+)?(?P<secret>(?:[^'\\\r\n]|\\.)+)",
    r"(?i)\bauthorization[\"']?\s*[:=]\s*(?:[a-z-]+\s+)?(?P<secret>[\[(]?[^\s\"',;\[(]+(?:[\"'][^\"'\r\n]*[\"'])?)",
    rf"(?i)\bcookie[\"']?\s*:\s*{_OPEN}[bru]?\"(?P<secret>(?:[^\"\\\r\n]|\\.)+)",
    r"(?i)\bcookie[\"']?\s*:\s*[\[(]\s*[bru]?'(?P<secret>(?:[^'\\\r\n]|\\.)+)",
    r"(?i)\bcookie[\"']?\s*:\s*[bru]?'?(?P<secret>[^\r\n\"']+(?:\"[^\"\r\n]*\"[^\r\n\"']*)*)",
    rf"(?a)\b(?i:bearer)\s+(?P<secret>[a-z]*(?:[A-Z0-9_~+/-]|\.\w){_TOKEN_CHARACTERS}*=*)",
    r"(?a)\b(?i:basic)\s+(?P<secret>[A-Za-z]*(?:[a-z][A-Z]|[0-9+/])[A-Za-z0-9+/]*=*)",
    # user:password@host
    r"(?i)\b[a-z][a-z0-9+.-]*://[^\s/?#:@\"'<>]*:(?P<secret>[^\s/?#\"'<>]+)@",
    # A text that was cut may have lost the end.
    rf"-----BEGIN {_KEY}-----(?s:.*?)(?:-----END {_KEY}-----|\Z)",
    r"(?a)\beyJ[\w-]{6,}(?:\.[\w-]*){2,4}",
    r"(?a)\b(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AIPA|ANPA|ANVA|AROA|ASCA)[A-Z0-9]{16}\b",
    r"(?a)\bgh[oprsu]_[A-Za-z0-9]{16,}",
    r"(?a)\bgithub_pat_\w{16,}",
    r"(?a)\bglpat-[\w-]{16,}",
    r"(?a)\bxox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{8,}",
    r"(?a)\bxapp-\d-[A-Za-z0-9-]{8,}",
    r"(?a)\bhooks\.slack\.com/(?:services|workflows)/(?P<secret>[\w/+-]{8,})",
    r"(?a)\bsk-[\w-]{16,}",
    r"(?a)\b[prs]k_(?:live|test)_[A-Za-z0-9]{8,}",
    r"(?a)\bwhsec_[A-Za-z0-9+/=]{16,}",
    r"(?a)\bAIza[\w-]{30,}",
    r"(?a)\bya29\.[\w-]{16,}",
    r"(?a)\bnpm_[A-Za-z0-9]{30,}",
    r"(?a)\bpypi-[\w-]{16,}",
    r"(?a)\bSG\.[\w-]{16,}\.[\w-]{16,}",
    r"(?a)\bhf_[A-Za-z0-9]{20,}",
    r"(?a)\bdop_v1_[a-f0-9]{32,}",
    r"(?a)\bhv[sb]\.[\w-]{20,}",
    r"(?a)\b\d{8,10}:AA[\w-]{32,}",
)

DETECTORS = {"email": (_EMAIL,), "card": (_CARD,), "token": _TOKENS}
"""The regular expressions of each; a "card" is checked by Luhn's formula too."""

KEYS = (
    # How many tokens a model took is no secret.
    ("gen_ai.usage.*", "scan"),
    ("llm.usage.*", "scan"),
    ("llm.token_count.*", "scan"),
    *(
        (f"*{kind}_tokens", "scan")
        for kind in ("input", "output", "total", "prompt", "completion", "max", "cached")
    ),
    "*password*",
    "*passwd*",
    "*passphrase*",
    "*passcode*",
    "pass",
    "*[._-]pass",
    "pwd",
    "*[._-]pwd",
    "*secret*",
    "*token*",
    "*api_key*",
    "*api-key*",
    "*apikey*",
    "*access_key*",
    "*access-key*",
    "*accesskey*",
    "*private_key*",
    "*private-key*",
    "*privatekey*",
    "*auth[_-]key*",
    "*encryption[_-]key*",
    "*signing[_-]key*",
    "*signature",
    "*credential*",
    "*authorization*",
    "*cookie*",
    "*csrf*",
    "*xsrf*",
    "cvv",
    "*[._-]cvv",
    "*card_number*",
    "*cardnumber*",
)
"""The keys of RedactionRules.default(), in their order."""
