"""Triton's Python backend interface: load, take requests, stop."""

import json
import os
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

from openvino_engine.errors import RequestError, Stopping
from openvino_engine.guardian import Guardian
from openvino_engine.loop import Loop
from openvino_engine.metrics import Publisher
from openvino_engine.pipeline import OpenVinoPipeline
from openvino_engine.reply import TritonReply
from openvino_engine.request import parse_ask
from openvino_engine.settings import parse_settings

FAILED = 70  # exit status of a failed engine (EX_SOFTWARE)
LAST_WORDS_S = 0.5  # for Triton to carry the errors to the clients before the guardian ends it


class TritonPythonModel:
    """One per server: `model/` beside model.py is the checkpoint."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._settings = parse_settings(config.get("parameters", {}))
        checkpoint = Path(args["model_repository"], args["model_version"], "model")
        if not checkpoint.is_dir():
            raise pb_utils.TritonModelException(f"no checkpoint in {checkpoint}")
        self._guardian = Guardian()
        pipeline = OpenVinoPipeline(checkpoint, self._settings)
        self._loop = Loop(pipeline, self._settings, log=_log)
        self._publisher = Publisher(self._loop.counters)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        self._publisher.start()

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            reply = TritonReply(request.get_response_sender())
            try:
                self._take(request, reply)
            except RequestError as error:
                reply.fail(error)
            except Exception as error:
                _log(f"a request failed: {traceback.format_exc()}")
                reply.fail(RequestError(f"{type(error).__name__}: {error}"))

    def _take(self, request: Any, reply: TritonReply) -> None:
        most = self._settings.max_tokens
        ask = parse_ask(partial(_read, request), request.parameters(), most_tokens=most)
        reply.expect(ask)
        self._loop.submit(ask, reply)

    def finalize(self) -> None:
        self._loop.stop(Stopping("the server is going down"))
        self._thread.join()
        self._publisher.stop()
        self._guardian.dismiss()

    def _run(self) -> None:
        try:
            self._loop.run()
        except Exception:
            _log(f"the engine failed: {traceback.format_exc()}")
            time.sleep(LAST_WORDS_S)
            os._exit(FAILED)


def _read(request: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    return tensor.as_numpy().reshape(-1)[0]


def _log(text: str) -> None:
    pb_utils.Logger.log_error(f"[openvino] {text}")
