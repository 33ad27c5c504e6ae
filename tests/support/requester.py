"""Requests that never stop while something is done to the cluster, and what became of each."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

from support.cluster import Cluster

CLIENT_SECONDS = 60
MOST_AT_ONCE = 48


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request was answered. `status` 0: not answered at all."""

    status: int
    variant: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, when its request was due (`time.monotonic`) and how many seconds later it was there."""

    sent: float
    seconds: float
    reply: Reply

    @property
    def failed(self) -> bool:
        """Whether the client did not get what it asked for."""
        return self.reply.status != 200


class Requester:
    """Context manager: one request every `every` seconds, whether the ones before were answered or not.

    So a hang is seen as what it is for a user, and not as a pause of the one who measures.
    """

    def __init__(self, send: Callable[[], Reply], *, every: float = 0.3) -> None:
        self._send = send
        self._every = every
        self._answers: list[Answer] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="requester")
        self._thread = threading.Thread(target=self._run, name="requester")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more and wait for the answers that are due."""
        self._stop.set()
        self._thread.join()
        self._pool.shutdown(wait=True)

    def answers(self, *, since: float = 0.0, until: float = float("inf")) -> list[Answer]:
        """Return what was answered of the requests of a time, in the order in which they were sent."""
        with self._lock:
            found = [answer for answer in self._answers if since <= answer.sent < until]
        return sorted(found, key=lambda answer: answer.sent)

    def failures(self, *, since: float = 0.0, until: float = float("inf")) -> list[Answer]:
        """Return those that failed."""
        return [answer for answer in self.answers(since=since, until=until) if answer.failed]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._pool.submit(self._one, due)
            due += self._every

    def _one(self, due: float) -> None:
        try:
            reply = self._send()
        except (OSError, http.client.HTTPException) as error:
            reply = Reply(status=0, error=f"{type(error).__name__}: {error}")
        with self._lock:
            self._answers.append(Answer(sent=due, seconds=time.monotonic() - due, reply=reply))


def order_of_variants(answers: list[Answer]) -> list[str]:
    """Return which variants answered, one after the other, without repeating a neighbour."""
    return [name for name, _ in groupby(answer.reply.variant for answer in answers)]


def longest(answers: list[Answer]) -> float:
    """Return the seconds of the slowest."""
    return max((answer.seconds for answer in answers), default=0.0)


def through_gateway(cluster: Cluster, model: str) -> Callable[[], Reply]:
    """Ask as a client does."""
    headers = {"authorization": f"Bearer {cluster.key}"}
    return lambda: ask(f"{cluster.url}/v1/chat/completions", model=model, headers=headers)


def ask(url: str, *, model: str, headers: Mapping[str, str], context: Any = None) -> Reply:
    """Send one short question. Raises OSError or HTTPException where nobody answers."""
    body = {"model": model, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 4, "temperature": 0}
    sent = {"content-type": "application/json", **headers}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=CLIENT_SECONDS, context=context) as response:
            variant = response.headers.get("x-hearth-variant", "")
            if not json.load(response).get("choices"):
                return Reply(status=response.status, variant=variant, error="no choices")
            return Reply(status=response.status, variant=variant)
    except urllib.error.HTTPError as refused:
        with refused:
            return Reply(status=refused.code, error=refused.read(300).decode(errors="replace"))
