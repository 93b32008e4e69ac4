"""Turns the Hugging Face folder of a checkpoint into an OpenVINO folder with INT8 weights."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What the engine and the release builder read. openvino_config.json is left out: it holds the path of the source.
KEPT = (
    "openvino_model.xml",
    "openvino_model.bin",
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "openvino_detokenizer.xml",
    "openvino_detokenizer.bin",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
# The tokenizer's own files stay byte for byte: libraries rewrite them in the form of their version.
COPIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


def build_command(source: Path, target: Path, weights: list[str]) -> list[str]:
    """The optimum-cli line; it is the same for a real DeepSeek-R1-Distill folder."""
    cli = Path(sys.executable).parent / "optimum-cli"
    task = ["--task", "text-generation-with-past"]
    return [str(cli), "export", "openvino", "--model", str(source), *task, *weights, str(target)]


def export_checkpoint(source: Path, target: Path, *, weights: list[str]) -> None:
    """Export source with optimum's options for the weights, and replace target by the files that are kept."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        subprocess.run(build_command(source, made, weights), check=True, timeout=3600)
        for name in COPIED:
            if (source / name).is_file():
                shutil.copyfile(source / name, made / name)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in KEPT:
            if (made / name).is_file():
                shutil.copyfile(made / name, target / name)


def main() -> None:
    """Export the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=HERE / "hf")
    parser.add_argument("--target", type=Path, default=HERE / "openvino-int8")
    parser.add_argument("--weights", default="int8", choices=("fp32", "fp16", "int8", "int4"))
    parser.add_argument("--group-size", type=int, help="weights that share one scale, for int4")
    args = parser.parse_args()
    group = ["--group-size", str(args.group_size)] if args.group_size else []
    export_checkpoint(args.source, args.target, weights=["--weight-format", args.weights, *group])


if __name__ == "__main__":
    main()
