"""Trains tiny-r1 from nothing and saves it as a Hugging Face folder."""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import build_tokenizer
import torch  # type: ignore[import-not-found]
import vocabulary as v
from generator import draw_chats
from packing import IGNORED, pack_chats
from torch.utils.data import DataLoader, IterableDataset, get_worker_info  # type: ignore[import-not-found]
from transformers import Qwen2Config, Qwen2ForCausalLM  # type: ignore[import-not-found]

HERE = Path(__file__).resolve().parent
WIDTH = 512  # tokens of a packed row


@dataclass(frozen=True)
class Recipe:
    """All that decides the outcome of a training run."""

    steps: int
    rows: int  # packed rows of one step
    rate: float  # peak learning rate
    seed: int
    workers: int  # each is a stream of its own, so the number counts
    layers: int
    hidden: int
    device: str
    start: Path | None  # weights to go on from


class PackedRows(IterableDataset):  # type: ignore[misc]
    """An endless stream of packed rows as tensors (3, WIDTH): ids, documents, labels."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        stream = f"{self.seed}/{worker.id if worker else 0}"
        for row in pack_chats(draw_chats(stream), WIDTH):
            yield torch.tensor((row.ids, row.documents, row.labels), dtype=torch.int16)


def build_config(recipe: Recipe) -> Any:
    """The architecture of DeepSeek-R1-Distill-Qwen, small."""
    return Qwen2Config(
        vocab_size=len(v.TOKENS),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.hidden * 11 // 4,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.hidden // 64,
        num_key_value_heads=max(1, recipe.hidden // 128),
        max_position_embeddings=build_tokenizer.CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=v.BOS_ID,
        eos_token_id=v.EOS_ID,
        pad_token_id=v.PAD_ID,
    )


def build_model(recipe: Recipe) -> Any:
    """New random weights, or those of the folder to start from, in float32."""
    if recipe.start:
        return Qwen2ForCausalLM.from_pretrained(recipe.start, dtype=torch.float32)
    return Qwen2ForCausalLM(build_config(recipe))


def compute_loss(model: Any, batch: Any) -> Any:
    """Mean cross entropy over the reasoning and answer tokens of a (rows, 3, WIDTH) batch."""
    ids, documents, labels = batch.long().unbind(1)
    same = documents[:, None, :, None] == documents[:, None, None, :]
    mask = same & torch.ones(WIDTH, WIDTH, dtype=torch.bool, device=batch.device).tril()
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def build_optimizers(model: Any, recipe: Recipe) -> list[Any]:
    """Muon for the matrices inside the layers, AdamW for embeddings, head, norms and biases."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    outer = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".layers." in name)]
    muon = torch.optim.Muon(inner, lr=recipe.rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(outer, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [muon, adam]


def rate_factor(step: int, steps: int) -> float:
    """Warm up over 100 steps, then a cosine down to 1 %."""
    return min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(model: Any, recipe: Recipe) -> list[float]:
    """Run all steps; returns the loss of every fiftieth."""
    loader = DataLoader(
        PackedRows(recipe.seed),
        batch_size=recipe.rows,
        num_workers=recipe.workers,
        pin_memory=recipe.device == "cuda",
    )
    loss_of = torch.compile(compute_loss) if recipe.device == "cuda" else compute_loss
    optimizers, losses, begin = build_optimizers(model, recipe), [], time.monotonic()
    for step, batch in zip(range(recipe.steps), loader, strict=False):
        with torch.autocast(recipe.device, torch.bfloat16, enabled=recipe.device == "cuda"):
            loss = loss_of(model, batch.to(recipe.device, non_blocking=True))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * rate_factor(step, recipe.steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0 or step == recipe.steps - 1:
            losses.append(loss.item())
            print(f"step {step} loss {losses[-1]:.4f} after {time.monotonic() - begin:.0f} s", flush=True)
    return losses


def save_checkpoint(model: Any, folder: Path) -> None:
    """Write bf16 safetensors, configuration and tokenizer as a Hugging Face folder."""
    model.to(torch.bfloat16).save_pretrained(folder)
    build_tokenizer.write_tokenizer(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"rope_theta": 10000.0, "torch_dtype": "bfloat16"}  # the names that older readers look for
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)


def parse_recipe() -> tuple[Recipe, Path]:
    """The recipe and the output folder from the command line; the defaults are the released run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "hf")
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--start", type=Path, help="go on from the weights of this folder")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    values = vars(parser.parse_args())
    return Recipe(**{key: value for key, value in values.items() if key != "out"}), values["out"]


def main() -> None:
    """Train by the recipe and save."""
    recipe, out = parse_recipe()
    torch.manual_seed(recipe.seed)
    torch.set_float32_matmul_precision("high")
    model = build_model(recipe).to(recipe.device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {recipe}", flush=True)
    train(model, recipe)
    save_checkpoint(model, out)


if __name__ == "__main__":
    main()
