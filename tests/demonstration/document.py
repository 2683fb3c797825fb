"""The commands of a Markdown document. Pure.

A fenced block is a step. Its info string has one of these forms:

    ```sh                      run unchanged by the test and by `make demo`
    ```sh skip="why"           shown, not run
    ```sh shows="text"         run; the output must contain the text
    ```sh until="text"         run repeatedly until the output contains the text
    ```powershell              counterpart on Windows of the preceding sh block, if the two differ

Blocks of `mermaid` and `text` are prose. Anything else is an error, so that a typo cannot silently remove a command
from the test.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

PROSE = ("mermaid", "text")
"""Languages of blocks that are not commands."""

_FENCE = re.compile(r"```(.*)")
_HEADING = re.compile(r"#{1,6} +(.+)")
_ATTRIBUTE = re.compile(r'\s+(\w+)="([^"]+)"')
_ATTRIBUTES = ("skip", "shows", "until")

# Differences between PowerShell and a POSIX shell: a variable before a command, a backslash at the end of a line,
# command substitution, and programs that do not exist or differ on Windows.
_POSIX_ONLY = re.compile(r"^\w+=\S|\\$|\$\(|(?:^|[|;&]\s*)(?:curl|head|ls|cat|open|xdg-open)\b", re.MULTILINE)

_CONTINUED = re.compile(r"[\\`]\n\s*")
_VARIABLE = re.compile(r"""(?:^|\s)(?:\$env:)?([A-Z][A-Z_]+)\s?=\s?["']?([^\s"';]+)""", re.MULTILINE)
_DOCKER = re.compile(r"\bdocker [^|;>\n]+(?:\"[^\"]*\"[^|;>\n]*)*")
_URL = re.compile(r"https?://[^\s'\"]+")


class DocumentError(ValueError):
    """A document violates the convention; the message names the line."""


@dataclass(frozen=True)
class Step:
    """A command of the document.

    Attributes:
        heading: Heading above the command.
        line: Line number of the fence, from 1.
        command: One or more lines for a POSIX shell.
        powershell: Counterpart for PowerShell; None if the text is the same.
        skip: Reason for not running the command; None if it is run.
        shows: Text that the output must contain; None for any output.
        until: Text in the output that ends the repetition; None if the command is run once.
    """

    heading: str
    line: int
    command: str
    powershell: str | None = None
    skip: str | None = None
    shows: str | None = None
    until: str | None = None


def steps(text: str) -> list[Step]:
    """Returns the commands of a document, in order.

    Raises:
        DocumentError: A block is not closed, empty, of an unknown kind, or a counterpart without a command.
    """
    found: list[Step] = []
    paired = True
    for heading, line, info, body in _blocks(text):
        language = re.split(r"\s", info, maxsplit=1)[0]
        attributes = _attributes(line, info.removeprefix(language))
        if language in PROSE:
            continue
        if not body.strip():
            raise DocumentError(f"line {line}: an empty block")
        if language == "sh":
            found.append(Step(heading, line, body, **attributes))
            paired = False
        elif language == "powershell":
            if paired or attributes:
                raise DocumentError(f"line {line}: a powershell block follows one sh block and has no attributes")
            found[-1] = replace(found[-1], powershell=body)
            paired = True
        else:
            raise DocumentError(f"line {line}: sh, powershell, {' or '.join(PROSE)} expected, not {language!r}")
    return found


def needs_counterpart(command: str) -> bool:
    """Returns whether PowerShell needs another command."""
    return bool(_POSIX_ONLY.search(command))


def essence(command: str) -> tuple[list[str], set[tuple[str, str]], set[str]]:
    """Returns the parts that a command and its counterpart must share: docker command lines, variables, addresses."""
    joined = _CONTINUED.sub(" ", command)
    docker = [" ".join(each.replace("'", '"').split()) for each in _DOCKER.findall(joined)]
    return docker, set(_VARIABLE.findall(joined)), set(_URL.findall(joined))


def _blocks(text: str) -> Iterator[tuple[str, int, str, str]]:
    """Yields (heading, line number, info string, body) of each fenced block."""
    heading, opened, info, body = "", 0, "", list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if opened and fence and not fence[1].strip():
            yield heading, opened, info, "\n".join(body)
            opened, body = 0, []
        elif opened:
            body.append(line)
        elif fence:
            opened, info = number, fence[1].strip()
        elif title := _HEADING.fullmatch(line):
            heading = title[1]
    if opened:
        raise DocumentError(f"line {opened}: the block is never closed")


def _attributes(line: int, text: str) -> dict[str, str]:
    found = dict(_ATTRIBUTE.findall(text))
    if _ATTRIBUTE.sub("", text).strip() or not found.keys() <= set(_ATTRIBUTES):
        raise DocumentError(f"line {line}: one of {', '.join(_ATTRIBUTES)} expected, as name='text' in double quotes")
    if len(found) > 1:
        raise DocumentError(f"line {line}: one attribute at most")
    return found
