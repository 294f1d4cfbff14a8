"""The manifests for Kubernetes: what they ask of a pod fits what the server does. deploy/check.py looks further where
its tools are there."""

import importlib.util
import json
import re
import subprocess
import sys

import jsonschema
import yaml

from conftest import BIN, PATIENCE, ROOT

spec = importlib.util.spec_from_file_location("check", ROOT / "deploy/check.py")
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)

CHART = ROOT / "deploy/helm/openautoglm"


def objects():
    return check.objects(check.MANIFEST.read_text(), "openautoglm.yaml")


def defaults():
    out = subprocess.run([BIN, "defaults"], capture_output=True, text=True, timeout=PATIENCE)
    return json.loads(out.stdout)


def test_what_a_pod_asks_for():
    found = objects()
    check.check_objects(found, "openautoglm.yaml", [])
    assert {d["kind"] for d in found} == {"ServiceAccount", "Secret", "Deployment", "Service", "PodDisruptionBudget",
                                          "HorizontalPodAutoscaler"}


def test_options_are_the_server_s(tmp_path):
    (pod,) = [d["spec"]["template"]["spec"] for d in objects() if d["kind"] == "Deployment"]
    names = [re.match(r"--([a-z-]+)=", a)[1] for a in pod["containers"][0]["args"][1:]]
    template = (CHART / "templates/deployment.yaml").read_text()
    names += re.findall(r"^ +- --([a-z-]+)=", template, re.M)
    names += yaml.safe_load((CHART / "values.yaml").read_text())["options"]
    assert "drain-delay" in names and {n.replace("-", "_") for n in names} <= defaults().keys()
    (secret,) = [d for d in objects() if d["kind"] == "Secret"]
    (tmp_path / "keys").write_text(secret["stringData"]["keys"])
    out = subprocess.run([BIN, "serve", "--port", "70000", "--api-key-file", tmp_path / "keys"], capture_output=True,
                         text=True, timeout=PATIENCE)
    assert "api-key-file" not in out.stderr


def test_the_metric_of_the_autoscaler(server):
    texts = [check.MANIFEST.read_text(), (CHART / "templates/scaling.yaml").read_text()]
    for text in texts:
        (name,) = re.findall(r"name: (openautoglm_\w+)", text)
        assert name in server.metrics()


def merged(values, more):
    """As helm does it: members of objects one by one."""
    return values | {k: values[k] | v if isinstance(v, dict) and k in values else v for k, v in more.items()}


def test_values_and_their_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    for name, more in check.SETTINGS.items():
        jsonschema.validate(merged(values, more), schema), name
    for wrong in check.WRONG:
        assert list(jsonschema.Draft7Validator(schema).iter_errors(merged(values, wrong))), wrong
    used = {m for f in (CHART / "templates").iterdir() for m in re.findall(r"\.Values\.(\w+)", f.read_text())}
    assert used - {"nameOverride", "fullnameOverride"} == values.keys()


def test_with_the_tools_that_there_are():
    r = subprocess.run([sys.executable, ROOT / "deploy/check.py"], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0 or "none of helm" in r.stdout, r.stdout + r.stderr
