"""Settings of the scorer: the only reader of its environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.settings import Port, Settings

Precision = Literal["fp32", "int8", "bf16"]


class ScorerSettings(Settings):
    """Environment of the container."""

    bertscore_model: str = Field(
        "", description="Folder or name of the encoder for BERTScore; empty: the embedded all-MiniLM-L6-v2."
    )
    bertscore_layer: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Layer whose embeddings are compared; empty: 5 with idf weights for the embedded encoder, else the "
        "last.",
    )
    scorer_port: Port = Field(8000, description="Port of the API, inside the fleet's network.")
    scorer_threads: int = Field(1, ge=1, le=256, description="Threads that compute scores.")
    scorer_device: str = Field(
        "cpu", pattern=r"^(cpu|mps|cuda(:\d+)?)$", description="Where the encoder runs: `cpu`, `mps`, `cuda`, `cuda:1`."
    )
    scorer_precision: Precision = Field(
        "fp32",
        description="Precision of the encoder. `bf16` (a GPU, or a CPU with AMX) is faster and changes scores by some "
        "thousandths; `int8` (the embedded encoder on the CPU) needs its own threshold.",
    )
    scorer_queue: int = Field(
        128, ge=1, le=4096, description="Waiting pairs from which on a request is rejected with 503."
    )
    scorer_batch: int = Field(32, ge=1, le=256, description="Maximum of pairs in a batch.")
    scorer_cache_mb: int = Field(
        64, ge=0, le=65_536, description="Memory for embeddings of references, in MiB: 10 hold about 100 references."
    )
    scorer_encoder_folder: Path = Field(
        Path("/opt/encoder"), description="Folder of the embedded encoder, exported for ONNX Runtime."
    )
