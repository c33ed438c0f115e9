"""What the tests of deployments deploy; VERSION tells one deployment from the next."""

import os

import modal

VERSION = os.environ.get("VERSION", "1")
app = modal.App(os.environ.get("APP_NAME", "versions"))
image = modal.Image.debian_slim().env({"VERSION": VERSION})

if VERSION == "unbuildable":
    image = modal.Image.from_registry("example.org/no/such-image:1", add_python="3.11")


@app.function(image=image)
def version():
    return os.environ["VERSION"]


@app.function(image=image, min_containers=0, max_containers=3, scaledown_window=20)
@modal.web_server(8000)
def site():
    import subprocess

    subprocess.Popen(["python3", "-m", "http.server", "8000"])


if VERSION != "2":

    @app.function(image=image)
    def only_in_odd_versions():
        return "here"


@app.local_entrypoint()
def main(word: str = "hello"):
    print(f"{word} from version {version.remote()}")
