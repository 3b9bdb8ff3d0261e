"""cluster.yaml, cluster.local.yaml, rayjob.yaml and Dockerfile: what they promise, held against what Ray, AWS and this
project say.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import botocore.validate
import moto
import pytest
import typer.main
import yaml
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from hybridtune.search.cli.main import app

ROOT = Path(__file__).parents[1]
SECURITY = (ROOT / "SECURITY.md").read_text()
BOTH = pytest.mark.parametrize("name", ["cluster.yaml", "cluster.local.yaml"])
A_SECRET = re.compile(r"AKIA[0-9A-Z]{16}|aws_secret|BEGIN [A-Z ]*PRIVATE KEY|[0-9a-f]{32}")
KEPT_OPEN = {"--num-cpus", "--autoscaling-config"}
"""Options of `ray start` that are no matter of security."""


def pinned(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(version)


def prepared(name: str) -> dict[str, Any]:
    """As `ray up` completes it before it asks the cloud anything."""
    config = prepare_config(yaml.safe_load((ROOT / name).read_text()))
    validate_config(config)
    return dict(config)


def start_of(commands: list[str]) -> dict[str, str]:
    """The options of the one `ray start` among them."""
    (line,) = [command for command in commands if "ray start" in command]
    return options(line.partition("ray start")[2])


def options(words: str) -> dict[str, str]:
    split = [word.partition("=") for word in shlex.split(words)]
    return {name: value for name, _, value in split}


def documented(head: bool) -> dict[str, str]:
    """The options that SECURITY.md says hosts are started with."""
    (ports,) = re.findall(r"with PORTS being\n\n((?: {4}.*\n)+)", SECURITY)
    (line,) = re.findall(rf"^ {{4}}ray start (--{'head' if head else 'address'}.*) PORTS$", SECURITY, re.MULTILINE)
    return options(f"{line} {ports}")


@BOTH
def test_hosts_are_started_as_security_says(name: str) -> None:
    config = prepared(name)
    for commands, head in (("head_start_ray_commands", True), ("worker_start_ray_commands", False)):
        found = {key: value for key, value in start_of(config[commands]).items() if key not in KEPT_OPEN}
        expected = documented(head)
        if not head:
            expected["--address"] = "$RAY_HEAD_IP:6379"
        assert found == expected
        assert any("RAY_AUTH_MODE=token" in command and "ray start" in command for command in config[commands])
    assert "0.0.0.0" not in json.dumps(config)


@BOTH
def test_every_host_gets_the_token_the_pins_and_the_wheel(name: str) -> None:
    config = prepared(name)
    mounts = config["file_mounts"]
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert (ROOT / mounts["~/hybridtune/constraints.txt"]).read_text() == (ROOT / "constraints.txt").read_text()
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    (install,) = [command for command in config["setup_commands"] if "-c ~/hybridtune/constraints.txt" in command]
    assert "hybridtune-*.whl)[cluster]" in install
    assert not A_SECRET.search((ROOT / name).read_text())


@BOTH
def test_every_line_of_a_start_command_is_one_command_of_the_shell(name: str) -> None:
    for commands in ("head_start_ray_commands", "worker_start_ray_commands", "setup_commands"):
        for command in prepared(name)[commands]:
            assert "\n" not in command
            shlex.split(command)


def test_aws_starts_workers_by_need_as_spot_and_the_head_on_demand() -> None:
    config = prepared("cluster.yaml")
    types = dict(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert len(types) == 2
    for worker in types.values():
        assert worker["min_workers"] == 0
        assert worker["max_workers"] <= config["max_workers"]
        assert worker["resources"]["GPU"] == 1
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert worker["node_config"]["IamInstanceProfile"] != head["node_config"]["IamInstanceProfile"]
    assert config["provider"]["cache_stopped_nodes"] is False


def test_aws_would_take_every_host_as_it_is_written() -> None:
    """Against the service's own model. Ray adds the key, the subnet and the tags."""
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for node_type in prepared("cluster.yaml")["available_node_types"].values():
        request = node_type["node_config"] | {"MinCount": 1, "MaxCount": 1}
        problems = botocore.validate.ParamValidator().validate(request, shape)
        assert not problems.has_errors(), problems.generate_report()
        assert request.keys() <= shape.members.keys()
        assert request["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert len(request["SecurityGroupIds"]) == 1


def test_ray_makes_hosts_of_it_in_an_account_that_is_set_up_as_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In moto's AWS, by Ray's own provider: it adds nothing but a key and subnets, no role and no security group."""
    (tmp_path / ".ssh").mkdir()
    for name, value in {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    with moto.mock_aws():
        ec2, iam = boto3.client("ec2", region_name="us-east-1"), boto3.client("iam")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="hybridtune", Description="hybridtune", VpcId=vpc)["GroupId"]
        for role in ("hybridtune-head", "hybridtune-worker"):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=role)
            iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        text = (ROOT / "cluster.yaml").read_text().replace("sg-REPLACE", group)
        config = AWSNodeProvider.bootstrap_config(prepare_config(yaml.safe_load(text)))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for node_type, kind in (("head", "head"), ("a10g", "worker"), ("l4", "worker")):
            node_config = config["available_node_types"][node_type]["node_config"]
            ((identity, made),) = provider.create_node(node_config, {"ray-node-type": kind}, 1).items()
            found = ec2.describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0]
            assert made.id == found["InstanceId"]
            assert [member["GroupId"] for member in found["SecurityGroups"]] == [group]
            assert found["IamInstanceProfile"]["Arn"].endswith(f"/hybridtune-{kind}")
            assert {"Key": "ray-cluster-name", "Value": "hybridtune"} in found["Tags"]
        assert len(iam.list_roles()["Roles"]) == 2
        assert {found["GroupName"] for found in ec2.describe_security_groups()["SecurityGroups"]} == {
            "default",
            "hybridtune",
        }


def policies() -> dict[str, list[dict[str, Any]]]:
    """Those of docs/aws.md, by the file that it has them written to."""
    text = (ROOT / "docs" / "aws.md").read_text()
    found = re.findall(r"^    cat > (\S+) <<'END'\n((?: {4}.*\n)+?) {4}END$", text, re.MULTILINE)
    return {name: json.loads(body)["Statement"] for name, body in found}


def test_the_roles_reach_one_bucket_and_the_head_starts_hosts() -> None:
    found = policies()
    assert found.keys() == {"trust.json", "worker.json", "head.json"}
    bucket = {"arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"}
    (worker,) = found["worker.json"]
    assert set(worker["Resource"]) == bucket
    assert {action.partition(":")[0] for action in worker["Action"]} == {"s3"}
    head = {statement["Sid"]: statement for statement in found["head.json"]}
    assert head["Hand"]["Action"] == "iam:PassRole"
    assert head["Hand"]["Resource"].endswith(":role/hybridtune-worker")
    assert head["End"]["Condition"] == {"StringEquals": {"aws:ResourceTag/ray-cluster-name": "hybridtune"}}
    assert prepared("cluster.yaml")["cluster_name"] == "hybridtune"
    for statement in head.values():
        assert "*" not in statement["Action"]


def rayjob() -> tuple[dict[str, Any], dict[str, Any]]:
    job, policy = yaml.safe_load_all((ROOT / "rayjob.yaml").read_text())
    return job, policy


def pods() -> dict[str, dict[str, Any]]:
    spec = rayjob()[0]["spec"]
    cluster = spec["rayClusterSpec"]
    workers = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {"submitter": spec["submitterPodTemplate"], "head": cluster["headGroupSpec"]["template"], **workers}


KNOWN = {
    "spec": "entrypoint submissionMode submitterConfig backoffLimit shutdownAfterJobFinishes ttlSecondsAfterFinished "
    "runtimeEnvYAML submitterPodTemplate rayClusterSpec",
    "rayClusterSpec": "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs",
    "authOptions": "mode secretName",
    "autoscalerOptions": "version idleTimeoutSeconds resources securityContext",
    "headGroupSpec": "rayStartParams template",
}
"""Fields of KubeRay 1.7, as far as they are used: it ignores a misspelt one in silence."""


def test_the_job_uses_fields_that_kuberay_knows() -> None:
    job, _ = rayjob()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for name, part in {"spec": job["spec"], "rayClusterSpec": cluster, **cluster}.items():
        if name in KNOWN:
            assert part.keys() <= set(KNOWN[name].split()), name
    (group,) = cluster["workerGroupSpecs"]
    assert group.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (0, 0, 8)


def test_the_job_may_be_started_again_and_leaves_no_cluster() -> None:
    spec = rayjob()[0]["spec"]
    assert spec["submissionMode"] == "K8sJobMode"
    assert (spec["submitterConfig"]["backoffLimit"], spec["backoffLimit"]) == (2, 5)
    assert (spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"]) == (True, 300)
    assert yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    words = shlex.split(spec["entrypoint"])
    assert words[:4] == ["python", "-m", "hybridtune", "launch"]
    launch = typer.main.get_command(app).commands["launch"]  # type: ignore[attr-defined]
    given = launch.make_context("launch", words[4:]).params
    assert given["or_resume"] is True
    assert given["address"] == "auto"
    assert str(given["run"]).startswith("s3://")


def test_one_version_of_ray_is_pinned_named_and_built() -> None:
    cluster = rayjob()[0]["spec"]["rayClusterSpec"]
    (base,) = re.findall(r"^FROM rayproject/ray:(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert cluster["rayVersion"] == pinned("ray") == base.partition("-")[0]
    for pod in pods().values():
        (container,) = pod["spec"]["containers"]
        assert container["image"].rpartition(":")[2] == pinned("ray")


def test_no_pod_is_root_restarts_or_is_reached_from_outside() -> None:
    _, policy = rayjob()
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    label = policy["spec"]["podSelector"]["matchLabels"]
    for name, pod in pods().items():
        assert label.items() <= pod["metadata"]["labels"].items(), name
        assert pod["spec"]["restartPolicy"] == "Never"
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    inside, operator = policy["spec"]["ingress"]
    assert inside == {"from": [{"podSelector": {"matchLabels": label}}]}
    assert operator["ports"] == [{"port": 8265}]
    assert rayjob()[0]["spec"]["rayClusterSpec"]["authOptions"]["mode"] == "token"
    assert not A_SECRET.search((ROOT / "rayjob.yaml").read_text())


def test_the_head_trains_nothing_and_the_workers_have_shared_memory() -> None:
    cluster = rayjob()[0]["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["autoscalerOptions"]["version"] == "v2"
    for name in ("head", "gpu"):
        spec = pods()[name]["spec"]
        (volume,) = spec["volumes"]
        assert volume["emptyDir"]["medium"] == "Memory"
        assert {"name": volume["name"], "mountPath": "/dev/shm"} in spec["containers"][0]["volumeMounts"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists"} in pods()["gpu"]["spec"]["tolerations"]
