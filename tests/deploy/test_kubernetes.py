"""The manifest of the documentation, held against the server's own defaults and the image."""

import re
from typing import Any

import pytest
import yaml

from penstock.config.model import Config
from penstock.config.server import ServerConfig
from tests.deploy.dockerfile import last
from tests.tools import ROOT

PAGE = (ROOT / "docs" / "howto" / "deploy.md").read_text()


@pytest.fixture
def pod() -> dict[str, Any]:
    (manifest,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    spec: dict[str, Any] = yaml.safe_load(manifest)["spec"]["template"]["spec"]
    return spec


def test_the_grace_period_is_longer_than_the_drain_and_nothing_eats_into_it(pod: dict[str, Any]) -> None:
    server = ServerConfig()
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > server.drain
    assert "lifecycle" not in container
    # A pod is out of the load balancers' lists before it refuses what they send.
    probe = container["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] <= server.drain_accept


def test_the_probes_ask_where_the_image_listens_and_at_paths_that_need_no_key(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    port = Config().server.port
    assert container["ports"] == [{"containerPort": port}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port}


def test_the_container_has_no_rights_and_its_configuration_where_the_image_looks(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    rights = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (False, True)
    assert rights["capabilities"] == {"drop": ["ALL"]}
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == last((ROOT / "Dockerfile").read_text(), "WORKDIR")
