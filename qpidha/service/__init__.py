"""A broker's process under a service manager such as systemd: it says when it is ready, what it is, and that it is alive.

    async with Service(node) as service:
        await node.start()
        await stopping.wait()       # SIGTERM
        await service.leave()       # hands over first
        await node.stop()

Without a service manager (no NOTIFY_SOCKET) nothing is said, and `Service.leave` hands over as well. docs/service.md has
the rest.
"""

from qpidha.service.service import Service

__all__ = ["Service"]
