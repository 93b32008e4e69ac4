"""The only file that touches openvino: builds the pipeline, maps sampling to it, reads tokens from it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-not-found]
import openvino_genai as genai  # type: ignore[import-not-found]

from openvino_engine.errors import InvalidRequest, Overloaded
from openvino_engine.ports import Handle
from openvino_engine.sampling import Sampling
from openvino_engine.settings import Settings

GREEDY_BELOW = 1e-5  # as vLLM: a temperature under this is meant as 0
REASONS = {genai.GenerationFinishReason.STOP: "stop", genai.GenerationFinishReason.LENGTH: "length"}


@dataclass
class OpenVinoHandle:
    """Reads one openvino generation."""

    inner: Any
    _reason: str | None = field(default=None, init=False)

    def read(self) -> tuple[list[int], str | None]:
        status = self.inner.get_status()  # before reading, so that nothing is missed
        tokens: list[int] = []
        while self.inner.can_read():
            for output in self.inner.read().values():
                tokens += output.generated_ids
                self._reason = REASONS.get(output.finish_reason, self._reason)
        if status == genai.GenerationStatus.RUNNING:
            return tokens, None
        if status == genai.GenerationStatus.IGNORED:
            raise Overloaded("the key-value cache has no room for this request")
        return tokens, self._reason or "stop"

    def stop(self) -> None:
        self.inner.cancel()


def render_device(settings: Settings) -> dict[str, object]:
    """What the CPU plugin is told.

    No pinning: by default every process pins its threads to the same first cores, so that two slots (or three
    servers of a lab) starve each other while the other cores idle. Measured: P99 of 16 clients 2.9 s with, see README.
    """
    device: dict[str, object] = {"ENABLE_CPU_PINNING": False}
    return device | ({"INFERENCE_NUM_THREADS": settings.threads} if settings.threads else {})


class OpenVinoPipeline:
    """A checkpoint folder as `optimum-cli export openvino` writes it, on the CPU."""

    def __init__(self, checkpoint: Path, settings: Settings) -> None:
        self._inner = genai.ContinuousBatchingPipeline(
            checkpoint, _render_scheduler(settings), "CPU", render_device(settings)
        )
        self._tokenizer = self._inner.get_tokenizer()
        self._bos = self._tokenizer.get_bos_token()
        self._defaults = self._inner.get_config()

    def encode(self, prompt: str) -> list[int]:
        """Adds the tokenizer's special tokens, unless the chat template has already written the first one."""
        add = not (self._bos and prompt.startswith(self._bos))
        ids = self._tokenizer.encode(prompt, add_special_tokens=add).input_ids
        return list(ids.data[0].tolist())

    def decode(self, windows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        return list(self._tokenizer.decode(list(windows), skip_special_tokens=skip_special_tokens))

    def add(self, number: int, ids: list[int], *, sampling: Sampling, most_new: int) -> Handle:
        config = self._render_config(sampling, most_new=most_new)
        try:
            return OpenVinoHandle(self._inner.add_request(number, ov.Tensor(np.array([ids], dtype=np.int64)), config))
        except (RuntimeError, ValueError) as error:  # openvino's own checks of the configuration
            raise InvalidRequest(str(error).strip().splitlines()[-1]) from error

    def step(self) -> None:
        self._inner.step()

    def _render_config(self, sampling: Sampling, *, most_new: int) -> Any:
        config = genai.GenerationConfig()
        config.apply_chat_template = False
        config.stop_token_ids = set(self._defaults.stop_token_ids) | set(sampling.stop_token_ids)
        if self._defaults.eos_token_id >= 0:
            config.set_eos_token_id(self._defaults.eos_token_id)
        config.ignore_eos = sampling.ignore_eos
        config.max_new_tokens = most_new
        config.min_new_tokens = min(sampling.min_tokens, most_new)
        config.frequency_penalty = sampling.frequency_penalty
        config.presence_penalty = sampling.presence_penalty
        config.repetition_penalty = sampling.repetition_penalty
        if sampling.temperature >= GREEDY_BELOW:
            _set_random(config, sampling)
        return config


def _set_random(config: Any, sampling: Sampling) -> None:
    config.do_sample = True
    config.temperature = sampling.temperature
    config.top_p = sampling.top_p
    config.min_p = sampling.min_p
    if sampling.top_k > 0:
        config.top_k = sampling.top_k
    config.rng_seed = secrets.randbits(31) if sampling.seed is None else sampling.seed


def _render_scheduler(settings: Settings) -> Any:
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = settings.sequences
    scheduler.max_num_batched_tokens = max(settings.batched_tokens, settings.sequences)
    scheduler.cache_size = settings.cache_gb
    scheduler.enable_prefix_caching = bool(settings.prefix_caching)
    return scheduler
