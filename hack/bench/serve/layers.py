# ruff: noqa: INP001 (a script, not a package)
"""The layers of a chat request, each as a server of its own process: `layers.py engine|app|gateway PORT SETTINGS`.

`engine` is llama.cpp's server and nothing of ours. `app` is the replica's ASGI application without Ray. `gateway` has
a catalog in memory that names the Serve port. SETTINGS is JSON.
"""

import contextlib
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn

KEY = f"hearth_abcdefghij_{'s' * 43}"


def run_engine(port: int, args: dict[str, Any]) -> None:
    """Run llama.cpp's own server with the settings that the replica gives it."""
    import xllamacpp  # noqa: PLC0415

    from hearth_serve.sources import locate  # noqa: PLC0415

    params = xllamacpp.CommonParams()
    params.model.path = str(locate(args["model"]["source"], pattern="*.gguf"))
    params.n_parallel = args["concurrency"]
    params.n_ctx = args["contextTokens"] * args["concurrency"]
    params.n_batch = params.n_ubatch = 256
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args["threads"]
    params.cache_ram_mib = 0
    params.use_jinja = True
    params.verbosity = 0
    params.port = port
    server = xllamacpp.Server(params)  # it listens as long as somebody holds it
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    done.wait()
    del server


def replica_app(args: dict[str, Any]) -> Any:
    """Return the replica's application."""
    from hearth_api.wire.serve import ServeArgs  # noqa: PLC0415
    from hearth_serve.auth import TokenFile  # noqa: PLC0415
    from hearth_serve.engines.factory import load_engine  # noqa: PLC0415
    from hearth_serve.web import ModelApp  # noqa: PLC0415

    parsed = ServeArgs.model_validate(args)
    return ModelApp(engine=load_engine(parsed), args=parsed, token=TokenFile(parsed.token_path), build="bench")


def gateway_app(settings_: dict[str, Any]) -> Any:
    """Return the gateway, as it is deployed, in front of `url`."""
    from hearth_api.wire.keys import ApiKeyRecord, Scope, hash_key  # noqa: PLC0415
    from hearth_common.logs import configure_logging  # noqa: PLC0415
    from hearth_gateway.app import Gateway, build_app  # noqa: PLC0415
    from hearth_gateway.catalog.model import fold  # noqa: PLC0415
    from hearth_gateway.catalog.source import MemoryCatalog  # noqa: PLC0415
    from hearth_gateway.main import build_state  # noqa: PLC0415
    from hearth_gateway.settings import Settings  # noqa: PLC0415
    from hearth_gateway.upstream import make_session  # noqa: PLC0415

    configure_logging("bench", stream=Path("/dev/null").open("w", encoding="utf-8"))  # noqa: SIM115 (for the process)
    variant = {
        "name": "cpu", "url": settings_["url"], "state": "Available", "slots": settings_["slots"],
        "tokenSecretRef": {"name": "s", "key": "token"}, "caSecretRef": {"name": "s", "key": "ca.crt"},
    }  # fmt: skip
    model = {"metadata": {"name": "chat"}, "spec": {"task": "Chat"}, "status": {"variants": [variant]}}
    record = ApiKeyRecord(id="abcdefghij", sha256=hash_key(KEY), scopes=(Scope.CHAT,))
    source = MemoryCatalog(fold([model], []), keys={record.id: record})
    folder = Path(settings_["folder"])
    source.secrets["s"] = {"token": (folder / "token").read_bytes(), "ca.crt": (folder / "tls.crt").read_bytes()}
    settings = Settings(knowledge_token_path="")

    @contextlib.asynccontextmanager
    async def start(gateway: Gateway) -> AsyncIterator[None]:
        async with make_session(settings.timeouts) as session:
            gateway.start(build_state(settings, source=source, reviewer=None, session=session))
            yield

    return build_app(start)


def main() -> None:
    """Run one layer."""
    name, port, settings = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    if name == "engine":
        run_engine(port, settings)
        return
    app = replica_app(settings) if name == "app" else gateway_app(settings)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_config=None, access_log=False)


if __name__ == "__main__":
    main()
