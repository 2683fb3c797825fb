"""The embedded encoder in ONNX Runtime, the fastest engine on the CPU.

onnxruntime and tokenizers are imported when an encoder is created, because only the container has them.
"""

from collections.abc import Sequence

import numpy as np

from score_validator import artifact
from score_validator.encoder import ALONE, MAX_TOKENS, ON_A_CORE, EncoderError, Ids, Tokens, encoder_name, runs
from score_validator.idf import Idf
from score_validator.matching import Embedded
from score_validator.readability import repeated_share, unknown_share
from score_validator.settings import ScorerSettings


class OnnxEncoder:
    """An exported encoder."""

    def __init__(self, settings: ScorerSettings) -> None:
        """Loads the encoder: about a second, 200 MB.

        Raises:
            EncoderError: A file is missing or damaged.
        """
        folder, int8 = settings.scorer_encoder_folder, settings.scorer_precision == "int8"
        try:
            manifest = artifact.check(folder)
            idf = Idf.read()
        except artifact.DamagedArtifact as error:
            raise EncoderError(f"SCORER_ENCODER_FOLDER: {error}") from error
        except (OSError, ValueError) as error:
            raise EncoderError(f"the weights of the tokens cannot be read: {error}") from error
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.scorer_threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the cores of other services.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena would keep the memory of the longest run and never release it.
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / (artifact.INT8_FILE if int8 else artifact.ENCODER_FILE)),
                options,
                providers=["CPUExecutionProvider"],
            )
            self._tokenizer = Tokenizer.from_file(str(folder / artifact.TOKENIZER_FILE))
        except Exception as error:  # their exceptions have no common class
            raise EncoderError(f"SCORER_ENCODER_FOLDER: the encoder in {folder} cannot be loaded: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._weights = np.full(self._tokenizer.get_vocab_size(), idf.weight(0), dtype=np.float32)
        for token, weight in idf.by_id(self._tokenizer.token_to_id).items():
            self._weights[token] = weight
        # With int8 the activations of a run share one scale, so a text's vectors would depend on other texts of the
        # run.
        self._unknown = self._tokenizer.token_to_id("[UNK]")
        self._special = frozenset(self._tokenizer.encode("").ids)
        self._limits = ALONE if int8 else ON_A_CORE
        self.layer = manifest.layer
        self.name = encoder_name("", manifest.layer) + ("-int8" if int8 else "")

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Splits texts into tokens."""
        return [
            Tokens(
                np.array(each.ids, dtype=np.int64),
                bool(each.overflowing),
                unknown=unknown_share(each.ids, self._unknown, self._special),
                repeated=repeated_share(each.ids, self._special),
            )
            for each in self._tokenizer.encode_batch([text.strip() for text in texts])
        ]

    def has_words(self, ids: Ids) -> bool:
        """Returns whether any token has a weight."""
        return bool(self._weights[ids].any())

    def embed(self, texts: Sequence[Ids]) -> list[Embedded]:
        """Embeds texts; padding is masked and removed from the result."""
        embedded: list[Embedded | None] = [None] * len(texts)
        for run in runs([len(ids) for ids in texts], self._limits):
            longest = len(texts[run[-1]])
            ids = np.zeros((len(run), longest), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, index in enumerate(run):
                ids[row, : len(texts[index])] = texts[index]
                mask[row, : len(texts[index])] = 1
            (vectors,) = self._session.run(
                None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            )
            for row, index in enumerate(run):
                own = vectors[row, : len(texts[index])]
                # A copy: a view would keep the whole run in memory for as long as the text is cached.
                unit = own / np.linalg.norm(own, axis=1, keepdims=True)
                embedded[index] = Embedded(unit, self._weights[texts[index]])
        return [each for each in embedded if each is not None]
