"""What Ray Serve imports: `hearth_serve.app:build`, for a model, and for what brings weights to a machine.

Imports cleanly on every node: engines and their libraries load inside the replica.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from ray import serve
from ray.serve import Application

from hearth_api.names import RAY_NODE_LABEL
from hearth_api.wire.serve import CONTROL_REQUESTS, ServeArgs, ServeTunables
from hearth_api.wire.weights import WeightsArgs, WeightsOrders
from hearth_serve.auth import TokenFile
from hearth_serve.confine import confine_replica
from hearth_serve.engines.factory import load_engine
from hearth_serve.errors import ApiError, EngineFailedError, StartError
from hearth_serve.logs import log
from hearth_serve.machine import source_hash
from hearth_serve.requests import parse_settings
from hearth_serve.web import ModelApp
from hearth_serve.weights.web import WeightsApp


@serve.ingress()
class Model:
    """One replica: a loaded engine behind its routes."""

    def __init__(self, args: dict[str, Any]) -> None:
        confine_replica()
        self._args = parse_settings(ServeArgs, args, what="ServeArgs")
        token = _open_token(self._args.token_path)
        engine = load_engine(self._args)
        self._check: Callable[[], Awaitable[None]] | None = getattr(engine, "check", None)
        self._app = ModelApp(engine=engine, args=self._args, token=token, build=source_hash())
        log.info(
            "model_loaded",
            model=self._args.model_id,
            engine=self._args.engine.value,
            version=engine.facts.version,
            digest=engine.facts.digest,
            context_tokens=engine.facts.context_tokens,
            slots=self._args.concurrency,
        )

    def __serve_build_asgi_app__(self) -> ModelApp:
        """Hand the routes to Ray."""
        return self._app

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Apply tunables in place; running requests keep the ones that they began with."""
        self._app.tunables = parse_settings(ServeTunables, user_config, what="ServeTunables")
        log.info("tunables_applied", model=self._args.model_id)

    async def check_health(self) -> None:
        """Answer from the event loop, which never waits for tokens: a long prompt must not look like a dead model.

        Raises where the engine says itself that it computes no more, or hangs: Ray replaces the replica.
        """
        if self._check is not None:
            await self._check()
        if self._app.watchdog.hangs:
            seconds = self._app.watchdog.silent_for()
            raise EngineFailedError(f"The engine hangs: requests wait and no token came for {seconds:.0f} s.")


@serve.ingress()
class Weights:
    """One machine's downloads. They run beside its models and outlive none of them."""

    def __init__(self, args: dict[str, Any]) -> None:
        confine_replica()
        parsed = parse_settings(WeightsArgs, args, what="WeightsArgs")
        try:
            self._app = WeightsApp(
                node=parsed.node, token=_open_token(parsed.token_path), env=os.environ, mirror=parsed.mirror
            )
        except ValueError as error:
            raise StartError(f"The machine's settings for weights: {error}.") from error

    def __serve_build_asgi_app__(self) -> WeightsApp:
        """Hand the routes to Ray."""
        return self._app

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take what is wanted now; what is on its way and still wanted goes on."""
        await self._app.order(parse_settings(WeightsOrders, user_config, what="WeightsOrders").wanted)


def _open_token(path: str) -> TokenFile:
    """Return the Serve token. Raises StartError where it cannot be read."""
    # A machine outside the cluster keeps its token elsewhere and says so to everything that its Ray starts.
    token = TokenFile(os.environ.get("HEARTH_SERVE_TOKEN_PATH") or path)
    try:
        token.read()
    except ApiError as error:
        raise StartError(error.message) from error
    return token


def build(args: dict[str, Any]) -> Application:
    """Return one application: of a model variant (ServeArgs in JSON), or with `weights` a machine's downloads.

    Both have this import path, for it is the only one that a joined machine takes. Options set here hold where the
    Serve config leaves them out: an application is never un-pinned by omission.
    """
    if "weights" in args:
        return _build_weights(args["weights"])
    parsed = parse_settings(ServeArgs, args, what="ServeArgs")
    deployment = serve.deployment(
        Model,
        name="Model",
        num_replicas=1,
        max_ongoing_requests=parsed.max_ongoing_requests,
        ray_actor_options={
            "num_cpus": parsed.num_cpus,
            "num_gpus": parsed.num_gpus,
            "label_selector": {RAY_NODE_LABEL: parsed.node},
        },
        health_check_period_s=5,
        health_check_timeout_s=15,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=10,
    )
    return deployment.bind(parsed.to_json_object())


def _build_weights(args: dict[str, Any]) -> Application:
    parsed = parse_settings(WeightsArgs, args, what="WeightsArgs")
    deployment = serve.deployment(
        Weights,
        name="Model",
        num_replicas=1,
        max_ongoing_requests=CONTROL_REQUESTS,
        ray_actor_options={"num_cpus": 0, "label_selector": {RAY_NODE_LABEL: parsed.node}},
        health_check_period_s=5,
        health_check_timeout_s=15,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=10,
    )
    return deployment.bind(parsed.to_json_object())
