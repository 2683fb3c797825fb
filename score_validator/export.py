"""Writes the embedded encoder for ONNX Runtime: `python -m score_validator.export FOLDER`, while the image is built.

The graph is traced from the encoder in torch, up to the layer that is compared. The attention mask is made in the graph
itself: that of transformers 5 comes out of the trace with the sizes of the example. A second file has weights of 8
bits, each output channel with a scale of its own.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

from score_validator.artifact import ENCODER_FILE, INT8_FILE, MANIFEST_FILE, TOKENIZER_FILE, Manifest, sha256_of
from score_validator.encoder import EMBEDDED_LAYER, EMBEDDED_NAME
from score_validator.torch_encoder import embedded_folder

OPSET = 17
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "embeddings"


def export(folder: Path) -> Manifest:
    """Writes the encoder, its tokenizer and a manifest with their sums into a folder, which is made.

    Returns:
        The manifest.
    """
    import torch
    import transformers

    source = Path(embedded_folder())
    model = transformers.AutoModel.from_pretrained(str(source), attn_implementation="eager").eval()
    model.encoder.layer = model.encoder.layer[:EMBEDDED_LAYER]

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embeddings, self.layers = model.embeddings, model.encoder

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            away = torch.finfo(torch.float32).min
            mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * away
            embedded = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
            return self.layers(embedded, attention_mask=mask).last_hidden_state

    folder.mkdir(parents=True, exist_ok=True)
    example = torch.ones((2, 8), dtype=torch.int64)
    with warnings.catch_warnings():  # about tracing as such; that the graph computes the same is tested
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Encoder().eval(),
            (example, example, torch.zeros_like(example)),
            str(folder / ENCODER_FILE),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in (*INPUTS, OUTPUT)},
            opset_version=OPSET,
            dynamo=False,
        )
    from onnxruntime.quantization import QuantType, quantize_dynamic

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
    """Exports, and says what was written."""
    parser = argparse.ArgumentParser(prog="python -m score_validator.export", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files go")
    folder = parser.parse_args().folder
    manifest = export(folder)
    print(f"{folder}: {manifest.model}, layer {manifest.layer}, {', '.join(sorted(manifest.files))}")


if __name__ == "__main__":
    main()
