"""The only owner of knowledge: documents, versions, keys, chunks, vectors, search."""
