"""Answers from knowledge: question, retrieval, selection, prompt, citations. All pure but the knowledge client."""
