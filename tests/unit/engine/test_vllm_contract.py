"""Every vLLM symbol that we use exists and takes what we pass: an upgrade fails here first."""

from __future__ import annotations

import inspect
import re
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.engine import arguments, streaming, zygote
from sandbox.models.guide import guide_folder
from sandbox.models.source import LocalModel
from sandbox.settings import Settings

with warnings.catch_warnings():
    # torch and vllm warn about themselves when they are imported.
    warnings.simplefilter("ignore")
    from vllm import envs
    from vllm.model_executor.models import registry
    from vllm.tokenizers import registry as tokenizer_registry
    from vllm.transformers_utils import processor as processors
    from vllm.v1.engine.core_client import AsyncMPClient
    from vllm.v1.engine.output_processor import RequestState
    from vllm.v1.metrics.loggers import AggregateStatLoggerBase, StatLoggerManager
    from vllm.v1.worker.worker_base import WorkerBase

    from sandbox.engine import vllm_api


def accepts(function: Callable[..., Any], *positional: object, **named: object) -> None:
    inspect.signature(function).bind(*positional, **named)


def test_the_version_is_the_one_that_is_pinned() -> None:
    assert vllm_api.version == "0.32.0"


def test_the_app_is_built_from_flags_tasks_and_a_model() -> None:
    accepts(vllm_api.build_app, Namespace(), ("generate",), None)
    accepts(vllm_api.init_app_state, None, None, Namespace(), ("generate",))
    assert inspect.iscoroutinefunction(vllm_api.init_app_state)


def test_an_engine_is_built_from_a_configuration() -> None:
    accepts(vllm_api.AsyncEngineArgs.from_cli_args, Namespace())
    accepts(vllm_api.AsyncEngineArgs.create_engine_config, None, usage_context=None)
    accepts(
        vllm_api.AsyncLLM.from_vllm_config,
        vllm_config=None,
        usage_context=vllm_api.UsageContext.OPENAI_API_SERVER,
        enable_log_requests=False,
        aggregate_engine_logging=False,
        disable_log_stats=False,
        stat_loggers=None,
    )


def test_tokenizers_and_chat_templates_are_kept_once_read() -> None:
    accepts(vllm_api.cached_tokenizer_from_config, None)
    accepts(vllm_api.resolve_chat_template, None, None, None, model_config=None)
    assert hasattr(tokenizer_registry.cached_get_tokenizer, "cache_info")
    assert hasattr(processors.cached_get_processor, "cache_info")


@pytest.mark.parametrize("name", ["reset_mm_cache", "get_supported_tasks", "do_log_stats"])
def test_the_client_has_the_coroutines_that_we_await(name: str) -> None:
    method = getattr(vllm_api.AsyncLLM, name)
    assert inspect.iscoroutinefunction(method)
    accepts(method, None)


def test_workers_can_be_asked_a_question() -> None:
    accepts(vllm_api.AsyncLLM.collective_rpc, None, "check_health")
    # Through EngineCore's loop to the workers, in place of what the client knows by itself.
    assert "call_utility_async" in inspect.getsource(AsyncMPClient.collective_rpc_async)
    accepts(WorkerBase.check_health, None)


def test_the_client_tells_its_death_and_can_be_shut_down() -> None:
    assert isinstance(vllm_api.AsyncLLM.errored, property)
    accepts(vllm_api.AsyncLLM.shutdown, None, 5.0)


def test_the_warm_up_of_the_image_processor_can_be_waited_for() -> None:
    accepts(vllm_api.BaseRenderer._join_mm_warmup, None)


def test_streams_can_be_told_of_a_death() -> None:
    assert "self.output_handler: " in inspect.getsource(vllm_api.AsyncLLM.__init__)
    accepts(vllm_api.OutputProcessor.propagate_error, None, vllm_api.EngineDeadError())


def test_streams_are_written_by_generators_that_read_the_results_of_the_engine() -> None:
    chat, completion = vllm_api.OpenAIServingChat, vllm_api.OpenAIServingCompletion
    first = [*inspect.signature(chat.chat_completion_stream_generator).parameters][:3]
    assert first == ["self", "request", "result_generator"]
    first = [*inspect.signature(completion.completion_stream_generator).parameters][:4]
    assert first == ["self", "request", "engine_inputs", "result_generator"]


def test_the_interval_of_a_stream_is_looked_at_for_every_token() -> None:
    source = inspect.getsource(RequestState.make_request_output)
    assert "if self.stream_interval > 1:" in source
    assert "- self.sent_tokens_offset" in source
    names = {"stream_interval", "sent_tokens_offset", "output_kind", "detokenizer", "request_id"}
    assert names <= set(re.findall(r"self\.(\w+) = ", inspect.getsource(RequestState.__init__)))
    assert "self.request_states: " in inspect.getsource(vllm_api.OutputProcessor.__init__)


def test_a_result_of_a_stream_is_made_by_its_state_from_what_we_look_at() -> None:
    first = [*inspect.signature(RequestState.make_request_output).parameters][:4]
    assert first == ["self", "new_token_ids", "pooling_output", "finish_reason"]
    made = inspect.getsource(vllm_api.OutputProcessor.process_outputs)
    assert "if request_output := req_state.make_request_output(" in made
    names = {"request_index", "queue", "prompt_token_ids"}
    assert names <= set(re.findall(r"self\.(\w+) = ", inspect.getsource(RequestState.__init__)))
    # By that list a state is recognized.
    made = inspect.getsource(RequestState._new_request_output)
    assert "prompt_token_ids = self.prompt_token_ids\n" in made


def test_tokens_are_counted_by_a_logger_of_ours() -> None:
    logger = vllm_api.PrometheusStatLogger
    accepts(logger.record, None, None, None, mm_cache_stats=None, engine_idx=0)
    source = inspect.getsource(logger.record)
    # For each token this, and nothing else.
    assert source.count("inter_token_latencies_iter") == 1
    assert "self.histogram_inter_token_latency[engine_idx].observe(itl)" in source
    passed = inspect.getsource(StatLoggerManager.record)
    assert "engine_idx=engine_idx" in passed
    assert issubclass(logger, AggregateStatLoggerBase)


def test_the_class_of_a_model_is_looked_at_in_another_process() -> None:
    accepts(registry._run_in_subprocess, lambda: None)
    source = inspect.getsource(registry._LazyRegisteredModel.inspect_model_cls)
    assert "mi = _run_in_subprocess(" in source


def test_what_makes_a_request_plain_are_fields_of_vllm() -> None:
    hints = (
        inspect.signature(generator).parameters["request"].annotation
        for generator in (
            vllm_api.OpenAIServingChat.chat_completion_stream_generator,
            vllm_api.OpenAIServingCompletion.completion_stream_generator,
        )
    )
    assert {name for request in hints for name in request.model_fields} >= streaming._PLAIN


def test_our_flags_are_flags_of_vllm() -> None:
    model = LocalModel("builtin:guide", guide_folder(), "llama", builtin=True)
    settings = Settings.model_validate(
        {
            "TENSOR_PARALLEL_SIZE": 2,
            "QUANTIZATION": "fp8_per_tensor",
            "GPU_MEMORY_UTILIZATION": 0.8,
            "VLLM_EXTRA_ARGS": "--max-num-seqs 8",
        }
    )
    for cpu in (False, True):
        flags = arguments.parse(vllm_api, arguments.compose(settings, model, cpu=cpu))
        assert flags.max_num_seqs == 8
        assert flags.served_model_name == ["builtin:guide"]
    for name in ("enable_log_requests", "aggregate_engine_logging", "disable_log_stats"):
        assert isinstance(getattr(flags, name), bool)


def test_limits_that_are_said_to_be_vllm_s_are_variables_of_vllm() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/reference/limits.md").read_text()
    names = set(re.findall(r"`(VLLM_\w+)`", page)) - {"VLLM_", "VLLM_EXTRA_ARGS"}
    assert len(names) > 5
    assert names <= set(envs.environment_variables)
    # The page's numbers for those that we leave as they are.
    assert (envs.VLLM_MAX_STOP_STRINGS, envs.VLLM_REGEX_COMPILATION_TIMEOUT_S) == (4, 5)


def test_flags_that_we_own_exist() -> None:
    parser = vllm_api.FlexibleArgumentParser()  # type: ignore[no-untyped-call]
    known = vllm_api.make_arg_parser(parser)._option_string_actions
    # --hf-token is a flag of old; refusing it costs nothing.
    assert set(arguments._OURS) - set(known) <= {"--hf-token"}


def test_engine_processes_are_started_through_one_function() -> None:
    for module in vllm_api.PROCESS_STARTERS:
        assert callable(vars(module)["get_mp_context"])
        assert "get_mp_context()" in inspect.getsource(module)


def test_no_other_module_of_vllm_starts_processes() -> None:
    package = Path(inspect.getfile(vllm_api.AsyncLLM)).parents[2]
    found = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if "get_mp_context()" in file.read_text(encoding="utf-8")
    }
    ours = {
        Path(inspect.getfile(module)).relative_to(package).as_posix()
        for module in vllm_api.PROCESS_STARTERS
    }
    # The last one only asks for the name of the process.
    assert found == {*ours, "utils/system_utils.py"}


def test_python_s_fork_server_has_the_parts_that_the_zygote_uses() -> None:
    assert {"_forkserver_pid", "_forkserver_address"} <= set(vars(zygote._server))
    assert callable(zygote._server.ensure_running)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/v1/instance",
        "http://[fd00:a9fe:a9fe::1]/v1/instance",
        "http://127.0.0.1:3000/",
        "http://2130706433/",
        "http://example.com/image.png",
        "http://none-see-the-setting-media-domains.invalid@127.0.0.1/",
        "file:///etc/passwd",
    ],
)
def test_no_address_in_a_request_is_fetched(url: str) -> None:
    model = LocalModel("builtin:guide", guide_folder(), "llama", builtin=True)
    flags = arguments.compose(Settings(), model, cpu=True)
    domains = arguments.parse(vllm_api, flags).allowed_media_domains
    from vllm.connections import HTTPConnection
    from vllm.multimodal.media.connector import MediaConnector

    class Network(HTTPConnection):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("the network was asked")

    connector = MediaConnector(connection=Network(), allowed_media_domains=domains)
    with pytest.raises((ValueError, RuntimeError)):
        connector.fetch_image(url)
