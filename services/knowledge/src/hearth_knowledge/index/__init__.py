"""What is searched: chunks, blind terms, vectors, the durable queue that brings them to Milvus."""
