"""What an endpoint's writer knows of a variant, for its status: taken back, refused, astray."""

from dataclasses import replace

from hearth_api.reasons import Reason
from hearth_operator.plan.revisions import misplaced, owner_of
from hearth_operator.reconcile.world import EndpointState
from hearth_operator.status.model import VariantFacts


def with_trouble(facts: VariantFacts, endpoint: EndpointState, app: str, *, owner: str) -> VariantFacts:
    """Return the facts with what went wrong in writing. Without an application there is nothing to keep serving."""
    setback = endpoint.setbacks.get(app)
    live = facts.app
    if live is not None and endpoint.facts.taken and owner_of(live.config) not in {"", owner}:
        live, facts = None, replace(facts, app=None, current=False)  # another one's, by the same name
    if live is None:
        if facts.invalid is not None:
            return facts
        if endpoint.facts.taken:
            return replace(facts, invalid=endpoint.facts.taken, invalid_reason=Reason.ENDPOINT_TAKEN)
        if setback is not None:
            return replace(facts, invalid=setback.message, invalid_reason=setback.reason)
        return replace(facts, invalid=endpoint.error, invalid_reason=Reason.DEPLOY_FAILED)
    if setback is not None:
        text = f"the newest revision failed and {setback.outcome}: {setback.reason.value}: {setback.message}"
        facts = replace(facts, setback=text[:1000], current=False)
    if wrong := misplaced(live, endpoint.facts.raylets):
        return replace(facts, astray=(Reason.WRONG_NODE, wrong))
    if app in endpoint.astray:
        return replace(facts, astray=(Reason.CONFIG_DIFFERS, endpoint.astray[app]))
    return facts
