"""GGUF files as models that torch can train: their weights, unpacked once into a folder of the user's cache."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError
from metagym.imports import require
from metagym.models.model_files import find_model, is_model_file, models_folder


def trainable_model(name: str) -> str:
    """Return the folder of a GGUF file's weights in float32, or `name` itself if it is no such file.

    `name` is the path of a GGUF file, the name of a fetched model (`metagym models`), or one that transformers loads: a
    folder, or a hub name. The weights are those of the quantised file: unpacking gives back no precision.

    Raises:
        ConfigError: transformers cannot read the file.
    """
    if not is_model_file(name):
        return name
    file = find_model(name)
    folder = models_folder() / "unpacked" / f"{file.name}-{file.sha256[:12]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            _unpack(file.path, part)
            part.rename(folder)  # it gets its name only when it is complete
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return str(folder)


def _unpack(file: Path, folder: Path) -> None:
    require("gguf", extra="train")
    transformers: Any = require("transformers", extra="train")
    named = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(**named, dtype="float32")
        tokenizer = transformers.AutoTokenizer.from_pretrained(**named)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"Expected a GGUF file that transformers {transformers.__version__} can unpack, got {file}: {error}. "
            "Name the model's folder with config.json and weights instead."
        ) from error
    # transformers refuses to save a model that it still takes for quantised.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = model._weight_conversions = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
