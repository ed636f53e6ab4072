"""What the removal of a site takes from this machine's engine, while another site is up and when it is the last one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import local_cloud_preflight as preflight
import local_cloud_removal as module

KEY = "retailflow.site"


class Engine:
    """An engine of records, with the filters that Docker's API has."""

    def __init__(self, *, others: bool = True) -> None:
        names = ["shop", "staging-shop"] if others else ["shop"]
        self.container_records = [
            {
                "Id": f"{name}-aws",
                "Labels": {KEY: name, "retailflow.service": f"{name}-aws"},
                "Network": f"net-{name}",
                "Image": "base",
                "Mounts": [{"Type": "volume", "Name": f"anonymous-{name}"}],
            }
            for name in names
        ]
        # What the emulated Lambda starts has what its image says, which may be the first site's.
        self.container_records.append(
            {"Id": "function", "Labels": {KEY: "shop"}, "Network": "net-shop", "Image": "base", "Mounts": []}
        )
        self.network_records = [{"Id": f"net-{name}", "Name": name, "Labels": {KEY: name}} for name in names]
        self.volume_records = [{"Name": f"{name}-aws", "Labels": None} for name in names]
        self.volume_records += [{"Name": f"{name}-postgres-state", "Labels": {KEY: name}} for name in names]
        self.volume_records.append({"Name": "of-a-person", "Labels": None})
        # One image under the tags of both, as a second site has it.
        tags = [f"{name}/{image}:latest" for name in names for image in ("rootfs", "base")]
        self.image_records = [
            {"Id": "base", "RepoTags": [*tags, "busybox:latest"], "Labels": {KEY: "shop"}, "Created": 1},
            {"Id": "own", "RepoTags": ["shop/own:1"], "Labels": {KEY: "shop"}, "Created": 2},
            {"Id": "person", "RepoTags": ["person/app:1"], "Labels": None, "Created": 3},
        ]

    @staticmethod
    def _labelled(records: list[dict[str, Any]], wanted: list[str]) -> list[dict[str, Any]]:
        def fits(labels: dict[str, str], one: str) -> bool:
            key, _, value = one.partition("=")
            return key in labels and value in ("", labels[key])

        return [one for one in records if all(fits(one["Labels"] or {}, label) for label in wanted)]

    def containers(self, *, all: bool, filters: dict[str, Any]) -> list[dict[str, Any]]:
        assert all, "a container that stands still is the site's too"
        found = self._labelled(self.container_records, filters.get("label", []))
        for key, field in (("network", "Network"), ("ancestor", "Image")):
            found = [one for one in found if filters.get(key, one[field]) == one[field]]
        return found

    def networks(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        return self._labelled(self.network_records, filters["label"])

    def volumes(self, filters: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"Volumes": self._labelled(self.volume_records, (filters or {}).get("label", []))}

    def images(
        self, name: str = "", filters: dict[str, Any] | None = None, all: bool = False
    ) -> list[dict[str, Any]]:
        assert not all
        found = self._labelled(self.image_records, (filters or {}).get("label", []))
        space, _, image = name.partition("/")

        def fits(tag: str) -> bool:
            return (space in ("*", tag.split("/")[0])) and (image in ("*", tag.split("/")[-1])) and "/" in tag

        return [one for one in found if not name or any(fits(tag) for tag in one["RepoTags"])]


def owned(engine: Engine, name: str) -> dict[str, list[str]]:
    return module.find_owned(SimpleNamespace(api=engine), name, {KEY: name})


def test_the_first_site_leaves_the_second_all_that_it_has() -> None:
    assert owned(Engine(), "shop") == {
        "containers": ["function", "shop-aws"],
        "volumes": ["anonymous-shop", "shop-aws", "shop-postgres-state"],
        "networks": ["net-shop"],
        # By tags: the image itself, and busybox, which the second site's emulated Lambda needs, stay.
        "images": ["shop/base:latest", "shop/own:1", "shop/rootfs:latest"],
    }


def test_the_second_site_leaves_the_first_all_that_it_has() -> None:
    assert owned(Engine(), "staging-shop") == {
        "containers": ["staging-shop-aws"],
        "volumes": ["anonymous-staging-shop", "staging-shop-aws", "staging-shop-postgres-state"],
        "networks": ["net-staging-shop"],
        "images": ["staging-shop/base:latest", "staging-shop/rootfs:latest"],
    }


def test_the_last_site_takes_all_also_what_has_the_label_of_one_that_is_gone() -> None:
    engine = Engine(others=False)
    engine.image_records.append(
        {"Id": "left", "RepoTags": ["<none>:<none>"], "Labels": {KEY: "gone"}, "Created": 4}
    )
    found = owned(engine, "shop")
    assert found["images"] == ["left", "own", "base"], "children before what they are built on"
    assert found["containers"] == ["function", "shop-aws"] and "of-a-person" not in found["volumes"]


def test_a_second_site_that_has_only_begun_counts() -> None:
    engine = Engine(others=False)
    engine.image_records[0]["RepoTags"].append("staging-shop/rootfs:latest")
    assert owned(engine, "shop")["images"] == ["shop/base:latest", "shop/own:1", "shop/rootfs:latest"]


def test_containers_with_another_label_of_ours_are_no_site() -> None:
    """Scenarios of molecule carry the label too, and go with the images that they were made of."""
    engine = Engine(others=False)
    engine.container_records.append(
        {"Id": "scenario", "Labels": {KEY: "molecule"}, "Network": "x", "Image": "base", "Mounts": []}
    )
    assert "scenario" in owned(engine, "shop")["containers"]


def test_a_network_of_the_engine_that_overlaps_is_named() -> None:
    networks = [
        {
            "Name": "bridge",
            "Labels": {},
            "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}, {"Subnet": "fd00::/64"}]},
        },
        {"Name": "shop", "Labels": {KEY: "shop"}, "IPAM": {"Config": [{"Subnet": "10.86.0.0/16"}]}},
        {"Name": "host", "Labels": None, "IPAM": {"Config": None}},
    ]
    assert preflight.reserved("10.86.0.0/16", networks, {KEY: "shop"}) is None
    assert preflight.reserved("10.177.0.0/16", networks, {KEY: "other"}) is None
    assert preflight.reserved("10.86.9.0/24", networks, {KEY: "other"}) == "10.86.0.0/16 of the network shop"
