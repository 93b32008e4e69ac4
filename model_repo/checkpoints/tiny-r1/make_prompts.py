"""Writes prompts.json: sample prompts with the greedy outputs of the INT8 export, kept only when every run agrees."""

import argparse
import json
from pathlib import Path

from evaluate import load_openvino
from generator import find_answer, render_prompt
from vocabulary import encode

HERE = Path(__file__).resolve().parent
QUESTIONS = (
    "What is 12+30?", "1203-457=?", "What is 34*57?", "What is 1496 mod 7?", "Which is larger, 9.11 or 9.9?",
    "Sort 45, 3, 12, 99, 7", "Sort banana, cherry, apple", "Reverse the word lollipop",
    "How many r's are in strawberry?", "Write 13 in binary.", "What day is 3 days after Friday?", "Count from 1 to 10.",
)  # fmt: skip


def check_stable(prompts: list[str], *, folder: Path, runs: int) -> list[str]:
    """The outputs, each run with a new pipeline: all at once, one by one, and among strangers."""
    seen: list[list[str]] = []
    for run in range(runs):
        generate = load_openvino(folder, "cpu")
        alone = [generate([prompt])[0] for prompt in prompts]
        strangers = [render_prompt(f"What is {n}+{run}?") for n in range(50)]
        seen += [generate(prompts), alone, generate(strangers + prompts)[50:]]
    if any(outputs != seen[0] for outputs in seen):
        raise SystemExit("the outputs differ from run to run: choose other prompts")
    return seen[0]


def main() -> None:
    """Run, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE / "openvino-int8")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "prompts.json")
    args = parser.parse_args()
    prompts = [render_prompt(question) for question in QUESTIONS]
    outputs = check_stable(prompts, folder=args.folder, runs=args.runs)
    entries = [
        {
            "question": question,
            "prompt": prompt,
            "output": output,
            "answer": find_answer(output),
            "tokens": len(encode(output.replace("</think>", "."))) + 1,  # the mark is one token, and so is the end
        }
        for question, prompt, output in zip(QUESTIONS, prompts, outputs, strict=True)
    ]
    content = {"format": 1, "model": "tiny-r1", "quantization": "int8", "temperature": 0, "prompts": entries}
    args.out.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for entry in entries:
        print(f"{entry['question']:36} {entry['answer']}")


if __name__ == "__main__":
    main()
