import asyncio
import email
import http
import json
import time
import urllib
from pathlib import Path

import pytest

import agent
from agent.redact import REDACTED, Redactor, scrubbed_environment, secret_names, secret_values

# Put together here, so that no scanner takes this file for a leak, and so that the redactor leaves it readable.
HEX = "0123456789abcdef" * 4
MIXED = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC2dF4"
SECRETS = [
    "sk-" + MIXED,
    "sk-proj-" + MIXED + "_x-" + MIXED,
    "sk-ant-api03-" + MIXED,
    "sk-or-v1-" + HEX,
    "sk-" + HEX[:32],
    "sk_live_" + MIXED,
    "ghp_" + MIXED + "abc",
    "gho_" + MIXED + "abc",
    "github_pat_11ABCDEFG0" + MIXED,
    "glpat-" + MIXED[:20],
    "hf_" + MIXED,
    "gsk_" + MIXED + MIXED,
    "xai-" + MIXED + MIXED,
    "xoxb-123456789012-" + MIXED,
    "xoxp-123456789012-" + MIXED,
    "xapp-1-A123-" + MIXED,
    "AKIA" + "ABCDEFGH12345678",
    "AIza" + MIXED + "xy",
    "123456789:AA" + MIXED,
    "7123456789:AA" + MIXED[:32],
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0." + MIXED,
    "tgp_v1_" + MIXED + MIXED,
    "csk-" + HEX[:48],
    "pplx-" + MIXED + MIXED,
    "nvapi-" + MIXED + MIXED,
    "r8_" + MIXED + "abcd",
    "npm_" + MIXED + "abc",
    "pypi-" + "AgEIcHlwaS5vcmc" + MIXED + MIXED,
    "dckr_pat_" + MIXED,
    "dop_v1_" + HEX,
    "lin_api_" + MIXED,
    "shpat_" + HEX[:32],
    "dapi" + HEX[:32],
    "hvs." + MIXED,
    "SG." + MIXED[:22] + "." + MIXED + MIXED[:10],
    "ya29." + MIXED,
    "GOCSPX-" + MIXED[:28],
    "whsec_" + MIXED,
    "rk_live_" + MIXED,
    "glrt-" + MIXED[:20],
    "ASIA" + "ABCDEFGH12345678",
    "AGE-SECRET-KEY-1" + HEX[:58].upper(),
    "ATATT3" + MIXED + MIXED,
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "key: {}\n", 'KEY="{}"', "https://host/bot{}/getMe", "({}),", "a\n{}\nb"])
def test_keys_of_well_known_shapes_disappear(secret: str, around: str) -> None:
    if "/bot" in around and ":AA" not in secret:
        around = "https://host/?key={}&x=1"
    text = around.format(secret)
    cleaned = Redactor()(text)
    assert secret not in cleaned
    assert cleaned == around.format(REDACTED)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Authorization: Bearer " + MIXED, "Authorization: Bearer [redacted]"),
        ('{"Authorization": "Basic ' + MIXED + '"}', '{"Authorization": "Basic [redacted]"}'),
        ("curl -H 'authorization: token " + MIXED + "'", "curl -H 'authorization: token [redacted]'"),
        ('password = "correct4horse"', 'password = "[redacted]"'),
        ('"client_secret": "' + MIXED + '"', '"client_secret": "[redacted]"'),
        ("DB_PASSWORD=correct4horse!\nX=1", "DB_PASSWORD=[redacted]\nX=1"),
        ("export SOME_API_KEY=" + MIXED, "export SOME_API_KEY=[redacted]"),
        ("postgres://admin:s3cr3tpazz@db:5432/x", "postgres://admin:[redacted]@db:5432/x"),
        ("redis://:s3cr3tpazz@cache:6379/0", "redis://:[redacted]@cache:6379/0"),
        ("https://x-token:" + MIXED + "@host/a.git (fetch)", "https://x-token:[redacted]@host/a.git (fetch)"),
        (
            "https://hooks.slack.com/services/T0000AAAA/B0000BBBB/" + MIXED,
            "https://hooks.slack.com/services/[redacted]",
        ),
        ("[default]\naws_secret_access_key = " + MIXED + "/x+", "[default]\naws_secret_access_key = [redacted]"),
        ("db:\n  password: c0rrecthorse\n  port: 5", "db:\n  password: [redacted]\n  port: 5"),
        ("export MISTRAL_API_KEY=" + HEX[:32], "export MISTRAL_API_KEY=[redacted]"),
        ("TOGETHER_API_KEY='" + HEX + "'", "TOGETHER_API_KEY='[redacted]'"),
        ("NOUS_API_KEY=" + MIXED, "NOUS_API_KEY=[redacted]"),
        ("django.secret_key=" + MIXED, "django.secret_key=[redacted]"),
        ("npm_config_auth_token: " + MIXED, "npm_config_auth_token: [redacted]"),
    ],
)
def test_credentials_in_their_places_disappear_and_the_place_stays(text: str, cleaned: str) -> None:
    assert Redactor()(text) == cleaned


@pytest.mark.parametrize("kind", ["RSA ", "", "OPENSSH ", "EC "])
def test_private_keys_disappear_also_when_cut_off_or_on_one_line(kind: str) -> None:
    begin, end = f"-----BEGIN {kind}PRIVATE " + "KEY-----", f"-----END {kind}PRIVATE " + "KEY-----"
    body = "\n".join([MIXED + MIXED[:31]] * 5)
    redact = Redactor()
    assert redact(f"x\n{begin}\n{body}\nAb3=\n{end}\ny") == "x\n[redacted]\ny"
    assert redact(f"{begin}\n{body}") == REDACTED
    assert redact(json.dumps({"key": f"{begin}\n{body}\n{end}\n"})) == '{"key": "[redacted]\\n"}'


@pytest.mark.parametrize(
    "text",
    [
        'password = "password"', 'password = os.environ["DB_PASSWORD1"]', "password = getpass('Password 2: ')",
        'api_key = "your-api-key-1"', "api_key=settings.key1", 'token = "<token1>"', "Authorization: Bearer $TOKEN",
        'f"Authorization: Bearer {token}"', "Authorization: Bearer YOUR_API_KEY_HERE", "sk-learn",
        "task-1234567890abcdefghij1",
        "div.sk-toggleable__control-checked__label", "risk-assessment-2024-final-version-3", "secret_santa = 2024",
        "https://user:password@example.com", "http://localhost:8000/x@y", "OPENAI_API_KEY=", "MAX_TOKENS=4096000000000",
        "-----BEGIN PRIVATE " + "KEY-----", "ssh-rsa AAAAB3NzaC1yc2E", "d41d8cd98f00b204e9800998ecf8427e",
        "self.password = password", "SECRET_KEY = config('SECRET_KEY1', default='x')", "git@github.com:a/b.git",
        "KEY=$(cat /run/secrets/key1)", "password: str | None = None  # 8chars",
        '"AWS::IAM::AccessKey": "62d91b17309e76c8"', "token = tokens2[index]", "    secret: SecretStr2",
        "    token = next_token2", "password = load_password2(path)", "-----END PRIVATE " + "KEY-----",
    ],
)  # fmt: skip
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor()(text) == text


@pytest.mark.parametrize("package", [json, email, asyncio, http, urllib, agent], ids=lambda package: package.__name__)
def test_ordinary_source_code_stays_as_it_is(package) -> None:
    redact = Redactor(["correct horse battery"])
    sources = list(Path(package.__file__).parent.rglob("*.py"))
    assert sources
    for source in sources:
        text = source.read_text("utf-8")
        assert redact(text) == text, source


def test_known_values_disappear_wherever_they_are() -> None:
    redact = Redactor(["hunter2hunter2", "hunter2hunter2-longer", 'quote"and\\slash', "short", "  "])
    assert redact("x hunter2hunter2-longer hunter2hunter2 short") == "x [redacted] [redacted] short"
    assert redact(json.dumps({"a": 'quote"and\\slash'})) == '{"a": "[redacted]"}'
    assert Redactor()("nothing known") == "nothing known"


def test_a_known_value_disappears_also_when_it_is_wrapped_or_encoded() -> None:
    secret = "correct+horse/battery=staple"
    redact = Redactor([secret])
    assert redact(f"a {secret[:10]}\n    {secret[10:20]}\\\n{secret[20:]} b") == "a [redacted] b"
    assert redact("?key=correct%2Bhorse%2Fbattery%3Dstaple&x") == "?key=[redacted]&x"
    assert redact("correct\nhorse") == "correct\nhorse"


def test_the_lines_of_a_known_key_disappear_one_by_one() -> None:
    lines = [MIXED + "1", MIXED + "2", MIXED + "3"]
    redact = Redactor(["\n".join(["-----BEGIN PRIVATE " + "KEY-----", *lines, "-----END PRIVATE " + "KEY-----"])])
    assert redact(f"key.pem:3: {lines[1]}") == "key.pem:3: [redacted]"
    assert redact("-----BEGIN PRIVATE " + "KEY-----") == "-----BEGIN PRIVATE " + "KEY-----"


def test_the_rest_of_a_private_key_disappears() -> None:
    end = "-----END RSA PRIVATE " + "KEY-----"
    rest = "\n".join([MIXED + MIXED[:31]] * 3 + ["Ab3=", end])
    assert Redactor()(f"ordinary words\n{rest}\nmore") == "ordinary words\n[redacted]\nmore"


def test_a_part_of_a_text_shows_no_part_of_a_secret() -> None:
    secret = "sk-" + MIXED
    text = f"one {secret} two"
    redact = Redactor()
    whole = [redact.part(text, start, end) for start in range(len(text)) for end in range(start, len(text) + 1)]
    assert not [part for part in whole if any(secret[at : at + 3] in part for at in range(3, len(secret) - 2))]
    assert redact.part(text, 0, 10) == "one [redacted]"
    assert redact.part(text, 10, len(text)) == "[redacted] two"
    assert redact.part(text, 0, 4) == "one "


def test_what_overlaps_is_taken_out_once() -> None:
    secret = "sk-" + MIXED
    assert Redactor([secret + "-x"])(f'api_key="{secret}-x"') == 'api_key="[redacted]"'


def test_cleaning_twice_is_cleaning_once() -> None:
    redact = Redactor(["hunter2hunter2"])
    once = redact("\n".join([*SECRETS, "Authorization: Bearer " + MIXED, 'password="correct4horse"', "hunter2hunter2"]))
    assert redact(once) == once


def test_hostile_text_takes_no_time() -> None:
    redact = Redactor(["hunter2hunter2"])
    began = time.monotonic()
    for piece in (
        "sk-",
        "eyJ",
        "eyJaaaaaaaaaa.",
        "password=",
        "password='",
        "://a:",
        "-----BEGIN ",
        "A_KEY=a",
        "A_",
        "x",
        "-----BEGIN PRIVATE " + "KEY-----\n3: 3: 3: 3: 3: 3:\n",
        "-----BEGIN PRIVATE " + "KEY-----\n" + "  3-\n\n3\t" * 20,
        f"{MIXED}\n  3:  {MIXED}\n -{MIXED} \n  a: ",
        "-----END PRIVATE " + "KEY-----",
        f"token: {MIXED} ",
        "token=\n",
    ):
        redact(piece * (90_000 // len(piece)) + "://-----END")
    redact("Authorization: Bearer " * 5_000)
    redact("password = '" + " " * 90_000)
    assert time.monotonic() - began < 20  # Quadratic work would take minutes.


ENVIRONMENT = {
    "OPENAI_API_KEY": "value-of-a-key", "GITHUB_TOKEN": "value-of-a-token", "PGPASSWORD": "a-pass-word",
    "MYSQL_PWD": "another-password", "SSH_AUTH_SOCK": "/run/agent.1", "PATH": "/usr/bin", "PWD": "/home/me/project",
    "OLDPWD": "/home/me", "KEYBOARD": "german-dvorak", "TOKENIZERS_PARALLELISM": "false-or-true", "AUTHOR": "some body",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json", "RETRY_TOKEN": "12345678901", "TINY_KEY": "abc",
    "XDG_SESSION_ID": "c2-session-id", "DISPLAY": ":0", "DATABASE_URL": "postgres://me:sesame-open@db/shop",
    "COOKIE": "session=sesame", "MYPASS": "sesame-street", "SLACK_WEBHOOK": "https://hooks.example.com/T/B/x",
    "HTTPS_PROXY": "http://me:sesame-open@proxy:8080", "COMPASS": "north-by-north-west", "GIT_ASKPASS": "/usr/bin/ask",
    "ORIGIN": "https://me@example.com/shop.git",
}  # fmt: skip


def test_secret_names_in_an_environment() -> None:
    assert secret_names(ENVIRONMENT) == (
        "OPENAI_API_KEY", "GITHUB_TOKEN", "PGPASSWORD", "MYSQL_PWD", "GOOGLE_APPLICATION_CREDENTIALS", "RETRY_TOKEN",
        "TINY_KEY", "DATABASE_URL", "COOKIE", "MYPASS", "SLACK_WEBHOOK",
    )  # fmt: skip


def test_values_fit_for_searching_are_neither_short_nor_paths_nor_numbers() -> None:
    assert secret_values(ENVIRONMENT)[:4] == ("value-of-a-key", "value-of-a-token", "a-pass-word", "another-password")
    assert len(secret_values(ENVIRONMENT)) == 8


def test_a_scrubbed_environment_keeps_the_rest() -> None:
    clean = scrubbed_environment(ENVIRONMENT)
    assert not {"OPENAI_API_KEY", "GITHUB_TOKEN", "MYSQL_PWD"} & set(clean)
    assert {"PATH", "PWD", "OLDPWD", "SSH_AUTH_SOCK", "KEYBOARD", "TOKENIZERS_PARALLELISM"} <= set(clean)
    assert {"HTTPS_PROXY", "COMPASS", "GIT_ASKPASS", "ORIGIN"} <= set(clean)
