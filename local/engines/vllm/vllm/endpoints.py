"""vLLM's HTTP endpoints on top of the engine: OpenAI's, the tokenizer, health and metrics."""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from standin import chat, tokens
from standin.application import Request, Response, event_stream, json_response
from standin.engine_client import EngineClient
from standin.environment import fault
from standin.generation import EngineDead, Generation
from standin.kernels import digest

from vllm import log, validation
from vllm import openai_shapes as shapes
from vllm.engine_config import EngineConfig
from vllm.metrics import Metrics
from vllm.refusals import Refusal
from vllm.streams import chat_stream, text_stream
from vllm.version import __version__
from vllm.vocabulary import Vocabulary

Endpoint = Callable[[Request], Awaitable[Response]]


class Endpoints:
    def __init__(
        self, config: EngineConfig, client: EngineClient, metrics: Metrics, on_dead: Callable[[], None]
    ) -> None:
        """`on_dead` is called when a request has met a dead engine."""
        self._config = config
        self._args = config.args
        self._client = client
        self._metrics = metrics
        self._on_dead = on_dead
        self._vocabulary = Vocabulary()
        self._reasons = bool(self._args.reasoning_parser)
        self._calls_tools = bool(self._args.enable_auto_tool_choice and self._args.tool_call_parser)
        self.routes: dict[str, dict[str, Endpoint]] = {
            "/load": {"GET": self._load},
            "/version": {"GET": self._version},
            "/health": {"GET": self._health},
            "/metrics": {"GET": self._metrics_text},
            "/tokenize": {"POST": self._tokenize},
            "/detokenize": {"POST": self._detokenize},
            "/v1/models": {"GET": self._models},
            "/ping": {"GET": self._health, "POST": self._health},
            "/invocations": {"POST": self._invocations},
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/completions": {"POST": self._completions},
        }

    async def handle(self, request: Request) -> Response:
        path = "/metrics" if request.path.startswith("/metrics") else request.path  # mounted for all below it
        methods = self.routes.get(path)
        if methods is None:
            return json_response({"detail": "Not Found"}, 404)
        endpoint = methods.get(request.method)
        if endpoint is None:
            return json_response({"detail": "Method Not Allowed"}, 405, allow=", ".join(sorted(methods)))
        try:
            if request.method == "POST" and request.path != "/ping":
                _want_json(request)
            response = await endpoint(request)
        except Refusal as refusal:
            response = json_response(refusal.document, refusal.status)
        except EngineDead:
            self._on_dead()
            response = json_response(Refusal.engine_dead().document, 500)
        except ConnectionError:
            raise  # the client is gone: there is nobody to answer
        except Exception as error:
            log.error("server_utils.py:366", f"Exception caught.\n{traceback.format_exc().rstrip()}")
            response = json_response(Refusal(500, "InternalServerError", str(error)).document, 500)
        self._metrics.http(request.method, request.path, response.status)
        return response

    async def _health(self, request: Request) -> Response:
        """Whether the engine's process lives: vLLM does not ask it anything, so a stuck engine is healthy."""
        return Response(503 if self._client.lost.is_set() or fault("never-healthy") else 200)

    async def _version(self, request: Request) -> Response:
        return json_response({"version": __version__})

    async def _load(self, request: Request) -> Response:
        return json_response({"server_load": 0})

    async def _metrics_text(self, request: Request) -> Response:
        headers = {"content-type": "text/plain; version=1.0.0; charset=utf-8"}
        return Response(200, self._metrics.render().encode(), headers)

    async def _models(self, request: Request) -> Response:
        return json_response(shapes.models(self._config.names, self._args.model, self._config.max_model_len))

    async def _tokenize(self, request: Request) -> Response:
        body = validation.parse_any(request.path, request.body)
        self._check_model(body)
        if isinstance(body.get("messages"), list):
            text = "".join(tokens.content_text(message.get("content")) for message in body["messages"])
        elif isinstance(body.get("prompt"), str):
            text = body["prompt"]
        else:
            raise Refusal.unprocessable("Field required: prompt or messages")
        pieces = tokens.split(text)
        ids = self._vocabulary.encode(pieces)
        strings = pieces if body.get("return_token_strs") else None
        longest = self._config.max_model_len
        return json_response({"count": len(ids), "max_model_len": longest, "tokens": ids, "token_strs": strings})

    async def _detokenize(self, request: Request) -> Response:
        body = validation.parse_any(request.path, request.body)
        self._check_model(body)
        if not isinstance(body.get("tokens"), list):
            raise Refusal.unprocessable("Field required: tokens")
        return json_response({"prompt": self._vocabulary.decode(body["tokens"])})

    async def _invocations(self, request: Request) -> Response:
        body = validation.parse_any(request.path, request.body)
        if "messages" in body:
            return await self._chat(request)
        if "prompt" in body:
            return await self._completions(request)
        raise Refusal(400, "BadRequestError", "Cannot find suitable handler for request.")

    async def _chat(self, request: Request) -> Response:
        body = validation.parse_chat("/v1/chat/completions", request.body)
        self._check_model(body)
        self._check_tools(body)
        if self._client.lost.is_set():
            raise EngineDead
        if not body["messages"]:
            raise Refusal(400, "BadRequestError", "list index out of range")
        prompt = chat.prompt_tokens(body["messages"], body.get("tools"))
        name = "max_tokens" if body.get("max_completion_tokens") is None else "max_completion_tokens"
        limit = validation.check_length(prompt, body.get(name), self._config.max_model_len, name)
        validation.check_logprobs(body)
        parsers = self._reasons, bool(self._args.tool_call_parser)
        plans = [chat.plan_chat(body, limit, 0, *parsers) for _ in range(body.get("n") or 1)]
        generation = self._generation(request, "chatcmpl", prompt, plans)
        if body.get("stream"):
            return event_stream(chat_stream(generation, self._config.names[0], self._fingerprint(), body))
        await generation.finish()
        return json_response(
            shapes.chat_completion(generation.id, self._config.names[0], self._fingerprint(), prompt, plans, body)
        )

    async def _completions(self, request: Request) -> Response:
        body = validation.parse_completion("/v1/completions", request.body)
        self._check_model(body)
        if self._client.lost.is_set():
            raise EngineDead
        prompts = chat.prompts(body["prompt"])
        plans, total = [], 0
        for text in prompts:
            size = tokens.count(text) if isinstance(text, str) else len(text)
            limit = validation.check_length(size, body.get("max_tokens", 16), self._config.max_model_len)
            words = text if isinstance(text, str) else self._vocabulary.decode(text)
            plans += [chat.plan_text(words, body, limit, 0) for _ in range(body.get("n") or 1)]
            total += size
        generation = self._generation(request, "cmpl", total, plans)
        if body.get("stream"):
            return event_stream(text_stream(generation, self._config.names[0], self._fingerprint(), body))
        await generation.finish()
        echo = prompts[0] if body.get("echo") and isinstance(prompts[0], str) else ""
        return json_response(
            shapes.text_completion(generation.id, self._config.names[0], self._fingerprint(), total, plans, echo)
        )

    def _check_model(self, body: dict[str, Any]) -> None:
        name = body.get("model")
        if name and name not in self._config.names:
            refusal = Refusal.unknown_model(name)
            log.error("serving.py:213", f"Error with model {refusal.document}")
            raise refusal

    def _check_tools(self, body: dict[str, Any]) -> None:
        """Tools need their parser, and `auto` its switch too."""
        choice = body.get("tool_choice")
        if self._calls_tools or choice in (None, "none"):
            return
        if choice == "auto":
            raise Refusal.value(
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            )
        if not self._args.tool_call_parser:
            raise Refusal.value(f'tool_choice="{choice}" requires --tool-call-parser to be set')

    def _fingerprint(self) -> str | None:
        mode = self._args.fingerprint_mode
        if mode == "none":
            return None
        if mode == "custom":
            return self._args.fingerprint_value
        hashed = digest(self._config.model, self._config.max_model_len)[:8]
        tp = f"-tp{self._config.tp}" if self._config.tp > 1 and mode == "full" else ""
        return f"vllm-{__version__}{tp}-{hashed}"

    def _generation(self, request: Request, kind: str, prompt: int, plans: list[chat.Plan]) -> Generation:
        own = request.headers.get("x-request-id") or uuid.uuid4().hex
        return Generation(self._client, self._metrics, f"{kind}-{own}", prompt, plans, True, request.gone)


def _want_json(request: Request) -> None:
    """Raises Refusal: a body of another type is refused before it is read."""
    kind = request.headers.get("content-type", "").lower().partition(";")[0]
    if kind != "application/json":
        text = "Unsupported Media Type: Only 'application/json' is allowed"
        raise Refusal.unprocessable(f"1 validation error:\n  {text} {[text]}")
