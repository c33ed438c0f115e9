"""A program that serves HTTP by itself, started in the container: here Python's own file server, over a volume.

modal deploy examples/modal_apps/server_with_subprocess.py
modal run examples/modal_apps/server_with_subprocess.py --text "good morning"
"""

import subprocess
import urllib.request

import modal

PORT = 8000
PAGES = "/pages"

app = modal.App("example-server-with-subprocess")
image = modal.Image.debian_slim(python_version="3.12").env({"PYTHONUNBUFFERED": "1"})
pages = modal.Volume.from_name("example-pages", create_if_missing=True)


@app.function(image=image, volumes={PAGES: pages})
def publish(name: str, text: str) -> None:
    """Puts a page into the volume; containers that start from now on serve it."""
    with open(f"{PAGES}/{name}", "w") as file:
        file.write(text)
    pages.commit()


@app.function(image=image, volumes={PAGES: pages.read_only()}, scaledown_window=60, max_containers=2)
@modal.concurrent(max_inputs=50)
@modal.web_server(PORT, startup_timeout=30)
def serve() -> None:
    subprocess.Popen(["python", "-m", "http.server", str(PORT), "--bind", "0.0.0.0", "--directory", PAGES])


@app.local_entrypoint()
def main(text: str = "hello") -> None:
    publish.remote("index.html", text)
    with urllib.request.urlopen(serve.get_web_url()) as response:
        print(response.status, response.read().decode())
