"""A pipeline over a volume: split a file, work on the pieces in parallel, put the results together.

modal run examples/modal_apps/volume_pipeline.py --pieces 8
"""

import json
from collections import Counter
from pathlib import Path

import modal

app = modal.App("example-pipeline")
image = modal.Image.debian_slim(python_version="3.12")
volume = modal.Volume.from_name("example-pipeline", create_if_missing=True, version=2)
DATA = Path("/data")


@app.function(image=image, volumes={str(DATA): volume})
def split(name: str, pieces: int) -> list[str]:
    """Writes the lines of a file into so many; returns their names."""
    volume.reload()
    lines = (DATA / name).read_text().splitlines()
    folder = DATA / "pieces"
    folder.mkdir(exist_ok=True)
    names = []
    for number in range(pieces):
        names.append(f"pieces/{number:03}.txt")
        (DATA / names[-1]).write_text("\n".join(lines[number::pieces]))
    volume.commit()
    return names


@app.function(image=image, volumes={str(DATA): volume}, max_containers=2, retries=modal.Retries(max_retries=2))
def count(name: str) -> str:
    volume.reload()
    words = Counter((DATA / name).read_text().lower().split())
    result = Path(name).with_suffix(".json")
    (DATA / result).write_text(json.dumps(words))
    volume.commit()
    return str(result)


@app.function(image=image, volumes={str(DATA): volume})
def merge(names: list[str]) -> list[tuple[str, int]]:
    volume.reload()
    total: Counter = Counter()
    for name in names:
        total.update(json.loads((DATA / name).read_text()))
    return total.most_common(3)


@app.function(image=image, timeout=600)
def pipeline(name: str, pieces: int = 4) -> list[tuple[str, int]]:
    """All three steps, from inside: the caller need not stay."""
    return merge.remote(list(count.map(split.remote(name, pieces))))


@app.local_entrypoint()
def main(pieces: int = 4) -> None:
    with volume.batch_upload(force=True) as upload:
        upload.put_file(__file__, "/input.txt")
    for word, times in pipeline.remote("input.txt", pieces):
        print(f"{times:5} {word}")
