"""What `/metrics` tells. Names of knowledge bases are labels; nothing of documents is."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SEARCH_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """All series of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.lines = Counter(
            "hearth_knowledge_lines", "Lines of batches by what became of them", ["kb", "state"], registry=self.registry
        )
        self.chunks = Counter("hearth_knowledge_chunks_indexed", "Chunks written", ["kb"], registry=self.registry)
        self.failed = Counter(
            "hearth_knowledge_index_failures", "Documents that could not be indexed", ["kb"], registry=self.registry
        )
        self.repaired = Counter(
            "hearth_knowledge_index_repaired", "Rows that differed from the ledger", ["kb"], registry=self.registry
        )
        self.degraded = Counter(
            "hearth_knowledge_degraded_searches", "Searches without their dense leg", ["kb"], registry=self.registry
        )
        self.searches = Histogram(
            "hearth_knowledge_search_seconds",
            "Searches",
            ["kb", "mode"],
            buckets=SEARCH_SECONDS,
            registry=self.registry,
        )
        self.reranks = Histogram(
            "hearth_knowledge_rerank_seconds",
            "Rerankings by outcome: ranked, or why not",
            ["kb", "outcome"],
            buckets=SEARCH_SECONDS,
            registry=self.registry,
        )
        self.backup_success = Gauge(
            "hearth_knowledge_backup_last_success_timestamp_seconds",
            "When the last backup was made, 0 before the first",
            registry=self.registry,
        )
        self.backup_bytes = Gauge(
            "hearth_knowledge_backup_last_size_bytes", "Size of the last backup", registry=self.registry
        )
        self.backup_seconds = Gauge(
            "hearth_knowledge_backup_last_duration_seconds",
            "How long the last backup took",
            registry=self.registry,
        )
        self.backup_failures = Counter(
            "hearth_knowledge_backup_failures", "Backups that failed", registry=self.registry
        )
        self.queue = Gauge(
            "hearth_knowledge_queue", "Documents that wait for the index", ["kb", "state"], registry=self.registry
        )

    def backed_up(self, *, at: float, size: int, seconds: float | None = None) -> None:
        """Note the last backup."""
        self.backup_success.set(at)
        self.backup_bytes.set(size)
        if seconds is not None:
            self.backup_seconds.set(seconds)
