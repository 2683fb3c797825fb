"""Exports the embedded encoder for ONNX Runtime: `python -m score_validator.export FOLDER`, when the image is built.

The graph is built from the weights, without torch. It is a BERT encoder (Devlin, Chang, Lee and Toutanova, NAACL 2019,
arXiv:1810.04805) up to the layer that is compared. Its layers are those of the Transformer's encoder (Vaswani et al.,
NeurIPS 2017, arXiv:1706.03762, section 3). Sizes come from the model's `config.json`, weights from its
`model.safetensors`. `score_validator.verify` checks that the scores equal those of the original.

A second file has 8-bit weights with a scale for each output channel.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from pydantic import BaseModel
from safetensors.numpy import load_file

from score_validator.artifact import ENCODER_FILE, INT8_FILE, MANIFEST_FILE, TOKENIZER_FILE, Manifest, sha256_of
from score_validator.encoder import EMBEDDED_LAYER, EMBEDDED_NAME, embedded_folder

OPSET = 17
"""The first version with layer normalization."""
IR_VERSION = 8
"""Version of the file format that was released with this opset."""
IDS, MASK, TYPES = INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "embeddings"


class Config(BaseModel):
    """Properties of the model that the graph uses or requires, named as in `config.json`."""

    model_type: Literal["bert"]
    hidden_act: Literal["gelu"]
    position_embedding_type: Literal["absolute"]
    hidden_size: int
    num_attention_heads: int
    layer_norm_eps: float


class Bert:
    """The graph of a BERT encoder. Each method adds a part and returns the name of its output.

    States have the shape (texts, tokens, hidden size).
    """

    def __init__(self, folder: Path) -> None:
        """Reads the model from a folder in the format of transformers."""
        self.config = Config.model_validate_json((folder / "config.json").read_bytes())
        self._weights = load_file(folder / "model.safetensors")
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, onnx.TensorProto] = {}

    def model(self, layers: int) -> onnx.ModelProto:
        """Builds the encoder up to a layer whose states are the output."""
        states, mask = self.embeddings(), self.mask()
        for number in range(layers):
            states = self.layer(states, mask, f"encoder.layer.{number}")
        self._nodes[-1].output[0] = OUTPUT
        axes = ("texts", "tokens")
        graph = helper.make_graph(
            self._nodes,
            "bert",
            [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in INPUTS],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, (*axes, self.config.hidden_size))],
            list(self._tensors.values()),
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(made, full_check=True)
        return made

    def embeddings(self) -> str:
        """Adds the sum of word, segment and position embeddings (Devlin et al., section 3, figure 2)."""
        tokens = self._add("Gather", self._add("Shape", IDS), 1)
        positions = self._add("Range", 0, tokens, 1)
        words, kinds, places = (
            self._add("Gather", self._weight(f"embeddings.{table}_embeddings.weight"), indices)
            for table, indices in (("word", IDS), ("token_type", TYPES), ("position", positions))
        )
        return self.normalized(self._add("Add", self._add("Add", words, kinds), places), "embeddings")

    def mask(self) -> str:
        """Adds the attention mask: 0 for tokens, the lowest number for padding."""
        shown = self._add("Cast", self._add("Unsqueeze", MASK, [1, 2]), to=TensorProto.FLOAT)
        return self._add("Mul", self._add("Sub", 1.0, shown), float(np.finfo(np.float32).min))

    def layer(self, states: str, mask: str, name: str) -> str:
        """Adds attention and a feed-forward network, each with a residual connection and normalization."""
        seen = self.attention(states, mask, f"{name}.attention")
        states = self.normalized(self._add("Add", seen, states), f"{name}.attention.output")
        made = self.dense(self.gelu(self.dense(states, f"{name}.intermediate.dense")), f"{name}.output.dense")
        return self.normalized(self._add("Add", made, states), f"{name}.output")

    def attention(self, states: str, mask: str, name: str) -> str:
        """Adds multi-head scaled dot-product attention (Vaswani et al., section 3.2)."""
        width = self.config.hidden_size // self.config.num_attention_heads

        def heads(part: str, order: Sequence[int]) -> str:
            split = self._add("Reshape", self.dense(states, f"{name}.self.{part}"), [0, 0, -1, width])
            return self._add("Transpose", split, perm=order)

        queries, keys, values = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
        scores = self._add("Mul", self._add("MatMul", queries, keys), width**-0.5)
        shares = self._add("Softmax", self._add("Add", scores, mask), axis=-1)
        found = self._add("Transpose", self._add("MatMul", shares, values), perm=[0, 2, 1, 3])
        # -1, not 0: if ONNX Runtime can infer the shape, it fuses the sum and the normalization that follow, which was
        # 8 % slower in 8 bits.
        return self.dense(self._add("Reshape", found, [0, -1, self.config.hidden_size]), f"{name}.output.dense")

    def gelu(self, states: str) -> str:
        """Adds x Φ(x) with the exact distribution function of the normal distribution (Hendrycks and Gimpel 2016)."""
        erf = self._add("Erf", self._add("Div", states, 2**0.5))
        return self._add("Mul", self._add("Mul", states, self._add("Add", erf, 1.0)), 0.5)

    def dense(self, states: str, name: str) -> str:
        """Adds a linear layer; its weights have a row for each output."""
        product = self._add("MatMul", states, self._weight(f"{name}.weight", transposed=True))
        return self._add("Add", product, self._weight(f"{name}.bias"))

    def normalized(self, states: str, name: str) -> str:
        """Adds layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450)."""
        weights = (self._weight(f"{name}.LayerNorm.{part}") for part in ("weight", "bias"))
        return self._add("LayerNormalization", states, *weights, axis=-1, epsilon=self.config.layer_norm_eps)

    def _add(self, operator: str, *inputs: str | float | Sequence[int], **attributes: Any) -> str:
        """Adds a node with one output; inputs are names or constants."""
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, names, [name], name, **attributes))
        return name

    def _constant(self, value: float | Sequence[int]) -> str:
        kind = np.float32 if isinstance(value, float) else np.int64
        return self._tensor(f"constant {value}", np.array(value, dtype=kind))

    def _weight(self, name: str, transposed: bool = False) -> str:
        return self._tensor(name, self._weights[name].T if transposed else self._weights[name])

    def _tensor(self, name: str, value: np.ndarray[Any, Any]) -> str:
        self._tensors[name] = numpy_helper.from_array(value, name)
        return name
        return name


def export(folder: Path) -> Manifest:
    """Writes the encoder, its tokenizer and a manifest with their checksums into a folder, which is created.

    Returns:
        The manifest.
    """
    source = embedded_folder()
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(Bert(source).model(EMBEDDED_LAYER), folder / ENCODER_FILE)
    quantize_dynamic(folder / ENCODER_FILE, folder / INT8_FILE, weight_type=QuantType.QInt8, per_channel=True)
    (folder / TOKENIZER_FILE).write_bytes((source / "tokenizer.json").read_bytes())
    manifest = Manifest(
        model=EMBEDDED_NAME,
        layer=EMBEDDED_LAYER,
        weights_sha256=sha256_of(source / "model.safetensors"),
        files={name: sha256_of(folder / name) for name in (ENCODER_FILE, INT8_FILE, TOKENIZER_FILE)},
    )
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest.model_dump(), indent=2) + "\n", encoding="utf-8")
    return manifest


def main() -> None:
    """Exports the encoder and prints what was written."""
    parser = argparse.ArgumentParser(prog="python -m score_validator.export", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder for the files")
    folder = parser.parse_args().folder
    manifest = export(folder)
    print(f"{folder}: {manifest.model}, layer {manifest.layer}, {', '.join(sorted(manifest.files))}")


if __name__ == "__main__":
    main()
