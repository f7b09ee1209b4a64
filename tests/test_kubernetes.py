"""The manifests are valid by Kubernetes' own schemas, safe, and fit what the service promises."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from conftest import Render
from projects import copy
from questionnaire import Answers, combinations, values

# preStop's own sleep is as old as the older of the two.
VERSIONS = ("1.30", "1.35")
CROSSED = ("database", "migrations", "pgbouncer", "read_replica")
SERVERS = [name for name in values("database") if not name.startswith("sqlite")]
TRIED = {name: values(name) for name in CROSSED} | {"database": SERVERS, "kubernetes": [True]}
VARIANTS = list(combinations(TRIED))
# What PostgreSQL leaves to services by default; the others have more.
CONNECTIONS = 97
# How long the service takes to close connections to a server that does not answer.
CLOSE_SECONDS = 5

Manifest = dict[str, Any]


def name_of(answers: Answers) -> str:
    chosen = [name for name, answer in answers.items() if answer is True]
    return "-".join([str(answers["database"]).partition("+")[0], *chosen])


@pytest.fixture(scope="module", params=[pytest.param(a, id=name_of(a)) for a in VARIANTS])
def project(request: pytest.FixtureRequest, render: Render) -> Path:
    return render(request.param)


@pytest.fixture(scope="module")
def manifests(project: Path) -> dict[str, Manifest]:
    """What stands in each file, by the kind of object."""
    found = [yaml.safe_load(path.read_text()) for path in (project / "kubernetes").glob("*.yaml")]
    return {manifest["kind"]: manifest for manifest in found}


@pytest.fixture(scope="module")
def objects(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """The objects that a cluster gets, but for the settings, by their kind."""
    return {kind: found for kind, found in manifests.items() if kind != "Kustomization"}


@pytest.fixture(scope="module")
def settings(manifests: dict[str, Manifest]) -> dict[str, str]:
    """The settings of the service."""
    (generator,) = manifests["Kustomization"]["configMapGenerator"]
    return dict(line.split("=", 1) for line in generator["literals"])


def pods(objects: dict[str, Manifest]) -> dict[str, Manifest]:
    """The pods that the objects start, by the kind of these."""
    return {
        kind: found["spec"]["template"]
        for kind, found in objects.items()
        if "template" in found["spec"]
    }


def container(pod: Manifest) -> Manifest:
    (found,) = pod["spec"]["containers"]
    result: Manifest = found
    return result


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schemas_of_kubernetes(objects: dict[str, Manifest], version: str) -> None:
    for found in objects.values():
        kubernetes_validate.validate(found, version, strict=True)


def test_schemas_refuse_what_is_wrong(objects: dict[str, Manifest]) -> None:
    wrong = objects["Service"] | {"spec": objects["Service"]["spec"] | {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_all_files_are_one_deployment(
    project: Path, manifests: dict[str, Manifest], objects: dict[str, Manifest]
) -> None:
    expected = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    if (project / "migrations").exists():
        expected.add("Job")
    assert objects.keys() == expected
    files = {path.name for path in (project / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(manifests["Kustomization"]["resources"]) == files


def test_kustomize_names_image_and_settings(project: Path) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl here")
    command = ["kubectl", "kustomize", str(project / "kubernetes")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    built = {found["kind"]: found for found in yaml.safe_load_all(output)}
    for found in built.values():
        kubernetes_validate.validate(found, VERSIONS[-1], strict=True)
    for kind, pod in pods({k: v for k, v in built.items() if "spec" in v}).items():
        assert container(pod)["image"] == "registry.example.com/my-service:0.1.0", kind
    sources = container(built["Deployment"]["spec"]["template"])["envFrom"]
    # The name has a hash of the settings, so a change of these is a rollout.
    assert sources[0] == {"configMapRef": {"name": built["ConfigMap"]["metadata"]["name"]}}
    assert re.fullmatch(r"my-service-\w{10}", built["ConfigMap"]["metadata"]["name"])


def test_selectors_find_the_service_and_nothing_else(objects: dict[str, Manifest]) -> None:
    labels = {kind: pod["metadata"]["labels"] for kind, pod in pods(objects).items()}
    selectors = [
        objects["Service"]["spec"]["selector"],
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in pods(objects)["Deployment"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert [kind for kind in labels if selector.items() <= labels[kind].items()] == [
            "Deployment"
        ]
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    deployment = objects["Deployment"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert target["apiVersion"] == deployment["apiVersion"]
    # It would undo what the autoscaler did.
    assert "replicas" not in deployment["spec"]


def test_pods_may_do_nothing_that_they_need_not(
    project: Path, objects: dict[str, Manifest]
) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (project / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    for pod in pods(objects).values():
        spec = pod["spec"]
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(user[1]),
            "runAsGroup": int(user[2]),
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert spec["automountServiceAccountToken"] is False
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container(pod)["resources"]["limits"]["memory"]
        assert container(pod)["resources"]["requests"].keys() == {"cpu", "memory"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all(volume.keys() == {"name", "emptyDir"} for volume in spec["volumes"])


def test_no_secret_is_in_the_files(
    project: Path, objects: dict[str, Manifest], settings: dict[str, str]
) -> None:
    text = "\n".join(path.read_text() for path in (project / "kubernetes").glob("*.yaml"))
    assert not re.search(r"://\w+:|password", text, re.IGNORECASE)
    assert "Secret" not in objects
    assert not [name for name in settings if name.startswith("DATABASE_")]
    for pod in pods(objects).values():
        assert {"secretRef": {"name": "my-service"}} in container(pod)["envFrom"]
    readme = (project / "kubernetes/README.md").read_text()
    created = readme[readme.index("kubectl create secret generic my-service") :].partition("```")[0]
    given = re.findall(r"--from-literal=(\w+)=", created)
    assert "DATABASE_URL" in given
    assert ("DATABASE_REPLICA_URL" in given) is (project / "app/kit/replicas/database.py").exists()


def test_probes_ask_what_the_service_answers(
    project: Path, objects: dict[str, Manifest], manifests: dict[str, Manifest]
) -> None:
    service = container(pods(objects)["Deployment"])
    paths = {name: service[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness")}
    assert paths == dict.fromkeys(paths, "/health/live")
    readiness = service["readinessProbe"]
    assert readiness["httpGet"]["path"] == "/health/ready"
    # It answers within two seconds, and says 503 before the listener closes.
    assert readiness["timeoutSeconds"] > 2
    (port,) = service["ports"]
    assert f"PORT={port['containerPort']}" in (project / "Dockerfile").read_text()
    for name in ("startup", "liveness", "readiness"):
        assert service[f"{name}Probe"]["httpGet"]["port"] == port["name"]
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]


def test_there_is_time_to_leave(objects: dict[str, Manifest], settings: dict[str, str]) -> None:
    pod = pods(objects)["Deployment"]
    before = container(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = float(settings["SHUTDOWN_DELAY"]) + float(settings["SHUTDOWN_TIMEOUT"])
    assert pod["spec"]["terminationGracePeriodSeconds"] >= before + drain + CLOSE_SECONDS
    # Whoever routes requests has noticed by then.
    readiness = container(pod)["readinessProbe"]
    noticed = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert float(settings["SHUTDOWN_DELAY"]) > noticed
    assert before > 0


def test_rollout_takes_no_instance_away_before_another_is_ready(
    objects: dict[str, Manifest],
) -> None:
    rollout = objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert rollout == {"maxSurge": 1, "maxUnavailable": 0}
    assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_connections_of_all_instances_are_foreseen_and_fit_the_default_server(
    project: Path, objects: dict[str, Manifest], settings: dict[str, str]
) -> None:
    most = objects["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]
    surge = objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    assert int(settings["INSTANCES"]) == most + surge
    page = (project / "docs/connections.md").read_text()
    one = re.search(r"^\| 1 \| 1 \| (\d+) \|", page, re.MULTILINE)
    assert one is not None
    assert int(settings["INSTANCES"]) * int(one[1]) <= CONNECTIONS


def test_migrations_run_before_the_service_as_the_readme_says(
    project: Path, objects: dict[str, Manifest]
) -> None:
    readme = (project / "kubernetes/README.md").read_text()
    if "Job" not in objects:
        assert "kubectl wait" not in readme
        return
    assert container(pods(objects)["Job"])["command"] == ["python", "-m", "app", "migrate"]
    labels = objects["Job"]["metadata"]["labels"]
    (label,) = re.findall(r"kubectl apply -k kubernetes -l (\S+)=(\S+)", readme)
    assert labels[label[0]] == label[1]
    assert f"kubectl wait job/{objects['Job']['metadata']['name']} " in readme
    assert readme.index("kubectl wait job") < readme.index("kubectl apply -k kubernetes\n")


@pytest.mark.parametrize("name", ["2nd service", "x" * 60, f"{'x' * 49}-y", "Orders_2"])
def test_any_name_of_a_service_suits_kubernetes(name: str, template: Path, tmp_path: Path) -> None:
    answers = {"project_name": name, "database": SERVERS[0], "kubernetes": True}
    project = copy(template, tmp_path / "service", answers)
    for path in (project / "kubernetes").glob("*.yaml"):
        found = yaml.safe_load(path.read_text())
        if "metadata" in found:
            kubernetes_validate.validate(found, VERSIONS[-1], strict=True)
            # What names of services and jobs may be.
            assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", found["metadata"]["name"])
