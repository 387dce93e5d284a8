"""Bringing the peers: the Python ones from their own lock, the others from the system."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from benchmarks.processes import HOST, ROOT, STATE, Servers, free_port

FOLDER = ROOT / "benchmarks" / "peers"
CONFIG = ROOT / "benchmarks" / "config"
SYSTEM = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "wrk": "wrk",
    "slowhttptest": "slowhttptest",
    "go": "golang-go",
}


@dataclass(frozen=True)
class Upstream:
    port: int
    pid: int


@cache
def python(project: str = "") -> Path:
    """The interpreter of the peers' environment, or of that of one of them alone; installed on first use."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        raise FileNotFoundError("uv is missing: install it beside Python, it reads the peers' lock")
    target = STATE / (project or "peers")
    command = [uv, "sync", "--quiet", "--locked", "--project", str(FOLDER / project), "--python", sys.executable]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run(command, check=True, env={**environment, "UV_PROJECT_ENVIRONMENT": str(target)})
    return target / "bin" / "python"


def go_program(name: str) -> Path | None:
    """One of our own in Go, built now. None: nothing here can build it."""
    go = program("go")
    if go is None:
        return None
    target = STATE / "go" / name
    command = [go, "build", "-o", str(target), str(FOLDER / name / "main.go")]
    environment = {**os.environ, "GO111MODULE": "off", "GOCACHE": str(STATE / "go" / "cache")}
    subprocess.run(command, check=True, env=environment)
    return target


def program(name: str) -> str | None:
    """A system program's path; also where ordinary users do not look for servers."""
    return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin")


def missing(name: str) -> str:
    return f"{name} is not installed (Debian: apt-get install {SYSTEM[name]})"


def written(template: str, folder: Path, **values: object) -> Path:
    target = folder / template
    user = "user root;" if os.geteuid() == 0 else ""
    text = Template((CONFIG / template).read_text())
    target.write_text(text.substitute(values, folder=folder, host=HOST, user=user))
    return target


def upstream(servers: Servers, cores: set[int]) -> Upstream:
    """One small static answer, as fast as the machine can give it: nginx, or a minimal server of our own."""
    port = free_port()
    nginx = program("nginx")
    if nginx is None:
        argv = [sys.executable, "-m", "benchmarks.load.upstream", str(port)]
        return Upstream(port, servers.serve(argv, port, name="upstream", cores=cores))
    config = written("nginx_upstream.conf", servers.scratch("upstream"), port=port)
    return Upstream(port, servers.serve(nginx_command(nginx, config), port, name="upstream", cores=cores))


def nginx_command(nginx: str, config: Path) -> list[str]:
    return [nginx, "-p", str(config.parent), "-c", str(config), "-e", str(config.parent / "error.log")]


def nginx_proxy(servers: Servers, target: int, cores: set[int]) -> Upstream:
    port = free_port()
    config = written("nginx_proxy.conf", servers.scratch("nginx"), port=port, target=target)
    argv = nginx_command(program("nginx") or "nginx", config)
    return Upstream(port, servers.serve(argv, port, name="nginx", cores=cores))


def haproxy(servers: Servers, target: int, cores: set[int]) -> Upstream:
    port = free_port()
    config = written("haproxy.cfg", servers.scratch("haproxy"), port=port, target=target)
    argv = [program("haproxy") or "haproxy", "-db", "-f", str(config)]
    return Upstream(port, servers.serve(argv, port, name="haproxy", cores=cores))


def caddy(servers: Servers, target: int, cores: set[int]) -> Upstream:
    port = free_port()
    config = written("Caddyfile", servers.scratch("caddy"), port=port, target=target)
    argv = [program("caddy") or "caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
    # It would use all cores; each subject has one.
    env = {"GOMAXPROCS": "1", "HOME": str(config.parent), "XDG_CONFIG_HOME": str(config.parent)}
    return Upstream(port, servers.serve(argv, port, name="caddy", cores=cores, env=env))


def uvicorn(servers: Servers, app: str, *, name: str, cores: set[int], env: dict[str, str] | None = None) -> Upstream:
    """One worker of uvicorn with its fast parts, no compression on sockets and no access log."""
    port = free_port()
    argv = [str(python()), "-m", "uvicorn", app, "--host", HOST, "--port", str(port), "--no-access-log"]
    argv += ["--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"]
    argv += ["--ws-per-message-deflate", "false", "--log-level", "warning"]
    return Upstream(port, servers.serve(argv, port, name=name, cores=cores, env=env, cwd=FOLDER))


def daphne(servers: Servers, *, layer: str, name: str, cores: set[int], env: dict[str, str]) -> Upstream:
    port = free_port()
    environment = {**env, "PEER_LAYER": layer, "DJANGO_SETTINGS_MODULE": "channels_chat.settings"}
    subprocess.run(
        [python(), "-m", "django", "migrate", "--verbosity", "0"],
        check=True,
        cwd=FOLDER,
        env={**os.environ, **environment},
    )
    argv = [str(python()), "-m", "daphne", "-v", "0", "-b", HOST, "-p", str(port), "channels_chat.asgi:application"]
    pid = servers.serve(argv, port, name=name, cores=cores, env=environment, cwd=FOLDER)
    return Upstream(port, pid)
