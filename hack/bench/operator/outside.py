# ruff: noqa: INP001 (a script, not a package)
"""What the operator talks to in the bench, as a process of its own: `outside.py PORT...`, one machine per port.

Each machine is the fake of the integration tests: Ray's API, the models behind its Serve port, and knowledge.
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))

from aiohttp import web

from support.operator_outside import FakeOutside, build_fake


async def main(ports: list[int]) -> None:
    """Serve until killed."""
    for port in ports:
        runner = web.AppRunner(build_fake(FakeOutside()), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
