"""On a machine outside the cluster nothing of Ray Serve listens but on the loopback.

Ray 2.60 binds the port by which replicas call each other to every address, whatever address the node has. It demands
Ray's token there, in clear. A joined machine is one Ray node: its own processes reach the loopback.
"""

import os
from typing import Any

VARIABLE = "HEARTH_SERVE_LOOPBACK"


def confine_replica() -> None:
    """Bind this replica's own port to 127.0.0.1 where the machine asks for it. Called before Serve opens it."""
    if os.environ.get(VARIABLE) != "1":
        return
    from ray.serve._private import replica  # noqa: PLC0415 (replicas only)

    bind = replica.add_port_to_grpc_server

    def bind_loopback(server: Any, address: str) -> int:
        return int(bind(server, f"127.0.0.1:{address.rpartition(':')[2]}"))

    replica.add_port_to_grpc_server = bind_loopback
