"""SGLang's HTTP endpoints on top of the scheduler: OpenAI's, its own, health and metrics."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from standin import chat, tokens
from standin.application import Request, Response, event_stream, json_response
from standin.engine_client import EngineClient
from standin.environment import fault, scaled
from standin.generation import Generation
from standin.log import log
from standin.streaming import wants_usage

from sglang import openai_shapes as shapes
from sglang import validation
from sglang.arguments import ServerArgs
from sglang.metrics import Metrics
from sglang.streams import chat_stream, refused_stream, text_stream
from sglang.version import __version__

HEALTH_TIMEOUT = 20.0
"""Seconds that /health waits for a sign of life from the scheduler, on the real engine's clock."""


class Endpoints:
    def __init__(
        self, args: ServerArgs, config: dict[str, Any], facts: dict[str, float], client: EngineClient, metrics: Metrics
    ) -> None:
        self._args = args
        self._config = config
        self._client = client
        self._metrics = metrics
        self._context = int(facts["context"])
        self._pool = int(facts["pool"])
        self._end_token = _first(config.get("eos_token_id"), 0)
        self.up = False
        """Whether the engine's own warm-up has ended."""
        self.stopping = False
        self._routes: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/health": ("GET", self._health),
            "/health_generate": ("GET", self._health_generate),
            "/model_info": ("GET", self._model_info),
            "/get_model_info": ("GET", self._model_info),
            "/server_info": ("GET", self._server_info),
            "/get_server_info": ("GET", self._server_info),
            "/v1/models": ("GET", self._models),
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/completions": ("POST", self._completions),
            "/generate": ("POST", self._generate),
            "/freeze_gc": ("GET, POST", self._freeze_gc),
        }
        if args.enable_metrics:
            self._routes["/metrics"] = ("GET", self._metrics_text)

    async def handle(self, request: Request) -> Response:
        path = request.path.rstrip("/") or "/"
        response = await self._answer(request, path)
        if not path.startswith("/metrics"):
            response.headers.setdefault("vary", "Origin")
        return response

    def knows(self, path: str) -> bool:
        """Whether there is an endpoint at that path."""
        return path in self._routes or path.startswith("/v1/models/")

    async def _answer(self, request: Request, path: str) -> Response:
        if path.startswith("/v1/models/"):
            return self._model(path.removeprefix("/v1/models/"))
        if path not in self._routes:
            return json_response({"detail": "Not Found"}, 404)
        methods, handler = self._routes[path]
        # FastAPI's routes know no HEAD of their own; the metrics are an application that takes any method.
        if request.method not in methods.split(", ") and path != "/metrics":
            return json_response({"detail": "Method Not Allowed"}, 405, allow=methods)
        try:
            return await handler(request)
        except validation.TooLongForThePool as refusal:
            if validation.streams(request.body):
                return event_stream(refused_stream({**refusal.document, "type": "BAD_REQUEST"}))
            return json_response(refusal.document, 400)
        except validation.BadRequest as refusal:
            return json_response(refusal.document, 400)
        except ConnectionError:
            raise  # the client is gone: there is nobody to answer
        except Exception as error:
            log(f"Error in request: {error}\n{traceback.format_exc()}")
            document = validation.BadRequest(f"Internal server error: {error}", "InternalServerError").document
            return json_response({**document, "code": 500}, 500)

    async def _health(self, request: Request) -> Response:
        if not self.up or self.stopping or fault("never-healthy"):
            return Response(503)
        if os.environ.get("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION", "true").lower() in ("0", "false", "no", "n"):
            return Response(200)  # it looks no further then, so a stuck scheduler is healthy
        return Response(200 if await self._client.answers(scaled(HEALTH_TIMEOUT)) else 503)

    async def _health_generate(self, request: Request) -> Response:
        if not self.up or self.stopping or fault("never-healthy"):
            return Response(503)
        plan = chat.Plan(hidden=1)
        try:
            async with asyncio.timeout(scaled(HEALTH_TIMEOUT)):
                await self._generation(request, 1, [plan], external=False).finish()
        except TimeoutError:
            return Response(503)
        return Response(200)

    async def _freeze_gc(self, request: Request) -> Response:
        before = gc.get_count()
        gc.freeze()
        counts = ", ".join(
            f"gen{n}: {count}->{now}" for n, (count, now) in enumerate(zip(before, gc.get_count(), strict=True))
        )
        log(f"Freezing GC in Tokenizer Manager process. {counts}")
        return Response(200, b"Garbage collection frozen.\n")

    async def _metrics_text(self, request: Request) -> Response:
        return Response(
            200, self._metrics.render().encode(), {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _model_info(self, request: Request) -> Response:
        return json_response(
            {
                "model_path": self._args.model_path,
                "tokenizer_path": self._args.tokenizer_path,
                "is_generation": True,
                "preferred_sampling_params": self._args.preferred_sampling_params,
                "weight_version": self._args.weight_version,
                "has_image_understanding": False,
                "has_audio_understanding": False,
                "model_type": self._config.get("model_type"),
                "architectures": self._config.get("architectures"),
            }
        )

    async def _server_info(self, request: Request) -> Response:
        shown = {name: value for name, value in self._args.to_json().items() if "api_key" not in name}
        return json_response(
            {
                **shown,
                "max_total_num_tokens": self._pool,
                "max_req_input_len": min(self._context, self._pool) - 1,
                "internal_states": [dict(self._client.stats)],
                "version": __version__,
            }
        )

    def _card(self) -> dict[str, Any]:
        name = self._args.served_model_name
        return {
            "id": name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "sglang",
            "root": name,
            "parent": None,
            "max_model_len": self._context,
        }

    async def _models(self, request: Request) -> Response:
        return json_response({"object": "list", "data": [self._card()]})

    def _model(self, name: str) -> Response:
        if name == self._args.served_model_name:
            return json_response(self._card())
        error = {
            "message": f"The model '{name}' does not exist",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
        return json_response({"error": error}, 404)

    async def _chat(self, request: Request) -> Response:
        body = validation.parse_chat(request.path, request.body)
        prompt = chat.prompt_tokens(body["messages"], body.get("tools"))
        asked = body.get("max_completion_tokens") or body.get("max_tokens")
        limit = self._limit(prompt, asked)
        parsers = bool(self._args.reasoning_parser), bool(self._args.tool_call_parser)
        plans = [chat.plan_chat(body, limit, self._end_token, *parsers) for _ in range(body.get("n") or 1)]
        generation = self._generation(request, prompt, plans)
        model = body.get("model", "default")
        if body.get("stream"):
            return event_stream(chat_stream(generation, model, wants_usage(body)))
        await generation.finish()
        return json_response(
            shapes.chat_completion(generation.id, model, self._args.weight_version, prompt, plans, body)
        )

    async def _completions(self, request: Request) -> Response:
        body = validation.parse_completion(request.path, request.body)
        prompts = _prompts(body["prompt"])
        plans, total = [], 0
        for text in prompts:
            size = tokens.count(text) if isinstance(text, str) else len(text)
            asked = body.get("max_tokens", 16)
            limit = self._limit(size, asked)
            words = text if isinstance(text, str) else "token ids"
            plans += [chat.plan_text(words, body, limit, self._end_token) for _ in range(body.get("n") or 1)]
            total += size
        generation = self._generation(request, total, plans)
        model = body.get("model", "default")
        if body.get("stream"):
            return event_stream(text_stream(generation, model, wants_usage(body)))
        await generation.finish()
        echo = prompts[0] if body.get("echo") and isinstance(prompts[0], str) else ""
        return json_response(
            shapes.text_completion(generation.id, model, self._args.weight_version, total, plans, echo)
        )

    async def _generate(self, request: Request) -> Response:
        body = validation.parse_generate(request.path, request.body)
        text = body.get("text")
        if isinstance(text, list):
            raise validation.BadRequest("The stand-in takes one text at a time.")
        size = tokens.count(text) if text is not None else len(body["input_ids"])
        sampling = body.get("sampling_params") or {}
        limit = self._limit(size, sampling.get("max_new_tokens", 128))
        plan = chat.plan_text(text or "token ids", sampling, limit, self._end_token)
        generation = self._generation(request, size, [plan])
        started = time.monotonic()
        await generation.finish()
        reason: dict[str, Any] = {"type": plan.finish}
        reason |= {"length": limit} if plan.finish == "length" else {"matched": plan.matched}
        return json_response(
            {
                "text": "".join(plan.content),
                "output_ids": list(range(plan.completion_tokens)),
                "meta_info": {
                    "id": generation.id,
                    "finish_reason": reason,
                    "prompt_tokens": size,
                    "weight_version": self._args.weight_version,
                    "completion_tokens": plan.completion_tokens,
                    "cached_tokens": 0,
                    "e2e_latency": time.monotonic() - started,
                },
            }
        )

    def _limit(self, prompt: int, asked: int | None) -> int:
        args, reserved = self._args, 0
        if args.speculative_algorithm:
            steps = (args.speculative_eagle_topk or 1) * (args.speculative_num_steps or 1)
            reserved = max(steps, args.speculative_num_draft_tokens or 0)
        return validation.check_length(prompt, asked, self._context, self._pool, reserved)

    def _generation(self, request: Request, prompt: int, plans: list[chat.Plan], external: bool = True) -> Generation:
        # Until the engine has warmed itself up, the only requests are its own.
        return Generation(
            self._client, self._metrics, uuid.uuid4().hex, prompt, plans, external and self.up, request.gone
        )


def _prompts(prompt: Any) -> list[Any]:
    found = chat.prompts(prompt)
    if not found:
        raise validation.BadRequest("Prompt cannot be empty")
    return found


def _first(value: Any, default: int) -> int:
    return value[0] if isinstance(value, list) and value else value if isinstance(value, int) else default
