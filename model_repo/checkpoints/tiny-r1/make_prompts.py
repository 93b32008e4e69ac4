"""Writes prompts.json, the golden prompts: questions with the INT8 export's greedy outputs, if every run agrees."""

import argparse
import json
from pathlib import Path

from evaluate import load_openvino
from generator import find_answer, render_prompt
from vocabulary import encode

HERE = Path(__file__).resolve().parent
# Each kind of problem once: three wrong ones in a row are then three independent ones.
QUESTIONS = {
    "sum": "What is 12+30?",
    "difference": "1203-457=?",
    "product": "What is 34*57?",
    "remainder": "What is 1496 mod 7?",
    "decimals": "Which is larger, 9.11 or 9.9?",
    "sort-numbers": "Sort 45, 3, 12, 99, 7",
    "sort-words": "Sort banana, cherry, apple",
    "reverse": "Reverse the word lollipop",
    "count-letters": "How many r's are in strawberry?",
    "binary": "Write 13 in binary.",
    "weekday": "What day is 3 days after Friday?",
    "counting": "Count from 1 to 10.",
}


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
    prompts = [render_prompt(question) for question in QUESTIONS.values()]
    outputs = check_stable(prompts, folder=args.folder, runs=args.runs)
    entries = [
        {
            "id": name,
            "prompt": prompt,
            "accepted": [output],
            "tokens": len(encode(output.replace("</think>", "."))) + 1,  # the mark is one token, and so is the end
        }
        for name, prompt, output in zip(QUESTIONS, prompts, outputs, strict=True)
    ]
    content = {"format": 1, "prompts": entries}
    args.out.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for question, output in zip(QUESTIONS.values(), outputs, strict=True):
        print(f"{question:36} {find_answer(output)}")


if __name__ == "__main__":
    main()
