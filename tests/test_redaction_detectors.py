"""What the patterns with names find, and what they leave alone."""

from __future__ import annotations

import pytest
from opentelemetry.semconv.attributes import http_attributes, url_attributes

from otlpfast._impl import Redactor
from otlpfast.redaction import RedactionRules, Verdict


@pytest.fixture(name="redactor", scope="module")
def redactor_fixture() -> Redactor:
    return RedactionRules.default().redactor()


SECRETS = [
    ("mail to bob.smith+x@mail.example.co.uk!", "bob.smith+x@mail.example.co.uk"),
    ("?email=bob%40example.com&x=1", "bob%40example.com"),
    ("jürgen@müller.de", "jürgen@müller.de"),
    ("用户@例子.公司", "用户@例子.公司"),
    ("card 4111111111111111.", "4111111111111111"),
    ("card=4111-1111-1111-1111", "4111-1111-1111-1111"),
    ("5500 0055 5555 5559", "5500 0055 5555 5559"),
    ("amex 3782 822463 10005", "3782 822463 10005"),
    ("6011000990139424", "6011000990139424"),
    ("卡号4111111111111111。", "4111111111111111"),
    ("password=hunter2&x=1", "hunter2"),
    ("pwd=hunter2", "hunter2"),
    ("Password: hunter2", "hunter2"),
    ("password = 'hunter 2'", "hunter 2"),
    ('{"password": "hunter\\"2", "x": 1}', "hunter"),
    ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
    ("db_password=hunter2", "hunter2"),
    ("userPassword=hunter2", "hunter2"),
    ("user[password]=hunter2&", "hunter2"),
    ("user%5Bpassword%5D=hunter2", "hunter2"),
    ("connect(password='hunter2', host='x')", "hunter2"),
    ("connect(api_key=hunter2)", "hunter2"),
    ("api_key=hunter2;", "hunter2"),
    ("X-Api-Key: hunter2", "hunter2"),
    ("x-api-key: hunter", "hunter"),
    ("client_secret=hunter2", "hunter2"),
    ("access_token=ya.hunter2", "hunter2"),
    ("token=%24hunter", "hunter"),
    ("token=$hunter", "hunter"),
    ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
    ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("{'Authorization': 'Bearer hunter'}", "hunter"),
    ("'authorization': 'hunter2'", "hunter2"),
    ("Authorization: hunter2", "hunter2"),
    ("{'authorization': b'Token hunter2'}", "hunter2"),
    ("{'Authorization': ['hunter2']}", "hunter2"),
    ('Authorization: Token token="hunter2"', "hunter2"),
    ("{'cookie': ['sessionid=hunter2']}", "hunter2"),
    ("<QueryDict: {'username': ['bob'], 'password': ['hunter2']}>", "hunter2"),
    ('{"password": ["hunter2"]}', "hunter2"),
    ("{'password': ('hunter2',)}", "hunter2"),
    ("UPDATE users SET password='hunter''2' WHERE id = 1", "''2"),
    ("Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/2013, Signature=fe5f80", "fe5f80"),
    ("Bearer eyJhbGciOi", "eyJhbGciOi"),
    ("sent Bearer s3cr3t-token-value", "s3cr3t-token-value"),
    ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "QWxhZGRpbjpvcGVuIHNlc2FtZQ"),
    ("Cookie: sessionid=abc123; csrftoken=x", "abc123"),
    ("Set-Cookie: sid=31d4d96e; Path=/", "31d4d96e"),
    ('Cookie: name="Wile E."; id=5', "id=5"),
    ("{'Cookie': 'name=\"Wile E.\"'}", "Wile"),
    ('{"cookie": "a=\\"b\\"; c=hunter2", "x": 1}', "hunter2"),
    ("postgresql://bob:hunter2@db/x", "hunter2"),
    ("redis://:hunter2@cache:6379", "hunter2"),
    ("https://bob:p@ss@example.com/", "p@ss"),
    ("amqp://guest:guest@mq//", "guest@"),
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ("xoxb-123456789012-abcdefABCDEF", "xoxb-123456789012-abcdefABCDEF"),
    ("sk-proj-abcdefghijklmnop1234", "sk-proj-abcdefghijklmnop1234"),
    ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyjWDarjtT1zdp7dc"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "MIIE"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", "b3Bl"),
    ("https://x.blob.core.windows.net/c?sv=2020&sig=abc%2Fdef%3D", "abc%2Fdef"),
    ("https://s3.amazonaws.com/x?X-Amz-Credential=AK/x&X-Amz-Signature=fe5f80", "fe5f80"),
    ("AccountKey=abcdef==;EndpointSuffix", "abcdef=="),
    ("export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
    ("secret: s3cret", "s3cret"),
    ("passphrase: correct", "correct"),
    ("password:hunter", "hunter"),
    ("token => 'abc'", "abc"),
    ('refresh_token": "abc', "abc"),
    ('PASSWORD="abc', "abc"),
]

HARMLESS = [
    "GET /api/v1/users/{id}",
    "SELECT * FROM users WHERE password = ? AND token = %s",
    "SELECT password, token FROM users WHERE id = $1",
    "UPDATE users SET password = :password WHERE id = :id",
    "INSERT INTO tokens (token) VALUES (%(token)s)",
    "Invalid token: unexpected '}' at line 1",
    "Unexpected token: end of file",
    "Wrong password: please try again",
    "password must have at least 8 characters",
    "max_tokens=100, input_tokens=50, tokens: 12",
    "Basic authentication is required",
    "Bearer authentication failed",
    'WWW-Authenticate: Basic realm="api"',
    'WWW-Authenticate: Bearer realm="api"',
    "https://example.com/a/b?page=2&sort=asc#top",
    "https://example.com:8080/path",
    "postgresql://db.example.com:5432/orders",
    "user@localhost",
    "lodash@4.17.21",
    "pip install package@1.2",
    '@app.route("/x")',
    "1700000000123 1700000000123456 1700000000123456789",
    "550e8400-e29b-41d4-a716-446655440000",
    "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7",
    "2024-01-02T03:04:05.678901Z",
    "+1 555 123 4567",
    "10.0.0.1 255.255.255.255 2001:db8::1",
    "4111 1111 1111 1112",
    "1234567890123456",
    "0.1234567890123456",
    "task-list disk-usage risk-assessment-of-the-year",
    "sk-short",
    "secretary: Ms. X",
    "the secret of success",
    "a tokenizer: fast",
    "passport=yes compass=north bypass=1 passenger: none",
    'File "/app/auth.py", line 10, in check_password',
    "ValueError: invalid literal for int() with base 10: 'x'",
    "KeyError: 'token'",
    '    raise PermissionError("no access to this resource")',
    "authorization failed for role admin",
    "cookie consent banner shown",
    "design: signature required",
    '{"page": 1, "size": 20}',
    "feature.flag=on region=eu-west-1",
    "content-type: application/json; charset=utf-8",
    "x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]",
    "5 4 3 2 6 7 8 1 2 3 4 5 6 7",
    "redis://cache:6379/0",
    "password=[REDACTED]",
    "password=*** token=<hidden>",
    "mongodb://db1.example.com,db2.example.com/test",
    "SG.short",
    "kafka-topic: orders.v1",
    "the author: bob",
    "monkey=banana keyboard: qwerty",
    "foreign_key=users.id primary_key: id",
    "api_keys rotated",
    "10 tokens: ok",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_does_not_stay(redactor: Redactor, text: str, secret: str) -> None:
    found = redactor.clean(text)
    assert secret not in found
    assert "[REDACTED]" in found


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_nor_among_much_else(redactor: Redactor, text: str, secret: str) -> None:
    found = redactor.clean(f"{'so much else. ' * 200}\n{text}\n{'so much else. ' * 200}")
    assert secret not in found
    assert found.count("so much else. ") >= 200


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_none_stays(redactor: Redactor, text: str) -> None:
    assert redactor.clean(text) == text


def test_what_was_cleaned_is_clean(redactor: Redactor) -> None:
    for text, _ in SECRETS:
        found = redactor.clean(text)
        assert redactor.clean(found) == found


def test_what_surrounds_a_secret_stays(redactor: Redactor) -> None:
    assert redactor.clean("https://bob:hunter2@db/x?token=a&page=2") == (
        "https://bob:[REDACTED]@db/x?token=[REDACTED]&page=2"
    )
    assert redactor.clean('{"password": "a \\" b", "page": 2}') == '{"password": "[REDACTED]", "page": 2}'
    assert (
        redactor.clean("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\nrest")
        == "[REDACTED]\nrest"
    )


def luhn(digits: str) -> str:
    """The digits with the one that makes them a card number."""
    total = sum(sum(divmod(int(d) * (2 - n % 2), 10)) for n, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


@pytest.mark.parametrize("length", range(10, 23))
def test_card_numbers_have_13_to_19_digits(redactor: Redactor, length: int) -> None:
    number = luhn("4" + "1234567890" * 3)[: length - 1]
    number = luhn(number)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    is_card = 13 <= length <= 19
    for text in ("{}", "a {} b", "({})", "card={};", "{}\n", "卡{}号"):
        assert redactor.clean(text.format(number)) == text.format("[REDACTED]" if is_card else number)
        assert redactor.clean(text.format(wrong)) == text.format(wrong)
    for text in ("a{}", "{}a", "_{}", "{}_"):
        assert redactor.clean(text.format(number)) == text.format(number)


def test_card_numbers_may_have_spaces_or_dashes(redactor: Redactor) -> None:
    for text in ("4111 1111 1111 1111", "4111-1111-1111-1111", "4111 111111111111", "4222 222 222 222"):
        assert redactor.clean(f"a {text} b") == "a [REDACTED] b"
        assert redactor.clean(f"a {text} 12 {text}, {text}") == "a [REDACTED] 12 [REDACTED], [REDACTED]"
    for text in ("4111  1111 1111 1111", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4111_1111_1111_1111"):
        assert redactor.clean(text) == text


@pytest.mark.parametrize(
    "key",
    [
        "user.password",
        "PASSWORD",
        "db.passwd",
        "client_secret",
        "http.request.header.authorization",
        "http.request.header.proxy-authorization",
        "http.request.header.cookie",
        "http.response.header.set-cookie",
        "http.request.header.x-api-key",
        "access_token",
        "aws.credentials",
        "x-csrf-token",
        "payment.card_number",
        "ssh.private_key",
    ],
)
def test_by_default_keys_of_secrets_are_masked(redactor: Redactor, key: str) -> None:
    assert redactor.action(key) == Verdict.MASK


def test_by_default_all_else_is_searched(redactor: Redactor) -> None:
    known = [value for names in (http_attributes, url_attributes) for value in vars(names).values()]
    keys = [key for key in known if isinstance(key, str) and "." in key]
    assert len(keys) > 10
    for key in (*keys, "db.query.text", "gen_ai.usage.input_tokens", "gen_ai.request.max_tokens", "user.id"):
        assert redactor.action(key) == Verdict.SCAN, key


def test_own_rules_come_before_the_default_ones() -> None:
    redactor = RedactionRules.default(
        keys=[("csrf_token", "keep")], patterns=[("[a-z.]+@x\\.org", "hash")]
    ).redactor()
    assert redactor.action("csrf_token") == Verdict.KEEP
    assert redactor.clean("a@x.org a@y.org") == f"{redactor.hash('a@x.org')} [REDACTED]"
