"""Series that a part makes when it is asked, from what it holds then: not in its registry before."""

LIVE_SERIES = {
    "hearth_gateway_slots": {"model", "variant", "state"},
    "hearth_gateway_queue_length": {"model", "priority"},
    "hearth_gateway_catalog_synced": set(),
}
