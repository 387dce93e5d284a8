"""Nothing here can start containers: the files that would are checked against their schemas and against each other."""

import functools
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BASE = KUBERNETES / "base"
EXAMPLE = KUBERNETES / "overlays" / "example"
KUBERNETES_VERSIONS = ["1.31", "1.37"]
SERVICES = {"gateway", "auth", "chat", "chat-socket", "notify"}
WORKERS = {"auth-worker", "chat-worker", "notify-worker"}
PUBLIC = {"gateway"}

Document = dict[str, Any]


def tool(name: str, *arguments: str) -> None:
    program = Path(sys.executable).with_name(name)
    result = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def documents(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def compose() -> Document:
    [document] = documents(ROOT / "docker-compose.yml")
    return document


def kustomization(folder: Path) -> Document:
    [document] = documents(folder / "kustomization.yaml")
    return document


@functools.cache
def sources() -> list[Document]:
    """Every object as it is written, before kustomize."""
    files = [BASE / name for name in kustomization(BASE)["resources"]]
    files += [EXAMPLE / name for name in kustomization(EXAMPLE)["resources"] if name.endswith(".yaml")]
    return [document for path in files for document in documents(path)]


def of_kind(kind: str) -> dict[str, Document]:
    return {document["metadata"]["name"]: document for document in sources() if document["kind"] == kind}


def pods() -> dict[str, Document]:
    """The pod template of everything that runs, with its labels."""
    return {name: found["spec"]["template"] for kind in ("Deployment", "Job") for name, found in of_kind(kind).items()}


def containers() -> Iterator[tuple[str, Document]]:
    for name, pod in pods().items():
        for container in pod["spec"]["containers"]:
            yield name, container


def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile."""
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text()).splitlines():
        if match := re.fullmatch(r"FROM \S+ AS (\S+)", line):
            found[match[1]] = instructions = []
        elif line and not line.startswith("#"):
            instructions.append(line)
    return found


def test_the_dockerfile_is_clean():
    tool("hadolint", "deploy/Dockerfile")


@pytest.mark.promise("O30")
def test_the_image_runs_as_a_number_that_is_not_root():
    found = stages()
    assert list(found)[-1] == "parley", "the last stage is what a build without a target makes"
    users = [line for lines in found.values() for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    assert found["code"].index(users[0]) > max(n for n, line in enumerate(found["code"]) if line.startswith("COPY"))
    assert any(line.startswith("HEALTHCHECK") for line in found["code"])


def test_only_the_sandbox_gets_the_development_dependencies():
    found = stages()
    assert [name for name, lines in found.items() if any("--group" in line for line in lines)] == ["build-sandbox"]
    assert [name for name, lines in found.items() if any("from=build-sandbox" in line for line in lines)] == ["sandbox"]
    assert all("--frozen" in line for lines in found.values() for line in lines if "uv sync" in line)


def test_the_build_sees_everything_that_is_copied_and_no_more():
    copied = {word.rstrip("/") for lines in stages().values() for line in lines for word in _sources_of(line)}
    ignore = (ROOT / ".dockerignore").read_text().split()
    assert ignore[ignore.index("*") + 1 :]
    assert copied == {line[1:] for line in ignore if line.startswith("!")}
    assert all((ROOT / path).exists() for path in copied)


def _sources_of(line: str) -> list[str]:
    return line.split()[1:-1] if line.startswith("COPY ") and "--from" not in line else []


def test_compose_follows_its_specification():
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


@pytest.mark.promise("O31")
def test_compose_gives_no_container_a_privilege():
    for name, service in compose()["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "devices"}, name
        assert "restart" in service, name


def test_compose_publishes_to_this_machine_only():
    published = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert published.keys() == {"gateway", "sandbox"}
    assert all("127.0.0.1:" in port for ports in published.values() for port in ports)


def test_compose_starts_things_in_an_order_that_exists():
    services = compose()["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            target = services[needed]
            once = target["restart"] == "on-failure"
            assert how["condition"] == ("service_completed_successfully" if once else "service_healthy"), name
            # Ours have the health check of the image.
            assert once or "build" in target or "healthcheck" in target, name


def test_compose_runs_every_process_and_reaches_each_by_its_port():
    services = compose()["services"]
    assert services.keys() >= SERVICES | WORKERS
    for name, service in services.items():
        environment = service.get("environment", {})
        for variable, value in environment.items():
            for host, port in re.findall(r"https?://([a-z-]+):(\d+)", str(value)):
                if host != "localhost":
                    assert port in set(map(str, services[host]["environment"].values())), (name, variable)
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose()["volumes"], name


def test_compose_checks_each_process_at_a_port_of_its_own():
    for name in SERVICES | WORKERS:
        environment = compose()["services"][name]["environment"]
        port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/.*", environment["HEALTH_URL"])
        assert port, name
        ports = {value for variable, value in environment.items() if variable.endswith("_PORT")}
        assert port[1] in ports, name


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_object_follows_the_schema_of_kubernetes(version):
    for document in sources():
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl; the sources are checked all the same")
def test_the_example_overlay_renders_to_valid_objects():
    command = ["kubectl", "kustomize", str(EXAMPLE)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [document for document in yaml.safe_load_all(rendered) if document]
    assert len(found) == len(sources()) + len(kustomization(BASE)["configMapGenerator"])
    for document in found:
        assert document["metadata"]["namespace"] == "parley"
        for version in KUBERNETES_VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)


def test_kustomizations_name_every_file():
    for folder in (BASE, EXAMPLE):
        named = set(kustomization(folder)["resources"])
        named |= {env for generator in kustomization(folder)["configMapGenerator"] for env in generator.get("envs", [])}
        present = {path.name for path in folder.iterdir() if path.name != "kustomization.yaml"}
        assert present == {name for name in named if name != "../../base"}


def test_every_name_that_an_object_uses_exists():
    configs = {generator["name"] for generator in kustomization(BASE)["configMapGenerator"]}
    secrets = set(of_kind("Secret"))
    for name, container in containers():
        used = container["envFrom"]
        assert {source["configMapRef"]["name"] for source in used if "configMapRef" in source} <= configs, name
        assert {source["secretRef"]["name"] for source in used if "secretRef" in source} <= secrets, name
    for name, pod in pods().items():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        rings = {volume["secret"]["secretName"] for volume in volumes.values() if "secret" in volume}
        assert rings <= secrets, name
        mounts = {mount["name"] for found in pod["spec"]["containers"] for mount in found["volumeMounts"]}
        assert mounts == set(volumes), name
    assert {generator["name"] for generator in kustomization(EXAMPLE)["configMapGenerator"]} <= configs


def test_every_selector_finds_its_pods():
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        for name, found in of_kind(kind).items():
            selector = found["spec"]["selector"]
            labels = selector.get("matchLabels", selector)
            assert labels.items() <= pods()[name]["metadata"]["labels"].items(), (kind, name)
    for name, found in of_kind("HorizontalPodAutoscaler").items():
        assert found["spec"]["scaleTargetRef"]["name"] == name
        assert "replicas" not in of_kind("Deployment")[name]["spec"], "the autoscaler counts, nobody else"
    for name, pod in pods().items():
        assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "parley", name
    assert set(of_kind("Deployment")) == set(of_kind("PodDisruptionBudget")) == SERVICES | WORKERS
    assert set(of_kind("Service")) == set(of_kind("HorizontalPodAutoscaler")) == SERVICES


def test_every_port_that_is_named_is_open():
    opened = {name: _ports(container) for name, container in containers()}
    for name, container in containers():
        probes = [container[probe] for probe in container if probe.endswith("Probe")]
        assert len(probes) == (0 if name == "migrate" else 3), name
        assert {probe["httpGet"]["port"] for probe in probes} <= opened[name].keys(), name
    for name, service in of_kind("Service").items():
        [port] = service["spec"]["ports"]
        assert opened[name][port["targetPort"]] == port["port"], name


def _ports(container: Document) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container.get("ports", [])}


def test_every_address_leads_to_a_service():
    services = of_kind("Service")
    for text in (path.read_text() for path in BASE.iterdir()):
        for host, number in re.findall(r"http://([a-z-]+):(\d+)", text):
            assert services[host]["spec"]["ports"][0]["port"] == int(number), host
    [ingress] = of_kind("Ingress").values()
    [rule] = ingress["spec"]["rules"]
    backends = [path["backend"]["service"] for path in rule["http"]["paths"]]
    assert backends == [{"name": "gateway", "port": {"name": "http"}}]


@pytest.mark.promise("O32")
def test_every_pod_is_locked_down():
    for name, pod in pods().items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        # A Service named auth would otherwise put AUTH_PORT=tcp://... into every pod.
        assert spec["enableServiceLinks"] is False, name
    for name, container in containers():
        locked = container["securityContext"]
        assert (locked["allowPrivilegeEscalation"], locked["readOnlyRootFilesystem"]) == (False, True), name
        assert locked["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"].keys() == {"requests", "limits"}, name


@pytest.mark.promise("O33")
def test_only_the_gateway_is_reached_from_outside():
    policies = of_kind("NetworkPolicy")
    nothing = policies["parley-nothing-by-default"]["spec"]
    assert "ingress" not in nothing
    assert nothing["podSelector"] == {"matchLabels": {"app.kubernetes.io/part-of": "parley"}}
    open_to_all = [
        policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
        for policy in policies.values()
        for rule in policy["spec"].get("ingress", [])
        if "from" not in rule
    ]
    assert set(open_to_all) == PUBLIC
    assert all(service["spec"].get("type", "ClusterIP") == "ClusterIP" for service in of_kind("Service").values())
    listed = policies["parley-services-from-our-pods"]["spec"]["podSelector"]["matchExpressions"][1]["values"]
    assert set(listed) == SERVICES - PUBLIC


@pytest.mark.promise("O34")
def test_each_service_holds_its_own_keys_only_and_auth_alone_signs():
    for name, pod in pods().items():
        if name == "migrate":
            continue
        [container] = pod["spec"]["containers"]
        rings = [volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume]
        owner = name.partition("-")[0]
        assert rings == [f"parley-keys-{owner}"], name
        given = {variable["name"]: variable["value"] for variable in container.get("env", [])}
        address = "http://auth:8001/.well-known/jwks.json"
        assert given.get("PARLEY_JWKS_URL") == (None if owner == "auth" else address), name
        databases = {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}
        assert databases & {"parley-auth", "parley-chat", "parley-notify"} == {f"parley-{owner}"} - {"parley-gateway"}


def test_every_variable_that_is_set_is_read_by_a_service():
    used = {variable for name in SERVICES | WORKERS for variable in compose()["services"][name]["environment"]}
    files = "\n".join(path.read_text() for path in BASE.glob("*.env"))
    used |= set(re.findall(r"^([A-Z_]+)=", files, re.MULTILINE))
    used |= {
        literal.partition("=")[0]
        for found in kustomization(EXAMPLE)["configMapGenerator"]
        for literal in found["literals"]
    }
    used |= {variable["name"] for _, container in containers() for variable in container.get("env", [])}
    used |= {key for secret in of_kind("Secret").values() for key in secret["stringData"] if key != "keys.json"}
    read = {
        variable
        for service in ("auth_service", "chat_service", "notify_service", "gateway")
        for variable in _read_by(service)
    }
    # Read by the image's health check alone.
    assert used - read == {"HEALTH_URL"}


def _read_by(service: str) -> Iterator[str]:
    settings = importlib.import_module(f"{service}.settings").Settings
    for name, field in settings.model_fields.items():
        yield field.validation_alias or f"{settings.model_config['env_prefix']}{name}".upper()


def test_sockets_get_time_to_leave():
    for name in ("chat-socket", "gateway"):
        spec = pods()[name]["spec"]
        [command] = [container["lifecycle"]["preStop"]["exec"]["command"] for container in spec["containers"]]
        assert spec["terminationGracePeriodSeconds"] >= int(command[1]) + 60, name


def test_the_example_contains_no_secret():
    for name, secret in of_kind("Secret").items():
        for value in secret["stringData"].values():
            assert value == "" or ":password@" in value, name


def test_the_workflow_follows_its_schema_and_runs_what_everybody_runs():
    tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml")
    [workflow] = documents(ROOT / ".github/workflows/ci.yml")
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]


def test_the_git_hooks_fetch_nothing():
    tool("pre-commit", "validate-config", ".pre-commit-config.yaml")
    [config] = documents(ROOT / ".pre-commit-config.yaml")
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_make_explains_every_target():
    makefile = (ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE) == phony.split()
