"""What belongs together: identities and links of documents, joined when somebody asks."""
