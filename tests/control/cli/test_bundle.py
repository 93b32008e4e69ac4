"""`dsops bundle build`: which folders and keys it uses, and what it prints."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dsops.control.bundle.build import Built, Plan
from dsops.control.bundle.sign import LAB_NAMESPACE, SITE_NAMESPACE
from dsops.control.cli import bundle as module
from dsops.core.errors import DsopsError


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that the verb made; nothing is built."""
    asked: list[Plan] = []

    def build(plan: Plan, **_: Any) -> Built:
        asked.append(plan)
        return Built(plan.out / "bundle-0123456789ab", "0123456789ab", "r0123456789ab", made=True)

    monkeypatch.setattr(module, "build_bundle", build)
    monkeypatch.setattr(module, "LAB", tmp_path / "lab")
    (tmp_path / "checkout/deploy").mkdir(parents=True)
    (tmp_path / "checkout/deploy/site.py").write_text("")
    monkeypatch.chdir(tmp_path / "checkout/deploy")
    return asked


def build(*words: str) -> str:
    result = CliRunner().invoke(module.bundle, ["build", *words])
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_a_sites_bundle_lies_in_the_checkout_and_is_for_sites(plans: list[Plan], tmp_path: Path) -> None:
    said = build()
    root = tmp_path / "checkout"
    plan = plans[0]
    assert (plan.root, plan.out, plan.cache) == (root, root / "build/bundle", root / "build/cache")
    assert plan.profile == root / "model_repo/checkpoints/tiny-r1/release.toml"
    assert plan.signer.namespace == SITE_NAMESPACE
    assert plan.signer.key == root / "build/signer/bundle_ed25519"
    assert said.startswith("bundle 0123456789ab with release r0123456789ab made\n")
    assert str(root / "build/signer/allowed_signers") in said


def test_the_labs_bundle_lies_in_the_lab_and_is_for_the_lab(plans: list[Plan], tmp_path: Path) -> None:
    build("--lab")
    assert plans[0].out == tmp_path / "lab/bundle"
    assert plans[0].signer.namespace == LAB_NAMESPACE
    assert plans[0].signer.key == tmp_path / "lab/secrets/bundle_ed25519"


def test_relative_folders_mean_where_one_stands(plans: list[Plan], tmp_path: Path) -> None:
    build("--out", "o", "--cache", "c", "--signer", "s", "--profile", "p.toml")
    here = tmp_path / "checkout/deploy"
    plan = plans[0]
    assert (plan.out, plan.cache, plan.profile) == (here / "o", here / "c", here / "p.toml")
    assert plan.signer.key == here / "s/bundle_ed25519"


def test_how_many_stay_and_whether_to_fetch_anew_can_be_said(plans: list[Plan]) -> None:
    build()
    build("--keep", "7", "--fresh")
    assert [(plan.keep, plan.fresh) for plan in plans] == [(3, False), (7, True)]
    assert CliRunner().invoke(module.bundle, ["build", "--keep", "0"]).exit_code == 2


def test_the_result_is_there_for_machines_too(plans: list[Plan], tmp_path: Path) -> None:
    assert json.loads(build("--json")) == {
        "path": str(tmp_path / "checkout/build/bundle/bundle-0123456789ab"),
        "id": "0123456789ab",
        "release": "r0123456789ab",
        "made": True,
    }


def test_one_folder_of_keys_is_not_for_lab_and_site_at_once(plans: list[Plan], tmp_path: Path) -> None:
    build("--lab")
    result = CliRunner().invoke(module.bundle, ["build", "--signer", str(tmp_path / "lab/secrets")])
    assert isinstance(result.exception, DsopsError)
    assert "this key is not for" in result.exception.what


def test_outside_of_a_checkout_it_says_so(plans: list[Plan], tmp_path: Path) -> None:
    result = CliRunner().invoke(module.bundle, ["build", "--root", str(tmp_path)])
    assert isinstance(result.exception, DsopsError)
    assert result.exception.what == "not inside a dsops checkout"
