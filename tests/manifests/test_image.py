"""The image runs the command that the manifests expect, from files that reach the builder."""

import json
import re
import tomllib
from fnmatch import fnmatch

from tests.helpers.manifests import MANIFESTS, ROOT, container, read, the


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [(w, rest) for w, _, rest in (s.partition(" ") for s in joined.splitlines() if s)]


def last_stage() -> list[tuple[str, str]]:
    start = max(i for i, (word, _) in enumerate(instructions()) if word == "FROM")
    return instructions()[start:]


def test_image_has_two_stages_on_one_public_base() -> None:
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "the copied interpreter links into its base"
    assert "/" not in bases[0], "no registry of ours or anyone's"


def test_image_runs_the_command_without_shell_or_root() -> None:
    stage = dict(last_stage())
    assert json.loads(stage["ENTRYPOINT"]) == ["/venv/bin/wva"]
    assert json.loads(stage["CMD"]) == container()["args"]
    assert "RUN" not in stage
    context = the("Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert stage["USER"] == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert set(map(int, stage["EXPOSE"].split())) == {
        p["containerPort"] for p in container()["ports"]
    }


def test_image_is_made_of_files_that_reach_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == sent
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert any(fnmatch("adapter/__pycache__", rule) for rule in rules)


def test_image_tag_is_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (image,) = read(MANIFESTS / "base" / "kustomization.yaml")["images"]
    assert container()["image"] == f"{image['name']}:{image['newTag']}"
    assert image["newTag"] == project["version"]
