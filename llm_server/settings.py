"""Settings of the embedded language model: the only reader of its environment."""

from pydantic import Field

from llm_server.models import Size
from pipeline.settings import Settings


class LlmServerSettings(Settings):
    """Environment of the container."""

    llm_server_model: Size | None = Field(
        None,
        description="Embedded model: `good` (Qwen2.5-Coder-1.5B-Instruct) or `small` (SmolLM2-135M-Instruct). Empty: "
        "`good` with 7 GiB of memory or more, else `small`.",
    )
    llm_server_model_file: str = Field(
        "", description="Path of another model, in GGUF format with a chat template; empty: an embedded model."
    )
    llm_server_threads: int = Field(
        1, ge=1, le=256, description="Threads that compute. More than the number of idle cores makes it slower."
    )
    llm_server_parallel: int = Field(4, ge=1, le=64, description="Answers generated at the same time (slots).")
    llm_server_context: int = Field(
        2048,
        ge=256,
        le=131_072,
        description="Tokens of one slot, prompt and answer together. A longer prompt gets 400.",
    )
