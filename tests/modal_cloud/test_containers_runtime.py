"""The container runtime as a library: isolation, volume views and cleaning up, without a control plane.

Each test runs as root and, where the machine allows it, once more in user-namespace mode, which is what everybody but
root gets.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from local.modal_cloud.seams import SourceFile, VolumeMount
from tests.modal_cloud.stage import mode, staged, view

__all__ = ["mode"]
pytestmark = pytest.mark.cloud


def host_listing() -> set[str]:
    """What containers could have left outside: top-level names, homes, mounts."""
    found = {f"/{name}" for name in os.listdir("/")} | {f"/root/{name}" for name in os.listdir(Path.home())}
    return found | set(Path("/proc/self/mounts").read_text().splitlines())


def runs(argument: str) -> bool:
    return any(argument in (process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))


def test_paths_and_ports_are_the_containers_own(mode: str, tmp_path: Path) -> None:
    before = host_listing()
    script = """
        import http.server, os, socket, sys, threading
        print("volume", open("/model-cache/name").read())
        assert open("/run/modal/arguments").read() == "arguments"
        open("/tmp/own", "x").close()
        open("/anywhere", "x").close()
        try:
            open("/usr/own", "x")
        except OSError as error:
            print("usr:", error.strerror)
        import app
        print("app", app.NAME, os.getcwd(), os.getpid() < 10)
        try:
            import local
        except ImportError:
            print("editable install hidden")
        print("state", os.path.exists(LOCAL) and os.listdir(LOCAL))
        server = http.server.HTTPServer(("0.0.0.0", 8000), http.server.SimpleHTTPRequestHandler)
        print("listening")
        server.serve_forever()
    """

    async def run() -> None:
        async with staged(tmp_path / "local") as stage:
            source = tmp_path / "app.py"
            source.write_text("NAME = 'mine'")
            containers = [
                await stage.start(
                    script.replace("LOCAL", repr(str(tmp_path / "local"))),
                    files=[SourceFile(source, "/root/app.py")],
                    volumes=view(stage.volume(f"vo-{name}", name=name), "/model-cache"),
                )
                for name in ("one", "two")
            ]
            for container, name in zip(containers, ("one", "two"), strict=True):
                await stage.says(container, "listening")
                output = stage.output(container)
                assert f"volume {name}" in output
                assert "usr: Read-only file system" in output
                assert "app mine /root True" in output
                assert "editable install hidden" in output
                assert "state []" in output or "state False" in output
                with await container.connect(8000) as connection:
                    connection.setblocking(True)
                    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    assert connection.recv(15).startswith(b"HTTP/1.0 200")
                with pytest.raises(ConnectionRefusedError):
                    await container.connect(8001)
                container.kill()
                assert await container.wait() == -signal.SIGKILL
            assert list(stage.cloud.folders.containers.iterdir()) == []

    asyncio.run(run())
    assert host_listing() == before


def test_mount_paths_may_lie_anywhere(mode: str, tmp_path: Path) -> None:
    """Below folders that the host has, below ones that it hasn't, and where it has a folder of that very name."""
    paths = ["/models", "/a/b/c", "/usr/local/share/models", "/root/.cache/huggingface", "/opt", "/etc/models", "/mnt"]

    async def run() -> None:
        async with staged(tmp_path / "local") as stage:
            stage.volume("vo-1", name="content")
            mounts = [VolumeMount("vo-1", path) for path in paths]
            reads = "\n".join(f"print(open('{path}/name').read())" for path in paths)
            output = await stage.result(f"import os\n{reads}\nprint(os.path.exists('/etc/passwd'))", volumes=mounts)
            assert output == "content\n" * len(paths) + "True\n"

    asyncio.run(run())
    assert not any(os.path.lexists(path) for path in ("/models", "/usr/local/share/models", "/etc/models"))


def test_host_ports_are_reachable_inside(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello " + await reader.read())
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with staged(tmp_path / "local") as stage:
            output = await stage.result(
                f"""
                import socket
                with socket.create_connection(("127.0.0.1", {port})) as connection:
                    connection.sendall(b"x" * 3_000_000)
                    connection.shutdown(socket.SHUT_WR)
                    received = b""
                    while block := connection.recv(1 << 20):
                        received += block
                print(len(received), received[:8])
                try:
                    socket.create_connection(("127.0.0.1", {port + 1}), timeout=2)
                except OSError as error:
                    print(type(error).__name__)
                """,
                host_ports=[port],
            )
        server.close()
        assert output == "3000006 b'hello xx'\nConnectionRefusedError\n"

    asyncio.run(run())


def test_the_whole_tree_ends_with_the_container(mode: str, tmp_path: Path) -> None:
    """An engine that has put itself into a session of its own doesn't survive, whoever ends first."""
    script = """
        import subprocess, sys
        child = subprocess.Popen(["sleep", "12345.678"], start_new_session=True)
        print("child")
        {ending}
    """

    async def run() -> None:
        async with staged(tmp_path / "local") as stage:
            first = await stage.start(script.format(ending="sys.exit(3)"))
            assert await first.wait() == 3
            second = await stage.start(script.format(ending="child.wait()"))
            await stage.says(second, "child")
            second.send_signal(signal.SIGTERM)
            assert await second.wait() == -signal.SIGTERM

    asyncio.run(run())
    assert not runs("12345.678")


def test_containers_end_with_a_killed_emulator(mode: str, tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.modal_cloud.stage import Stage
        async def run():
            stage = Stage(Path({str(tmp_path / "local")!r}))
            await stage.runtime.start()
            container = await stage.start("import subprocess; print('up'); subprocess.run(['sleep', '23456.789'])")
            await stage.says(container, "up")
            print(container.pid, flush=True)
            await asyncio.sleep(100)
        asyncio.run(run())
    """)
    emulator = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert emulator.stdout is not None
    pid = int(emulator.stdout.readline())
    assert os.path.exists(f"/proc/{pid}")
    emulator.kill()
    emulator.wait()
    deadline = time.monotonic() + 5
    while runs("23456.789"):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    async def run() -> None:
        async with staged(tmp_path / "local") as stage:
            assert list(stage.cloud.folders.containers.iterdir()) == []

    asyncio.run(run())


def test_long_state_folder(mode: str, tmp_path: Path) -> None:
    """Unix socket paths end at 107 bytes; the state folder may be anywhere."""

    async def run() -> None:
        async with staged(tmp_path / ("long" * 30) / "local, with: signs") as stage:
            mounts = view(stage.volume("vo-1", name="content"))
            output = await stage.result(
                "import os\nprint(os.listdir('/run/modal'), os.listdir('/models'))", volumes=mounts
            )
            assert "rpc" in output
            assert "['name']" in output

    asyncio.run(run())


def test_a_container_that_cannot_start_says_why(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path / "local") as stage:
            with pytest.raises(OSError, match=r"Read-only file system.*/usr/nowhere"):
                await stage.start("", workdir="/usr/nowhere")
            assert list(stage.cloud.folders.containers.iterdir()) == []

    asyncio.run(run())


def test_mounts_inside_mounts_are_refused(mode: str, tmp_path: Path) -> None:
    before = host_listing()

    async def run() -> None:
        async with staged(tmp_path / "local") as stage:
            for volume in ("vo-1", "vo-2"):
                stage.volume(volume)
            nested = [VolumeMount("vo-1", "/models"), VolumeMount("vo-2", "/models/kernels")]
            with pytest.raises(ValueError, match="/models/kernels lies inside another mount, /models"):
                await stage.start("", volumes=nested)
            source = tmp_path / "app.py"
            source.write_text("")
            with pytest.raises(ValueError, match="can't be mounted at /root/app"):
                await stage.start("", volumes=view("vo-1", "/root/app"), files=[SourceFile(source, "/root/app/x.py")])
            assert list(stage.cloud.folders.containers.iterdir()) == []

    asyncio.run(run())
    assert host_listing() == before


def test_a_machine_that_cannot_isolate_is_told_so_at_start(tmp_path: Path) -> None:
    """Here: the state folder lies on an overlay, which takes no overlay on top."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: making such a file system takes root")
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    start = f"{sys.executable} -m local start --dir {tmp_path}/merged/state"
    script = f"mount -t overlay overlay -o {layers} {tmp_path}/merged && exec {start}"
    done = subprocess.run(["unshare", "--mount", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "containers can't be isolated on this machine" in done.stderr
    assert "choose another with --dir" in done.stderr
    assert "Traceback" not in done.stderr
