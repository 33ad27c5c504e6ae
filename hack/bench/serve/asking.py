# ruff: noqa: INP001 (a script, not a package)
"""Asks an OpenAI-compatible endpoint for a streamed answer, and takes the time."""

import json
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

SYSTEM = {"role": "system", "content": "You are brief."}
SAID = ("content", "reasoning_content", "reasoning")
"""Where a chunk has text: a model that thinks first has computed too."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where something answers."""

    url: str
    token: str | None
    tls: ssl.SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one answer took, in seconds, and how long it and its prompt were."""

    first: float
    whole: float
    tokens: int
    prompt_tokens: int

    @property
    def rate(self) -> float:
        """Return tokens a second after the first one."""
        return (self.tokens - 1) / (self.whole - self.first)


async def ask(session: aiohttp.ClientSession, target: Target, *, tokens: int, prompt: str) -> Taken:
    """Stream one answer."""
    body = {
        "model": target.model, "stream": True, "max_tokens": tokens, "temperature": 0, "seed": 1,
        "stream_options": {"include_usage": True}, "messages": [SYSTEM, {"role": "user", "content": prompt}],
    }  # fmt: skip
    headers = dict(target.headers) if target.token is None else {"Authorization": f"Bearer {target.token}"}
    begun = time.perf_counter()
    first, usage = 0.0, {}
    async with session.post(
        f"{target.url}/v1/chat/completions", json=body, headers={**headers, **target.headers}, ssl=target.tls
    ) as response:
        if response.status != 200:
            sys.exit(f"stack: {target.url} answered {response.status}: {(await response.text())[:300]}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                sys.exit(f"stack: {target.url} broke off: {str(chunk['error'])[:300]}")
            delta = chunk["choices"][0].get("delta", {}) if chunk["choices"] else {}
            if not first and any(delta.get(name) for name in SAID):
                first = time.perf_counter() - begun
            usage = chunk.get("usage") or usage
    whole = time.perf_counter() - begun
    if not first or "completion_tokens" not in usage:
        sys.exit(f"stack: {target.url} sent no text, or no usage: what it did cannot be counted")
    return Taken(first=first, whole=whole, tokens=usage["completion_tokens"], prompt_tokens=usage["prompt_tokens"])
