"""`make demo`: runs the commands of docs/demonstration.md in a terminal, one after the other.

`DEMO_LANG=es` reads docs/demostracion.md. With `YES=1`, or without a terminal as standard input, there are no pauses.
"""

import os
import sys

from tests.demonstration.document import Step, steps
from tests.demonstration.runner import ROOT, Runner, StepFailed

DOCUMENTS = {"en": "docs/demonstration.md", "es": "docs/demostracion.md"}
TEXTS = {
    "en": {"pause": "Enter: continue, q: end > ", "skip": "not run here", "failed": "That went wrong."},
    "es": {"pause": "Enter: seguir, q: terminar > ", "skip": "aquí no se ejecuta", "failed": "Eso salió mal."},
}

BOLD, RED, CYAN = 1, 31, 36
"""Styles of text in a terminal (ECMA-48)."""


def main() -> int:
    """Returns 0 if no command failed or the user quit, 1 if a command failed, and 2 for an unknown language."""
    language = os.environ.get("DEMO_LANG") or "en"
    if language not in DOCUMENTS:
        print(f"DEMO_LANG: {' or '.join(DOCUMENTS)} expected (got {language!r})", file=sys.stderr)
        return 2
    pauses = sys.stdin.isatty() and not os.environ.get("YES")
    runner = Runner()
    try:
        return _walk(steps((ROOT / DOCUMENTS[language]).read_text()), runner, TEXTS[language], pauses)
    except (EOFError, KeyboardInterrupt):
        print()
        return 0
    finally:
        runner.close()


def _walk(found: list[Step], runner: Runner, texts: dict[str, str], pauses: bool) -> int:
    heading, failures = "", 0
    for number, step in enumerate(found, 1):
        if step.heading != heading:
            heading = step.heading
            print(f"\n{_styled(heading, BOLD)}")
        print(f"\n{_styled(step.command, CYAN)}\n[{number}/{len(found)}]", end=" ", flush=True)
        if step.skip:
            print(f"{texts['skip']}: {step.skip}")
        if pauses and input(texts["pause"]).strip().lower() == "q":
            break
        if step.skip:
            continue
        print(flush=True)
        try:
            print(runner.run(step), end="", flush=True)
        except StepFailed as failure:
            failures += 1
            print(f"{_styled(texts['failed'], RED)} {failure}")
    return 1 if failures else 0


def _styled(text: str, style: int) -> str:
    return f"\033[{style}m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    sys.exit(main())
