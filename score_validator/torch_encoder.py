"""Any encoder that bert-score knows, in torch, on the CPU or a GPU.

torch, transformers and bert-score are imported when an encoder is created, because only the image
score-validator-torch has them.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from score_validator.encoder import (
    EMBEDDED_LAYER,
    MAX_TOKENS,
    ON_A_CORE,
    ON_A_DEVICE,
    EncoderError,
    Ids,
    Tokens,
    embedded_folder,
    encoder_name,
    runs,
)
from score_validator.idf import Idf
from score_validator.matching import Embedded
from score_validator.readability import repeated_share, unknown_share
from score_validator.settings import ScorerSettings


class TorchEncoder:
    """An encoder with the model, tokens and weights of bert-score, and with the runs and matching of this service.

    bert-score gives a pair its own score only if it is called with one pair at a time. In a batch it multiplies the
    similarities with padding by 0 and includes them in the maximum, so that a token whose best match is negative gets 0
    if the batch has a longer text.
    """

    def __init__(self, settings: ScorerSettings) -> None:
        """Loads the encoder: some seconds, several hundred MB.

        Raises:
            EncoderError: The encoder, layer or device does not exist.
        """
        bert, self.name, self.layer = load_bert_scorer(settings)
        import torch

        self._model, self._tokenizer = bert._model, bert._tokenizer  # bert-score has no public access to them
        if settings.scorer_precision == "bf16":
            self._model.to(torch.bfloat16)
            self.name += "-bf16"
        self._device = settings.scorer_device
        self._limits = ON_A_CORE if settings.scorer_device == "cpu" else ON_A_DEVICE
        self._max_tokens: int = self._tokenizer.model_max_length
        self._unknown: int | None = self._tokenizer.unk_token_id
        self._special = frozenset(self._tokenizer.all_special_ids)
        frame = {self._tokenizer.cls_token_id: 0.0, self._tokenizer.sep_token_id: 0.0}
        weights = bert._idf_dict or defaultdict(lambda: 1.0, frame)
        self._weights = np.array([weights[token] for token in range(len(self._tokenizer))], dtype=np.float32)

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Splits texts into tokens."""
        from bert_score.utils import sent_encode

        made = []
        for text in texts:
            ids = sent_encode(self._tokenizer, text)
            # Only a text of the full length can have been cut.
            truncated = len(ids) >= self._max_tokens and self._length(text) > self._max_tokens
            made.append(
                Tokens(
                    np.array(ids, dtype=np.int64),
                    truncated,
                    unknown=unknown_share(ids, self._unknown, self._special),
                    repeated=repeated_share(ids, self._special),
                )
            )
        return made

    def _length(self, text: str) -> int:
        """Returns the number of tokens of an uncut text, including special tokens."""
        return len(self._tokenizer(text.strip(), truncation=False, verbose=False)["input_ids"])

    def has_words(self, ids: Ids) -> bool:
        """Returns whether any token has a weight; special tokens, which a text may contain (`[SEP]`), have none."""
        return bool(self._weights[ids].any())

    def embed(self, texts: Sequence[Ids]) -> list[Embedded]:
        """Embeds texts; padding is masked and removed from the result."""
        import torch
        from bert_score.utils import bert_encode, padding

        made: list[tuple[list[int], Any]] = []
        for run in runs([len(ids) for ids in texts], self._limits):
            padded, _, mask = padding([texts[index].tolist() for index in run], self._tokenizer.pad_token_id or 0)
            vectors = bert_encode(self._model, padded.to(self._device), attention_mask=mask.to(self._device))
            made.append((run, torch.nn.functional.normalize(vectors.float(), dim=-1)))
        # Fetched after all runs were started, so that a GPU computes the next one meanwhile.
        embedded: list[Embedded | None] = [None] * len(texts)
        for run, vectors in made:
            fetched = vectors.cpu().numpy()
            for row, index in enumerate(run):
                # A copy: a view would keep the whole run in memory for as long as the text is cached.
                own = fetched[row, : len(texts[index])].copy()
                embedded[index] = Embedded(own, self._weights[texts[index]])
        return [each for each in embedded if each is not None]


def load_bert_scorer(settings: ScorerSettings) -> tuple[Any, str, int]:
    """Loads bert-score's `BERTScorer` with the encoder of the settings; the embedded one with its idf weights.

    Returns:
        The `BERTScorer`, the name of the encoder, and the layer.

    Raises:
        EncoderError: The encoder, layer or device does not exist.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # bert-score imports it
    import torch
    import transformers
    from bert_score import BERTScorer

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(settings.scorer_threads)

    if settings.scorer_device.startswith("cuda") and not torch.cuda.is_available():
        raise EncoderError(f"SCORER_DEVICE: torch sees no GPU here (got {settings.scorer_device!r})")
    source = settings.bertscore_model or str(embedded_folder())
    if source.startswith(("/", ".")) and not Path(source).is_dir():
        raise EncoderError(f"BERTSCORE_MODEL: there is no folder {source}")
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        layer = settings.bertscore_layer or (config.num_hidden_layers if settings.bertscore_model else EMBEDDED_LAYER)
        if layer > config.num_hidden_layers:
            raise EncoderError(f"BERTSCORE_LAYER: the encoder has {config.num_hidden_layers} layers (got {layer})")
        bert = BERTScorer(model_type=source, num_layers=layer, device=settings.scorer_device)
    except (OSError, ValueError) as error:
        raise EncoderError(f"BERTSCORE_MODEL: cannot load {source!r}: {str(error).strip().splitlines()[0]}") from error
    # Some tokenizers state no limit, and bert-score then fails on long texts: the encoder has a limit.
    tokenizer = bert._tokenizer
    if tokenizer.model_max_length > 1_000_000:
        tokenizer.model_max_length = min(MAX_TOKENS, getattr(config, "max_position_embeddings", math.inf))
    if not settings.bertscore_model and layer == EMBEDDED_LAYER:
        idf = Idf.read()
        # Same result as bert-score's `compute_idf`, but from counts.
        bert._idf = True
        bert._idf_dict = defaultdict(lambda: idf.weight(0), idf.by_id(tokenizer.convert_tokens_to_ids))
    return bert, encoder_name(settings.bertscore_model, layer), layer
