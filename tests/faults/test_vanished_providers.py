"""Providers that are gone without having said so: the network between is cut while they are silent."""

import json
import subprocess
import sys

import pytest

from tests.faults import partition
from tests.tools import ROOT


@pytest.mark.needs("namespaces")
def test_a_provider_without_a_network_is_given_up_though_it_says_nothing() -> None:
    command = [*partition.UNSHARE, sys.executable, "-m", "tests.faults.vanished_provider"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"said": "half", "code": "provider_truncated"}
