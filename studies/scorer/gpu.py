"""Measures pairs/s of the scorer on a GPU: `python -m studies.scorer.gpu`, in its image with torch.

One run with the same texts, for encoders of three usual sizes with random weights, which do not affect the speed. Texts
are the attempts of the threshold study, repeated with rotated words so that all are different, and tokenised by the
embedded encoder's tokenizer. Prints pairs/s, best of the rounds, of bert-score with one pair at a time, of bert-score
on the whole list in batches, and of the service's engine in single precision and in bfloat16 with the same batch sizes.
"""

import argparse
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog
import torch
from bert_score import BERTScorer
from transformers import BertConfig, BertModel

from score_validator.encoder import MAX_TOKENS, embedded_folder
from score_validator.scorer import TextPair, load_scorer
from score_validator.settings import ScorerSettings
from score_validator.torch_encoder import load_bert_scorer
from studies.reporting.machine import machine
from studies.reporting.results import Run
from studies.reporting.tables import table_of
from studies.threshold.study import ATTEMPTS_FILE, read_attempts

WARM_PAIRS = 64
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")

Pairs = list[TextPair]


class Shape(NamedTuple):
    """An encoder's size.

    Attributes:
        layers: Number of layers, up to the one that is compared.
        width: Size of the vector of a token.
        heads: Number of attention heads.
        inner: Width of the feed-forward network.
    """

    layers: int
    width: int
    heads: int
    inner: int


SHAPES = {
    "all-MiniLM-L6-v2, layer 5": Shape(5, 384, 12, 1536),
    "roberta-base, layer 10": Shape(10, 768, 12, 3072),
    "roberta-large, layer 17": Shape(17, 1024, 16, 4096),
}
"""The embedded encoder, and two of bert-score with the layers that it compares."""


def write_encoder(shape: Shape, tokenizer: Path, folder: Path) -> None:
    """Writes an encoder with random weights that bert-score can load."""
    torch.manual_seed(1)
    config = BertConfig(
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=MAX_TOKENS,
    )
    BertModel(config).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer / name, folder)


def rotated(text: str, by: int) -> str:
    """Returns a text whose first words were moved to its end."""
    words = text.split()
    by %= len(words)
    return " ".join(words[by:] + words[:by])


def in_batches(score: Callable[[Pairs], object], size: int, pairs: Pairs) -> None:
    """Scores pairs in batches of a size."""
    for start in range(0, len(pairs), size):
        score(pairs[start : start + size])


def whole(bert: BERTScorer, size: int, pairs: Pairs) -> None:
    """Scores pairs with bert-score, which splits them into batches."""
    candidates, references = map(list, zip(*pairs, strict=True))
    bert.score(candidates, references, batch_size=size)


def rate(call: Callable[[Pairs], object], pairs: Pairs, rounds: int) -> float:
    """Returns pairs/s of the best round, after a short warm-up."""
    call(pairs[:WARM_PAIRS])
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        call(pairs)
        seconds.append(time.perf_counter() - began)
    return len(pairs) / min(seconds)


def main() -> None:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default: cuda)")
    parser.add_argument("--attempts", type=Path, default=ATTEMPTS_FILE)
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer (default: the embedded encoder's)")
    parser.add_argument("--times", type=int, default=8, help="how often the 300 attempts are scored (default: 8)")
    parser.add_argument("--single", type=int, default=300, help="pairs that are scored one by one (default: 300)")
    parser.add_argument("--size", type=int, nargs="+", default=[32, 256], help="pairs at a time (default: 32 256)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU (default: 1)")
    options = parser.parse_args()
    with options.attempts.open(encoding="utf-8") as lines:
        attempts = list(read_attempts(lines)) * options.times
    pairs = [(rotated(each.answer, by), rotated(each.reference, by)) for by, each in enumerate(attempts)]
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else machine().processor
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"{device}, torch {torch.__version__}, {len(pairs)} pairs, best of {options.rounds} rounds, pairs/s\n")
    rows: list[Run] = []
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_encoder(shape, options.tokenizer or embedded_folder(), Path(folder))
            settings = ScorerSettings(
                bertscore_model=folder,
                scorer_device=options.device,
                scorer_threads=options.threads,
                scorer_cache_mb=0,
            )
            row: Run = {"encoder": name}
            bert, *_ = load_bert_scorer(settings)
            row["bert-score, 1"] = rate(
                partial(in_batches, partial(whole, bert, 1), 1), pairs[: options.single], options.rounds
            )
            for size in options.size:
                row[f"bert-score, {size}"] = rate(partial(whole, bert, size), pairs, options.rounds)
            for precision in ("fp32", "bf16"):
                engine = load_scorer(settings.model_copy(update={"scorer_precision": precision}))
                for size in options.size:
                    row[f"engine {precision}, {size}"] = rate(
                        partial(in_batches, engine.score, size), pairs, options.rounds
                    )
            rows.append(row)
            print(table_of([row]), "", sep="\n", flush=True)
    print(table_of(rows))


if __name__ == "__main__":
    main()
