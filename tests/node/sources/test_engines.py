"""What engines tell of themselves, each by its own names."""

from dsops.node.sources.engines import find_told, get_keys

OPENVINO = """\
# TYPE dsops_engine_generated_tokens_total counter
dsops_engine_generated_tokens_total{engine="openvino"} 40
dsops_engine_waiting{engine="openvino"} 3
nv_inference_request_success{model="llm",version="1"} 2
"""
VLLM = """\
vllm:generation_tokens_total{model="llm",version="1"} 7
vllm:num_requests_waiting{engine="0"} 1
vllm:num_requests_waiting{engine="1"} 2
vllm:gpu_cache_usage_perc{engine="0"} 0.25
vllm:gpu_cache_usage_perc{engine="1"} 0.75
vllm:num_preemptions_total{model="llm"} 5
"""
TRTLLM = """\
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 4
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 6000
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.96
"""


def test_each_engine_tells_what_it_knows_by_its_own_names() -> None:
    assert find_told(OPENVINO) == {"generated": 40, "waiting": 3}
    assert find_told(VLLM) == {"generated": 7, "waiting": 3, "cache_used": 0.75, "preemptions": 5}
    assert find_told(TRTLLM) == {"waiting": 4, "cache_used": 0.96}


def test_the_newer_name_of_the_same_thing_counts_and_nothing_is_told_twice() -> None:
    assert find_told(f"{VLLM}vllm:kv_cache_usage_perc 0.5\n")["cache_used"] == 0.5
    assert find_told("vllm:corrupted_requests_total 2\nvllm:corrupted_requests 9\n") == {"nans": 2}


def test_what_is_no_metric_tells_nothing() -> None:
    assert find_told("") == {}
    assert find_told("dsops_engine_waiting +Inf\ndsops_engine_generated_tokens_total -Inf\n") == {}
    assert find_told("<html>\ndsops_engine_waiting NaN\nvllm:num_requests_waiting{ 5\n") == {}


def test_every_key_has_names() -> None:
    assert all(key.names for key in get_keys().values())
