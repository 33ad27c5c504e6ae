"""Series that a part makes when it is asked, from what it holds then: not in its registry before."""

LIVE_SERIES = {
    "hearth_gateway_slots": {"model", "variant", "state"},
    "hearth_gateway_queue_length": {"model", "priority"},
    "hearth_gateway_catalog_synced": set(),
    "hearth_node_yielding": {"node"},
    "hearth_node_wakes_total": {"node", "result"},
    "hearth_machine_memory_total_bytes": {"node"},
    "hearth_machine_memory_available_bytes": {"node"},
    "hearth_machine_gpu_memory_used_bytes": {"node", "gpu"},
    "hearth_machine_gpu_utilization_ratio": {"node", "gpu"},
    "hearth_machine_power_watts": {"node", "part"},
    "hearth_mirror_sources": {"state"},
    "hearth_mirror_receive_bytes_per_second": set(),
    "hearth_mirror_store_used_bytes": set(),
    "hearth_mirror_store_free_bytes": set(),
}
