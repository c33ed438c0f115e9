"""A class whose parameter says which model a container holds: each model has its own containers.

modal deploy examples/modal_apps/class_with_parameters.py
modal run examples/modal_apps/class_with_parameters.py
"""

import os

import modal

app = modal.App("example-models")
image = modal.Image.debian_slim(python_version="3.12").env({"CACHE": "/cache"})
cache = modal.Volume.from_name("example-model-cache", create_if_missing=True)


@app.cls(image=image, volumes={"/cache": cache}, scaledown_window=60, max_containers=2, enable_memory_snapshot=True)
@modal.concurrent(max_inputs=4)
class Embedder:
    model: str = modal.parameter()
    dimensions: int = modal.parameter(default=4)

    @modal.enter(snap=True)
    def load(self) -> None:
        """Once per container: from the cache, or made and put there."""
        path = f"{os.environ['CACHE']}/{self.model}.txt"
        self.from_cache = os.path.exists(path)
        if not self.from_cache:
            with open(path, "w") as file:
                file.write(str(sum(self.model.encode())))
            cache.commit()
        with open(path) as file:
            self.seed = int(file.read())

    @modal.method()
    def embed(self, text: str) -> list[int]:
        return [hash_of(text, self.seed + place) for place in range(self.dimensions)]

    @modal.method()
    def container(self) -> str:
        return os.environ["MODAL_TASK_ID"]

    @modal.exit()
    def unload(self) -> None:
        print(f"{self.model} unloaded")


def hash_of(text: str, seed: int) -> int:
    value = seed
    for byte in text.encode():
        value = (value * 31 + byte) % 1009
    return value


@app.local_entrypoint()
def main() -> None:
    for model in ("small", "large"):
        print(model, Embedder(model=model).embed.remote("hello"))
