import re
import subprocess
from pathlib import Path

import pytest

from tests.demonstration.document import DocumentError, Step, essence, needs_counterpart, steps

DOCS = Path(__file__).parents[3] / "docs"
ENGLISH, SPANISH = DOCS / "demonstration.md", DOCS / "demostracion.md"


def fenced(info, body):
    return f"```{info}\n{body}\n```\n"


def test_a_step_is_read_with_its_heading_and_attribute():
    text = "# A\n" + fenced("sh", "one") + "## B\nwords\n\n" + fenced('sh until="(0 rows)"', "two\n  three")
    assert steps(text) == [Step("A", 2, "one"), Step("B", 8, "two\n  three", until="(0 rows)")]


def test_a_comment_in_a_block_is_not_a_heading():
    assert steps("# A\n" + fenced("sh", "# comment") + fenced("sh", "b"))[1].heading == "A"


def test_a_powershell_block_belongs_to_the_block_before_it():
    [step] = steps(fenced("sh", "A=1 docker ps") + "\n" + fenced("powershell", "$env:A=1; docker ps"))
    assert step.powershell == "$env:A=1; docker ps"


def test_text_and_diagram_blocks_are_not_steps():
    assert steps(fenced("text", "a") + fenced("mermaid", "b")) == []


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nnever closed",
        fenced("sh", ""),
        fenced("", "echo"),
        fenced("bash", "echo"),
        fenced('sh sip="a typo"', "echo"),
        fenced("sh skip=bare", "echo"),
        fenced('sh skip="a" until="b"', "echo"),
        fenced("powershell", "of nothing"),
        fenced("sh", "a") + fenced("powershell", "b") + fenced("powershell", "c"),
    ],
)
def test_mistakes_in_a_document_are_errors(text):
    with pytest.raises(DocumentError, match="line "):
        steps(text)


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("docker ps", False),
        ('docker exec a psql -c "\nSELECT 1;\n"', False),
        ("A=1 docker ps", True),
        ("curl http://localhost:5001", True),
        ("docker ps \\\n  --all", True),
        ("head -n 5 README.md", True),
        ("docker ps | head -n 5", True),
        ("docker exec storage_service head -n 5 app.py", False),
        ("docker stop $(docker ps -q)", True),
    ],
)
def test_commands_that_powershell_reads_differently_need_a_counterpart(command, needed):
    assert needs_counterpart(command) is needed


def test_equivalent_commands_have_the_same_essence():
    posix = "FAULT_RATE=0.5 docker compose up -d \\\n  llm-consumer\ncurl -s 'http://localhost:5001/a?b=1' -d '{}'"
    windows = (
        "$env:FAULT_RATE = '0.5'; docker compose up -d llm-consumer; Remove-Item Env:FAULT_RATE\n"
        "Invoke-RestMethod 'http://localhost:5001/a?b=1' -Body '{}'"
    )
    assert essence(posix) == essence(windows)


@pytest.mark.parametrize(
    "other",
    [
        "$env:FAULT_RATE = '0.4'; docker compose up -d llm-consumer",
        "docker compose up -d llm-consumer",
        "$env:FAULT_RATE = '0.5'; docker compose up -d",
    ],
)
def test_different_commands_have_a_different_essence(other):
    assert essence("FAULT_RATE=0.5 docker compose up -d llm-consumer") != essence(other)


@pytest.mark.parametrize("document", [ENGLISH, SPANISH], ids=lambda path: path.name)
class TestDocument:
    def test_commands_that_differ_on_windows_have_a_powershell_block(self, document):
        missing = [
            f"line {each.line}: {each.command}" for each in steps(document.read_text()) if lacks_counterpart(each)
        ]
        assert missing == []

    def test_commands_are_valid_shell(self, document):
        for step in steps(document.read_text()):
            checked = subprocess.run(["bash", "-n", "-c", step.command], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, f"line {step.line}: {checked.stderr}"

    def test_placeholders_for_measured_output_have_unique_names(self, document):
        """A placeholder marks output that is still missing; its name identifies the command."""
        names = re.findall(r"<!-- measured: ([\w-]+) -->", document.read_text())
        assert len(names) == len(set(names))

    def test_powershell_blocks_are_equivalent_to_their_commands(self, document):
        for step in steps(document.read_text()):
            if step.powershell is not None:
                assert essence(step.powershell) == essence(step.command), f"line {step.line}"

    def test_less_than_a_third_of_the_steps_is_skipped(self, document):
        found = steps(document.read_text())
        assert len([each for each in found if each.skip]) < len(found) / 3


def lacks_counterpart(step):
    return step.powershell is None and needs_counterpart(step.command)


def test_both_languages_have_the_same_commands():
    def commands(path):
        return [
            (each.command, each.powershell, each.shows, each.until, each.skip is None)
            for each in steps(path.read_text())
        ]

    assert commands(ENGLISH) == commands(SPANISH)


def test_both_languages_have_the_same_sections():
    def levels(path):
        prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        return [(len(marks), number) for marks, number in re.findall(r"^(#+) ([\d.]*)", prose, re.MULTILINE)]

    assert levels(ENGLISH) == levels(SPANISH)
    assert len(levels(ENGLISH)) > 20
