"""redis-cli sessions in Markdown: fenced blocks of `> command` lines, each followed by its reply."""

import dataclasses
import re

FENCE = re.compile(r"^```(.*)$")


@dataclasses.dataclass
class Step:
    line: int
    command: str
    reply: str


@dataclasses.dataclass
class Session:
    line: int
    heading: str
    needs: list
    steps: list


def sessions(text):
    """The ```windrow blocks, in order. `needs=a,b` behind the word names features that may still be missing."""
    found = []
    heading = "top"
    info = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if fence and info is None:
            info = fence[1].split()
            if info[:1] == ["windrow"]:
                needs = [name for word in info[1:] for name in word.removeprefix("needs=").split(",")]
                found.append(Session(number, heading, needs, []))
        elif fence:
            info = None
        elif info is None:
            if line.startswith("#"):
                heading = line.lstrip("# ")
        elif info[:1] == ["windrow"]:
            read_line(found[-1], number, line)
    assert info is None, "a block is not closed"
    return found


def read_line(session, number, line):
    if line.startswith("> "):
        session.steps.append(Step(number, line[2:], ""))
    else:
        assert session.steps, f"line {number}: a reply before any command"
        step = session.steps[-1]
        step.reply += ("\n" if step.reply else "") + line


def agrees(expected, reply):
    """Equal line by line, but for blanks at its end; `...` there stands for what cannot be known beforehand."""
    expected, reply = expected.splitlines(), reply.splitlines()
    return len(expected) == len(reply) and all(
        got.startswith(wanted[:-3]) if wanted.endswith("...") else got.rstrip() == wanted.rstrip()
        for wanted, got in zip(expected, reply)
    )
