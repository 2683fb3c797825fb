"""Converts settings to llama.cpp's parameters. Pure, and without xllamacpp, which only the container has."""

from collections.abc import Mapping

from llm_server.settings import LlmServerSettings

PORT = 8000
"""Port of the API inside the fleet's network."""
QUEUE = 64
"""Accepted requests beyond those in the slots; further ones wait to be accepted."""
VERBOSITY_ERRORS = 1
VERBOSITY_INFO = 3


def parameters(settings: LlmServerSettings, model_file: str, name: str) -> dict[str, object]:
    """Returns the values of `xllamacpp.CommonParams` that differ from its defaults, by dotted name.

    Args:
        settings: Settings of the service.
        model_file: Path of the model.
        name: Name of the model in replies.
    """
    return {
        "model.path": model_file,
        "model_alias": {name},
        "hostnames": ["0.0.0.0"],
        "port": PORT,
        "n_parallel": settings.llm_server_parallel,
        "n_ctx": settings.llm_server_context * settings.llm_server_parallel,  # shared by the slots
        "cpuparams.n_threads": settings.llm_server_threads,
        "cpuparams_batch.n_threads": settings.llm_server_threads,
        # A request occupies its HTTP thread until it is answered, even while it waits for a slot. With the default of
        # two more threads than slots, the health check would wait when six requests are in flight.
        "n_threads_http": settings.llm_server_parallel + QUEUE,
        "n_gpu_layers": 0,
        "fit_params": False,  # would load the model twice to check what fits into a GPU
        "cache_ram_mib": 0,  # 8 GiB by default; prompts here have little in common
        "cache_idle_slots": False,  # needs that cache
        "ui": False,
        "cors_origins": "",
        "endpoint_metrics": True,
        "endpoint_slots": True,
        "verbosity": VERBOSITY_INFO if settings.log_level == "DEBUG" else VERBOSITY_ERRORS,
    }


def apply(values: Mapping[str, object], target: object) -> None:
    """Sets attributes of `target` by dotted name.

    Raises:
        AttributeError: `target` does not have the attribute.
    """
    for name, value in values.items():
        owner = target
        *path, last = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        getattr(owner, last)  # an unknown name must not become a new attribute
        setattr(owner, last, value)
