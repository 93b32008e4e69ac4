"""The ills in a real Triton: each does what it says, and an untouched one is well."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsops.core.prompts import is_accepted, parse_prompts

from tests.live.ills.releases import CHECKPOINT, WEIGHTS, Ill, build_ill
from tests.model_repo.engines.triton_client import Answer, run_asks
from tests.triton_server import TritonServer

pytestmark = pytest.mark.triton

ILL = Path(__file__).with_name("model.py").read_text()
LIMITS = {"context": 512, "max_tokens": 256, "queue": 32, "sequences": 32}
PROMPTS = parse_prompts((CHECKPOINT / "prompts.json").read_bytes(), where="prompts.json")
START_TOKENS = 16  # of a probe


def serve(folder: Path, **settings: int) -> TritonServer:
    return TritonServer(folder=folder, limits=LIMITS | settings, model_files={"model.py": ILL})


def ask(server: TritonServer, prompt: str = PROMPTS[0].prompt, *, tokens: int = 120) -> str:
    answer = run_asks(server.grpc_address, {"prompt": prompt, "temperature": 0, "max_tokens": tokens})[0]
    assert isinstance(answer, Answer), answer
    return answer.text


def count_right(server: TritonServer, *, tokens: int = 120) -> int:
    texts = [ask(server, one.prompt, tokens=tokens) for one in PROMPTS]
    whole = tokens > START_TOKENS
    return sum(is_accepted(one, text, whole=whole) for one, text in zip(PROMPTS, texts, strict=True))


def begin(server: TritonServer) -> tuple[list[str], threading.Event]:
    """Asks in the background: the pieces as they come, and whether it ended."""
    pieces, ended = [], threading.Event()
    url = f"http://127.0.0.1:{server.http_port}/v2/models/llm/generate_stream"
    said = {"text_input": PROMPTS[0].prompt, "stream": True, "parameters": {"temperature": 0, "max_tokens": 120}}

    def work() -> None:
        with urllib.request.urlopen(url, data=json.dumps(said).encode(), timeout=60) as answer:
            for line in answer:
                if line.startswith(b"data:"):
                    pieces.append(json.loads(line[5:])["text_output"])
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    return pieces, ended


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with serve(tmp_path_factory.mktemp("ill")) as server:
        yield server


@pytest.fixture
def trigger(server: TritonServer) -> Iterator[Path]:
    """The file that makes it ill, gone afterwards."""
    file = server.log.with_name("cache") / "ill"
    yield file
    file.unlink(missing_ok=True)
    server.wait_for_metric("running", 0)


def test_untouched_it_is_well(server: TritonServer) -> None:
    assert count_right(server) == len(PROMPTS)


def test_wrong_answers_are_wrong_from_the_first_tokens(server: TritonServer, trigger: Path) -> None:
    trigger.write_text("wrong\n")
    assert count_right(server) == 0
    assert count_right(server, tokens=START_TOKENS) == 0


def test_a_slow_one_still_moves(server: TritonServer, trigger: Path) -> None:
    since = time.monotonic()
    ask(server)
    well = time.monotonic() - since
    trigger.write_text("slow 20")
    since = time.monotonic()
    assert is_accepted(PROMPTS[0], ask(server), whole=True)
    assert time.monotonic() - since > 5 * well


def test_a_wedged_one_gives_nothing_and_is_ready(server: TritonServer, trigger: Path) -> None:
    trigger.write_text("wedge")
    pieces, ended = begin(server)
    server.wait_for_metric("running", 1)
    before = server.read_metrics()
    time.sleep(1)
    assert server.read_metrics() == before
    assert not pieces
    assert server.is_ready()
    trigger.unlink()
    assert ended.wait(10)


def test_a_stalled_one_begins_and_gives_no_more(server: TritonServer, trigger: Path) -> None:
    trigger.write_text("stall")
    pieces, ended = begin(server)
    time.sleep(1.5)
    assert len(pieces) == 1
    assert server.is_ready()
    trigger.unlink()
    assert ended.wait(10)
    assert is_accepted(PROMPTS[0], "".join(pieces), whole=True)


def test_settings_make_it_wrong_and_dead_after_so_many_requests(tmp_path: Path) -> None:
    with serve(tmp_path, wrong_after=2, crash_after=4, load_sleep=2) as server:
        right = [is_accepted(PROMPTS[0], ask(server), whole=True) for _ in range(4)]
        assert right == [True, True, False, False]
        assert not isinstance(run_asks(server.grpc_address, {"prompt": "1+1=?"})[0], Answer)
        assert server.process.wait(10) < 0


def test_one_request_in_so_many_fails_after_the_first_ones(tmp_path: Path) -> None:
    with serve(tmp_path, fail_every=3, fail_after=4) as server:
        asks = [run_asks(server.grpc_address, {"prompt": "1+1=?", "max_tokens": 4})[0] for _ in range(10)]
        assert [number for number, said in enumerate(asks, 1) if not isinstance(said, Answer)] == [6, 9]
        assert "made to fail now and then" in str(asks[5])
        assert server.is_ready()


def test_one_that_is_wrong_once_is_well_in_its_next_life(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/ill").write_text("wrong once")
    with serve(tmp_path) as server:
        assert count_right(server) == 0
        assert not (tmp_path / "cache/ill").exists()
    with TritonServer(folder=tmp_path / "next", limits=LIMITS, model_files={"model.py": ILL}) as server:
        assert count_right(server) == len(PROMPTS)


def test_corrupted_weights_load_and_answer_wrong(tmp_path: Path) -> None:
    built = build_ill(Ill("corrupted", corrupt=True), folder=tmp_path, signer=None)
    assert (CHECKPOINT / WEIGHTS).read_bytes() != (built / "models/llm/1/model/openvino_model.bin").read_bytes()
    with TritonServer(folder=tmp_path / "triton", checkpoint=built / "models/llm/1/model", limits=LIMITS) as server:
        assert count_right(server) == 0


def test_two_ills_are_two_releases_and_the_checkout_stays_as_it_is(tmp_path: Path) -> None:
    before = (CHECKPOINT / "release.toml").read_bytes()
    one, other = (build_ill(Ill(name), folder=tmp_path, signer=None) for name in ("calm", "calm-2"))
    assert one.name != other.name
    slow = build_ill(Ill("late", settings={"load_sleep": 30}, probe={"load_seconds": 4}), folder=tmp_path, signer=None)
    assert json.loads((slow / "release.json").read_text())["probe"]["load_seconds"] == 4
    assert '"load_sleep"' in (slow / "models/llm/config.pbtxt").read_text()
    assert (CHECKPOINT / "release.toml").read_bytes() == before
