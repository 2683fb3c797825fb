from types import SimpleNamespace

import pytest

from llm_server.parameters import QUEUE, VERBOSITY_ERRORS, VERBOSITY_INFO, apply, parameters
from llm_server.settings import LlmServerSettings


def test_settings_reach_llama_cpp():
    settings = LlmServerSettings(llm_model="tiny", llm_server_threads=3, llm_server_parallel=5, llm_server_context=1000)
    values = parameters(settings, "/models/tiny.gguf", "tiny")
    assert values["model.path"] == "/models/tiny.gguf"
    assert values["model_alias"] == {"tiny"}
    assert values["cpuparams.n_threads"] == values["cpuparams_batch.n_threads"] == 3
    assert values["n_parallel"] == 5


def test_each_slot_has_the_configured_context_size():
    values = parameters(LlmServerSettings(llm_server_parallel=4, llm_server_context=2048), "m", "m")
    assert values["n_ctx"] == 8192


@pytest.mark.parametrize("parallel", [1, 4, 64])
def test_waiting_requests_leave_a_thread_for_the_health_check(parallel):
    values = parameters(LlmServerSettings(llm_server_parallel=parallel), "m", "m")
    assert values["n_threads_http"] >= parallel + QUEUE


@pytest.mark.parametrize(
    ("level", "verbosity"), [("DEBUG", VERBOSITY_INFO), ("INFO", VERBOSITY_ERRORS), ("ERROR", VERBOSITY_ERRORS)]
)
def test_llama_cpp_logs_errors_only_unless_the_level_is_debug(level, verbosity):
    assert parameters(LlmServerSettings(log_level=level), "m", "m")["verbosity"] == verbosity


def test_apply_sets_dotted_names():
    target = SimpleNamespace(port=1, model=SimpleNamespace(path=""))
    apply({"port": 2, "model.path": "m"}, target)
    assert (target.port, target.model.path) == (2, "m")


@pytest.mark.parametrize("name", ["ports", "model.paths", "modl.path"])
def test_apply_rejects_unknown_names(name):
    with pytest.raises(AttributeError):
        apply({name: 1}, SimpleNamespace(port=1, model=SimpleNamespace(path="")))
