"""What the role hardening bounds, asked of the programs themselves, and what an audit still says."""

from __future__ import annotations

from typing import Any

import pytest

WEAK = ("sha1", "md5", "cbc", "3des", "arcfour", "nistp", "umac-64", "group1-", "group14-sha1")
#: dev-sec's ssh-baseline, by the values that sshd itself says it uses.
SSH = {
    "permitrootlogin": "no",
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "hostbasedauthentication": "no",
    "permitemptypasswords": "no",
    "permituserenvironment": "no",
    "allowagentforwarding": "no",
    "allowtcpforwarding": "local",
    "gatewayports": "no",
    "permittunnel": "no",
    "x11forwarding": "no",
    "compression": "no",
    "maxauthtries": "3",
    "logingracetime": "30",
    "loglevel": "VERBOSE",
    "strictmodes": "yes",
    "ignorerhosts": "yes",
}
#: What lynis (3.0.8) suggests and the site leaves as it is, and why.
LEFT = {
    **dict.fromkeys(("LYNIS", "KRNL-5788"), "the audit's own age; a container has no kernel of its own"),
    **dict.fromkeys(
        ("DEB-0280", "DEB-0810", "DEB-0811", "DEB-0831"), "for people who work on a host; nobody does"
    ),
    **dict.fromkeys(("DEB-0880", "AUTH-9262", "AUTH-9286"), "nobody logs in with a password"),
    **dict.fromkeys(
        ("AUTH-9230", "AUTH-9328", "AUTH-9284"),
        "no account has a password; files get their modes from the roles",
    ),
    "BOOT-5264": "units of Debian; those of the site are bounded",
    "FILE-6310": "what grows is on a volume of its own or bounded (journal, logs of containers)",
    "FILE-7524": "Debian's modes of cron and /etc/ssh, which root alone writes to",
    **dict.fromkeys(("HOME-9304", "NAME-4028", "NAME-4404"), "one user; names come from the VPC"),
    **dict.fromkeys(
        ("PKGS-7370", "PKGS-7394", "FINT-4350", "HRDN-7230"), "hosts are made again and not repaired"
    ),
    "FIRE-4513": "the rules are the site's, compared by `make status`",
    **dict.fromkeys(("BANN-7126", "BANN-7130"), "a text that nobody reads"),
    **dict.fromkeys(
        ("LOGG-2154", "ACCT-9622", "ACCT-9626", "ACCT-9628"),
        "CloudTrail and the containers' logs in CloudWatch",
    ),
    "KRNL-6000": "this machine's kernel, which a host that is a container may not change",
    "SSH-7408 AllowTcpForwarding": "people open the pages through tunnels",
    "SSH-7408 MaxSessions": "Ansible has several in one connection",
    "SSH-7408 Port": "the security group names 22",
}


@pytest.fixture(scope="module")
def sshd(host: Any) -> dict[str, str]:
    lines = host.check_output("sshd -T -C user=admin,host=h,addr=10.0.0.1").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@pytest.mark.parametrize("setting", SSH)
def test_sshd_keeps_the_baseline(sshd: dict[str, str], setting: str) -> None:
    assert sshd[setting] == SSH[setting]


@pytest.mark.parametrize("setting", ["ciphers", "macs", "kexalgorithms"])
def test_sshd_offers_nothing_weak(sshd: dict[str, str], setting: str) -> None:
    assert [one for one in sshd[setting].split(",") if any(weak in one for weak in WEAK)] == []


def test_only_the_listed_people_log_in(host: Any) -> None:
    lines = host.check_output("sshd -T -C user=admin,host=h,addr=10.0.0.1").splitlines()
    assert [line for line in lines if line.startswith("allowusers")] == [
        "allowusers admin",
        "allowusers root",
    ]


def test_the_kernel_has_the_settings(host: Any) -> None:
    for name in ("all.accept_redirects", "all.send_redirects"):
        assert host.sysctl(f"net.ipv4.conf.{name}") == 0


def test_security_updates_come_in_the_window_and_leave_the_engine_alone(host: Any) -> None:
    config = host.check_output("apt-config dump")
    assert 'APT::Periodic::Unattended-Upgrade "1";' in config
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in config
    origins = [
        line for line in config.splitlines() if line.startswith("Unattended-Upgrade::Origins-Pattern::")
    ]
    assert len(origins) == 1 and "Debian-Security" in origins[0], "and no other update"
    assert 'Unattended-Upgrade::Package-Blacklist:: "^docker";' in config
    # The image masks the timer, because no package source is reachable from it.
    ask = "systemctl daemon-reload; systemctl show apt-daily-upgrade.timer --property TimersCalendar,RandomizedDelayUSec"
    host.check_output("systemctl unmask apt-daily-upgrade.timer")
    try:
        shown = host.check_output(ask)
    finally:
        host.check_output("systemctl mask apt-daily-upgrade.timer")
    assert shown.count("OnCalendar=") == 1 and "OnCalendar=Sun *-*-* 03:00:00" in shown
    assert "RandomizedDelayUSec=30min" in shown


def test_an_audit_says_nothing_that_is_not_known(host: Any) -> None:
    host.run("lynis audit system --quick --quiet --no-colors")
    told = set()
    for line in host.check_output("cat /var/log/lynis-report.dat").splitlines():
        kind, _, text = line.partition("=")
        if kind in ("warning[]", "suggestion[]"):
            name, _, detail, *_ = text.split("|")
            told.add(f"{name} {detail.split(' (')[0]}" if name == "SSH-7408" else name)
    assert {"LYNIS", "SSH-7408 Port"} <= told, "the audit has run"
    assert told - LEFT.keys() == set()
