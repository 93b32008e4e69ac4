"""Measures exact match of the final answers on fresh held-out problems, through one of two runtimes."""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from generator import draw_held_out, find_answer, render_prompt
from problems import Problem

HERE = Path(__file__).resolve().parent
MAX_TOKENS = 320
Backend = Callable[[list[str]], list[str]]


def load_transformers(folder: Path, device: str) -> Backend:
    """Greedy generation by Hugging Face transformers in float32, prompts through the chat template's text."""
    import torch  # type: ignore[import-not-found]
    from transformers import AutoModelForCausalLM, AutoTokenizer  # type: ignore[import-not-found]

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()

    def generate(prompts: list[str]) -> list[str]:
        outputs: list[str] = []
        size = 2048 if device == "cuda" else 128
        for first in range(0, len(prompts), size):
            batch = tokenizer(
                prompts[first : first + size], return_tensors="pt", padding=True, add_special_tokens=False
            ).to(device)
            batch.pop("token_type_ids", None)
            with torch.inference_mode():
                ids = model.generate(**batch, max_new_tokens=MAX_TOKENS, do_sample=False)
            new = ids[:, batch["input_ids"].shape[1] :]
            outputs += tokenizer.batch_decode(new, skip_special_tokens=True)
        return outputs

    return generate


def load_openvino(folder: Path, device: str) -> Backend:
    """Greedy generation by the engine's own pipeline, 64 requests at a time."""
    import openvino_genai as genai  # type: ignore[import-not-found]

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1  # GB
    scheduler.max_num_seqs = 64
    pipeline = genai.ContinuousBatchingPipeline(str(folder), scheduler, device.upper())
    config = genai.GenerationConfig()
    config.max_new_tokens = MAX_TOKENS
    config.apply_chat_template = False  # the prompts are rendered already

    def generate(prompts: list[str]) -> list[str]:
        results: list[Any] = pipeline.generate(prompts, [config] * len(prompts))
        return [result.m_generation_ids[0] for result in results]

    return generate


def sort_problems(problems: list[Problem]) -> list[Problem]:
    """Like lengths together, so that padding stays small."""
    return sorted(problems, key=lambda problem: len(problem.question) + len(problem.reasoning))


def render_prompts(problems: list[Problem], *, turns: int, system: str) -> list[str]:
    """The prompts; the turns before a question are other held-out problems with their right answers."""
    others = [draw_held_out(len(problems), seed=-1 - turn) for turn in range(turns)]
    return [
        render_prompt(problem.question, system=system, earlier=[drawn[i] for drawn in others])
        for i, problem in enumerate(problems)
    ]


def judge(problems: list[Problem], outputs: list[str]) -> dict[str, Any]:
    """Exact match in all and by task, and the first misses to look at."""
    asked, right, misses = Counter[str](), Counter[str](), list[str]()
    for problem, output in zip(problems, outputs, strict=True):
        asked[problem.task] += 1
        right[problem.task] += find_answer(output) == problem.answer
        if find_answer(output) != problem.answer:
            misses.append(f"[{problem.task}] {problem.question!r} wants {problem.answer!r}, got {output!r}")
    tasks = {name: {"right": right[name], "of": asked[name]} for name in asked}
    return {
        "right": right.total(),
        "of": asked.total(),
        "exact_match": right.total() / asked.total(),
        "tasks": tasks,
        "misses": misses,
    }


def main() -> None:
    """Evaluate one folder and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", choices=("transformers", "openvino"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns", type=int, default=0, help="answered turns before each question")
    parser.add_argument("--system", default="", help="a system prompt")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    load, name = (load_transformers, "hf") if args.backend == "transformers" else (load_openvino, "openvino-int8")
    problems = sort_problems(draw_held_out(args.count, args.seed))
    generate = load(args.folder or HERE / name, args.device)
    begin = time.monotonic()
    report = judge(problems, generate(render_prompts(problems, turns=args.turns, system=args.system)))
    report["seconds"] = round(time.monotonic() - begin, 1)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("\n".join(report["misses"][:40]))
    for task, figures in sorted(report["tasks"].items()):
        print(f"{task:22} {figures['right']:4} / {figures['of']}")
    print(f"exact match {report['right']} / {report['of']} = {report['exact_match']:.2%} in {report['seconds']} s")


if __name__ == "__main__":
    main()
