"""The module ecr_repositories against moto's ECR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import ecr_repositories
import moto_support


@pytest.fixture
def ecr() -> Iterator[Any]:
    with moto_support.account("ecr") as clients:
        yield clients["ecr"]


def run(ecr: Any, method: str, tags: dict[str, str], keep: int = 5, check: bool = False) -> list[str]:
    repositories = ecr_repositories.Repositories(ecr, tags, keep, check)
    getattr(repositories, method)("shop/api")
    return list(repositories.actions)


MINE = {"Project": "shop"}


def test_a_repository_is_made_once_and_repaired(ecr: Any) -> None:
    planned = run(ecr, "ensure", MINE, check=True)
    assert ecr.describe_repositories()["repositories"] == [], "check mode makes nothing"
    assert run(ecr, "ensure", MINE) == planned
    assert run(ecr, "ensure", MINE) == []
    (made,) = ecr.describe_repositories()["repositories"]
    assert made["imageTagMutability"] == "IMMUTABLE" and made["imageScanningConfiguration"]["scanOnPush"]
    ecr.put_image_tag_mutability(repositoryName="shop/api", imageTagMutability="MUTABLE")
    assert run(ecr, "ensure", MINE) == ["let no tag of shop/api be moved"]
    assert run(ecr, "ensure", MINE, keep=3) == ["keep 3 images in shop/api"]
    assert run(ecr, "ensure", MINE, keep=3) == []


def test_removal_works_twice(ecr: Any) -> None:
    run(ecr, "ensure", MINE)
    assert run(ecr, "remove", MINE) == ["remove the repository shop/api"]
    assert run(ecr, "remove", MINE) == []


def test_a_repository_that_is_not_ours_is_left_alone(ecr: Any) -> None:
    ecr.create_repository(repositoryName="shop/api")
    for method in ("ensure", "remove"):
        with pytest.raises(ecr_repositories.ForeignError, match="lacks the tag Project=shop"):
            run(ecr, method, MINE)
    assert len(ecr.describe_repositories()["repositories"]) == 1


def test_the_login_is_one_that_docker_takes(ecr: Any) -> None:
    login = ecr_repositories.Repositories(ecr, MINE, 5, False).login()
    assert login["registry"].endswith(".amazonaws.com") and "/" not in login["registry"]
    assert login["username"] == "AWS" and login["password"]
