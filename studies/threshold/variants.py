"""Variants of the score: each layer of an encoder, with and without idf weights, precision, recall, F1, tails.

Only for the study: torch, one text at a time, without the service's engine.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from score_validator.encoder import MAX_TOKENS
from score_validator.matching import Embedded, match
from score_validator.scorer import TextPair

TAIL = 0.25
COSINE = "sentence cosine"
"""Name of the variant that compares the means of the last layer's vectors."""

Floats = NDArray[np.float32]


class _Text(NamedTuple):
    layers: list[Floats]
    plain: Floats
    idf: Floats
    mean: Floats


def variants(folder: Path, pairs: Sequence[TextPair], references: Sequence[str]) -> dict[str, list[float]]:
    """Scores pairs in many ways with one encoder.

    Args:
        folder: Folder of the encoder, in the format of transformers, with one special token at each end of a text.
        pairs: Candidates and references; both have words.
        references: Texts for the idf weights.

    Returns:
        A score for each pair, by name of the variant, for example `layer 6 F1`; `tail` is the mean of the worst matched
        quarter of the tokens, `sentence cosine` compares the means of the last layer's vectors.
    """
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModel.from_pretrained(str(folder)).eval()

    def ids_of(text: str) -> list[int]:
        ids: list[int] = tokenizer(text.strip(), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        return ids

    seen_in = Counter(token for text in references for token in set(ids_of(text)))

    def embed(text: str) -> _Text:
        ids = ids_of(text)
        with torch.inference_mode():
            states: Any = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        layers = [state[0].numpy() for state in states]
        # bert-score's weights: log((texts + 1) / (texts with the token + 1)); none for special tokens.
        idf = np.array([math.log((len(references) + 1) / (seen_in[token] + 1)) for token in ids], dtype=np.float32)
        plain = np.ones(len(ids), dtype=np.float32)
        for weights in (plain, idf):
            weights[[0, -1]] = 0
        if not idf.any():
            idf = plain
        mean = layers[-1].mean(axis=0)
        unit = [layer / np.linalg.norm(layer, axis=1, keepdims=True) for layer in layers]
        return _Text(unit, plain, idf, mean / np.linalg.norm(mean))

    texts = {text: embed(text) for text in dict.fromkeys(text for pair in pairs for text in pair)}
    scores: dict[str, list[float]] = {}
    for candidate, reference in ((texts[first], texts[second]) for first, second in pairs):
        for name, value in _score(candidate, reference).items():
            scores.setdefault(name, []).append(value)
    return scores


def _score(candidate: _Text, reference: _Text) -> dict[str, float]:
    made = {COSINE: float(candidate.mean @ reference.mean)}
    for layer, (left, right) in enumerate(zip(candidate.layers, reference.layers, strict=True)):
        if not layer:
            continue  # the embeddings themselves: words without their context
        for kind in ("", "idf "):
            weights = (candidate.idf, reference.idf) if kind else (candidate.plain, reference.plain)
            scored = match(Embedded(left, weights[0]), Embedded(right, weights[1]))
            made |= {f"layer {layer} {kind}{name}": value for name, value in _named(*scored).items()}
        similarities = left @ right.T
        precision, recall = _tail(similarities.max(axis=1)), _tail(similarities.max(axis=0))
        both = (precision + recall) / 2  # not their harmonic mean: a tail may be negative
        made |= {f"layer {layer} tail {name}": value for name, value in _named(precision, recall, both).items()}
    return made


def _named(precision: float, recall: float, f1: float) -> dict[str, float]:
    return {"precision": precision, "recall": recall, "F1": f1}


def _tail(best: Floats) -> float:
    words = np.sort(best[1:-1])
    return float(words[: max(1, round(len(words) * TAIL))].mean())
