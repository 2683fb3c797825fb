import pytest

from tests.demonstration import __main__ as demo
from tests.demonstration import runner as module
from tests.demonstration.document import Step
from tests.demonstration.runner import Runner, StepFailed


@pytest.fixture
def runner():
    made = Runner()
    yield made
    made.close()


def step(command, **attributes):
    return Step("Heading", 1, command, **attributes)


def test_output_and_errors_are_returned(runner):
    assert runner.run(step("echo one; echo two >&2")) == "one\ntwo\n"


@pytest.mark.parametrize("command", ["false\ntrue", "no-such-command"])
def test_a_failed_command_raises_step_failed(runner, command):
    with pytest.raises(StepFailed, match="ended with status"):
        runner.run(step(f"echo before\n{command}"))


def test_a_step_fails_without_its_expected_output(runner):
    assert "RUNNING" in runner.run(step("echo RUNNING", shows="RUNNING"))
    with pytest.raises(StepFailed, match="is not in what"):
        runner.run(step("echo FAILED", shows="RUNNING"))


def test_a_step_with_until_repeats_until_the_text_is_printed(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNTIL_INTERVAL_SECONDS", 0)
    count = tmp_path / "count"
    assert runner.run(step(f"echo x >> {count}; wc -l < {count}", until="3")) == "3\n"


def test_a_step_with_until_times_out(runner, monkeypatch):
    monkeypatch.setattr(module, "UNTIL_SECONDS", -1)
    with pytest.raises(StepFailed, match="did not print 'never'"):
        runner.run(step("echo", until="never"))


def test_curl_connects_localhost_to_the_reverse_proxy(runner):
    assert 'connect-to = "localhost:5001:reverse-proxy:5001"' in runner.run(step('cat "$CURL_HOME/.curlrc"'))


@pytest.fixture
def document(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/demonstration.md").write_text(
        '# First\n```sh\necho one\n```\n# Second\n```sh skip="no reason"\necho two-$((1+1))\n```\n'
        "```sh\necho three\n```\n"
    )
    monkeypatch.setenv("YES", "1")
    monkeypatch.delenv("DEMO_LANG", raising=False)


def test_all_steps_run_except_those_to_skip(document, capsys):
    assert demo.main() == 0
    shown = capsys.readouterr().out
    assert "First" in shown
    assert "not run here: no reason" in shown
    assert "two-2" not in shown
    assert shown.endswith("three\n")


def test_q_ends_the_demonstration(document, monkeypatch, capsys):
    monkeypatch.delenv("YES")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    answers = iter(["", "q"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert demo.main() == 0
    shown = capsys.readouterr().out
    assert "\none\n" in shown
    assert "three" not in shown


def test_after_a_failed_step_the_next_ones_run_and_the_status_is_1(document, tmp_path, capsys):
    (tmp_path / "docs/demonstration.md").write_text("```sh\nfalse\n```\n```sh\necho last\n```\n")
    assert demo.main() == 1
    assert capsys.readouterr().out.endswith("last\n")


def test_an_unknown_language_is_rejected(monkeypatch, capsys):
    monkeypatch.setenv("DEMO_LANG", "xx")
    assert demo.main() == 2
    assert "DEMO_LANG" in capsys.readouterr().err
