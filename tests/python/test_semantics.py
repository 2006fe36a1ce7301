"""docs/semantics.md is true: every session in it is run, with redis-cli, and every reply compared."""

import re
import shutil
import subprocess

import pytest
from conftest import REPOSITORY, missing
from pending import PENDING, marks
from sessions import agrees, sessions

PAGE = REPOSITORY / "docs/semantics.md"
SESSIONS = sessions(PAGE.read_text())
# What redis-cli adds to the reply of a command that took over half a second.
TOOK = re.compile(r"\n\(\d+\.\d+s\)$")


def ident(session):
    return f"line_{session.line}_" + "".join(c if c.isalnum() else "_" for c in session.heading.lower())


@pytest.mark.parametrize(
    "session", [pytest.param(session, id=ident(session), marks=marks(*session.needs)) for session in SESSIONS]
)
def test_every_reply_of_the_page_is_what_the_server_says(port, resp3, session):
    if not shutil.which("redis-cli"):
        missing("redis-cli is not installed: the sessions of docs/semantics.md did not run")
    assert session.steps
    try:
        for step in session.steps:
            reply = redis_cli(port, step.command)
            assert agrees(step.reply, reply), (
                f"{PAGE.name}:{step.line}: {step.command}\n--- the page ---\n{step.reply}\n--- the server ---\n{reply}"
            )
    finally:
        for name in names(resp3):
            resp3.execute_command("STREAM.DROP", name)


def redis_cli(port, command):
    output = subprocess.run(
        ["redis-cli", "-3", "--no-raw", "-p", str(port)], input=command, capture_output=True, text=True, timeout=60, check=True
    )
    return TOOK.sub("", output.stdout.rstrip("\n"))


def names(client):
    return client.execute_command("STREAM.LIST")


def test_every_fenced_block_of_the_page_is_a_session_or_a_picture():
    assert len(SESSIONS) >= 15
    fences = [line for line in PAGE.read_text().splitlines() if line.startswith("```") and line != "```"]
    assert all(line == "```text" or line.startswith("```windrow") for line in fences)
    assert sum(line.startswith("```windrow") for line in fences) == len(SESSIONS)


def test_a_slow_reply_is_the_same_reply():
    assert TOOK.sub("", "OK\n(0.70s)") == "OK"
    assert TOOK.sub("", "1) (integer) 7") == "1) (integer) 7"


def test_a_wrong_reply_is_noticed():
    assert agrees("1) (integer) 7", "1) (integer) 7")
    assert not agrees("1) (integer) 7", "1) (integer) 8")
    assert not agrees("OK", "OK\nOK")
    assert agrees("(error) ERR ...", "(error) ERR no such stream")
    assert not agrees("(error) ERR ...", "OK")
