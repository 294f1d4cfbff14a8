"""Checks the manifests and the chart of this folder with whatever of these tools is there, and says which it was.

    deploy/check.py [--versions 1.25,1.30,1.35]

yamllint and kubernetes-validate (the schemas of every version of Kubernetes) are Python packages; helm is looked for on
the PATH and in $HELM. Exit status 1: something is wrong, or none of the tools is there.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE / "helm/openautoglm"
MANIFEST = HERE / "kubernetes/openautoglm.yaml"

# Every template and branch of the chart is in one of these.
SETTINGS = {
    "as it is": {},
    "everything": {
        "model": "org/name", "hubTokenSecret": {"name": "hub", "key": "token"}, "models": {"claim": {"create": True}},
        "options": {"weights": "int8", "max-num-seqs": 64, "ui": False}, "env": [{"name": "A", "value": "b"}],
        "apiKeys": {"text": "a secret-key rpm=60\n"}, "tls": {"existingSecret": "tls"},
        "ingress": {"enabled": True, "host": "api.example.org", "tlsSecret": "t"},
        "autoscaling": {"enabled": True}, "serviceMonitor": {"enabled": True, "keySecret": {"name": "prometheus"}},
        "resources": {"limits": {"nvidia.com/gpu": 1}}, "image": {"pullSecrets": [{"name": "registry"}]},
        "nodeSelector": {"gpu": "yes"}, "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "podAnnotations": {"a": "b"}, "service": {"annotations": {"c": "d"}},
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    },
    "claim and secret of one's own": {
        "models": {"existingClaim": "models"}, "apiKeys": {"existingSecret": "keys"}, "replicas": 1,
        "podDisruptionBudget": {"enabled": False}, "fullnameOverride": "vision",
    },
}
SLEEPS = {"drain": {"preStopSeconds": 5}}      # Kubernetes has this since 1.30
# Settings that the schema has to refuse, and what it says.
WRONG = ({"replica": 2}, {"replicas": -1}, {"options": {"port": 80}}, {"drain": {"seconds": "40"}},
         {"image": {"repository": ""}})


def fail(text):
    print(f"check: {text}")
    sys.exit(1)


def run(*command, **kw):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **kw)


def objects(text, what):
    """The objects of a file of several documents, each of which has a kind and a name of its own."""
    all_of_them = [d for d in yaml.safe_load_all(text) if d]
    names = [(d["kind"], d["metadata"]["name"]) for d in all_of_them]
    if len(set(names)) != len(names):
        fail(f"{what}: two objects have the same kind and name")
    return all_of_them


def check_pod(pod, what):
    """What the image and the server promise must be what the pod asks for."""
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    security = spec["securityContext"] | container["securityContext"]
    want = {"runAsNonRoot": True, "runAsUser": 65532, "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if {k: security.get(k) for k in want} != want:
        fail(f"{what}: the security context is {security}")
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    if not {"/tmp", "/models"} <= mounts.keys() or set(mounts.values()) != {v["name"] for v in spec["volumes"]}:
        fail(f"{what}: volumes and mounts do not fit: {mounts}")
    drains = [int(re.search(r"=(\d+)$", a)[1]) for a in container["args"] if a.startswith("--drain-")]
    if len(drains) != 2 or spec["terminationGracePeriodSeconds"] <= sum(drains):
        fail(f"{what}: a pod may be ended before it has drained ({drains})")
    if container["livenessProbe"]["httpGet"]["path"] != "/live":
        fail(f"{what}: a pod that drains would be restarted")


def check_objects(all_of_them, what, versions):
    for d in all_of_them:
        if d["kind"] == "Deployment":
            check_pod(d["spec"]["template"], what)
            labels = d["spec"]["template"]["metadata"]["labels"]
    for d in all_of_them:
        if d["kind"] not in ("Service", "PodDisruptionBudget", "Deployment"):
            continue
        selector = d["spec"]["selector"].get("matchLabels", d["spec"]["selector"])
        if not selector.items() <= labels.items():
            fail(f"{what}: {d['kind']} selects {selector}, and the pods have {labels}")
    if not importlib.util.find_spec("kubernetes_validate"):
        return
    import kubernetes_validate
    for version in versions:
        for d in all_of_them:
            if d["kind"] == "ServiceMonitor":          # the operator's own kind
                continue
            try:
                kubernetes_validate.validate(d, version, strict=True)
            except kubernetes_validate.ValidationError as e:
                fail(f"{what}: {d['kind']} is not one of Kubernetes {version}: {e}")


def find_helm():
    return os.environ.get("HELM") or shutil.which("helm")


def render(helm, values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        yaml.safe_dump(values, f)
        f.flush()
        return run(helm, "template", "trial", CHART, "--values", f.name, "--kube-version", "1.30")


def check_chart(helm, versions):
    r = run(helm, "lint", "--strict", CHART)
    if r.returncode != 0:
        fail(f"helm lint:\n{r.stdout}{r.stderr}")
    for name, values in (SETTINGS | {"a sleep before the end": SLEEPS}).items():
        r = render(helm, values)
        if r.returncode != 0:
            fail(f"chart, {name}: {r.stderr}")
        found = objects(r.stdout, f"chart, {name}")
        fitting = [v for v in versions if values is not SLEEPS or tuple(map(int, v.split("."))) >= (1, 30)]
        check_objects(found, f"chart, {name}", fitting)
        print(f"check: the chart, {name}: {', '.join(sorted({d['kind'] for d in found}))}")
    for values in WRONG:
        if render(helm, values).returncode == 0:
            fail(f"the chart takes {values}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--versions", default="1.25,1.30,1.35", help="of Kubernetes")
    versions = p.parse_args().versions.split(",")
    tools = []
    if importlib.util.find_spec("yamllint"):
        r = run(sys.executable, "-m", "yamllint", "--strict", "-c", HERE / "yamllint.yaml", MANIFEST,
                CHART / "values.yaml", CHART / "Chart.yaml", HERE.parent / "docker/compose.yaml",
                HERE.parent / "docker/prometheus.yml")
        if r.returncode != 0:
            fail(r.stdout)
        tools.append("yamllint")
    if importlib.util.find_spec("kubernetes_validate"):
        tools.append(f"kubernetes-validate with the schemas of Kubernetes {', '.join(versions)}")
    check_objects(objects(MANIFEST.read_text(), MANIFEST.name), MANIFEST.name, versions)
    helm = find_helm()
    if helm:
        check_chart(helm, versions)
        tools.append(run(helm, "version", "--short").stdout.strip())
    if not tools:
        fail("none of helm, yamllint and kubernetes-validate is here")
    print(f"check: nothing is wrong, say {'; '.join(tools)}")


if __name__ == "__main__":
    main()
