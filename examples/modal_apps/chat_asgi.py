"""A chat over HTTP that streams: FastAPI in one container, the model behind it in another.

modal deploy examples/modal_apps/chat_asgi.py
curl -N "$URL/chat" -H 'Content-Type: application/json' -d '{"messages": [{"role": "user", "content": "Hello"}]}'
"""

import asyncio
import json

import modal

app = modal.App("example-chat")
web_image = modal.Image.debian_slim(python_version="3.12").pip_install("fastapi[standard]")


@app.cls(scaledown_window=120, max_containers=1)
@modal.concurrent(max_inputs=8)
class Model:
    @modal.enter()
    def load(self) -> None:
        # A real model would be read from a volume here.
        self.phrases = ["You", "said", "{count}", "words,", "the", "last", "one", "being", "{last}."]

    @modal.method()
    async def generate(self, messages: list[dict]):
        words = messages[-1]["content"].split() or ["nothing"]
        for phrase in self.phrases:
            await asyncio.sleep(0.01)
            yield phrase.format(count=len(words), last=words[-1]) + " "


@app.function(image=web_image, scaledown_window=120, max_containers=1)
@modal.concurrent(max_inputs=100)
@modal.asgi_app()
def web():
    from fastapi import FastAPI, HTTPException, Request, WebSocket
    from fastapi.responses import StreamingResponse

    api = FastAPI(title="chat")

    @api.get("/health")
    async def health():
        return {"status": "ok"}

    @api.post("/chat")
    async def chat(request: Request):
        messages = (await request.json()).get("messages")
        if not messages:
            raise HTTPException(400, "messages: at least one")

        async def events():
            async for text in Model().generate.remote_gen.aio(messages):
                yield f"data: {json.dumps({'delta': text})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    @api.websocket("/ws")
    async def chat_by_websocket(socket: WebSocket):
        await socket.accept()
        messages = []
        async for content in socket.iter_text():
            messages.append({"role": "user", "content": content})
            answer = "".join([text async for text in Model().generate.remote_gen.aio(messages)])
            messages.append({"role": "assistant", "content": answer})
            await socket.send_text(answer)

    return api
