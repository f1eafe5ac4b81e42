"""Bugs in what certificates allow: links for operators, commands for peers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TCP, WEB = "qpidha/transports/tcp.py", "qpidha/web"
OF_A_PEER = "        if PEER in peer.roles or not (peer.roles or self._roles_required):\n"

CERTIFICATES: tuple[Mutant, ...] = (
    Mutant(
        name="operator-opens-links",
        rules="Z1",
        why="a certificate for something else opens links, unless roles are required",
        file=TCP,
        old=OF_A_PEER,
        new="        if PEER in peer.roles or not self._roles_required:\n",
        first="transports/test_roles",
    ),
    Mutant(
        name="required-role-is-missing",
        rules="Z1",
        why="a certificate without a role opens links though roles are required",
        file=TCP,
        old=OF_A_PEER,
        new="        if PEER in peer.roles or not peer.roles:\n",
        first="transports/test_roles",
    ),
    Mutant(
        name="primary-without-the-role",
        rules="Z1",
        why="a node that opens a link does not look at the role of the other end",
        file=TCP,
        old="_unexpected(peer, expect) or self._not_a_peer(peer)",
        new="_unexpected(peer, expect)",
        first="transports/test_roles",
    ),
    Mutant(
        name="role-in-any-name",
        rules="Z1",
        why="a host name that looks like a role is one",
        file="qpidha/system/roles.py",
        old='for kind, value in names if kind == "URI")',
        new="for kind, value in names)",
        first="system/test_roles",
    ),
    Mutant(
        name="peer-gives-commands",
        rules="Z1",
        why="any role is enough for a command on the HTTP port",
        file=f"{WEB}/access.py",
        old="    if OPERATOR in roles:\n",
        new="    if roles:\n",
        first="test_web_certificates",
    ),
    Mutant(
        name="connection-outlives-its-certificate",
        rules="Z1",
        why="an operator whose certificate was revoked goes on giving commands on an open connection",
        file=f"{WEB}/serverfiles.py",
        old=" or connection.context is not self.context.newest",
        new="",
        first="test_web_certificates",
    ),
    Mutant(
        name="expired-on-an-open-connection",
        rules="Z1",
        why="a certificate that expires counts on an open connection",
        file=f"{WEB}/serverfiles.py",
        old='not certificate or ssl.cert_time_to_seconds(str(certificate["notAfter"])) <= now',
        new="not certificate",
        first="test_web_certificates",
    ),
    Mutant(
        name="revoked-operator",
        rules="Z1",
        why="the list of revoked certificates of clients is read, and no certificate is looked up in it",
        file=f"{WEB}/serverfiles.py",
        old="            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF\n",
        new="            pass\n",
        first="test_web_certificates",
    ),
    Mutant(
        name="command-of-another-page",
        rules="Z1",
        why="any page in the browser of an operator gives commands with his certificate",
        file=f"{WEB}/gate.py",
        old="            return _from_elsewhere(request)\n",
        new="            return None\n",
        first="test_web_certificates",
    ),
)
